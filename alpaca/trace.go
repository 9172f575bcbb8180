package alpaca

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// leaveSpan makes the span of a request that is over, below the span of ctx; where that is not recorded, nothing is made.
// It is made afterwards so that nothing stands between a write and its connection: what is sent is the same, traced or not,
// and the broker is told of no trace. resp is nil where there was no answer.
func leaveSpan(ctx context.Context, method, path string, resp *http.Response, started time.Time) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return
	}
	name := method
	about := []attribute.KeyValue{attribute.String("http.request.method", method)}
	if path != "" { // a connection that could not be opened has none
		pattern := endpoint(path)
		name += " " + pattern
		about = append(about, attribute.String("url.template", pattern))
	}
	_, s := above.TracerProvider().Tracer("closeout/alpaca").Start(ctx, name,
		trace.WithTimestamp(started), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about...))
	defer s.End()
	if resp == nil {
		s.SetStatus(codes.Error, "")
		s.SetAttributes(attribute.String("error.type", "no answer"))
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode), attribute.String("closeout.broker_request_id", shownID(resp)))
	if resp.StatusCode >= http.StatusBadRequest {
		s.SetStatus(codes.Error, "")
	}
}
