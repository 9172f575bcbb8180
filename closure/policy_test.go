package closure_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

func TestTheDocumentedDefaults(t *testing.T) {
	t.Parallel()
	for env, unknown := range map[closure.Environment]closure.Unknown{closure.Sandbox: closure.Auto, closure.Live: closure.Ask} {
		got := closure.DefaultPolicy(env)
		want := closure.Policy{
			Polls: map[closure.Phase]time.Duration{
				closure.Liquidation: 30 * time.Second, closure.Settlement: time.Hour,
				closure.Withdrawal: 2 * time.Hour, closure.Closing: time.Minute,
			},
			Limits: map[closure.Phase]closure.Limit{
				closure.Liquidation: {Time: 15 * time.Minute, Of: closure.OpenMarket},
				closure.Settlement:  {Days: 3, Of: closure.TradingDays},
				closure.Withdrawal:  {Days: 5, Of: closure.BankingDays},
				closure.Closing:     {Time: time.Hour, Of: closure.BusinessTime},
			},
			DailyLimit: d("50000"), ReturnWatch: 2, Unknown: unknown,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", env, diff)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestChangingOnePolicyLeavesTheRoadAlone(t *testing.T) {
	t.Parallel()
	p := closure.DefaultPolicy(closure.Sandbox)
	p.Polls[closure.Liquidation], p.Limits[closure.Liquidation] = time.Hour, closure.Limit{}
	if closure.StepOf(closure.Liquidation).Poll != 30*time.Second || closure.DefaultPolicy(closure.Sandbox).Validate() != nil {
		t.Error("the default is shared")
	}
}

func TestAPolicyIsRefusedWithEveryComplaintAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bend func(*closure.Policy)
		want []string // the beginnings of the lines
	}{
		{"nothing", func(*closure.Policy) {}, nil},
		{"the least that works", func(p *closure.Policy) {
			p.Polls[closure.Liquidation] = time.Second
			p.Limits[closure.Liquidation] = closure.Limit{Time: time.Second, Of: closure.OpenMarket}
			p.DailyLimit, p.ReturnWatch = closure.Cent, 0
		}, nil},
		{"the most that works", func(p *closure.Policy) { p.ReturnWatch = 60 }, nil},
		{"a poll below a second", func(p *closure.Policy) { p.Polls[closure.Settlement] = time.Second - 1 }, []string{"settlement poll: must be at least 1s, is 999.999999ms"}},
		{"no limit", func(p *closure.Policy) { delete(p.Limits, closure.Closing) }, []string{"closing limit: must not be shorter than the poll of 1m0s, is 0s"}},
		{"a limit below the poll", func(p *closure.Policy) {
			p.Limits[closure.Liquidation] = closure.Limit{Time: 29 * time.Second, Of: closure.OpenMarket}
		}, []string{"liquidation limit: must not be shorter than the poll of 30s, is 29s"}},
		{"negative days", func(p *closure.Policy) {
			p.Limits[closure.Withdrawal] = closure.Limit{Days: -1, Of: closure.BankingDays}
		}, []string{"withdrawal limit:"}},
		{"no daily limit", func(p *closure.Policy) { p.DailyLimit = d("0.009") }, []string{"ACH daily limit: must be at least 0.01, is 0.009"}},
		{"a return watch into the past", func(p *closure.Policy) { p.ReturnWatch = -1 }, []string{"return watch:"}},
		{"a return watch of a year", func(p *closure.Policy) { p.ReturnWatch = 61 }, []string{"return watch:"}},
		{"an unknown way with unknown transfers", func(p *closure.Policy) { p.Unknown = "guess" }, []string{`unknown transfer: must be ask or auto, is "guess"`}},
		{"everything", func(p *closure.Policy) { *p = closure.Policy{ReturnWatch: -1} }, []string{
			"liquidation poll:", "settlement poll:", "withdrawal poll:", "closing poll:",
			"ACH daily limit:", "return watch:", "unknown transfer:",
		}},
	} {
		p := policy()
		tt.bend(&p)
		complaints(t, tt.name, p.Validate(), tt.want)
	}
}

func TestATimingIsRefusedWithEveryComplaintAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bend func(*closure.Timing)
		want []string
	}{
		{"production's", func(*closure.Timing) {}, nil},
		{"the shortest quarantine", func(c *closure.Timing) { c.Quarantine = 3*c.Deadline + 2*time.Minute }, nil},
		{"the shortest task", func(c *closure.Timing) { c.Task = 2 * c.Deadline }, nil},
		{"a quarantine that a slow request could outlive", func(c *closure.Timing) { c.Quarantine = 3*c.Deadline + 2*time.Minute - 1 }, []string{"quarantine: must be at least three request deadlines and two minutes, 3m30s, is 3m29.999999999s"}},
		{"a task that a slow request could outlive", func(c *closure.Timing) { c.Task = 2*c.Deadline - 1 }, []string{"task timeout: must be at least two request deadlines, 1m0s"}},
		{"both", func(c *closure.Timing) { c.Deadline = time.Hour }, []string{"quarantine:", "task timeout:"}},
		{"the demo's", func(c *closure.Timing) { *c = closure.ShortTiming }, []string{"quarantine:"}},
	} {
		c := closure.DefaultTiming
		tt.bend(&c)
		complaints(t, tt.name, c.Validate(), tt.want)
	}
}

// complaints holds an error's lines to their beginnings.
func complaints(tb testing.TB, name string, err error, want []string) {
	tb.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	if len(got) < len(want) || (len(want) == 0 && len(got) > 0) {
		tb.Errorf("%s: %d complaints, want %d: %q", name, len(got), len(want), got)
	}
	for _, w := range want {
		found := false
		for _, line := range got {
			found = found || strings.HasPrefix(line, w)
		}
		if !found {
			tb.Errorf("%s: no complaint begins %q: %q", name, w, got)
		}
	}
}
