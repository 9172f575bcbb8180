package handlers_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/auditor"
	"closeout/internal/lab"
	"closeout/ledger"
	"closeout/legacy"
)

// earlier is the system before this one, as far as it left anything: its Redis, and payouts at the broker.
type earlier struct {
	*lab.Lab
	redis *miniredis.Miniredis
	rdb   *redis.Client
	asked []string // commands that were given to its Redis since it was filled
}

func newEarlier(l *lab.Lab) *earlier {
	e := &earlier{Lab: l, redis: miniredis.NewMiniRedis()}
	e.rdb = redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", Dialer: func(context.Context, string, string) (net.Conn, error) { return e.redis.Dial() }, Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
	})
	return e
}

func (e *earlier) close() {
	_ = e.rdb.Close()
	e.redis.Close()
}

// DialHook, ProcessHook and ProcessPipelineHook hear every command.
func (e *earlier) DialHook(next redis.DialHook) redis.DialHook { return next }

func (e *earlier) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		e.asked = append(e.asked, cmd.Name())
		return next(ctx, cmd)
	}
}

func (e *earlier) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			e.asked = append(e.asked, c.Name())
		}
		return next(ctx, cmds)
	}
}

// pays has it ask for a payout as it did: without a claim, and without a trace of it but its own records.
func (e *earlier) pays(account, bank, amount string) string {
	e.TB.Helper()
	s, err := e.Broker.Dial(e.TB.Context())
	if err != nil {
		e.TB.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	a, err := s.Send(e.TB.Context(), alpaca.PayOut(account, bank, d(amount)))
	if err != nil || a.BrokerID == "" {
		e.TB.Fatalf("the earlier system's payout: %v %v", a, err)
	}
	return a.BrokerID
}

// imports reads the Redis and takes over what it has, as closeout import legacy does.
func (e *earlier) imports(change func(*handlers.Takeovers)) (map[string]handlers.Taken, legacy.Found) {
	e.TB.Helper()
	raws, err := legacy.Read(e.TB.Context(), e.rdb)
	if err != nil {
		e.TB.Fatal(err)
	}
	t := &handlers.Takeovers{
		Ledger: e.Ledger, Broker: e.Broker, Calendar: calendar.Rules, Timing: e.Timing, Actor: "operator:cli:ann", Stopped: true, Apply: true,
		Moved: func(ctx context.Context, a legacy.Account) (bool, error) { return legacy.Moved(ctx, e.rdb, a) },
	}
	if change != nil {
		change(t)
	}
	found := legacy.Parse(raws)
	out := map[string]handlers.Taken{}
	for _, a := range found.Accounts {
		got, err := t.Take(e.TB.Context(), a)
		if err != nil {
			e.TB.Fatalf("%s: %v", a.Says(), err)
		}
		out[a.ID] = got
	}
	return out, found
}

// inherited is one account as the earlier system leaves it.
type inherited struct {
	name    string
	spec    sim.Spec
	before  []string // payouts asked for two days before the takeover
	lately  []string // and in the last hour
	events  []sim.Event
	keys    func(i *inherited) // fills its Redis
	want    handlers.Fate
	phase   closure.Phase
	adopted int
	end     closure.State // of its closure; "": it has none
	reason  closure.Reason
	paid    []string // all payouts over the API at the end, the earlier system's included
	letters []string

	e         *earlier
	n         int
	account   string
	bank      string
	began     time.Time
	transfers []string
}

func (i *inherited) confirmation() string {
	return "CLA-" + i.began.Format("20060102150405") + "-" + i.account[30:]
}

func (i *inherited) json(v map[string]any) string {
	b, err := json.Marshal(v)
	if err != nil {
		i.e.TB.Fatal(err)
	}
	return string(b)
}

// job is what the specification's queue keeps of one.
func (i *inherited) job(status string) map[string]any {
	return map[string]any{
		"id": fmt.Sprintf("job-%d", i.n), "queue_name": "account_closure", "task_name": "automated_account_closure", "args": []any{i.account},
		"kwargs": map[string]any{"account_id": i.account, "ach_relationship_id": i.bank, "user_id": fmt.Sprintf("user-%d", i.n), "confirmation_number": i.confirmation()},
		"status": status, "created_at": i.began.Format("2006-01-02T15:04:05.000000"), "retry_count": 1, "max_retries": 3,
	}
}

// hash keeps a job as a hash, whose fields are text.
func (i *inherited) hash(status string) {
	for k, v := range i.job(status) {
		text, ok := v.(string)
		if !ok {
			b, _ := json.Marshal(v)
			text = string(b)
		}
		i.e.redis.HSet(fmt.Sprintf("job_data:job-%d", i.n), k, text)
	}
}

func (i *inherited) text(status string) {
	_ = i.e.redis.Set(fmt.Sprintf("job_data:job-%d", i.n), i.json(i.job(status)))
}

func (i *inherited) listed(key string) {
	_, _ = i.e.redis.Push(key, fmt.Sprintf("job-%d", i.n))
}

// state is the running system's record.
func (i *inherited) state(phase string, less ...string) map[string]any {
	s := map[string]any{
		"user_id": fmt.Sprintf("user-%d", i.n), "account_id": i.account, "ach_relationship_id": i.bank, "confirmation_number": i.confirmation(), "phase": phase,
		"initiated_at": i.began.Format("2006-01-02T15:04:05.000000"), "updated_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339),
	}
	for _, name := range less {
		delete(s, name)
	}
	return s
}

func (i *inherited) set(key string, v map[string]any) {
	_ = i.e.redis.Set(key+":"+i.account, i.json(v))
}

// phase fills closure_state, and withdrawal_state where payouts were asked for.
func phase(name string, less ...string) func(*inherited) {
	return func(i *inherited) {
		i.set("closure_state", i.state(name, less...))
		if len(i.transfers) == 0 {
			return
		}
		var done []any
		for _, t := range i.transfers {
			done = append(done, map[string]any{"transfer_id": t, "amount": 1.5, "initiated_at": i.began.Format(time.RFC3339), "is_final": false})
		}
		i.set("withdrawal_state", map[string]any{"phase": "withdrawing", "daily_limit": 50000, "transfers_completed": done, "last_transfer_id": i.transfers[len(i.transfers)-1]})
	}
}

func stocks() []sim.PositionSpec {
	return []sim.PositionSpec{{Symbol: "AAPL", Qty: d("10"), Price: d("100")}, {Symbol: "F", Qty: d("20"), Price: d("10")}}
}

// inheritance is an account in every state that the specification names and that the running system stores, and in those that
// nobody meant.
func inheritance() []*inherited {
	const (
		takenOver = handlers.TakenOver
		person    = handlers.ForPerson
		closed    = closure.Closed
	)
	done := []string{"completed"}
	byOthers := []sim.Event{{Type: "close"}}
	return []*inherited{
		{
			name: "a job that waits, as a hash", spec: sim.Spec{Cash: d("1200")}, keys: func(i *inherited) { i.hash("PENDING"); i.listed("job_queue:account_closure") },
			want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"1200.00"}, letters: done,
		},
		{
			name: "a job in hand, as text", spec: sim.Spec{Cash: d("5"), Positions: stocks()}, keys: func(i *inherited) { i.text("PROCESSING"); i.listed("job_processing:account_closure") },
			want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1205.00"}, letters: done,
		},
		{name: "a job that has failed", spec: sim.Spec{Cash: d("1")}, keys: func(i *inherited) { i.hash("failed") }, want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"1.00"}, letters: done},
		{name: "a job that is retried", spec: sim.Spec{Cash: d("2")}, keys: func(i *inherited) {
			i.hash("RETRYING")
			_, _ = i.e.redis.ZAdd("job_retry:account_closure", float64(time.Now().Unix()), fmt.Sprintf("job-%d", i.n))
		}, want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"2.00"}, letters: done},
		{
			name: "a dead job, whole in its list", spec: sim.Spec{Cash: d("3")}, keys: func(i *inherited) { _, _ = i.e.redis.Push("job_dead_letter:account_closure", i.json(i.job("DEAD"))) },
			want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"3.00"}, letters: done,
		},
		{
			name: "a job in the queue that is not account_closure's own", spec: sim.Spec{Cash: d("4")}, keys: func(i *inherited) { i.hash("PENDING"); i.listed("job_queue:urgent") },
			want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"4.00"}, letters: done,
		},
		{name: "a job that is completed, and the account closed", spec: sim.Spec{}, events: byOthers, keys: func(i *inherited) { i.hash("COMPLETED") }, want: handlers.Recorded, phase: closure.Closing, end: closed},
		{name: "a job that is completed, and the account open", spec: sim.Spec{Cash: d("9")}, keys: func(i *inherited) { i.hash("COMPLETED") }, want: person},

		{name: "starting", spec: sim.Spec{Positions: stocks()}, keys: phase("starting"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1200.00"}, letters: done},
		{name: "initiated, in capitals", spec: sim.Spec{Cash: d("10"), Positions: stocks()}, keys: phase("INITIATED"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1210.00"}, letters: done},
		{name: "canceling_orders", spec: sim.Spec{Positions: stocks(), Orders: []sim.OrderSpec{{Symbol: "AAPL", Qty: d("3")}}}, keys: phase("canceling_orders"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1200.00"}, letters: done},
		{name: "liquidation", spec: sim.Spec{Positions: stocks()}, keys: phase("liquidation"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1200.00"}, letters: done},
		{name: "liquidating_positions", spec: sim.Spec{Positions: stocks()[:1]}, keys: phase("liquidating_positions"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1000.00"}, letters: done},
		{name: "liquidating, and all is sold", spec: sim.Spec{Cash: d("700")}, keys: phase("liquidating"), want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"700.00"}, letters: done},
		{name: "settlement, without its job", spec: sim.Spec{Cash: d("800.55")}, keys: phase("settlement"), want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"800.55"}, letters: done},
		{name: "waiting_settlement", spec: sim.Spec{Cash: d("900"), Positions: stocks()[1:]}, keys: phase("waiting_settlement"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1100.00"}, letters: done},
		{name: "withdrawal, nothing asked for yet", spec: sim.Spec{Cash: d("60000")}, keys: phase("withdrawal"), want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"50000.00", "10000.00"}, letters: done},
		{
			name: "withdrawing_funds, a payout QUEUED", spec: sim.Spec{Cash: d("1500")}, lately: []string{"1500"}, keys: phase("withdrawing_funds"),
			want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"1500.00"}, letters: done,
		},
		{
			name: "withdrawal_waiting, a payout SENT_TO_CLEARING", spec: sim.Spec{Cash: d("1600"), Events: []sim.Event{
				{Type: "transfer_status", When: sim.AfterFirstPayout, After: sim.Duration(5 * time.Minute), Status: "SENT_TO_CLEARING"},
				{Type: "transfer_status", When: sim.AfterFirstPayout, After: sim.Duration(26 * time.Hour), Status: "COMPLETE"},
			}},
			lately: []string{"1600"}, keys: phase("withdrawal_waiting"), want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"1600.00"}, letters: done,
		},
		{
			name: "withdrawal_24hr_wait, two of three made", spec: sim.Spec{Cash: d("137512.43")}, before: []string{"50000"}, lately: []string{"50000"}, keys: phase("withdrawal_24hr_wait"),
			want: takenOver, phase: closure.Withdrawal, adopted: 2, end: closed, paid: []string{"50000.00", "50000.00", "37512.43"}, letters: done,
		},
		{name: "withdrawal_resuming, with the older record", spec: sim.Spec{Cash: d("70000")}, before: []string{"50000"}, keys: func(i *inherited) {
			i.set("closure_state", i.state("withdrawal_resuming"))
			i.set("partial_withdrawal", map[string]any{"account_id": i.account, "phase": "partial_withdrawal_waiting", "transfer_id": i.transfers[0]})
		}, want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"50000.00", "20000.00"}, letters: done},
		{name: "withdrawal_complete", spec: sim.Spec{Cash: d("1700")}, before: []string{"1700"}, keys: phase("withdrawal_complete"), want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"1700.00"}, letters: done},
		{
			name: "transfer_completion, and then the bank returns it", spec: sim.Spec{Cash: d("1800"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: sim.Duration(26 * time.Hour)}}},
			before: []string{"1800"}, keys: phase("transfer_completion"), want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"1800.00", "1800.00"}, letters: done,
		},
		{
			name: "waiting_transfer, and it was returned before", spec: sim.Spec{Cash: d("1900"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayout, After: sim.Duration(30 * time.Hour)}}},
			before: []string{"1900"}, keys: phase("waiting_transfer"), want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"1900.00", "1900.00"}, letters: done,
		},
		{name: "partial_withdrawal_waiting, nobody says since when", spec: sim.Spec{Cash: d("52000")}, lately: []string{"50000"}, keys: func(i *inherited) {
			i.set("closure_state", i.state("partial_withdrawal_waiting", "initiated_at"))
		}, want: takenOver, phase: closure.Withdrawal, adopted: 1, end: closed, paid: []string{"50000.00", "2000.00"}, letters: done},
		{
			name: "three payouts of one banking day", spec: sim.Spec{Cash: d("600")}, lately: []string{"100", "200", "300"}, keys: phase("withdrawal_waiting"),
			want: takenOver, phase: closure.Withdrawal, adopted: 3, end: closed, paid: []string{"100.00", "200.00", "300.00"}, letters: done,
		},
		{name: "final_closure", spec: sim.Spec{}, keys: phase("final_closure"), want: takenOver, phase: closure.Closing, end: closed, letters: done},
		{name: "closing_account", spec: sim.Spec{}, keys: phase("closing_account"), want: takenOver, phase: closure.Closing, end: closed, letters: done},
		{name: "final_closure, and the account is closed", spec: sim.Spec{Cash: d("20")}, before: []string{"20"}, events: byOthers, keys: phase("final_closure"), want: handlers.Recorded, phase: closure.Closing, adopted: 1, end: closed, paid: []string{"20.00"}, letters: done},
		{name: "sending_completion_email", spec: sim.Spec{}, events: byOthers, keys: phase("sending_completion_email"), want: person, phase: closure.Closing, end: closed},
		{name: "updating_final_status", spec: sim.Spec{}, events: byOthers, keys: phase("updating_final_status"), want: handlers.Recorded, phase: closure.Closing, end: closed},
		{name: "completed", spec: sim.Spec{}, events: byOthers, keys: phase("completed"), want: handlers.Recorded, phase: closure.Closing, end: closed},
		{name: "background_process_failed", spec: sim.Spec{Positions: stocks()}, keys: phase("background_process_failed"), want: takenOver, phase: closure.Liquidation, end: closed, paid: []string{"1200.00"}, letters: done},
		{name: "background_task_failed", spec: sim.Spec{Cash: d("21.07")}, keys: phase("background_task_failed"), want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"21.07"}, letters: done},
		{name: "failed, and in work by its own word", spec: sim.Spec{Cash: d("22")}, keys: func(i *inherited) {
			phase("failed")(i)
			i.e.redis.HSet("active_task:"+i.account, "task_id", "140", "process_id", "7", "status", "running", "created_at", i.began.Format(time.RFC3339))
		}, want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"22.00"}, letters: done},
		{name: "in_progress, by job and record", spec: sim.Spec{Cash: d("23")}, keys: func(i *inherited) { i.hash("PROCESSING"); phase("in_progress")(i) }, want: takenOver, phase: closure.Withdrawal, end: closed, paid: []string{"23.00"}, letters: done},
		{name: "the bank is deleted", spec: sim.Spec{Cash: d("24")}, events: []sim.Event{{Type: "relationship_delete"}}, keys: phase("withdrawal"), want: takenOver, phase: closure.Withdrawal, end: closure.Failed, reason: closure.BankGone, letters: []string{"action_needed"}},

		{name: "cancelled", spec: sim.Spec{Cash: d("25")}, keys: phase("cancelled"), want: handlers.NotNeeded},
		{name: "a phase of which nobody has heard", spec: sim.Spec{Cash: d("26")}, keys: phase("quantum_leap"), want: person},
		{name: "no bank", spec: sim.Spec{Cash: d("27")}, keys: phase("withdrawal", "ach_relationship_id"), want: person},
		{name: "two banks", spec: sim.Spec{Cash: d("28")}, keys: func(i *inherited) {
			i.hash("PENDING")
			s := i.state("withdrawal")
			s["ach_relationship_id"] = i.account
			i.set("closure_state", s)
		}, want: person},
		{name: "broken JSON", spec: sim.Spec{Cash: d("29")}, keys: func(i *inherited) { _ = i.e.redis.Set("closure_state:"+i.account, `{"phase": "withdr`) }, want: person},
		{name: "nothing but a task", spec: sim.Spec{Cash: d("30")}, keys: func(i *inherited) { i.e.redis.HSet("active_task:"+i.account, "status", "running") }, want: person},
		{name: "a payout that the broker does not list", spec: sim.Spec{Cash: d("31")}, keys: func(i *inherited) {
			i.set("closure_state", i.state("withdrawal_waiting"))
			i.set("withdrawal_state", map[string]any{"last_transfer_id": "a-payout-of-somewhere-else"})
		}, want: person},
		{name: "the broker does not know it", keys: func(i *inherited) {
			i.account = "00000000-0000-4000-8000-0000000000ff"
			i.bank = i.account
			i.set("closure_state", i.state("withdrawal"))
		}, want: person},
		{name: "forgotten for two months", spec: sim.Spec{Cash: d("32")}, keys: func(i *inherited) {
			s := i.state("withdrawal_waiting")
			s["initiated_at"], s["updated_at"] = "2026-09-20T10:00:00", "2026-09-21T10:00:00"
			i.set("closure_state", s)
		}, want: person},
	}
}

