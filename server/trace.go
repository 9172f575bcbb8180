package server

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// trace is the span of a request: of one of the API's, or of one by which a person does something; probes, streams and pages
// that draw themselves anew make none. It goes on with the client's trace, if its traceparent names one. It knows the route as it is
// declared and nothing of the address, which may hold anything.
func (s *server) trace(c *gin.Context) {
	r := c.Request
	if s.Tracer == nil || !keyed(r) && r.Method != http.MethodPost || strings.HasPrefix(c.FullPath(), eventsBase) {
		return
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.MapCarrier{"traceparent": r.Header.Get("Traceparent")})
	ctx, span := s.Tracer.Start(ctx, method(r), trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	c.Request = r.WithContext(ctx)
	c.Next()
	e := entryOf(ctx)
	route := c.FullPath()
	if route == "" {
		route = e.route // of the console, which may have the method before it
	}
	if _, path, ok := strings.Cut(route, " "); ok {
		route = path
	}
	status := c.Writer.Status()
	span.SetAttributes(attribute.String("http.request.method", method(r)), attribute.Int("http.response.status_code", status),
		attribute.String("closeout.request", e.requestID))
	if route != "" {
		span.SetName(method(r) + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
	if e.code != "" {
		span.SetAttributes(attribute.String("error.type", e.code))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// method is a request's, if it is one of those that HTTP has.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "_OTHER"
}
