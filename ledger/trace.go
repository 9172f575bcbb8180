package ledger

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"closeout/closure"
)

// traceparent names the span of ctx, as a closure's row keeps it; empty where there is none.
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// about tells the span of ctx which closure it is about, and links it to the closure's trace where that is another.
func about(ctx context.Context, c closure.Closure) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() || c.ID == "" {
		return
	}
	span.SetAttributes(attribute.String("closeout.closure", c.ID))
	own := trace.LinkFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": c.Trace}))
	if own.SpanContext.IsValid() && own.SpanContext.TraceID() != span.SpanContext().TraceID() {
		span.AddLink(own)
	}
}

// begin begins a statement's span below the span of ctx. Where that is not recorded, nothing is: what nobody asked for by a
// request or a visit, such as the sweep's looks, makes no traces. The span has the statement's text, in which there are
// no values, and never its arguments.
func begin(ctx context.Context, q string, sqlite bool) (context.Context, trace.Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, noop.Span{}
	}
	system := "postgresql"
	if sqlite {
		system = "sqlite"
	}
	return above.TracerProvider().Tracer("closeout/ledger").Start(ctx, headline(q), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("db.system.name", system), attribute.String("db.query.text", q)))
}

// end ends it. The error's text stays out: a database may quote values in it.
func end(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, "")
	}
	s.End()
}

// headline is a statement's first word and its first table.
func headline(q string) string {
	verb, _, _ := strings.Cut(q, " ")
	_, table, ok := strings.Cut(q, schema)
	if !ok {
		return verb
	}
	if n := strings.IndexFunc(table, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }); n >= 0 {
		table = table[:n]
	}
	return verb + " " + table
}