// Accounts in every state of the specification and of the running system are taken over and end closed, or stopped with a reason,
// or are named to a person; nothing is paid twice; the second and the last run find nothing new; its Redis is only read.
func TestAccountsOfTheEarlierSystemAreTakenOver(t *testing.T) {
	t.Parallel()
	all := inheritance()
	var file []byte
	var evidence auditor.Evidence
	synctest.Test(t, func(t *testing.T) {
		l := lab.New(t, lab.Options{Start: "2026-11-16 10:00", Policy: func(p *closure.Policy) { p.Polls[closure.Withdrawal] = 8 * time.Hour }}) // fewer looks, sooner done
		defer l.Close()
		e := newEarlier(l)
		defer e.close()
		for n, i := range all {
			i.e, i.n, i.began = e, n, time.Now().UTC()
			if i.spec.ACH = ""; i.name == "the broker does not know it" {
				continue
			}
			var err error
			if i.account, err = l.Sim.AddAccount(i.spec); err != nil {
				t.Fatal(err)
			}
			banks, err := l.Broker.Relationships(t.Context(), i.account)
			if err != nil || len(banks) != 1 {
				t.Fatal(banks, err)
			}
			i.bank = banks[0].ID
			for _, sum := range i.before {
				i.transfers = append(i.transfers, e.pays(i.account, i.bank, sum))
			}
		}
		l.RunFor(49 * time.Hour)
		for _, i := range all {
			for _, sum := range i.lately {
				i.transfers = append(i.transfers, e.pays(i.account, i.bank, sum))
			}
			if len(i.events) > 0 {
				if err := l.Sim.Event(i.account, i.events...); err != nil {
					t.Fatal(i.name, err)
				}
			}
		}
		l.RunFor(10 * time.Minute)
		for _, i := range all {
			i.keys(i)
		}
		_, _ = e.redis.Push("job_queue:account_closure", "job-of-which-nothing-is-left", "{broken")
		_ = e.redis.Set("job_data:mail-1", `{"id":"mail-1","queue_name":"notifications","task_name":"send_email","kwargs":{"account_id":"`+all[0].account+`"},"status":"PENDING"}`)
		_, _ = e.redis.Push("job_queue:notifications", "mail-1")

		dump := e.redis.Dump()
		e.rdb.AddHook(e)
		dry, _ := e.imports(func(t *handlers.Takeovers) { t.Apply = false })
		if n := len(rows(l)); n != 0 {
			t.Errorf("a dry run has written %d closures", n)
		}
		got, found := e.imports(nil)
		if len(found.Lost) != 2 || found.Others != 1 {
			t.Errorf("lost %q, %d jobs of other kinds", found.Lost, found.Others)
		}
		for _, i := range all {
			g := got[i.account]
			if g.Fate != i.want || g.Phase != i.phase || g.Adopted != i.adopted || (g.Closure.ID != "") != (i.end != "") {
				t.Errorf("%s: %s at %q, %d adopted, closure %q: %s", i.name, g.Fate, g.Phase, g.Adopted, g.Closure.ID, g.Why)
			}
			if w := dry[i.account]; w.Fate != g.Fate || w.Phase != g.Phase || w.Adopted != g.Adopted || w.Why != g.Why || w.Hint != g.Hint || w.Broker != g.Broker {
				t.Errorf("%s: the dry run said %+v, and then %+v", i.name, w, g)
			}
			if g.Fate == handlers.ForPerson && (g.Hint == "" || g.Why == "") {
				t.Errorf("%s: a person is told neither why nor what to do", i.name)
			}
			if i.end != "" && g.Closure.Confirmation != "CLA-"+strings.ToLower(i.confirmation()[4:]) {
				t.Errorf("%s: the customer cites %s and we have %s", i.name, i.confirmation(), g.Closure.Confirmation)
			}
		}
		nothingNew := func(when string) {
			t.Helper()
			before := rows(l)
			again, _ := e.imports(nil)
			for _, i := range all {
				want := i.want
				if i.end != "" {
					want = handlers.HaveIt
				}
				if g := again[i.account]; g.Fate != want {
					t.Errorf("%s, %s: %s: %s", i.name, when, g.Fate, g.Why)
				}
			}
			if after := rows(l); !maps.Equal(before, after) {
				t.Errorf("%s: another run has changed closures", when)
			}
		}
		nothingNew("at once")
		if e.redis.Dump() != dump {
			t.Error("the earlier system's Redis is not as it was")
		}
		slices.Sort(e.asked)
		if asked := slices.Compact(slices.Clone(e.asked)); slices.ContainsFunc(asked, func(name string) bool {
			return !slices.Contains([]string{"hello", "scan", "type", "getrange", "hlen", "hstrlen", "hmget", "llen", "lrange", "zcard", "zrange"}, name)
		}) {
			t.Errorf("its Redis was asked to %v", asked)
		}

		evidence.Truths = map[string]sim.Truth{}
		for _, i := range all {
			if i.end != "" {
				l.Ends(got[i.account].Closure.ID, month)
				evidence.Acknowledged = append(evidence.Acknowledged, got[i.account].Closure.ID)
			}
		}
		l.RunFor(time.Hour) // for the last letters
		nothingNew("at the end")
		for _, i := range all {
			if i.name == "the broker does not know it" {
				continue
			}
			truth, err := l.Sim.Truth(i.account)
			if err != nil {
				t.Fatal(err)
			}
			evidence.Truths[i.account] = truth
			if payouts := l.Payouts(i.account); i.end == "" {
				if len(payouts) > 0 || truth.Status != "ACTIVE" {
					t.Errorf("%s: left to a person, and %v were paid, %s", i.name, payouts, truth.Status)
				}
				continue
			}
			c := l.Get(got[i.account].Closure.ID)
			wants(l, c, i.end, i.reason, i.paid...)
			letters, err := l.Ledger.Letters(t.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, n := range letters {
				names = append(names, string(n.Letter))
			}
			if !slices.Equal(names, i.letters) {
				t.Errorf("%s: letters %v, want %v", i.name, names, i.letters)
			}
		}
		var err error
		if evidence.Journal, err = l.Sim.Journal(""); err != nil {
			t.Fatal(err)
		}
		evidence.Quiet = time.Now()
		l.Close()
		if file, err = os.ReadFile(l.Path); err != nil {
			t.Fatal(err)
		}
	})
	audited(t, file, evidence)
}

// audited has the books judged by the broker's journal.
func audited(t *testing.T, file []byte, e auditor.Evidence) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	r, err := auditor.Audit(t.Context(), db, e)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Error(f)
	}
	if len(r.Tolerated) > 0 {
		t.Errorf("tolerated: %v", r.Tolerated)
	}
}

