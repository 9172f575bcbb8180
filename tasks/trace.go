package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// begin begins the span of a task's way into the queue, below the span of ctx; where that is not recorded, nothing is. It is
// the one span of Redis: Asynq asks Redis several times a second whether there is work, which is nobody's trace.
func begin(ctx context.Context, kind, queue string, wait time.Duration) (context.Context, trace.Span) {
	above := trace.SpanFromContext(ctx)
	if !above.IsRecording() {
		return ctx, noop.Span{}
	}
	return above.TracerProvider().Tracer("closeout/tasks").Start(ctx, "schedule "+kind, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "asynq"), attribute.String("messaging.destination.name", queue), attribute.Float64("closeout.wait_seconds", max(wait, 0).Seconds())))
}

// end ends it. That the task is there already is no error.
func end(s trace.Span, err error) {
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		s.SetStatus(codes.Error, "")
	}
	s.End()
}
