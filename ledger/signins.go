package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// SignIns keeps the sessions of those who are signed in at the console of this environment: they outlive a server and are the
// same at all of them. (The market's sessions are Days.) It is a store for github.com/alexedwards/scs/v2. What is kept must be text.
type SignIns struct{ l *Ledger }

// SignIns is the store of the ledger's sessions.
func (l *Ledger) SignIns() SignIns { return SignIns{l} }

// FindCtx gives what is kept of a session that is neither over nor ended.
func (s SignIns) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = s.l.db.QueryRowContext(ctx, "SELECT data FROM closeout.sessions WHERE environment = $1 AND token_hash = $2 AND ended = 0 AND expires_at > $3",
		string(s.l.env), TokenHash(token), ts(time.Now())).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read a session: %w", err)
	}
	return data, true, nil
}

// All are the sessions that are neither over nor ended, by the hashes of their tokens.
func (s SignIns) All(ctx context.Context) (map[string][]byte, error) {
	rows, err := s.l.db.QueryContext(ctx, "SELECT token_hash, data FROM closeout.sessions WHERE environment = $1 AND ended = 0 AND expires_at > $2",
		string(s.l.env), ts(time.Now()))
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string][]byte{}
	for rows.Next() {
		var hash string
		var data []byte
		if err := rows.Scan(&hash, &data); err != nil {
			return nil, fmt.Errorf("read the sessions: %w", err)
		}
		all[hash] = data
	}
	return all, rows.Err()
}

// CommitCtx keeps a session until a machine time. One that was ended stays ended: its last request may have begun before.
func (s SignIns) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	_, err := s.l.db.ExecContext(ctx, "INSERT INTO closeout.sessions AS s (environment, token_hash, data, ended, expires_at) VALUES ($1, $2, $3, 0, $4)"+
		" ON CONFLICT (environment, token_hash) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at WHERE s.ended = 0",
		string(s.l.env), TokenHash(token), string(data), ts(expires))
	if err != nil {
		return fmt.Errorf("keep a session: %w", err)
	}
	return nil
}

// DeleteCtx ends a session for good. It is no error if there is none.
func (s SignIns) DeleteCtx(ctx context.Context, token string) error {
	_, err := s.l.db.ExecContext(ctx, "UPDATE closeout.sessions SET ended = 1, data = '' WHERE environment = $1 AND token_hash = $2",
		string(s.l.env), TokenHash(token))
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// Find is FindCtx without a context.
func (s SignIns) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (s SignIns) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

// Delete is DeleteCtx without a context.
func (s SignIns) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// TokenHash is what the ledger knows of a session's token: who reads its rows, or a copy of them, can't sign in by that.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
