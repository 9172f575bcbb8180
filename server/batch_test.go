package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
)

// next keeps the bite that was asked for last.
type next struct{ bite *tasks.Bite }

func (n *next) Schedule(context.Context, closure.Closure) error { return nil }
func (n *next) ScheduleBite(_ context.Context, b tasks.Bite) error {
	n.bite = &b
	return nil
}

func (n *next) LookBite(context.Context, tasks.Bite) (tasks.Seen, error) {
	return tasks.Seen{}, nil
}

// working is a bench with a worker that carries out batches.
func working(t *testing.T) (b *bench, work func()) {
	t.Helper()
	queue := &next{}
	b = newBench(t, func(o *server.Options) {
		o.ScheduleBatch = func(ctx context.Context, b ledger.Batch) error {
			return queue.ScheduleBite(ctx, handlers.BatchTask(b))
		}
	})
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: b.sim.Transport()})
	must(t, err)
	log := logrus.New()
	log.SetOutput(b.log)
	batches := &handlers.Batches{
		Ledger: b.ledger, Queue: queue, Timing: closure.ShortTiming, Log: log,
		Readiness: &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: closure.DefaultPolicy(closure.Sandbox)},
	}
	b.work = func() {
		t.Helper()
		for n := 0; queue.bite != nil; n++ {
			if n == 100 {
				t.Fatal("the batch never ends")
			}
			bite := queue.bite.BitePayload
			queue.bite = nil
			must(t, batches.Bite(t.Context(), bite))
		}
	}
	return b, b.work
}

func row(account, bank string, more ...string) string {
	return `{"account_id":"` + account + `","ach_relationship_id":"` + bank + `"` + strings.Join(more, "") + `}`
}

func batchOf(rows []string, more ...string) string {
	return `{"confirm_liquidation":true,"confirm_irreversible":true,"accounts":[` + strings.Join(rows, ",") + `]` + strings.Join(more, "") + `}`
}

func (b *bench) batch(rows []string, more ...string) answer {
	b.tb.Helper()
	return b.do("POST", "/api/account-closure/batch", batchOf(rows, more...))
}

// accepts posts a batch that must be accepted.
func (b *bench) accepts(rows []string, more ...string) server.Accepted {
	b.tb.Helper()
	a := b.batch(rows, more...)
	var out server.Accepted
	a.into(&out)
	if a.status != http.StatusAccepted || out.BatchID == "" || a.header.Get("Location") != "/api/account-closure/batch/"+out.BatchID || out.Total != len(rows) {
		b.tb.Fatalf("answered %d %s", a.status, a.text)
	}
	return out
}

func (b *bench) progress(batch, query string) server.BatchProgress {
	b.tb.Helper()
	a := b.do("GET", "/api/account-closure/batch/"+batch+"?"+query, "")
	if a.status != 200 {
		b.tb.Fatalf("answered %d %s", a.status, a.text)
	}
	var p server.BatchProgress
	a.into(&p)
	return p
}

// good makes n accounts that can be closed, as rows.
func (b *bench) good(n int) (rows []string) {
	b.tb.Helper()
	for range n {
		rows = append(rows, row(b.account(sim.Spec{})))
	}
	return rows
}

// bankless is an account that has no bank, as a row.
func (b *bench) bankless() string {
	b.tb.Helper()
	id, _ := b.account(sim.Spec{ACH: "none"})
	return row(id, numbered(77))
}

