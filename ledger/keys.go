package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ErrNameTaken says that a living API key has this name.
var ErrNameTaken = errors.New("there is a key of this name; revoke it first, or choose another name")

// APIKey is a key that lets a client in. Of its secret only a hash is known. All times are machine time.
type APIKey struct {
	ID         string
	Name       string
	Hash       string // hex of the secret's SHA-256
	Scopes     []string
	CreatedAt  time.Time
	CreatedBy  string
	RevokedAt  time.Time // zero: it lives
	LastUsedAt time.Time // to the minute; zero: never
}

// CreateKey writes a key of this ledger's environment. ErrNameTaken: a living one has its name.
func (l *Ledger) CreateKey(ctx context.Context, k APIKey) (APIKey, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return k, fmt.Errorf("make an id: %w", err)
	}
	k.ID, k.CreatedAt, k.CreatedBy = id.String(), time.Now().UTC().Truncate(time.Microsecond), plain(k.CreatedBy)
	_, err = l.db.ExecContext(ctx, "INSERT INTO closeout.api_keys (id, environment, name, hash, scopes, created_at, created_by)"+
		" VALUES ($1, $2, $3, $4, $5, $6, $7)", k.ID, string(l.env), k.Name, k.Hash, strings.Join(k.Scopes, " "), ts(k.CreatedAt), k.CreatedBy)
	if isUnique(err) {
		return k, ErrNameTaken
	}
	if err != nil {
		return k, fmt.Errorf("create key: %w", err)
	}
	return k, nil
}

// APIKeys are all keys of this environment, the revoked ones too, in the order of their making.
func (l *Ledger) APIKeys(ctx context.Context) ([]APIKey, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT id, name, hash, scopes, created_at, created_by, revoked_at, last_used_at FROM closeout.api_keys"+
		" WHERE environment = $1 ORDER BY created_at, id", string(l.env))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []APIKey
	for rows.Next() {
		var k APIKey
		var scopes string
		if err := rows.Scan(&k.ID, &k.Name, &k.Hash, &scopes, (*ts)(&k.CreatedAt), &k.CreatedBy, (*ts)(&k.RevokedAt), (*ts)(&k.LastUsedAt)); err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		k.Scopes = strings.Fields(scopes)
		out = append(out, k)
	}
	return out, rows.Err()
}

// RevokeKey ends the living key of a name, for good. ErrNotFound: there is none.
func (l *Ledger) RevokeKey(ctx context.Context, name string) error {
	err := one(l.db.ExecContext(ctx, "UPDATE closeout.api_keys SET revoked_at = $1 WHERE environment = $2 AND name = $3 AND revoked_at IS NULL",
		ts(time.Now()), string(l.env), name))
	if errors.Is(err, ErrStale) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	return nil
}

// KeyUsed notes when a key was used last. Where a minute ago is known already, nothing is written.
func (l *Ledger) KeyUsed(ctx context.Context, id string, at time.Time) error {
	_, err := l.db.ExecContext(ctx, "UPDATE closeout.api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at <= $3)",
		ts(at), id, ts(at.Add(-time.Minute)))
	if err != nil {
		return fmt.Errorf("note a key's use: %w", err)
	}
	return nil
}
