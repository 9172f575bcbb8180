package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/live"
)

// Machine times of a stream.
const (
	heartbeat = 15 * time.Second // between signs of life; as often the key is looked at again
	toWrite   = 10 * time.Second // for one event: whoever has not taken it by then reads too slowly and is let go
	comeBack  = 2 * time.Second  // what a client is told to wait before it comes back
)

const streamType = "text/event-stream"

// eventsBase is where the streams are.
const eventsBase = "/api/account-closure/events"

// registerLive has the streams of events.
func (s *server) registerLive(api huma.API) {
	api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[ClosureEvent](), true, "")
	answers := func() map[string]*huma.Response {
		return map[string]*huma.Response{"200": {
			Description: "Server-sent events that do not end by themselves: id, event (the kind) and data, a `ClosureEvent` as JSON. Comments are signs of life.",
			Content:     map[string]*huma.MediaType{streamType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}}
	}
	resume := " A client that was cut off, or told to come back by the stream's end, asks again with the last id in `Last-Event-ID`, on any server: nothing is missed and nothing comes twice. " +
		"An id that this ledger never gave, or that a restore took back, is refused with 422 `unknown_event`: read `progress` anew then. A stream ends within a minute after its key was revoked."
	huma.Register(api, huma.Operation{
		OperationID: "events-of-account", Method: http.MethodGet, Path: eventsBase + "/{account_id}", Tags: []string{"Closures"},
		Summary:     "What happens to an account's closure, live",
		Description: "Begins with the latest closure's first event, and goes on to a newer closure of the account." + resume,
		Metadata:    needs(ScopeRead), Responses: answers(), Errors: []int{401, 404, 422, 503},
	}, s.eventsOfAccount)
	huma.Register(api, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: eventsBase, Tags: []string{"Closures"},
		Summary:     "What happens to all closures, live",
		Description: "Begins with what happens from now on; with `after=0`, with the first event of all. Each closure's events come in their order." + resume,
		Metadata:    needs(ScopeOperate), Responses: answers(), Errors: []int{401, 422, 503},
	}, s.events)
}

type eventsInput struct {
	LastEventID string `header:"Last-Event-ID" maxLength:"200" doc:"The id of the last event received; the stream goes on after it"`
	After       string `query:"after" maxLength:"200" doc:"The same for clients that can't set headers; Last-Event-ID wins. 0 is before the first event"`
}

type eventsOfAccountInput struct {
	AccountID   string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	LastEventID string `header:"Last-Event-ID" maxLength:"200" doc:"The id of the last event received; the stream goes on after it"`
	After       string `query:"after" maxLength:"200" doc:"The same for clients that can't set headers; Last-Event-ID wins. 0 is before the first event of the account"`
}

// from is where a stream is to go on. The header wins: a browser that comes back sends both, and the address is the older.
type from struct{ header, query string }

func (f from) id() string {
	return cmp.Or(f.header, f.query)
}

func (s *server) eventsOfAccount(ctx context.Context, in *eventsOfAccountInput) (*huma.StreamResponse, error) {
	account := strings.ToLower(in.AccountID)
	c, err := s.Ledger.OfAccount(ctx, account)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noClosureOf()
	}
	if err != nil {
		return nil, ledgerProblem(err)
	}
	if f := (from{in.LastEventID, in.After}); f.id() != "" {
		after, err := s.place(ctx, f, account)
		if err != nil {
			return nil, err
		}
		return s.stream(ctx, account, after, f.id())
	}
	after, err := s.Ledger.FeedBefore(ctx, c)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	return s.stream(ctx, account, after, "")
}

func (s *server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	if f := (from{in.LastEventID, in.After}); f.id() != "" {
		after, err := s.place(ctx, f, "")
		if err != nil {
			return nil, err
		}
		return s.stream(ctx, "", after, f.id())
	}
	now, _, err := s.Ledger.FeedEnd(ctx)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	last, err := s.Ledger.FeedLast(ctx, now)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return s.stream(ctx, "", 0, beginning)
	case err != nil:
		return nil, ledgerProblem(err)
	}
	return s.stream(ctx, "", now, last.ID())
}

// beginning is the id before the first event.
const beginning = "0"

// place is where a client wants to go on. Of an account's stream the event must be the account's.
func (s *server) place(ctx context.Context, f from, account string) (ledger.Cursor, error) {
	if f.id() == beginning {
		return 0, nil
	}
	at, whose, err := s.Ledger.FeedAt(ctx, f.id())
	if errors.Is(err, ledger.ErrNotFound) || err == nil && account != "" && whose != account {
		where := "query.after"
		if f.header != "" {
			where = "header.Last-Event-ID"
		}
		p := unknownEvent.problem("The stream can't go on after an event that is not there.").
			hinting("Read progress, or the list of closures, for how things stand, and open the stream without Last-Event-ID and after; after=0 begins with the first event.")
		p.Errors = []Fault{{where, "is not the id of an event that this stream has had"}}
		return 0, p
	}
	if err != nil {
		return 0, ledgerProblem(err)
	}
	return at, nil
}

