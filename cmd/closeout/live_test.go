package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
)

// listener follows a stream of events over the servers that there are, as a browser does: when it is cut off it goes to the
// next one with the id of the last event.
type listener struct {
	path  string
	id    string
	heard []string // closure/seq
	cut   int
}

// follow listens at one server until the stream ends.
func (l *listener) follow(ctx context.Context, api string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+l.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", worldKey)
	if l.id != "" {
		req.Header.Set("Last-Event-ID", l.id)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil //nolint:nilerr // nobody is there: the next one
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable { // it is stopping
		return nil
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s after %q answered %d", l.path, l.id, resp.StatusCode)
	}
	id, at := "", ""
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		field, value, _ := strings.Cut(s.Text(), ": ")
		switch {
		case field == "id":
			id = value
		case field == "data":
			var e struct {
				ClosureID string `json:"closure_id"`
				Seq       int64  `json:"seq"`
			}
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return err
			}
			at = fmt.Sprintf("%s/%d", e.ClosureID, e.Seq)
		case field == "" && value == "": // the block is whole: before, it has not been heard
			if l.id = id; at != "" {
				l.heard = append(l.heard, at)
			}
			at = ""
		}
	}
	l.cut++
	return nil
}

// Two servers on one Postgres, of which one is killed and one stopped again and again, while workers close accounts: whoever
// follows the streams has heard each closure's history in the end, each event once and in its order.
func TestRealEventsOverServersThatEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3*time.Second)
	serving := []*program{w.start("server", "--addr", "127.0.0.1:0"), w.start("server", "--addr", "127.0.0.1:0")}
	where := make([]string, 2)
	for n, p := range serving {
		where[n] = p.listens()
	}
	w.api = "http://" + where[0]
	for range 2 {
		w.worker()
	}
	const closures = 12
	accounts := make([]string, closures)
	for n := range accounts {
		accounts[n] = w.account(sim.Spec{Cash: decimal.NewFromInt(int64(100 + n))})
	}
	first := w.initiate(accounts[0])
	ctx, cancel := context.WithCancel(t.Context())
	listeners := []*listener{{path: "/api/account-closure/events?after=0"}, {path: "/api/account-closure/events/" + accounts[0]}}
	over := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			var err error
			for n := 0; ctx.Err() == nil && err == nil; n++ {
				if err = l.follow(ctx, "http://"+where[n%2]); ctx.Err() != nil {
					err = nil
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
			over <- err
		}()
	}
	ids := []string{first}
	for _, a := range accounts[1:] {
		ids = append(ids, w.initiate(a))
	}
	kills, nextKill := 0, time.Now().Add(time.Second)
	w.until("every account is closed", func() bool {
		if time.Now().After(nextKill) { // both are listened to: the streams go to and fro
			n := kills % 2
			if kills%4 < 2 {
				serving[n].signal(syscall.SIGKILL)
			} else {
				told := time.Now()
				serving[n].signal(syscall.SIGTERM)
				if status := serving[n].ends(); status != 0 {
					t.Errorf("a server with open streams ended with status %d after %s:\n%s", status, time.Since(told), serving[n].tail(5))
				}
				t.Logf("SIGTERM with streams open: it ended after %s", time.Since(told).Round(time.Millisecond))
			}
			serving[n] = w.start("server", "--addr", where[n])
			serving[n].listens()
			kills++
			nextKill = time.Now().Add(1500 * time.Millisecond)
		}
		for _, id := range ids {
			c, err := w.ledger.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if !c.State.Ended() {
				return false
			}
		}
		return kills >= 4
	})
	histories := func(ids ...string) (all []string) {
		for _, id := range ids {
			for _, e := range w.events(id) {
				all = append(all, fmt.Sprintf("%s/%d", id, e.Seq))
			}
		}
		return all
	}
	<-time.After(3 * time.Second) // what would be repeated has time to come
	cancel()
	for range listeners {
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	next := map[string]int{}
	for _, at := range listeners[0].heard {
		id, seq, _ := strings.Cut(at, "/")
		if next[id]++; seq != fmt.Sprint(next[id]) {
			t.Errorf("%s came where event %d of its closure must come", at, next[id])
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(histories(ids...))), slices.Sorted(slices.Values(listeners[0].heard))); diff != "" {
		t.Errorf("of all (-histories +heard)\n%s", diff)
	}
	if diff := cmp.Diff(histories(first), listeners[1].heard); diff != "" {
		t.Errorf("of one (-history +heard)\n%s", diff)
	}
	t.Logf("%d closures, %d events; servers ended %d times, the stream of all was cut off %d times, that of one %d times",
		closures, len(listeners[0].heard), kills, listeners[0].cut, listeners[1].cut)
}
