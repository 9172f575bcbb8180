package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
)

// tracing is how traces leave this process: what OpenTelemetry's own environment variables ask for. Sampler, limits, batches,
// headers and certificates are read from their variables by OpenTelemetry itself.
type tracing struct {
	protocol string // "": there are none
}

// tracingOf reads the variables that say whether there are traces. An endpoint, or the exporter otlp, turns them on.
func tracingOf(getenv func(string) string, bad *complaints) tracing {
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	exporter := env("OTEL_TRACES_EXPORTER")
	switch {
	case strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return tracing{}
	case exporter != "" && exporter != "otlp":
		bad.add("OTEL_TRACES_EXPORTER", "must be otlp or none, is %q", exporter)
		return tracing{}
	case exporter == "" && env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return tracing{}
	}
	name := "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	protocol := env(name)
	if protocol == "" {
		name = "OTEL_EXPORTER_OTLP_PROTOCOL"
		protocol = env(name)
	}
	switch protocol {
	case "":
		return tracing{"http/protobuf"}
	case "http/protobuf", "grpc":
		return tracing{protocol}
	}
	bad.add(name, "must be http/protobuf or grpc, is %q", protocol)
	return tracing{}
}

// flushing is how long the end of a process may wait for a collector. What it has not taken by then is lost.
const flushing = 3 * time.Second

// start makes what makes spans: nil where there are to be none. Spans leave in batches from a bounded queue, which drops what
// does not fit: a collector that is slow or away holds up nothing. flush comes last; it is cut short when the process is told to hurry.
func (t tracing) start(ctx context.Context, env closure.Environment, log *logrus.Logger) (tracer trace.Tracer, flush func(), err error) {
	if t.protocol == "" {
		return nil, func() {}, nil
	}
	otel.SetErrorHandler(&seldom{log: log})
	client := otlptracehttp.NewClient()
	if t.protocol == "grpc" {
		client = otlptracegrpc.NewClient()
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, nil, fmt.Errorf("set up the export of traces: %w", err)
	}
	about := resource.NewSchemaless(attribute.String("service.name", "closeout"), attribute.String("service.version", version),
		attribute.String("deployment.environment.name", string(env)))
	about, err = resource.Merge(about, resource.Environment()) // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithoutPanicRecording()) // a panic may say anything
	log.AddHook(traceIDs{})
	log.WithField("protocol", t.protocol).Info("traces are exported")
	return provider.Tracer("closeout"), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushing)
		defer cancel()
		go func() {
			select {
			case <-hurried(ctx):
				cancel()
			case <-ctx.Done():
			}
		}()
		if err := provider.Shutdown(ctx); err != nil {
			log.WithError(err).Warn("the last spans are lost: the collector of traces did not take them")
		}
	}, nil
}

// traceIDs adds the trace to log lines that are written within one. It comes after the redaction, to which an ID looks like a token.
type traceIDs struct{}

// Levels implements logrus.Hook.
func (traceIDs) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (traceIDs) Fire(e *logrus.Entry) error {
	if e.Context == nil {
		return nil
	}
	if at := trace.SpanContextFromContext(e.Context); at.IsValid() {
		e.Data["trace_id"], e.Data["span_id"] = at.TraceID().String(), at.SpanID().String()
	}
	return nil
}

// seldom logs what goes wrong with traces, once a minute at the most: a collector that is away is told of by each batch.
type seldom struct {
	log   *logrus.Logger
	mu    sync.Mutex
	last  time.Time
	since int // so many were not told
}

// Handle implements otel.ErrorHandler.
func (s *seldom) Handle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < time.Minute {
		s.since++
		return
	}
	s.log.WithError(err).WithField("like_it", s.since).Warn("traces can't be exported; spans are dropped, and nothing else suffers")
	s.last, s.since = time.Now(), 0
}
