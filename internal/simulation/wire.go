package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"closeout/alpaca"
)

// broker is the client as one process has it.
type broker struct {
	*alpaca.Client
	p *process
}

func (b broker) Dial(ctx context.Context) (*alpaca.Sender, error) {
	b.p.gate("before dial")
	if b.p.l.strikes("dial refused") || b.p.l.outage(true) != 0 {
		return nil, &alpaca.ConnError{Method: "CONNECT", Path: "the broker", Cause: errors.New("connection refused (simulated)")}
	}
	s, err := b.Client.Dial(ctx)
	b.p.gate("after dial")
	return s, err
}

// wire is the network between a process and the broker.
type wire struct {
	p    *process
	next http.RoundTripper
}

var errCut = errors.New("connection reset by peer (simulated)")

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.trip(r)
	if resp != nil {
		date := time.Now()
		if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			date = d
		}
		resp.Header.Set("Date", date.Add(-w.p.off).UTC().Format(http.TimeFormat))
	}
	w.p.gate("after " + r.Method)
	if ctx := r.Context(); ctx.Err() != nil { // the process stood still for longer than it waits for an answer
		return nil, ctx.Err()
	}
	return resp, err
}

func (w wire) trip(r *http.Request) (*http.Response, error) {
	p, l := w.p, w.p.l
	if r.Method != http.MethodGet {
		p.mortal("before " + r.Method)
		return w.write(r)
	}
	p.gate("before GET")
	switch status := l.outage(false); {
	case status == 1:
		return nil, errCut
	case status != 0:
		return answer(r, status), nil
	case l.strikes("read refused"):
		return answer(r, 503), nil
	case l.strikes("read broken"):
		return answer(r, 400), nil
	case l.strikes("throttled"):
		return answer(r, 429), nil
	case l.strikes("slow"):
		w.wait(r, l.between("slow", 100*time.Millisecond, 25*time.Second))
	}
	resp, err := w.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK && l.strikes("left out") {
		err = leaveOut(resp)
	}
	return resp, err
}

var sums = regexp.MustCompile(`"(cash|cash_withdrawable|qty|amount)":"[^"]*"`)

// leaveOut takes the sums and quantities out of an answer, as a broker may that does not know them for the moment.
func leaveOut(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	body = sums.ReplaceAll(body, []byte(`"$1":""`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return err
}

// write is one instruction on its way. What is late is so by less than the quarantine, as ARCHITECTURE assumes.
func (w wire) write(r *http.Request) (*http.Response, error) {
	l := w.p.l
	const late = 24 * time.Minute
	l.payout(r)
	wrong := func(k Kind) int { return []int{500, 502, 504, 408}[l.pick(k, 4)] }
	switch status := l.outage(false); {
	case status == 1:
		return nil, errCut
	case status != 0:
		return answer(r, status), nil
	case l.strikes("throttled"):
		return answer(r, 429), nil
	case l.strikes("write refused"):
		l.twin(r)
		return answer(r, wrong("write refused")), nil
	case l.strikes("write lost"):
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("answer lost"):
		l.lost(w.send(r))
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("answer wrong"):
		l.lost(w.send(r))
		l.twin(r)
		return answer(r, wrong("answer wrong")), nil
	case l.strikes("listed late"):
		if err := l.sim.Chaos(lateBy(l.between("listed late", time.Second, late))); err != nil {
			panic(err)
		}
		resp, err := w.send(r)
		_ = l.sim.Chaos(noChaos)
		if l.pick("listed late", 2) == 0 {
			l.lost(resp, err)
			return nil, errCut
		}
		return resp, err
	case l.strikes("arrives late"):
		copied := r.Clone(context.WithoutCancel(r.Context()))
		l.after(l.between("arrives late", time.Second, late), func() { l.lost(w.next.RoundTrip(copied)) })
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("slow"):
		w.wait(r, l.between("slow", 100*time.Millisecond, 25*time.Second))
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
	}
	return w.send(r)
}

func (w wire) send(r *http.Request) (*http.Response, error) { return w.next.RoundTrip(r) }

// wait is for an answer, no longer than the caller has patience.
func (w wire) wait(r *http.Request, d time.Duration) {
	if end, ok := r.Context().Deadline(); ok {
		d = min(d, time.Until(end)+time.Millisecond)
	}
	if d > 0 {
		w.p.stand(d)
	}
}

func answer(r *http.Request, status int) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}, Body: http.NoBody, Request: r,
	}
}
