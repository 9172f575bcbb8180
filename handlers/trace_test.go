package handlers_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/ledger"
	"closeout/tasks"
)

func recorder() (*tracetest.SpanRecorder, trace.Tracer) {
	spans := tracetest.NewSpanRecorder()
	return spans, sdk.NewTracerProvider(sdk.WithSpanProcessor(spans), sdk.WithoutPanicRecording()).Tracer("test")
}

func named(spans *tracetest.SpanRecorder, name string) (out []sdk.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		if s.Name() == name {
			out = append(out, s)
		}
	}
	return out
}

// Each closure of a batch begins a trace of its own, which is linked to that of the bite that started it: ten thousand
// closures would be too much for one.
func TestABatchsClosuresBeginTracesOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	var spans *tracetest.SpanRecorder
	spans, p.batches.Tracer = recorder()
	id := p.create(ledger.Batch{}, p.rows(3))
	p.run(1)
	p.ended(id, ledger.BatchDone, "map[started:3]")
	bites := map[trace.TraceID]bool{}
	for _, b := range named(spans, "bite batch") {
		bites[b.SpanContext().TraceID()] = true
	}
	all, err := p.ledger.List(p.Context(), ledger.Filter{BatchID: id}, ledger.Page{Limit: 10})
	p.must(err)
	traces := map[string]bool{}
	for _, c := range all {
		traces[c.Trace] = true
	}
	starts := named(spans, "start of a batch's closure")
	if len(starts) != 3 || len(all) != 3 || len(traces) != 3 || len(bites) < 2 {
		t.Fatalf("%d starts, traces %v, %d bites", len(starts), traces, len(bites))
	}
	for _, s := range starts {
		own := s.SpanContext().TraceID()
		if s.Parent().IsValid() || len(s.Links()) != 1 || !bites[s.Links()[0].SpanContext.TraceID()] || bites[own] {
			t.Errorf("a start stands below %s and is linked to %v", s.Parent().SpanID(), s.Links())
		}
		if !traces["00-"+own.String()+"-"+s.SpanContext().SpanID().String()+"-01"] {
			t.Errorf("no closure keeps %s: %v", own, traces)
		}
	}
}

// What a bulk retry does to a closure stands in the closure's trace, linked to that of the bite.
func TestABulkRetryStandsInTheClosuresTrace(t *testing.T) {
	t.Parallel()
	spans, tracer := recorder()
	bench(t, lab.Options{Redrives: true, Tracer: tracer}, func(l *lab.Lab) {
		ctx, root := tracer.Start(l.TB.Context(), "root")
		root.End()
		id := stoppedHere(l, 1, closure.OrderRefused)[0]
		c := l.Get(id)
		account := c.AccountID
		if _, err := l.Ledger.Command(l.TB.Context(), id, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Cancel(time.Now(), "test", "so that one with a trace can be made", false), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		c, created, err := l.Ledger.Create(ctx, ledger.Wish{AccountID: account, RelationshipID: c.RelationshipID, Fingerprint: c.Fingerprint, Actor: "lab"})
		if err != nil || !created {
			l.TB.Fatal(err, created)
		}
		if _, err := l.Ledger.Save(l.TB.Context(), c, closure.Looked(time.Now(), closure.Fail(closure.OrderRefused, "as it happens"), closure.Look{}, nil), nil); err != nil {
			l.TB.Fatal(err)
		}
		r := redrive(l, ledger.Filter{}, 60)
		l.RunUntil(time.Hour, func() bool { return now(l, r.ID).State.Ended() })
		if wants(l, l.Ends(c.ID, month), closure.Closed, "", "100.50"); l.TB.Failed() {
			return
		}
		retries, bites := named(spans, "retry among many"), named(spans, "bite redrive")
		if len(retries) != 1 || len(bites) == 0 {
			l.TB.Fatalf("%d retries, %d bites", len(retries), len(bites))
		}
		s := retries[0]
		if s.SpanContext().TraceID() != root.SpanContext().TraceID() || len(s.Links()) != 1 || s.Links()[0].SpanContext.TraceID() != bites[0].SpanContext().TraceID() {
			l.TB.Errorf("the retry is in %s, linked to %v", s.SpanContext().TraceID(), s.Links())
		}
		for _, v := range spans.Ended() {
			if slices.Contains(v.Attributes(), attribute.String("closeout.closure", c.ID)) && v.Parent().SpanID() != root.SpanContext().SpanID() {
				l.TB.Errorf("%s stands elsewhere", v.Name())
			}
		}
	})
}

// A task without a header, of a process that makes no traces, makes a trace of its own that is linked to the closure's.
func TestAVisitWithoutAHeaderIsLinkedToItsClosuresTrace(t *testing.T) {
	t.Parallel()
	spans, tracer := recorder()
	bench(t, lab.Options{Tracer: tracer}, func(l *lab.Lab) {
		ctx, root := tracer.Start(l.TB.Context(), "root")
		root.End()
		c := l.Open(threeStocks())
		if c.Trace != "" {
			l.TB.Fatalf("without a request it keeps %q", c.Trace)
		}
		other, _, err := l.Ledger.Create(ctx, ledger.Wish{AccountID: "another", Actor: "lab"})
		if err != nil {
			l.TB.Fatal(err)
		}
		other.State = closure.Paused // whoever meets it does nothing
		run := &handlers.Runner{Ledger: found{c: other}, Log: l.Log, Tracer: tracer}
		if err := run.Visit(l.TB.Context(), handlers.Delivery{Payload: tasks.PayloadOf(other)}); err != nil {
			l.TB.Fatal(err)
		}
		v := named(spans, "visit liquidation")
		if len(v) != 1 || v[0].Parent().IsValid() || len(v[0].Links()) != 1 || v[0].Links()[0].SpanContext.TraceID() != root.SpanContext().TraceID() {
			l.TB.Errorf("%v", v)
		}
	})
}

// found is a ledger of one closure.
type found struct {
	handlers.Ledger
	c closure.Closure
}

func (f found) Load(context.Context, string) (closure.Closure, []closure.Intent, error) {
	return f.c, nil, nil
}