// stream answers with the events after a place. id, where there is one, names the place to the client in the first block, so
// that one that is cut off before the first event comes back to the same place. By the standard's words a client forgets the
// id it came with at the first block that has none.
func (s *server) stream(ctx context.Context, account string, after ledger.Cursor, id string) (*huma.StreamResponse, error) {
	from, err := s.Live.Open(account, after)
	switch {
	case errors.Is(err, live.ErrFull):
		return nil, tooManyStreams.problem("This server has as many open streams as it may.").
			hinting("Ask again, perhaps another server answers; close streams that nobody reads, and prefer the one stream of all closures to many of one account each.").because(err)
	case err != nil:
		return nil, notReady.problem("This server is stopping.").hinting("Ask again: another server, or the next one here, goes on from Last-Event-ID.").because(err)
	}
	return &huma.StreamResponse{Body: func(of huma.Context) {
		defer from.Close()
		c := humagin.Unwrap(of)
		w := sse{c, http.NewResponseController(c.Writer), allow(entryOf(ctx).scopes, ScopeOperate)}
		w.run(ctx, s, from, id)
	}}, nil
}

// sse writes server-sent events.
type sse struct {
	c        *gin.Context
	out      *http.ResponseController
	operator bool
}

// run writes events until the client is gone, its key is no longer good, or this process stops.
func (w sse) run(ctx context.Context, s *server, from *live.Stream, id string) {
	_ = w.out.SetReadDeadline(time.Time{}) // the server's usual patience is not for streams; the recorder of a test has none
	h := w.c.Writer.Header()
	h.Set("Content-Type", streamType)
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events until it has a page of them
	w.c.Writer.WriteHeader(http.StatusOK)
	hello := fmt.Sprintf("retry: %d\n", comeBack.Milliseconds())
	if id != "" {
		hello += "id: " + id + "\n"
	}
	if err := w.write(hello + "\n"); err != nil {
		return
	}
	due := time.Now().Add(heartbeat)
	for {
		wait, cancel := context.WithDeadline(ctx, due)
		t, err := from.Next(wait)
		quiet := wait.Err() != nil
		cancel()
		if !time.Now().Before(due) { // also where one event follows another without a pause
			due = time.Now().Add(heartbeat)
			if !s.stillAdmitted(ctx, w.c) {
				_ = w.write(": the key is not good any more\n\n")
				return
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			err = w.tell(t)
		case quiet:
			err = w.write(": still here\n\n")
		case errors.Is(err, live.ErrClosed):
			_ = w.write(": this server is stopping; come back with Last-Event-ID\n\n")
			return
		}
		if err != nil {
			entryOf(ctx).cause = err
			return
		}
	}
}

func (w sse) write(text string) error {
	_ = w.out.SetWriteDeadline(time.Now().Add(toWrite))
	if _, err := w.c.Writer.WriteString(text); err != nil {
		return err
	}
	return w.out.Flush()
}

// ClosureEvent is one entry of a closure's history as a stream tells it.
type ClosureEvent struct {
	ClosureID    string        `json:"closure_id" doc:"The closure's id, which is its job_id"`
	AccountID    string        `json:"account_id"`
	Confirmation string        `json:"confirmation_number"`
	Seq          int64         `json:"seq" doc:"Its number in the closure's history: 1, 2, 3 … without a gap"`
	At           time.Time     `json:"at"`
	Kind         string        `json:"kind" doc:"As the stream's field event"`
	Actor        string        `json:"actor,omitempty" doc:"Who did it; for the scope operate alone"`
	Text         string        `json:"text" doc:"What happened, in words. The broker's ids are cut to their ends but for the scope operate"`
	Phase        closure.Phase `json:"phase" doc:"The phase after it: liquidation, settlement, withdrawal or closing"`
	State        closure.State `json:"state" doc:"The state after it: running, paused, failed, dead, closed or canceled"`
	Waiting      *desk.Waiting `json:"waiting,omitempty" doc:"Why it does not go on, until when, and who must act. With a closure's latest event alone; absent once it is over"`
}

// tell writes an event, as much of it as the key's scopes may see.
func (w sse) tell(t ledger.Told) error {
	e := ClosureEvent{
		ClosureID: t.ClosureID, AccountID: t.AccountID, Confirmation: t.Confirmation, Seq: t.Seq, At: t.At, Kind: t.Kind,
		Text: t.Text, Phase: t.Phase, State: t.State,
	}
	if t.Now != nil && !t.State.Ended() {
		e.Waiting = &desk.Waiting{Reason: t.Now.Reason, Why: t.Now.Why, Until: orNull(t.Now.DueAt), Who: t.Now.Who, Hint: closure.Reasons[t.Now.Reason].Hint}
	}
	if w.operator {
		e.Actor = t.Actor
	} else {
		e.Text = desk.WithoutIDs(desk.EventWithoutWords(t.Kind, e.Text), t.AccountID, t.ClosureID)
		if e.Waiting != nil {
			e.Waiting.Why = desk.WithoutIDs(desk.WithoutWords(t.Now.Reason, e.Waiting.Why), t.AccountID, t.ClosureID)
		}
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return w.write("id: " + t.ID() + "\nevent: " + closure.OneLine(t.Kind) + "\ndata: " + string(data) + "\n\n")
}
