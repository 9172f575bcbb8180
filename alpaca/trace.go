package alpaca

import (
	"context"
	"net/http"
	"strings"
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
	pattern := endpoint(path)
	_, s := above.TracerProvider().Tracer("closeout/alpaca").Start(ctx, method+" "+pattern, trace.WithTimestamp(started), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("url.template", pattern)))
	defer s.End()
	if resp == nil {
		s.SetStatus(codes.Error, "")
		s.SetAttributes(attribute.String("error.type", "no answer"))
		return
	}
	s.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode), attribute.String("closeout.broker_request_id", Redact(requestID(resp))))
	if resp.StatusCode >= http.StatusBadRequest {
		s.SetStatus(codes.Error, "")
	}
}

// words are those of this client's paths. What is none of them is an id.
var words = func() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("v1 v2 accounts trading account positions orders orders:by_client_order_id transfers ach_relationships activities " +
		"actions close rebalancing subscriptions assets clock calendar events trades funding status") {
		out[w] = true
	}
	return out
}()

// endpoint is the pattern of a path.
func endpoint(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for n, p := range parts {
		if !words[p] {
			parts[n] = "{id}"
		}
	}
	return "/" + strings.Join(parts, "/")
}
