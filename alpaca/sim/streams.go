package sim

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// mostStreams is how many connections Alpaca lets one correspondent have.
const mostStreams = 25

// streamPage is how many events are written before others may speak.
const streamPage = 100

// never is later than anything that falls due.
var never = time.Date(9000, time.January, 1, 0, 0, 0, 0, time.UTC)

// wakeAt is when something falls due in an account.
type wakeAt struct {
	at time.Time
	id string
}

type wakes []wakeAt

func (w wakes) Len() int           { return len(w) }
func (w wakes) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w wakes) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *wakes) Push(x any)        { *w = append(*w, x.(wakeAt)) }
func (w *wakes) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

// streams are the open connections. While there is one, accounts move by themselves when something falls due in them, and
// not only when they are looked at.
type streams struct {
	open int
	next wakes
	news chan struct{} // closed when there is something new to tell
	over chan struct{} // closed at the end
}

// Hangup ends every open stream, and each new one at once. A server that is to stop calls it.
func (s *Sim) Hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.streams.over:
	default:
		close(s.streams.over)
	}
}

// stirred lets the streams look for what is new. The lock is held.
func (s *Sim) stirred() {
	close(s.streams.news)
	s.streams.news = make(chan struct{})
}

// expect notes when an account moves next by itself. The lock is held.
func (s *Sim) expect(a *account) {
	if s.streams.open == 0 {
		return
	}
	if d, ok := s.next(a, never); ok {
		heap.Push(&s.streams.next, wakeAt{d.at, a.ID})
	}
}

// listen opens a stream: from where it begins, or why not.
func (s *Sim) listen(q *request) (after int64, err error) {
	cursor := q.query.Get("since_id")
	if topics[q.path] == "accounts" {
		cursor = q.query.Get("since_ulid")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	after = s.toldSeq
	if cursor != "" {
		ok := false
		if after, ok = seqOf(cursor); !ok {
			return 0, malformed("invalid cursor: not a ULID")
		}
	}
	if s.streams.open == mostStreams {
		return 0, &refusal{status: http.StatusTooManyRequests, code: 42910000, message: "too many event connections"}
	}
	if s.streams.open++; s.streams.open == 1 {
		for _, id := range s.ids {
			s.expect(s.accounts[id])
		}
	}
	return after, nil
}

func (s *Sim) unlisten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams.open--; s.streams.open == 0 {
		s.streams.next = nil
	}
}

// hear moves what is due and gives the topic's events after one; next is how long nothing falls due, news is closed when
// something has changed all the same.
func (s *Sim) hear(topic string, after int64) (events []told, last int64, next time.Duration, news <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for len(s.streams.next) > 0 && !s.streams.next[0].at.After(now) {
		id := heap.Pop(&s.streams.next).(wakeAt).id
		if _, _, err := s.look(id); err != nil {
			return nil, after, 0, nil, err
		}
	}
	next = time.Hour
	if len(s.streams.next) > 0 {
		next = min(next, max(s.o.Machine(s.streams.next[0].at.Sub(now)), time.Millisecond))
	}
	events, last, err = s.store.heard(topic, after, streamPage)
	return events, last, next, s.streams.news, err
}

// stream writes a topic's events until ctx ends or the other end is gone.
func (s *Sim) stream(ctx context.Context, q *request, after int64, write func([]byte) error) error {
	defer s.unlisten()
	beat := time.NewTicker(s.o.Heartbeat)
	defer beat.Stop()
	if err := write([]byte(":heartbeat\n\n")); err != nil {
		return err
	}
	for {
		events, last, next, news, err := s.hear(topics[q.path], after)
		if err != nil {
			_ = write([]byte(": internal server error\n\n"))
			return err
		}
		for _, t := range events {
			if err := s.put(ctx, q, t, write); err != nil {
				return err
			}
		}
		if after = last; len(events) == streamPage {
			continue
		}
		due := time.NewTimer(next)
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.streams.over:
			err = errCut
		case <-news:
		case <-due.C:
		case <-beat.C:
			if err = write([]byte(":heartbeat\n\n")); err == nil {
				err = s.lie(q, after, write)
			}
		}
		due.Stop()
		if err != nil {
			return err
		}
	}
}

// put writes one event on the stream, with the fault that the rules have for it.
func (s *Sim) put(ctx context.Context, q *request, t told, write func([]byte) error) error {
	s.mu.Lock()
	view := s.toldView(t)
	rule := s.chaos.fault(q.method, q.path, streamFaults)
	s.mu.Unlock()
	text, err := frame(t, view)
	if err != nil {
		return err
	}
	switch rule.Fault {
	case FaultLag:
		if err := sleep(ctx, rule.delay(time.Second)); err != nil {
			return err
		}
	case FaultLose:
		text = []byte(": you are reading too slowly, dropped 1 messages\n\n")
	case FaultRepeat:
		text = append(text, text...)
	}
	if err := write(text); err != nil {
		return err
	}
	return s.lie(q, t.Seq, write)
}