func TestBatchIsCheckedAndThenStarted(t *testing.T) {
	b, work := working(t)
	rows := append(b.good(3), row(numbered(0), numbered(1))) // the last is an account that there is not
	out := b.accepts(rows[:3], `,"reason":"the firm ends"`)
	if out.State != ledger.BatchChecking || out.RowsTotal != 0 || b.rows() != 0 {
		t.Errorf("accepted: %+v, %d closures already", out, b.rows())
	}
	if p := b.progress(out.BatchID, ""); p.Rows != (server.RowCounts{Waiting: 3}) || p.Finished || len(p.Accounts) != 3 {
		t.Errorf("before the first bite: %+v", p)
	}
	work()
	p := b.progress(out.BatchID, "")
	if p.State != ledger.BatchDone || p.Rows != (server.RowCounts{Started: 3}) || p.Closures.Total != 3 || p.Closures.ByPhase[closure.Liquidation] != 3 || p.Finished ||
		p.Reason != "the firm ends" || p.Actor != "api:shop" || p.EndedAt == nil || p.Accounts[1].JobID == "" {
		t.Errorf("started: %+v", p)
	}
	listed := b.list("batch_id=" + out.BatchID + "&order=oldest").Closures
	if len(listed) != 3 || listed[0].JobID != p.Accounts[0].JobID || listed[0].BatchID != out.BatchID {
		t.Errorf("the list has %+v", listed)
	}
	c, err := b.ledger.Get(context.Background(), listed[2].JobID)
	must(t, err)
	if c.Priority != closure.Bulk || c.Fingerprint == "" || c.Cause != "the firm ends" || c.Actor != "api:shop" {
		t.Errorf("its closure: %+v", c)
	}
	for _, l := range listed {
		c, err := b.ledger.Get(context.Background(), l.JobID)
		must(t, err)
		b.look(c, closure.Done("closed"))
	}
	if p := b.progress(out.BatchID, ""); !p.Finished || p.Closures.Ended != 3 || p.Closures.ByState[closure.Closed] != 3 {
		t.Errorf("in the end: %+v", p)
	}
}

func TestOneBadAccountKeepsAllFromBeingStarted(t *testing.T) {
	b, work := working(t)
	out := b.accepts(append(b.good(2), b.bankless(), row(numbered(0), numbered(1))))
	work()
	p := b.progress(out.BatchID, "")
	if p.State != ledger.BatchRefused || p.Rows != (server.RowCounts{Ready: 2, Refused: 2}) || b.rows() != 0 || !p.Finished {
		t.Errorf("%+v, %d closures", p, b.rows())
	}
	if len(p.Problems) != 2 || p.Problems[0].Index != 2 || p.Problems[0].Code != readiness.BankUnknown || p.Problems[1].Code != readiness.AccountUnknown || p.Problems[1].Hint == "" {
		t.Errorf("its problems: %+v", p.Problems)
	}
	if !strings.Contains(p.Why, "2 of 4") {
		t.Errorf("it says %q", p.Why)
	}
}

func TestAPartialBatchStartsTheGoodOnes(t *testing.T) {
	b, work := working(t)
	good := b.good(2)
	id, bank := b.account(sim.Spec{})
	open := b.accepted(id, bank)
	rows := []string{good[0], b.bankless(), good[1], good[0], row(id, bank), row("jane@example.test", bank), row(numbered(1), bank, `,"email":"nobody"`)}
	a := b.batch(rows)
	p := a.problem(422, "batch_invalid")
	var told []string
	for _, r := range p.Rows {
		told = append(told, fmt.Sprintf("%d %s", r.Index, r.Code))
	}
	if want := []string{"3 duplicate", "4 closure_open", "5 invalid_row", "6 invalid_row"}; !slices.Equal(told, want) || p.RowsTotal != 4 || p.Hint == "" {
		t.Errorf("told %v of %d, want %v", told, p.RowsTotal, want)
	}
	if strings.Contains(a.text, "jane") || p.Rows[2].AccountID != "" || p.Rows[3].AccountID != numbered(1) || !strings.Contains(p.Rows[3].Text, "email") || !strings.Contains(p.Rows[1].Text, open.ID) {
		t.Errorf("told %s", a.text)
	}
	out := b.accepts(rows, `,"partial":true,"priority":"normal"`)
	if out.State != ledger.BatchStarting || out.RowsTotal != 4 || len(out.Rows) != 4 {
		t.Errorf("accepted: %+v", out)
	}
	work()
	got := b.progress(out.BatchID, "")
	if got.State != ledger.BatchDone || got.Rows != (server.RowCounts{Started: 2, Refused: 5}) || b.rows() != 3 || len(got.Problems) != 5 {
		t.Errorf("%+v, %d closures", got, b.rows())
	}
	if got := b.progress(out.BatchID, "row_state=started"); len(got.Accounts) != 2 || got.Accounts[0].Index != 0 || got.Accounts[1].Index != 2 {
		t.Errorf("the started ones: %+v", got.Accounts)
	}
	if c := b.list("batch_id=" + out.BatchID).Closures; len(c) != 2 {
		t.Errorf("%d closures are the batch's", len(c))
	}
}

