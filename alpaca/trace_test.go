package alpaca

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// A request's span has the path's pattern, and nothing that the path, the query, the body or an error says beyond it. What is
// sent is the same as without a trace.
func TestSpansOfRequestsTellNothingOfTheAccount(t *testing.T) {
	t.Parallel()
	var headers []http.Header
	answer := func() (*http.Response, error) { return says(200, `{"id":"`+accountID+`","status":"QUEUED"}`), nil }
	c := clientOf(t, func(r *http.Request) (*http.Response, error) {
		headers = append(headers, r.Header.Clone())
		return answer()
	})
	spans := tracetest.NewSpanRecorder()
	ctx, above := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test").Start(t.Context(), "above")
	pay := func(ctx context.Context) {
		s, err := c.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, _ = s.Send(ctx, PayOut(accountID, "the-bank", decimal.RequireFromString("4321.09")))
	}
	pay(ctx)
	pay(t.Context())
	if fmt.Sprint(headers[0]) != fmt.Sprint(headers[1]) {
		t.Errorf("with a trace %v is sent, without %v", headers[0], headers[1])
	}
	answer = func() (*http.Response, error) { return says(422, `{"message":"Quintessa owes 4321.09"}`), nil }
	_, _ = c.OrderByClientID(ctx, accountID, "the-client-order")
	answer = func() (*http.Response, error) { return nil, errors.New("no route to Quintessa") }
	_, _ = c.Asset(ctx, "ZTS")
	above.End()
	var got []string
	for _, s := range spans.Ended()[:3] {
		got = append(got, s.Name())
		for _, a := range s.Attributes() {
			got = append(got, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
		}
		got = append(got, fmt.Sprint(s.Status()), fmt.Sprint(len(s.Events())))
		if s.Parent().SpanID() != above.SpanContext().SpanID() {
			t.Errorf("%s stands below nothing", s.Name())
		}
	}
	text := strings.Join(got, "\n")
	for _, secret := range []string{accountID, "the-bank", "4321", "Quintessa", "the-client-order", "ZTS", "the-key", "the-secret", "broker.test"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told:\n%s", secret, text)
		}
	}
	for _, want := range []string{
		"POST /v1/accounts/{id}/transfers", "GET /v1/trading/accounts/{id}/orders:by_client_order_id", "GET /v1/assets/{id}",
		"http.response.status_code=200", "http.response.status_code=422", "closeout.broker_request_id=req-1", "error.type=no answer",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
	if s := spans.Ended()[0]; s.Status().Code != codes.Unset || s.EndTime().Before(s.StartTime()) {
		t.Errorf("a payout that was taken: %v, from %s to %s", s.Status(), s.StartTime(), s.EndTime())
	}
}

func TestRequestsWithoutATraceCostNothing(t *testing.T) {
	ctx, resp, now := context.Background(), says(200, ""), time.Now()
	n := testing.AllocsPerRun(1000, func() { leaveSpan(ctx, "GET", "/v1/clock", resp, now) })
	if t.Logf("%v allocations", n); n != 0 {
		t.Errorf("%v allocations for a span that nobody asked for", n)
	}
}
