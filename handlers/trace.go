package handlers

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// startSpan begins a span in a closure's trace, as its row or its task's header names it; without one, below the span of ctx,
// or as a trace of its own. What is done under the returned context, queries and broker calls, stands below it. A nil tracer
// makes nothing.
func startSpan(ctx context.Context, t trace.Tracer, name, traceparent string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	return t.Start(within(ctx, traceparent), name, opts...)
}

// within is ctx in the trace that a traceparent names.
func within(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{tasks.TraceHeader: traceparent})
}

// startApart begins the trace of one closure among many that are treated at once, which would be too much for one trace: the
// two are linked.
func startApart(ctx context.Context, t trace.Tracer, name string) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	return t.Start(ctx, name, trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
}

// Visit carries out one visit.
func (r *Runner) Visit(ctx context.Context, d Delivery) error {
	if r.Tracer == nil {
		return r.visit(ctx, d)
	}
	ctx, span := startSpan(ctx, r.Tracer, "visit", d.Trace, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("closeout.closure", d.ClosureID), attribute.Int64("closeout.version", d.Version), attribute.Int("closeout.attempt", d.Retried+1)))
	defer span.End()
	err := r.visit(ctx, d)
	if err != nil { // its text is in the log, redacted; here it would be for more eyes
		span.SetStatus(codes.Error, "")
	}
	return err
}

// traceFound tells a visit's span which closure it met. A task without a header, of a process that makes no traces, is linked
// to the closure's.
func traceFound(ctx context.Context, d Delivery, c closure.Closure) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetName("visit " + string(c.Phase))
	span.SetAttributes(attribute.String("closeout.phase", string(c.Phase)), attribute.String("closeout.account", tail(c.AccountID)))
	if c.Trace != "" && c.Trace != d.Trace {
		span.AddLink(trace.LinkFromContext(within(ctx, c.Trace)))
	}
}

// traceEnded tells a visit's span what it came to.
func traceEnded(ctx context.Context, next closure.Closure, o closure.Outcome, err error) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("closeout.outcome", word(o, err)), attribute.String("closeout.state", string(next.State)),
		attribute.String("closeout.reason", string(next.Reason)))
}

// post hands over a letter, in its closure's trace.
func (r *Runner) post(ctx context.Context, n ledger.Notice, c closure.Closure, intents []closure.Intent) error {
	ctx, span := startSpan(ctx, r.Tracer, "letter "+string(n.Letter), c.Trace)
	defer span.End()
	err := r.Post.Send(ctx, n, c, intents)
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	return err
}