// lie tells of something that has not happened to some account, if the rules want it. Its cursor is that of the event before.
func (s *Sim) lie(q *request, after int64, write func([]byte) error) error {
	s.mu.Lock()
	rule := s.chaos.fault(q.method, q.path, lies)
	if rule.Fault == "" || len(s.ids) == 0 {
		s.mu.Unlock()
		return nil
	}
	s.requests++
	t := told{
		Seq: after, Topic: topics[q.path], At: s.now(), Account: s.ids[seedOf(s.chaos.Seed, "lie", int(s.requests))%uint64(len(s.ids))],
		Kind: map[string]string{"trades": "fill", "funding": "Transfer", "accounts": "status"}[topics[q.path]], To: "COMPLETE",
	}
	view := s.toldView(t)
	s.mu.Unlock()
	text, err := frame(t, view)
	if err != nil {
		return err
	}
	return write(text)
}

func frame(t told, view map[string]any) ([]byte, error) {
	body, err := json.Marshal(view)
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return fmt.Appendf(nil, "id: %s\ndata: %s\n\n", t.ulid(), body), nil
}

// begins says whether a request asks for a stream, and how it is answered: by an error, or by a stream from an event on.
func (s *Sim) begins(ctx context.Context, r *http.Request) (q *request, after int64, resp *response, err error) {
	q = &request{method: r.Method, path: r.URL.Path, query: r.URL.Query(), header: r.Header}
	if topics[q.path] == "" || q.method != http.MethodGet {
		return nil, 0, nil, nil
	}
	refuse := func(e error) (*request, int64, *response, error) {
		resp := failure(e)
		return q, 0, &resp, nil
	}
	if !s.authorized(q) {
		return refuse(errNoAuth)
	}
	s.mu.Lock()
	rule := s.chaos.fault(q.method, q.path, callFaults)
	s.mu.Unlock()
	switch rule.Fault {
	case FaultError, FaultErrorAfter, FaultThrottle:
		answer := rule.answer()
		return q, 0, &answer, nil
	case FaultDrop, FaultTimeoutAfter:
		return q, 0, nil, errCut
	case FaultSlow:
		if err := sleep(ctx, rule.delay(time.Second)); err != nil {
			return q, 0, nil, err
		}
	}
	if after, err = s.listen(q); err != nil {
		return refuse(err)
	}
	return q, after, nil, nil
}

// serveStream answers over a socket; ok is false for a request that asks for no stream.
func (s *Sim) serveStream(w http.ResponseWriter, r *http.Request) (ok bool) {
	q, after, resp, err := s.begins(r.Context(), r)
	switch {
	case err != nil:
		panic(http.ErrAbortHandler)
	case q == nil:
		return false
	case resp != nil:
		s.serve(w, *resp)
		return true
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // a server's usual patience is not for streams
	for k, v := range s.headers(response{}) {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", eventStream)
	w.WriteHeader(http.StatusOK)
	_ = s.stream(r.Context(), q, after, func(b []byte) error {
		_ = out.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := w.Write(b); err != nil {
			return err
		}
		return out.Flush()
	})
	return true
}

const eventStream = "text/event-stream"

// pipeStream answers in this process: a goroutine writes until the body is closed or the request's context ends.
func (s *Sim) pipeStream(r *http.Request) (*http.Response, error) {
	q, after, resp, err := s.begins(r.Context(), r)
	if err != nil || q == nil {
		return nil, err
	}
	header := s.headers(response{})
	answer := &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, ContentLength: -1, Request: r}
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if resp != nil {
		body, err := json.Marshal(resp.body)
		if err != nil {
			return nil, err
		}
		header.Set("Content-Type", jsonMimeType)
		answer.StatusCode, answer.Status, answer.Body = resp.status, strconv.Itoa(resp.status)+" "+http.StatusText(resp.status), io.NopCloser(bytes.NewReader(body))
		return answer, nil
	}
	header.Set("Content-Type", eventStream)
	ctx, cancel := context.WithCancel(r.Context())
	in, out := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = out.CloseWithError(ctx.Err()) }) // a reader that waits hears of it
	go func() {
		defer stop()
		_ = out.CloseWithError(s.stream(ctx, q, after, func(b []byte) error { _, err := out.Write(b); return err }))
	}()
	answer.Body = body{in, cancel}
	return answer, nil
}

// body is the reading end; closing it ends the writer.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
