package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"closeout/signin"

	"closeout/live"
)

const (
	// Of a second so many milliseconds are given out in turns, in one process, for pages to be drawn again: a page that many look at
	// counts once. A turn takes as many as keep drawings to a quarter of the time, and so many at least, which is four turns a
	// second; so the ledger has at most that of open pages, however many there are and whatever happens, and a drawing that
	// takes it long, as the board of many closures, has turns more seldom.
	turnsASecond = 1000
	turnAtLeast  = 250
	turnsAtOnce  = 2500
	turnShare    = 4

	// gather is how long those who look at the same page and hear of the same event are waited for, to share a turn.
	gather = 100 * time.Millisecond

	// streamsEach is how many streams one session may have: those of a process are shared with all others, and the API's clients.
	streamsEach = 30

	heartbeat = 15 * time.Second // of a stream on which nothing happens
	fresh     = time.Second      // for which one drawing serves everybody of the same role
	drawings  = 256              // that are kept at most
)

// livePath is the address of a page's stream: whose changes it is of, which page it is, and which hold stands above it.
func livePath(watch, page, hold string) string {
	return "/live?" + url.Values{"watch": {watch}, "of": {page}, "hold": {hold}}.Encode()
}

func (k *Console) routesLive() {
	k.mux.HandleFunc("GET /live", func(w http.ResponseWriter, r *http.Request) {
		a, ok := k.admit(w, r, signin.Viewer)
		if !ok {
			return
		}
		k.stream(w, a)
	})
}

// stream tells a page that what it shows has changed. It says no more than that: the page asks for itself again, which is the
// only way in which anything is drawn.
func (k *Console) stream(w http.ResponseWriter, a *ask) {
	watch := a.URL.Query().Get("watch")
	if k.Live == nil || watch == "" {
		k.fail(w, a, trouble{Status: http.StatusNotFound, Title: "No such stream", Detail: "There is nothing to be told of."})
		return
	}
	if watch == "all" {
		watch = ""
	}
	leave, ok := k.listening.join(k.door.Session(a.Request))
	if !ok {
		w.Header().Set("Retry-After", "60")
		k.fail(w, a, trouble{
			Status: http.StatusTooManyRequests, Title: "Too many open pages", Detail: fmt.Sprintf("You have %d live pages open.", streamsEach),
			Hint: "This one shows what was so when it was drawn. Close some of the others.",
		})
		return
	}
	defer leave()
	_, written, err := k.Ledger.FeedEnd(a.Context())
	if err != nil {
		k.fail(w, a, err)
		return
	}
	s, err := k.Live.Open(watch, written)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		k.fail(w, a, trouble{Status: http.StatusServiceUnavailable, Title: "No stream just now", Detail: err.Error(), Cause: err})
		return
	}
	defer s.Close()
	of := a.URL.Query().Get("of")
	e, closed := k.beats.join(of, k.drawn.told, k.drawn.outdate)
	defer closed()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // of proxies
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Time{}) // a stream never ends by itself
	send := func(text string) bool {
		_, err := fmt.Fprint(w, text)
		return err == nil && out.Flush() == nil
	}
	// One who comes back has missed something, perhaps. Who was told of nothing yet is known by the id of this first word.
	first := "id: " + rand.Text() + "\n: hello\n\n"
	if a.Header.Get("Last-Event-ID") != "" {
		first = changed()
	}
	if !send(first) {
		return
	}
	for {
		if now := k.holdSeen(a.Context()); now != "" && now != a.URL.Query().Get("hold") { // its banner is no part of what is drawn again
			send("event: anew\ndata: 1\n\n")
			return
		}
		word := changed()
		switch err := next(a.Context(), s, e); {
		case err == nil:
			drain(s) // what came with it is in the same drawing; what comes later is told later
			if k.turn(a.Context(), of) != nil {
				return
			}
			e.seen() // this is its beat, too
		case e.seen():
		case errors.Is(err, context.DeadlineExceeded):
			word = ": still here\n\n"
		default:
			return
		}
		if k.Who(a.Request).Role == signin.Nobody || !send(word) { // they have signed out, or are gone
			return
		}
	}
}

// listening counts the streams of each session.
type listening struct {
	mu   sync.Mutex
	each map[string]int
}

func (l *listening) join(session string) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each == nil {
		l.each = map[string]int{}
	}
	if l.each[session] >= streamsEach {
		return nil, false
	}
	l.each[session]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.each[session]--; l.each[session] == 0 {
			delete(l.each, session)
		}
	}, true
}