func TestADryRunStartsNothing(t *testing.T) {
	b, work := working(t)
	rows := append(b.good(2), b.bankless())
	a := b.do("POST", "/api/account-closure/batch", `{"dry_run":true,"accounts":[`+strings.Join(rows, ",")+`]}`) // it needs no confirmation
	var out server.Accepted
	a.into(&out)
	work()
	p := b.progress(out.BatchID, "")
	if p.State != ledger.BatchDone || p.Rows != (server.RowCounts{Ready: 2, Refused: 1}) || b.rows() != 0 || !p.Finished || !p.DryRun {
		t.Errorf("%+v, %d closures", p, b.rows())
	}
	b.batch(rows).into(&out) // and is in nobody's way
	work()
	if p := b.progress(out.BatchID, ""); p.State != ledger.BatchRefused {
		t.Errorf("%+v", p)
	}
}

func TestABatchIsCanceled(t *testing.T) {
	b, work := working(t)
	out := b.accepts(b.good(2))
	path := "/api/account-closure/batch/" + out.BatchID + "/cancel"
	b.do("POST", path, `{}`).problem(422, "invalid_request")
	for range 2 { // asked again it answers the same
		a := b.do("POST", path, `{"reason":"wrong list"}`)
		var p server.BatchProgress
		a.into(&p)
		if a.status != 200 || p.State != ledger.BatchCanceled || p.Why != "canceled by api:shop: wrong list" || !p.Finished {
			t.Errorf("answered %d %s", a.status, a.text)
		}
	}
	work()
	if b.rows() != 0 {
		t.Errorf("%d closures were started", b.rows())
	}
	done := b.accepts(b.good(1))
	work()
	if p := b.do("POST", "/api/account-closure/batch/"+done.BatchID+"/cancel", `{"reason":"late"}`).problem(409, "batch_over"); p.Hint == "" {
		t.Error("no hint")
	}
	b.do("POST", "/api/account-closure/batch/"+numbered(5)+"/cancel", `{"reason":"late"}`).problem(404, "batch_not_found")
	b.do("GET", "/api/account-closure/batch/"+numbered(5), "").problem(404, "batch_not_found")
	b.do("GET", "/api/account-closure/batch/nonsense", "").problem(422, "invalid_request")
}

func TestBatchRowsComeInPages(t *testing.T) {
	b, _ := working(t)
	var rows []string
	for n := range 12 {
		rows = append(rows, row(numbered(n), numbered(n)))
	}
	out := b.accepts(rows, `,"not_before":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"`)
	var got []int
	cursor := ""
	for range 3 {
		p := b.progress(out.BatchID, "limit=5"+cursor)
		for _, r := range p.Accounts {
			got = append(got, r.Index)
		}
		if p.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *p.NextCursor
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("walked %v", got)
	}
	b.do("GET", "/api/account-closure/batch/"+out.BatchID+"?row_state=ready"+cursor, "").problem(422, "bad_cursor")
}

