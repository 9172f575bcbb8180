package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"closeout/closure"
	"closeout/ledger"
)

const (
	// KeysKnown is how long, in machine time, a server goes by what it last read of the ledger's keys: so soon a revoked key
	// ends everywhere, and so long a known one works while the ledger is away.
	KeysKnown = 5 * time.Second

	keysAsked  = time.Second // between two readings for the sake of keys that are not known
	keyReading = 2 * time.Second
	keyNoted   = time.Minute // between two notes of a key's last use
)

// keyPrefix begins every secret that is made here, so that those who look for leaked secrets can know one. The environment
// follows.
const keyPrefix = "co_"

// MakeKey makes an API key: the secret, which is shown once and kept nowhere, and what the ledger is to know of it. It has
// 256 random bits, so that a plain hash of it can't be guessed at.
func MakeKey(env closure.Environment, name string, scopes []Scope, by string) (secret string, k ledger.APIKey, err error) {
	if !keyName.MatchString(name) {
		return "", k, fmt.Errorf("a key's name must begin with a letter and have at most 32 letters, digits, dots, dashes and underscores")
	}
	for _, s := range scopes {
		k.Scopes = append(k.Scopes, string(s))
	}
	secret = keyPrefix + string(env) + "_" + rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(secret))
	k.Name, k.Hash, k.CreatedBy = name, hex.EncodeToString(sum[:]), by
	return secret, k, nil
}

// ring holds the ledger's keys.
type ring struct {
	ledger *ledger.Ledger
	flight singleflight.Group

	mu    sync.Mutex
	at    time.Time // of the reading; zero: none yet
	keys  []ringKey
	noted map[string]time.Time // when a key's last use was written down, by its id
}

type ringKey struct {
	apiKey
	id      string
	revoked bool
}

// who is the key with this secret, if there is one. A secret that is not of ours is not asked for. The error says that
// the ledger can't be read and what was read of it is too old.
func (r *ring) who(ctx context.Context, presented string) (k ringKey, found bool, err error) {
	if !strings.HasPrefix(presented, keyPrefix) {
		return k, false, nil
	}
	sum := sha256.Sum256([]byte(presented))
	for _, age := range []time.Duration{KeysKnown, keysAsked} { // a new key works within a second
		keys, err := r.read(ctx, age)
		if err != nil {
			return k, false, err
		}
		// Each is compared, in constant time. The database is asked for all keys and never for this one: an index would
		// answer in a time that depends on how much of a hash is right.
		for _, one := range keys {
			if subtle.ConstantTimeCompare(sum[:], one.sum[:]) == 1 {
				k, found = one, true
			}
		}
		if found {
			break
		}
	}
	return k, found, nil
}

// read gives the keys as they were at most age ago.
func (r *ring) read(ctx context.Context, age time.Duration) ([]ringKey, error) {
	r.mu.Lock()
	keys, at := r.keys, r.at
	r.mu.Unlock()
	if !at.IsZero() && time.Since(at) < age {
		return keys, nil
	}
	v, err, _ := r.flight.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyReading) // it is read for all who wait
		defer cancel()
		at := time.Now()
		all, err := r.ledger.APIKeys(ctx)
		if err != nil {
			return nil, err
		}
		keys := make([]ringKey, 0, len(all))
		for _, k := range all {
			one := ringKey{apiKey: apiKey{name: k.Name}, id: k.ID, revoked: !k.RevokedAt.IsZero()}
			if n, err := hex.Decode(one.sum[:], []byte(k.Hash)); err != nil || n != len(one.sum) {
				continue // no secret has this hash
			}
			for _, s := range k.Scopes {
				one.scopes = append(one.scopes, Scope(s))
			}
			keys = append(keys, one)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.keys, r.at = keys, at
		return keys, nil
	})
	if err != nil {
		return nil, err
	}
	return v.([]ringKey), nil //nolint:forcetypeassert // it is what was just returned
}

// used has the use of a key written down, beside the request and at most once a minute.
func (r *ring) used(ctx context.Context, id string) {
	now := time.Now()
	r.mu.Lock()
	if r.noted == nil {
		r.noted = map[string]time.Time{}
	}
	soon := now.Sub(r.noted[id]) < keyNoted
	if !soon {
		r.noted[id] = now
	}
	r.mu.Unlock()
	if soon {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyReading)
		defer cancel()
		_ = r.ledger.KeyUsed(ctx, id, now) // the next minute's use is noted again
	}()
}