func changed() string { return "id: " + rand.Text() + "\nevent: changed\ndata: 1\n\n" }

// next waits for an event, at most for a heartbeat and until the page has its beat.
func next(ctx context.Context, s *live.Stream, e *eye) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	e.until(cancel)
	_, err := s.Next(ctx)
	return err
}

// drain takes what the stream has by now.
func drain(s *live.Stream) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if _, err := s.Next(over); err != nil {
			return
		}
	}
}

// turn waits until it is a page's turn to be drawn again, from when on what was drawn of it before is old. Who looks at the same
// page shares a turn.
func (k *Console) turn(ctx context.Context, of string) error {
	// It is waited for by all who look at the page, so that it doesn't end with the first of them.
	all := context.WithoutCancel(ctx)
	turn := k.drawings.DoChan("turn "+of, func() (any, error) {
		time.Sleep(gather)
		err := k.turns.WaitN(all, k.drawn.turn(of))
		k.drawn.outdate(of)
		return nil, err
	})
	select {
	case got := <-turn:
		return got.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drawn are the regions of pages as they were last drawn, by role and address.
type drawn struct {
	mu    sync.Mutex
	all   map[string]drawing
	since map[string]time.Time // when pages were last told of a change, by address: what was drawn before is old
	took  map[string]time.Duration
}

type drawing struct {
	at   time.Time // when it was begun
	body []byte
}

// outdate makes what was drawn of an address before now old.
func (d *drawn) outdate(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil || len(d.since) >= drawings {
		d.since = map[string]time.Time{}
		d.all = nil // what is forgotten here may be old
	}
	d.since[address] = time.Now()
}

// told is when an address was last outdated.
func (d *drawn) told(address string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since[address]
}

// turn is how much a turn of an address takes, by how long its last drawing did.
func (d *drawn) turn(address string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return min(turnsAtOnce, max(turnAtLeast, turnShare*int(d.took[address].Milliseconds())))
}

// recent is a drawing that will still do for others who ask.
func (d *drawn) recent(key, address string) (drawing, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one, ok := d.all[key]
	return one, ok && time.Since(one.at) <= fresh && !one.at.Before(d.since[address])
}

// shows says whether a drawing was begun after the last change that pages were told of.
func (d *drawn) shows(one drawing, address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !one.at.Before(d.since[address])
}

// keep keeps a drawing that is just done, and few.
func (d *drawn) keep(key, address string, one drawing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil || len(d.all) >= drawings {
		d.all, d.took = map[string]drawing{}, map[string]time.Duration{}
	}
	d.took[address] = time.Since(one.at)
	d.all[key] = one
}

// redraw answers a page that was told of a change with what of it changes, drawn once for all of the same role, and after the
// change: one that is being drawn may have been begun before.
func (k *Console) redraw(w http.ResponseWriter, a *ask, f func(*ask) (page, error)) {
	address := a.URL.RequestURI()
	key := string(a.Who.Role) + " " + address
	d, ok := k.drawn.recent(key, address)
	for n := 0; n < 2 && !ok; n++ {
		v, err, _ := k.drawings.Do(key, func() (any, error) {
			if d, ok := k.drawn.recent(key, address); ok { // another's, which has ended since this was looked for
				return d, nil
			}
			one := &ask{a.WithContext(context.WithoutCancel(a.Context())), signin.Person{Role: a.Who.Role}}
			at := time.Now()
			p, err := f(one)
			if err != nil {
				return drawing{}, err
			}
			body, err := k.draw(one, p, "region")
			if err == nil {
				k.drawn.keep(key, address, drawing{at, body})
			}
			return drawing{at, body}, err
		})
		if err != nil {
			k.undrawn(w, a, err)
			return
		}
		d = v.(drawing)                //nolint:forcetypeassert // it is what was just returned
		ok = k.drawn.shows(d, address) // if not, it had been begun for others
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(d.body) // the browser is gone
}

// undrawn leaves the page as it is while something is wrong here; what concerns the person, the whole page is loaded to say.
func (k *Console) undrawn(w http.ResponseWriter, a *ask, err error) {
	if t, ok := errors.AsType[trouble](err); ok && t.Status < http.StatusInternalServerError {
		w.Header().Set("HX-Refresh", "true")
		return
	}
	k.Log.WithField("route", a.Pattern).WithError(err).Warn("a page cannot be drawn again")
	w.WriteHeader(http.StatusNoContent)
}