func TestBatchRefusesBadBodies(t *testing.T) {
	b, _ := working(t)
	good := row(numbered(1), numbered(2))
	for body, want := range map[string]string{
		"":             "400 malformed_body",
		"{":            "400 malformed_body",
		"null":         "422 invalid_request",
		"[]":           "422 invalid_request",
		`{"accounts":`: "400 malformed_body",
		`{"confirm_liquidation":true,"confirm_irreversible":true}`: "422 invalid_request",
		batchOf(nil):                                                                             "422 invalid_request",
		batchOf([]string{good}, `,"x":1`):                                                        "422 invalid_request",
		batchOf([]string{good}, `,"priority":"high"`):                                            "422 invalid_request",
		batchOf([]string{good}, `,"not_before":"2999-01-01T00:00:00Z"`):                          "422 invalid_request",
		batchOf([]string{good}, `,"reason":"a\nb"`):                                              "422 invalid_request",
		`{"accounts":[` + good + `]}`:                                                            "422 not_confirmed",
		`{"accounts":[` + good + `],"Confirm_Liquidation":true}`:                                 "422 invalid_request",
		batchOf([]string{`"` + numbered(1) + `"`}):                                               "422 batch_invalid",
		batchOf([]string{`null`}):                                                                "422 batch_invalid",
		batchOf([]string{`{"account_id":5,"ach_relationship_id":[]}`}):                           "422 batch_invalid",
		batchOf([]string{row(numbered(1), numbered(2), `,"extra":true`)}):                        "422 batch_invalid",
		batchOf([]string{row(numbered(1), numbered(2), `,"user_id":"\u0000"`)}):                  "422 batch_invalid",
		batchOf([]string{row(numbered(1), numbered(2), `,"not_before":"2999-01-01T00:00:00Z"`)}): "422 batch_invalid",
		batchOf([]string{row("' OR 1=1", "x")}, `,"partial":true`):                               "422 batch_invalid",
		batchOf(slices.Repeat([]string{good}, 10_001)):                                           "422 invalid_request",
		batchOf([]string{good}, `,"reason":"`+strings.Repeat("x", 5<<20)):                        "413 body_too_large",
	} {
		a := b.do("POST", "/api/account-closure/batch", body)
		var p server.Problem
		if json.Unmarshal([]byte(a.text), &p) != nil || fmt.Sprintf("%d %s", a.status, p.Code) != want {
			t.Errorf("%.150s: answered %d %.300s, want %s", body, a.status, a.text, want)
		}
	}
	b.do("POST", "/api/account-closure/batch", batchOf([]string{good}), "Content-Type", "text/plain").problem(415, "unsupported_media_type")
	b.do("POST", "/api/account-closure/batch", batchOf([]string{good}), "X-API-Key", "").problem(401, "no_key")

	// Ten thousand bad rows: a hundred are named, and the whole is answered.
	var rows []string
	for n := range 10_000 {
		rows = append(rows, row(numbered(n), "nonsense", `,"email":"`+fmt.Sprint(n)+`"`))
	}
	began := time.Now()
	p := b.batch(rows).problem(422, "batch_invalid")
	t.Logf("ten thousand bad rows were refused in %s", time.Since(began).Round(time.Millisecond))
	if len(p.Rows) != 100 || p.RowsTotal != 10_000 || p.Rows[99].Index != 99 {
		t.Errorf("%d named of %d", len(p.Rows), p.RowsTotal)
	}
	if n := b.rows(); n != 0 {
		t.Errorf("%d closures", n)
	}
	must(t, b.ledger.Close())
	b.batch([]string{good}).problem(503, "ledger_unavailable")
}

func TestTenThousandRowsAreAcceptedAtOnce(t *testing.T) {
	b, _ := working(t)
	var rows []string
	for n := range 10_000 {
		rows = append(rows, row(numbered(n), numbered(n), fmt.Sprintf(`,"email":"customer-%d@example.test","user_id":"customer-%d"`, n, n)))
	}
	began := time.Now()
	out := b.accepts(rows)
	t.Logf("ten thousand rows of %d KiB were accepted in %s", len(batchOf(rows))>>10, time.Since(began).Round(time.Millisecond))
	if p := b.progress(out.BatchID, "limit=1"); p.Rows.Waiting != 10_000 || p.Total != 10_000 {
		t.Errorf("%+v", p.Rows)
	}
	if strings.Contains(b.log.String(), "customer-") {
		t.Error("the log names customers")
	}
}

func TestABatchAskedForAgainIsOne(t *testing.T) {
	b, work := working(t)
	body := batchOf(b.good(2))
	first := b.do("POST", "/api/account-closure/batch", body, "Idempotency-Key", "monday")
	work()
	second := b.do("POST", "/api/account-closure/batch", body, "Idempotency-Key", "monday") // the accounts have open closures by now
	if first.status != 202 || second.status != 202 || first.text != second.text || second.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("answered %d %s and %d %s", first.status, first.text, second.status, second.text)
	}
	b.do("POST", "/api/account-closure/batch", body).problem(422, "batch_invalid")
}
