package console

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"

	"closeout/ledger"
)

// How long, in machine time, a session goes on without a person's doing anything, and how long at the most.
const (
	idleTime    = time.Hour
	sessionTime = 12 * time.Hour
	// seenEvery is how exactly it is known when somebody was there last: each time costs a write.
	seenEvery = time.Minute
)

// What is kept in a session.
const (
	keyName  = "name"
	keyRole  = "role"
	keyBy    = "by"    // how they signed in
	keyProof = "proof" // what that rests on: it must still be so
	keySeen  = "seen"  // when the person did something last
	keySaid  = "said"  // what the next page tells them
)

// newSessions makes the sessions. Over TLS the cookie is for this very host and travels by TLS alone. It ends with the browser.
func newSessions(store *recentSessions, secure bool, broken func(http.ResponseWriter, *http.Request, error)) *scs.SessionManager {
	// scs.New would begin a store in memory, with a goroutine that never ends.
	return &scs.SessionManager{
		Store: store, Codec: sessionCodec{}, ErrorFunc: broken, Lifetime: sessionTime,
		Cookie: scs.SessionCookie{Name: cookieName("closeout", secure), Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode},
	}
}

func cookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name // a browser takes it only with Secure, for / and from this host
	}
	return name
}

// sessionCodec writes a session as JSON: the ledger keeps text. Its values are texts.
type sessionCodec struct{}

type session struct {
	Until  time.Time         `json:"until"`
	Values map[string]string `json:"values"`
}

// Encode implements scs.Codec.
func (sessionCodec) Encode(until time.Time, values map[string]any) ([]byte, error) {
	s := session{until, map[string]string{}}
	for k, v := range values {
		s.Values[k], _ = v.(string)
	}
	return json.Marshal(s)
}

// Decode implements scs.Codec.
func (sessionCodec) Decode(b []byte) (time.Time, map[string]any, error) {
	s, err := readSession(b)
	values := map[string]any{}
	for k, v := range s.Values {
		values[k] = v
	}
	return s.Until, values, err
}

func readSession(b []byte) (s session, err error) {
	err = json.Unmarshal(b, &s)
	return s, err
}

// recentTime is how long, in machine time, a session is known without asking the ledger: so soon a sign-out at another server
// ends it at this one, and so seldom many open pages ask.
const recentTime = 2 * time.Second

// recentSessions remembers the sessions that were asked for within recentTime. At this server a sign-out ends one at once.
type recentSessions struct {
	kept ledger.People

	mu    sync.Mutex
	known map[string]rememberedSession
}

type rememberedSession struct {
	data  []byte // nil: it has ended
	until time.Time
}

// FindCtx implements scs.CtxStore.
func (s *recentSessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	now := time.Now()
	s.mu.Lock()
	f, ok := s.known[token]
	s.mu.Unlock()
	if ok && now.Before(f.until) {
		return f.data, f.data != nil, nil
	}
	data, ok, err := s.kept.FindCtx(ctx, token)
	if err != nil || !ok {
		return nil, false, err // of what is not there nothing is remembered: anybody can ask for that
	}
	s.remember(token, data, now, false)
	return data, true, nil
}

// CommitCtx implements scs.CtxStore. What is written is forgotten, and read again: the ledger may know that it has ended.
func (s *recentSessions) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	err := s.kept.CommitCtx(ctx, token, data, expires)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[token].data != nil {
		delete(s.known, token)
	}
	return err
}

// DeleteCtx implements scs.CtxStore.
func (s *recentSessions) DeleteCtx(ctx context.Context, token string) error {
	if token == "" {
		return nil // there was none
	}
	if err := s.kept.DeleteCtx(ctx, token); err != nil {
		return err
	}
	s.remember(token, nil, time.Now(), true)
	return nil
}

// remember notes what was read, or that the session has ended, over which nothing that was read before is noted.
func (s *recentSessions) remember(token string, data []byte, at time.Time, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, f := range s.known {
		if !at.Before(f.until) {
			delete(s.known, k)
		}
	}
	if f, ok := s.known[token]; ok && f.data == nil && !ended {
		return
	}
	s.known[token] = rememberedSession{data, at.Add(recentTime)}
}

// Find implements scs.Store.
func (s *recentSessions) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit implements scs.Store.
func (s *recentSessions) Commit(token string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expires)
}

// Delete implements scs.Store.
func (s *recentSessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
