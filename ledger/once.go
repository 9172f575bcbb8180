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

const (
	// AnswersKept is how long, in machine time, a request with an Idempotency-Key is remembered.
	AnswersKept = 24 * time.Hour

	// RequestLease is how long, in machine time, such a request may be at work. One that takes longer, or whose server died,
	// can be asked again, and can no longer change anything itself.
	RequestLease = time.Minute
)

var (
	// ErrInFlight says that a request with the same Idempotency-Key is at work.
	ErrInFlight = errors.New("a request with this idempotency key is at work")
	// ErrOtherRequest says that the Idempotency-Key belongs to another request.
	ErrOtherRequest = errors.New("the idempotency key belongs to another request")
)

// Answer is what a request was answered, and what it is answered again.
type Answer struct {
	Status   int
	Location string
	Body     []byte
}

// Reservation is an Idempotency-Key in the hand of one request.
type Reservation struct {
	client, key, lease string
	written            *Answer // in a transaction that may still fail
	answer             *Answer
}

// Answer is what the request is answered, from the moment at which that is on disk; nil until then.
func (r *Reservation) Answer() *Answer { return r.answer }

// Reply makes a change of the ledger's write the answer to the request that asked for it, in its own transaction: either both
// are on disk or neither is. Say is given what the change has made. A nil Reply writes nothing, as for a request that has no
// Idempotency-Key.
type Reply[T any] struct {
	To  *Reservation
	Say func(made T) (Answer, error)
}

// Reserve takes an Idempotency-Key of a client for a request, which request is the hash of. The key of one that was answered
// comes with its Answer, and nothing is left to do. ErrInFlight, ErrOtherRequest: it can't be had.
func (l *Ledger) Reserve(ctx context.Context, client, key string, request [sha256.Size]byte) (*Reservation, error) {
	sum := sha256.Sum256([]byte(key))
	r := &Reservation{client: client, key: hex.EncodeToString(sum[:]), lease: newToken()}
	hash := hex.EncodeToString(request[:])
	for range 5 { // one that stood in the way may be released before it can be read
		now := time.Now()
		taken, err := l.db.ExecContext(ctx, "INSERT INTO closeout.idempotency_keys AS k"+
			" (environment, client, key_hash, request_hash, lease, lease_until, status, location, body, expires_at)"+
			" VALUES ($1, $2, $3, $4, $5, $6, 0, '', '', $7) ON CONFLICT (environment, client, key_hash) DO UPDATE SET"+
			" request_hash = excluded.request_hash, lease = excluded.lease, lease_until = excluded.lease_until, status = 0, location = '', body = '',"+
			" expires_at = excluded.expires_at"+
			" WHERE k.expires_at <= $8 OR k.status = 0 AND k.lease_until <= $9 AND k.request_hash = excluded.request_hash",
			string(l.env), client, r.key, hash, r.lease, ts(now.Add(RequestLease)), ts(now.Add(AnswersKept)), ts(now), ts(now))
		switch err = one(taken, err); {
		case err == nil:
			return r, nil
		case !errors.Is(err, ErrStale):
			return nil, fmt.Errorf("reserve an idempotency key: %w", err)
		}
		var a Answer
		var of string
		err = l.db.QueryRowContext(ctx, "SELECT request_hash, status, location, body FROM closeout.idempotency_keys"+
			" WHERE environment = $1 AND client = $2 AND key_hash = $3", string(l.env), client, r.key).Scan(&of, &a.Status, &a.Location, &a.Body)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			continue
		case err != nil:
			return nil, fmt.Errorf("read an idempotency key: %w", err)
		case of != hash:
			return nil, ErrOtherRequest
		case a.Status == 0:
			return nil, ErrInFlight
		}
		r.answer = &a
		return r, nil
	}
	return nil, ErrInFlight
}

// Answer writes the answer of a request that has changed nothing, or whose change wrote none. ErrInFlight: another request
// has taken the key over meanwhile.
func (l *Ledger) Answer(ctx context.Context, r *Reservation, a Answer) error {
	err := l.tx(ctx, func(tx *transaction) error { return l.answer(ctx, tx, r, a) })
	if err == nil {
		r.answer = &a
	}
	return err
}

// Release gives a key back whose request has ended without changing anything. It leaves an answer as it is.
func (l *Ledger) Release(ctx context.Context, r *Reservation) error {
	_, err := l.db.ExecContext(ctx, "DELETE FROM closeout.idempotency_keys"+
		" WHERE environment = $1 AND client = $2 AND key_hash = $3 AND lease = $4 AND status = 0", string(l.env), r.client, r.key, r.lease)
	if err != nil {
		return fmt.Errorf("release an idempotency key: %w", err)
	}
	return nil
}

// Forget removes up to limit requests whose time is over, and as many such sessions, and says how many in all. Any number of
// processes may do so at once.
func (l *Ledger) Forget(ctx context.Context, limit int) (int, error) {
	now := ts(time.Now())
	all := 0
	for _, from := range []struct{ table, key string }{{"idempotency_keys", "environment, client, key_hash"}, {"sessions", "environment, token_hash"}} {
		// The time is asked for twice: a row that was found may be taken for a new request before it is removed.
		r, err := l.db.ExecContext(ctx, "DELETE FROM closeout."+from.table+" WHERE expires_at <= $1 AND ("+from.key+") IN"+
			" (SELECT "+from.key+" FROM closeout."+from.table+" WHERE expires_at <= $2 ORDER BY expires_at LIMIT $3)", now, now, limit)
		if err != nil {
			return all, fmt.Errorf("forget %s: %w", from.table, err)
		}
		n, err := r.RowsAffected()
		if err != nil {
			return all, err
		}
		all += int(n)
	}
	return all, nil
}

func (l *Ledger) answer(ctx context.Context, tx *transaction, r *Reservation, a Answer) error {
	r.written = &a
	return tx.later(ctx, write{
		what: "keep an answer", unmet: ErrInFlight, // its lease was over
		q: "UPDATE closeout.idempotency_keys SET status = $1, location = $2, body = $3, lease = ''" +
			" WHERE environment = $4 AND client = $5 AND key_hash = $6 AND lease = $7 AND status = 0",
		args: []any{a.Status, plain(a.Location), plain(string(a.Body)), string(l.env), r.client, r.key, r.lease},
	})
}

// reply writes the answers to what a change has made, in the change's transaction.
func reply[T any](ctx context.Context, l *Ledger, tx *transaction, made T, replies []*Reply[T]) error {
	for _, r := range replies {
		if r == nil {
			continue
		}
		a, err := r.Say(made)
		if err != nil {
			return err
		}
		if err := l.answer(ctx, tx, r.To, a); err != nil {
			return err
		}
	}
	return nil
}

// replied is called once the transaction is on disk.
func replied[T any](replies []*Reply[T]) {
	for _, r := range replies {
		if r != nil && r.To.written != nil {
			r.To.answer = r.To.written
		}
	}
}