// rows are the closures with their versions and heads.
func rows(l *lab.Lab) map[string]string {
	l.TB.Helper()
	out := map[string]string{}
	db, err := sql.Open("sqlite", "file:"+l.Path)
	if err != nil {
		l.TB.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rs, err := db.QueryContext(l.TB.Context(), "SELECT id, version || ' ' || head_hash FROM closures")
	if err != nil {
		l.TB.Fatal(err)
	}
	defer func() { _ = rs.Close() }()
	for rs.Next() {
		var id, v string
		if err := rs.Scan(&id, &v); err != nil {
			l.TB.Fatal(err)
		}
		out[id] = v
	}
	if err := rs.Err(); err != nil {
		l.TB.Fatal(err)
	}
	return out
}

// left is one account that the earlier system was paying out when it died.
func left(e *earlier, s sim.Spec) *inherited {
	e.TB.Helper()
	i := &inherited{e: e, began: time.Now().UTC()}
	var err error
	if i.account, err = e.Sim.AddAccount(s); err != nil {
		e.TB.Fatal(err)
	}
	banks, err := e.Broker.Relationships(e.TB.Context(), i.account)
	if err != nil {
		e.TB.Fatal(err)
	}
	i.bank = banks[0].ID
	return i
}

// The last payout of the earlier system may be asked for in the moment in which it dies, and be listed only after its accounts were
// taken over, while the cash still shows all of it.
func TestAPayoutThatIsListedAfterTheTakeover(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, start string
		late        time.Duration
		then        func(e *earlier, c closure.Closure)
		adopted     bool
	}{
		{name: "WithinTheQuarantineOverMidnight", start: "2026-11-16 23:50", late: 25 * time.Minute, then: func(e *earlier, c closure.Closure) {
			time.Sleep(15 * time.Minute)
			if err := e.Deliver(c); err != nil { // before it is due, as another tool may run its task
				e.TB.Fatal(err)
			}
		}},
		{name: "AfterTheQuarantineOfTheSameDay", start: "2026-11-16 10:00", late: 3 * time.Hour},
		{name: "AndIsAdoptedByAnotherRun", start: "2026-11-16 10:00", late: 20 * time.Minute, then: func(e *earlier, c closure.Closure) {
			e.RunFor(25 * time.Minute)
			if got, _ := e.imports(nil); got[c.AccountID].Fate != handlers.AdoptedNow || got[c.AccountID].Adopted != 1 {
				e.TB.Fatalf("the second run: %+v", got[c.AccountID])
			}
		}, adopted: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Start: tc.start}, func(l *lab.Lab) {
				e := newEarlier(l)
				defer e.close()
				i := left(e, sim.Spec{Cash: d("2000"), CashMoves: sim.AtComplete})
				chaos(l, sim.Rule{Method: "POST", Path: "/v1/accounts/*/transfers", Fault: sim.FaultLate, Delay: sim.Duration(tc.late)})
				e.pays(i.account, i.bank, "2000")
				chaos(l)
				i.set("closure_state", i.state("withdrawal"))
				got, _ := e.imports(nil)
				c := got[i.account].Closure
				if got[i.account].Fate != handlers.TakenOver || got[i.account].Adopted != 0 {
					l.TB.Fatalf("%+v", got[i.account])
				}
				if tc.then != nil {
					tc.then(e, c)
				}
				c = l.Ends(c.ID, month)
				wants(l, c, closure.Closed, "", "2000.00")
				if adopted := c.Memo.Paid == "2000.00"; adopted != tc.adopted {
					l.TB.Errorf("paid out %q\n%s", c.Memo.Paid, l.History(c.ID))
				}
			})
		})
	}
}

