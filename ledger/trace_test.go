package ledger

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestAStatementsSpanIsNamedByItsVerbAndTable(t *testing.T) {
	t.Parallel()
	for q, want := range map[string]string{
		"SELECT id, a FROM closeout.closures WHERE id = $1": "SELECT closures",
		"UPDATE closeout.batch_rows SET state = $1":         "UPDATE batch_rows",
		"INSERT INTO closeout.events (a) VALUES ($1)":       "INSERT events",
		"COMMIT":                      "COMMIT",
		"SELECT pg_advisory_lock($1)": "SELECT",
		"DELETE FROM closeout.keys":   "DELETE keys",
		"WITH x AS (SELECT 1 FROM closeout.holds) SELECT 1": "WITH holds",
	} {
		if got := headline(q); got != want {
			t.Errorf("%s: %s, want %s", q, got, want)
		}
	}
}

// What a database says of a failure may quote values, and stays out of the span.
func TestAStatementsSpanTellsNoValue(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	ctx, above := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test").Start(t.Context(), "above")
	_, s := begin(ctx, "UPDATE closeout.closures SET email = $1", true)
	end(s, errors.New(`invalid input "x@example.test"`))
	above.End()
	got := spans.Ended()
	if len(got) != 2 || got[0].Parent().SpanID() != above.SpanContext().SpanID() || got[0].Status() != (sdk.Status{Code: codes.Error}) || len(got[0].Events()) != 0 {
		t.Fatalf("%+v", got)
	}
	for _, a := range got[0].Attributes() {
		if strings.Contains(a.Value.String(), "example") {
			t.Errorf("%s says %s", a.Key, a.Value)
		}
	}
}

func TestStatementsWithoutATraceCostNothing(t *testing.T) {
	ctx := context.Background()
	n := testing.AllocsPerRun(1000, func() {
		_, s := begin(ctx, "SELECT id FROM closeout.closures", false)
		end(s, nil)
	})
	if t.Logf("%v allocations", n); n != 0 {
		t.Errorf("%v allocations for a span that nobody asked for", n)
	}
}
