package console

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"closeout/signin"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// routesAttention are what needs a person, and the retry of many at once.
func (k *Console) routesAttention() {
	k.get("/attention", signin.Viewer, k.attention)
	k.get("/attention/retry", signin.Viewer, k.retryPreview)
	k.post("/attention/retry", signin.Operator, k.retryStart)
	k.get("/redrives", signin.Viewer, k.redrives)
	k.get("/redrives/{id}", signin.Viewer, k.redrive)
	k.post("/redrives/{id}/abort", signin.Operator, k.redriveAbort)
}

const (
	newestShown = 3  // closures that a group shows
	mostUnclear = 20 // instructions with an unknown outcome that the page shows
)

// attentionPage is what needs a person.
type attentionPage struct {
	Unclear []unclear // instructions
	More    bool      // than these
	Gaps    []need    // more money than the books explain
	Stopped []need
	Waiting []need // running, until somebody acts
	Paused  []need
	Running []ledger.Redrive
	Clear   bool
}

// need is closures that stand still for one reason.
type need struct {
	Reason      closure.Reason
	Info        closure.Info
	Counts      []number // by state
	N           int
	Oldest      string // in business days
	Since       time.Time
	Money       inside
	Link, Retry string // the list; how to retry them all, "" where a person must look at each
	Newest      []closure.Closure

	which ledger.Filter
}

// unclear is an instruction of which nobody knows whether it was carried out, or one that appeared late.
type unclear struct {
	closure.Intent
	What, Says string
}

func (k *Console) attention(a *ask) (page, error) {
	ctx := a.Context()
	groups, err := k.Ledger.Asking(ctx, closure.ExcessNoted)
	if err != nil {
		return page{}, err
	}
	noted := func(g ledger.Group) bool { return g.Reason == closure.ExcessNoted }
	others := func(g ledger.Group) bool { return !noted(g) }
	p := attentionPage{
		Gaps: k.needs(only(groups, noted), closure.Running), Stopped: k.needs(groups, closure.Failed, closure.Dead),
		Waiting: k.needs(only(groups, others), closure.Running), Paused: k.needs(groups, closure.Paused),
	}
	if err := k.newest(ctx, p.Stopped, p.Waiting, p.Paused); err != nil {
		return page{}, err
	}
	for _, n := range p.Stopped {
		if n.Reason == closure.Unexplained || n.Reason == closure.NegativeCash {
			p.Gaps = append(p.Gaps, n)
		}
	}
	if err := k.unclear(ctx, &p); err != nil {
		return page{}, err
	}
	latest, err := k.Ledger.Redrives(ctx, latestRedrives)
	if err != nil {
		return page{}, err
	}
	p.Running = slices.DeleteFunc(latest, func(r ledger.Redrive) bool { return r.State.Ended() })
	p.Clear = len(p.Unclear)+len(p.Gaps)+len(p.Stopped)+len(p.Waiting)+len(p.Paused) == 0
	return page{Template: "attention", Title: "Attention", Data: p, Watch: "all"}, nil
}

// needs draws up the groups in some states, one for each reason. First come those of which a person must look at each.
func (k *Console) needs(groups []ledger.Group, states ...closure.State) []need {
	var words []string
	for _, s := range states {
		words = append(words, string(s))
	}
	status := strings.Join(words, ",")
	byReason := map[closure.Reason]*need{}
	var out []*need
	for _, g := range groups {
		if !slices.Contains(states, g.State) {
			continue
		}
		n := byReason[g.Reason]
		if n == nil {
			n = &need{
				Reason: g.Reason, Info: infoOf(g.Reason), Link: closuresAt("status", status, "reason", string(g.Reason)),
				which: ledger.Filter{Statuses: words, Reason: g.Reason},
			}
			if !n.Info.Each && slices.Contains(states, closure.Failed) {
				n.Retry = retryAt("status", status, "reason", string(g.Reason))
			}
			byReason[g.Reason] = n
			out = append(out, n)
		}
		n.N += g.N
		n.Counts = append(n.Counts, number{g.N, string(g.State), closuresAt("status", string(g.State), "reason", string(g.Reason)), string(g.State)})
		n.Money.N = n.N
		n.Money.Add(g.Money)
		if n.Since.IsZero() || g.Since.Before(n.Since) {
			n.Since = g.Since
		}
	}
	first := func(n *need) int { return map[bool]int{true: 0, false: 1}[n.Info.Each] }
	slices.SortStableFunc(out, func(a, b *need) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(b.N, a.N), cmp.Compare(a.Reason, b.Reason))
	})
	var all []need
	for _, n := range out {
		n.Oldest = businessDays(k.Calendar(), n.Since, k.now())
		all = append(all, *n)
	}
	return all
}

// newest reads the newest closures of each, however many there are, in one query.
func (k *Console) newest(ctx context.Context, all ...[]need) error {
	var which []ledger.Filter
	for _, n := range slices.Concat(all...) {
		which = append(which, n.which)
	}
	lists, err := k.Ledger.Lists(ctx, which, ledger.Page{Limit: newestShown})
	if err != nil {
		return err
	}
	for _, needs := range all {
		for n := range needs {
			needs[n].Newest, lists = lists[0], lists[1:]
		}
	}
	return nil
}

// infoOf is what there is to say of a reason. One that this version does not know is the operator's.
func infoOf(r closure.Reason) closure.Info {
	if info, ok := closure.Reasons[r]; ok {
		if info.Who == closure.Nobody {
			info.Who = closure.Operator
		}
		info.Title = closure.Capital(info.Title)
		return info
	}
	return closure.Info{Title: "A reason that this version does not know", Who: closure.Operator, Hint: "Look at each closure by itself; its history says what happened.", Each: true}
}

// businessDays says for how many banking days something has lasted.
func businessDays(cal *calendar.Calendar, since, now time.Time) string {
	n := cal.BankingBetween(calendar.DateOf(since), calendar.DateOf(now))
	if n == 0 {
		return "less than a business day"
	}
	return closure.Count(n, "business day")
}

// unclear reads the instructions of which nobody knows what became of them.
func (k *Console) unclear(ctx context.Context, p *attentionPage) error {
	intents, err := k.Ledger.Unsettled(ctx, time.Now(), mostUnclear+1)
	if err != nil {
		return err
	}
	if p.More = len(intents) > mostUnclear; p.More {
		intents = intents[:mostUnclear]
	}
	for _, i := range intents {
		u := unclear{Intent: i, What: map[closure.IntentKind]string{
			closure.TransferIntent: "a payout", closure.CloseIntent: "the closing of the account", closure.OrderIntent: "an order", closure.CancelIntent: "the cancellation of an order",
		}[i.Kind]}
		u.Says = "Nobody knows yet whether the broker carried it out, and nobody sends it again. The next looks find out; if they can't, the closure stops and asks."
		if i.State == closure.IntentLate {
			u.Says = "It was given up for lost and appeared after all. Compare it with the customer’s cash before anything else is sent."
		}
		p.Unclear = append(p.Unclear, u)
	}
	return nil
}