// What may still be at work is left alone, and so is what can't be read; both are taken over by a later run.
func TestWhatIsNotTakenOverYet(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		e := newEarlier(l)
		defer e.close()
		i := left(e, sim.Spec{Cash: d("40")})
		i.began = i.began.AddDate(0, 0, -2)
		i.set("closure_state", i.state("withdrawal"))
		take := func(change func(*handlers.Takeovers)) handlers.Taken {
			got, _ := e.imports(change)
			if got[i.account].Fate != handlers.TakenOver && len(rows(l)) != 0 {
				l.TB.Fatal("a closure was written all the same")
			}
			return got[i.account]
		}
		asks := func(when string, got handlers.Taken, fate handlers.Fate, why string) {
			l.TB.Helper()
			if got.Fate != fate || !strings.Contains(got.Why, why) || got.Hint == "" {
				l.TB.Errorf("%s: %s: %s → %s", when, got.Fate, got.Why, got.Hint)
			}
		}
		running := func(t *handlers.Takeovers) { t.Stopped = false }
		const orWill = "may be at work on it, or will be by itself while it runs: "
		for _, phase := range []string{"withdrawal_waiting", "withdrawal_24hr_wait", "settlement"} {
			s := i.state(phase)
			s["updated_at"] = s["initiated_at"] // days ago
			i.set("closure_state", s)
			asks(phase, take(running), handlers.ForPerson, orWill+"closure_state "+phase)
		}
		waits := i.state("failed")
		waits["updated_at"], waits["next_action_time"] = waits["initiated_at"], "2026-11-30T10:00:00"
		i.set("closure_state", waits)
		asks("it comes back to it", take(running), handlers.ForPerson, orWill+"closure_state failed")
		i.set("closure_state", i.state("failed"))
		asks("an hour ago", take(running), handlers.ForPerson, "was at work on it 1h0m0s ago")
		i.text("PROCESSING")
		asks("a job in hand", take(running), handlers.ForPerson, orWill+"job processing")
		e.redis.HSet("active_task:"+i.account, "status", "running")
		e.redis.Del("job_data:job-0")
		asks("a task", take(running), handlers.ForPerson, orWill+"active_task running")
		i.set("closure_state", i.state("withdrawal", "initiated_at", "updated_at"))
		asks("nobody says when", take(nil), handlers.ForPerson, "nothing says when its closing was asked for")
		i.set("closure_state", i.state("withdrawal"))
		for _, key := range []string{"withdrawal_state", "partial_withdrawal"} {
			asks("a record appears", take(func(t *handlers.Takeovers) {
				moved := t.Moved
				t.Moved = func(ctx context.Context, a legacy.Account) (bool, error) {
					i.set(key, map[string]any{"phase": "withdrawing"})
					return moved(ctx, a)
				}
			}), handlers.ForPerson, "has just written its records")
			e.redis.Del(key + ":" + i.account)
		}
		asks("it writes", take(func(t *handlers.Takeovers) {
			moved := t.Moved
			t.Moved = func(ctx context.Context, a legacy.Account) (bool, error) {
				i.set("closure_state", i.state("withdrawal_waiting"))
				return moved(ctx, a)
			}
		}), handlers.ForPerson, "has just written its records")
		for _, path := range []string{"/v1/accounts/*", "/v1/trading/accounts/*/account", "/v1/trading/accounts/*/positions", "/v1/trading/accounts/*/orders", "/v1/accounts/*/transfers", "/v1/accounts/*/ach_relationships"} {
			chaos(l, sim.Rule{Method: "GET", Path: path, Fault: sim.FaultError, Status: 500})
			asks(path, take(nil), handlers.Unread, "could not be read")
		}
		chaos(l)
		if got := take(nil); got.Fate != handlers.TakenOver {
			l.TB.Errorf("%+v", got)
		}
	})
}

