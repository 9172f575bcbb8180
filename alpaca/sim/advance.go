package sim

import (
	"slices"
	"time"
)

// due is something that falls due at a time.
type due struct {
	at time.Time
	do func(*visit)
}

// next gives what falls due first, at or before now. Of things due at the same time the earlier in this order comes
// first, so that looking often and looking once have the same outcome.
func (s *Sim) next(a *account, now time.Time) (first due, found bool) {
	consider := func(at time.Time, do func(*visit)) {
		if !at.IsZero() && !at.After(now) && (!found || at.Before(first.at)) {
			first, found = due{at, do}, true
		}
	}
	for i := range a.Orders {
		o := &a.Orders[i]
		if !o.open() {
			continue
		}
		consider(o.CancelAt, func(v *visit) { v.cancel(&v.a.Orders[i]) })
		consider(s.fillsAt(a, o), func(v *visit) { v.fill(&v.a.Orders[i]) })
		consider(s.expiresAt(o), func(v *visit) { v.expire(&v.a.Orders[i]) })
	}
	for i := range a.Transfers {
		t := &a.Transfers[i]
		if len(t.Steps) > 0 {
			consider(t.Steps[0].At, func(v *visit) { v.step(&v.a.Transfers[i]) })
		}
		consider(t.DebitAt, func(v *visit) { v.debit(&v.a.Transfers[i]) })
	}
	for i := range a.Relationships {
		r := &a.Relationships[i]
		if r.Deleted {
			continue
		}
		consider(r.ApproveAt, func(v *visit) {
			r := &v.a.Relationships[i]
			r.Status, r.Updated, r.ApproveAt = "APPROVED", v.at, time.Time{}
			v.book(Entry{Kind: "relationship_approved", Key: r.ID})
		})
	}
	for i, e := range a.Events {
		consider(e.At, func(v *visit) {
			v.a.Events = slices.Delete(v.a.Events, i, i+1)
			if err := v.happen(e); err != nil {
				v.book(Entry{Kind: "ignored", Key: e.Type, Note: err.Error()})
			}
		})
	}
	return first, found
}

func (s *Sim) due(a *account, now time.Time) bool {
	_, found := s.next(a, now)
	return found
}

// advance lets everything happen that falls due up to now, in its order. Each step can make others due.
func (v *visit) advance(now time.Time) {
	for {
		d, found := v.s.next(v.a, now)
		if !found {
			break
		}
		v.at = d.at
		d.do(v)
	}
	v.at = now
}

// trigger starts what waited for something to happen for the first time. What is said of transfers is meant of this one.
func (v *visit) trigger(name string, transfer ...string) {
	if slices.Contains(v.a.Seen, name) {
		return
	}
	v.a.Seen = append(v.a.Seen, name)
	waiting := v.a.Waiting
	v.a.Waiting = nil
	for _, e := range waiting {
		if e.When != name {
			v.a.Waiting = append(v.a.Waiting, e)
			continue
		}
		e.When, e.At = "", v.at.Add(time.Duration(e.After))
		if e.Transfer == "" && len(transfer) > 0 {
			e.Transfer = transfer[0]
		}
		v.a.Events = append(v.a.Events, e)
	}
}

// wants says whether something waits for a trigger that has not been met yet.
func (a *account) wants(name string) bool {
	return !slices.Contains(a.Seen, name) && slices.ContainsFunc(a.Waiting, func(e Event) bool { return e.When == name })
}
