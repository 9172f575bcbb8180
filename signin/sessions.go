package signin

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"golang.org/x/sync/singleflight"

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
// ends it at this one.
const recentTime = 2 * time.Second

// recentSessions remembers the sessions that were read within recentTime. All are read at once, so that it costs the ledger one
// query for however many people have pages open. At this server a sign-out ends a session at once.
type recentSessions struct {
	kept ledger.SignIns

	flight singleflight.Group
	mu     sync.Mutex
	known  map[string]rememberedSession // by the token's hash
	read   time.Time                    // when all were read
	size   int                          // how many there were then
}

type rememberedSession struct {
	data  []byte // nil: it has ended
	until time.Time
}

// FindCtx implements scs.CtxStore.
func (s *recentSessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	hash := ledger.TokenHash(token)
	data, known, stale := s.recall(hash)
	if known {
		return data, data != nil, nil
	}
	if stale {
		if err := s.readAll(ctx); err != nil {
			return nil, false, err
		}
		if data, known, _ = s.recall(hash); known {
			return data, data != nil, nil
		}
	}
	// One that began since at another server, or none at all. Of what is not there nothing is remembered: anybody can ask for that.
	now := time.Now()
	data, ok, err := s.kept.FindCtx(ctx, token)
	if err != nil || !ok {
		return nil, false, err
	}
	s.remember(hash, data, now, false)
	return data, true, nil
}

// recall is what is remembered of a session, and whether it is time to read all of them again.
func (s *recentSessions) recall(hash string) (data []byte, known, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	f, ok := s.known[hash]
	return f.data, ok && now.Before(f.until), now.Sub(s.read) >= recentTime
}

// readAll reads all sessions, once for all who wait for it.
func (s *recentSessions) readAll(ctx context.Context) error {
	_, err, _ := s.flight.Do("", func() (any, error) {
		s.mu.Lock()
		fresh := time.Since(s.read) < recentTime // another has just read them
		s.mu.Unlock()
		if fresh {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sessionsReading)
		defer cancel()
		at := time.Now()
		all, err := s.kept.All(ctx)
		if err != nil {
			return nil, err
		}
		for hash, data := range all {
			s.remember(hash, data, at, false)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.read, s.size = at, len(all)
		return nil, nil
	})
	return err
}

const sessionsReading = 2 * time.Second

// CommitCtx implements scs.CtxStore. What is written is forgotten, and read again: the ledger may know that it has ended.
func (s *recentSessions) CommitCtx(ctx context.Context, token string, data []byte, expires time.Time) error {
	err := s.kept.CommitCtx(ctx, token, data, expires)
	hash := ledger.TokenHash(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[hash].data != nil {
		delete(s.known, hash)
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
	s.remember(ledger.TokenHash(token), nil, time.Now(), true)
	return nil
}

// remember notes what was read, or that the session has ended, over which nothing that was read before is noted.
func (s *recentSessions) remember(hash string, data []byte, at time.Time, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if f, ok := s.known[hash]; ok && f.data == nil && !ended && now.Before(f.until) {
		return
	}
	s.known[hash] = rememberedSession{data, at.Add(recentTime)}
	if len(s.known) > 2*s.size+100 { // it has grown by what is over
		maps.DeleteFunc(s.known, func(_ string, f rememberedSession) bool { return !now.Before(f.until) })
	}
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

// Say keeps a line for the next page that the person sees.
func (d *Door) Say(ctx context.Context, line string) {
	lines := line
	if before := d.sessions.GetString(ctx, keySaid); before != "" {
		lines = before + "\n" + line
	}
	d.sessions.Put(ctx, keySaid, lines)
}

// Said are the lines kept for this page. They are told once.
func (d *Door) Said(ctx context.Context) []string {
	if ctx.Value(sessionOpen{}) == nil { // the request was refused before its session was looked for
		return nil
	}
	lines := d.sessions.PopString(ctx, keySaid)
	if lines == "" {
		return nil
	}
	return strings.Split(lines, "\n")
}