// An earlier system that works on after the takeover, though a person said that it was stopped, is noticed by the next run: the
// closure is paused, takes in what was paid meanwhile, and pays nothing more before a person resumes it and another quarantine and
// banking day have passed.
func TestTheEarlierSystemWorksOnAfterTheTakeover(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Start: "2026-11-16 10:00"}, func(l *lab.Lab) {
		e := newEarlier(l)
		defer e.close()
		i := left(e, sim.Spec{Cash: d("70000"), CashMoves: sim.AtComplete})
		i.set("closure_state", i.state("withdrawal_waiting"))
		got, _ := e.imports(nil)
		c := got[i.account].Closure
		l.RunFor(5 * time.Hour)
		e.pays(i.account, i.bank, "50000") // not in its records: they change, and that is all
		s := i.state("withdrawal_24hr_wait")
		s["updated_at"] = time.Now().UTC().Format(time.RFC3339)
		i.set("closure_state", s)
		dry, _ := e.imports(func(t *handlers.Takeovers) { t.Apply = false })
		if g := dry[i.account]; g.Fate != handlers.ForPerson || !strings.Contains(g.Why, "would be paused") || l.Get(c.ID).State != closure.Running {
			l.TB.Errorf("a dry run: %+v", g)
		}
		again, _ := e.imports(nil)
		g := again[i.account]
		if g.Fate != handlers.ForPerson || g.Adopted != 1 || !strings.Contains(g.Why, "is paused") || g.Hint == "" || g.Closure.State != closure.Paused {
			l.TB.Fatalf("%+v", g)
		}
		if third, _ := e.imports(nil); third[i.account].Fate != handlers.HaveIt {
			l.TB.Errorf("said again, though nothing new has happened: %+v", third[i.account])
		}
		if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Resume(time.Now(), "ann", "it is stopped now"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "50000.00", "20000.00")
		if c.Memo.Paid != "70000.00" {
			l.TB.Errorf("paid out %q\n%s", c.Memo.Paid, l.History(c.ID))
		}
	})
}

// What is going on in the earlier system although it is over here, or was asked for here, is named to a person and not passed over.
func TestAClosureHereDoesNotHideTheEarlierSystems(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		e := newEarlier(l)
		defer e.close()
		i := left(e, sim.Spec{Cash: d("40")})
		i.began = i.began.AddDate(0, 0, -1)
		s := i.state("withdrawal")
		s["updated_at"] = s["initiated_at"]
		i.set("closure_state", s)
		c, _, err := l.Ledger.Create(l.TB.Context(), ledger.Wish{AccountID: i.account, RelationshipID: i.bank, Actor: "api:shop"})
		if err != nil {
			l.TB.Fatal(err)
		}
		is := func(when string, fate handlers.Fate, why string) {
			l.TB.Helper()
			got, _ := e.imports(nil)
			if g := got[i.account]; g.Fate != fate || !strings.Contains(g.Why, why) || (fate == handlers.ForPerson) != (g.Hint != "") {
				l.TB.Errorf("%s: %s: %s → %s", when, g.Fate, g.Why, g.Hint)
			}
		}
		touch := func() {
			time.Sleep(time.Hour)
			s["updated_at"] = time.Now().UTC().Format(time.RFC3339)
			i.set("closure_state", s)
		}
		is("asked for here, and nothing since", handlers.HaveIt, "it has a closure here: running")
		touch()
		is("asked for here, and it works on", handlers.ForPerson, "has worked on it since")
		time.Sleep(time.Hour)
		if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Cancel(time.Now(), "ann", "back to the old one", false), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		is("cancelled here, and nothing since", handlers.HaveIt, "it had a closure here: canceled")
		touch()
		is("cancelled here, and it works on", handlers.ForPerson, "has gone on with the closing since")
	})
}

// Two imports at once write one closure, and one that was asked for meanwhile is left as it is.
func TestTwoImportsAtOnce(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		e := newEarlier(l)
		defer e.close()
		i := left(e, sim.Spec{Cash: d("40")})
		i.set("closure_state", i.state("withdrawal"))
		var other map[string]handlers.Taken
		got, _ := e.imports(func(t *handlers.Takeovers) {
			t.Moved = func(context.Context, legacy.Account) (bool, error) {
				other, _ = e.imports(nil) //nolint:contextcheck // the other import is no part of this one
				return false, nil
			}
		})
		if got[i.account].Fate != handlers.HaveIt || other[i.account].Fate != handlers.TakenOver || got[i.account].Closure.ID != other[i.account].Closure.ID {
			l.TB.Errorf("%+v\n%+v", got[i.account], other[i.account])
		}
	})
}
