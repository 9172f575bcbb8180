package simulation

import (
	"context"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/ledger"
)

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

// world makes one to five accounts with what they will live through, and asks for their closing within a day.
func (l *life) world() {
	clean, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: l.sim.Transport()})
	if err != nil {
		l.tb.Fatal(err)
	}
	for range 1 + l.pick("accounts", 5) {
		id, err := l.sim.AddAccount(l.account())
		if err != nil {
			l.tb.Fatal(err)
		}
		l.accounts = append(l.accounts, id)
		l.rumours(id)
		banks, err := clean.Relationships(l.tb.Context(), id)
		if err != nil || len(banks) == 0 {
			l.tb.Fatalf("the bank of %s: %v", id, err)
		}
		w := ledger.Wish{
			AccountID: id, RelationshipID: banks[0].ID, Fingerprint: banks[0].Fingerprint, Actor: "client",
			Priority: []closure.Priority{closure.Normal, closure.Normal, closure.Urgent, closure.Bulk}[l.pick("priority", 4)],
		}
		asked := l.within("asked", 24*time.Hour)
		if l.pick("not before", 20) == 0 {
			w.NotBefore = l.began.Add(asked + l.within("not before", 12*time.Hour))
		}
		l.after(asked, func() { l.initiate(w) })
		l.happens(id, asked)
	}
}

// unheard is the first seed in whose lives anything is heard of the broker's events. The variants of internal/guards are bound
// to what the lives before it are like.
const unheard = 200

// rumours are the events that a broker tells of an account: at any moment and of nothing, or late, or not at all. A look that
// is put off because they are heard has to come all the same.
func (l *life) rumours(account string) {
	if l.Seed < unheard || !l.lives("hearsay") {
		return
	}
	l.hearsay = true
	for range 1 + l.pick("hearsay", 60) {
		l.after(l.within("hearsay", 8*24*time.Hour), func() {
			p := l.free()
			if p == nil {
				return
			}
			th := &thread{p: p, what: "event of " + account[len(account)-6:]}
			l.start(th, func() {
				if err := p.run.Hasten(context.Background(), account); err != nil {
					l.some("an event was lost")
				}
			})
		})
	}
}

// hears says whether looks may be put off: the streams come and go every few hours, and are silent from the calm on.
func (l *life) hears() bool {
	now := time.Now()
	return l.hearsay && now.Before(l.quiet) && now.Sub(l.began)/(5*time.Hour)%2 == 0
}

var symbols = []string{"AAPL", "VTI", "F", "BND"}

// account is what a customer may have.
func (l *life) account() sim.Spec {
	cents := func(k Kind, most int) decimal.Decimal { return decimal.New(int64(l.pick(k, most*100)), -2) }
	s := sim.Spec{Cash: cents("cash", 1500)}
	if l.pick("cash at all", 8) == 0 {
		s.Cash = decimal.Zero
	}
	if l.lives("unsettled") {
		s.Unsettled = s.Cash.Div(decimal.NewFromInt(2)).Truncate(2)
	}
	if l.pick("its own cash moves", 3) == 0 {
		s.CashMoves = []string{sim.AtCreation, sim.AtComplete, sim.Late}[l.pick("its own cash moves", 3)]
	}
	for _, symbol := range symbols[:l.pick("positions", 4)] {
		p := sim.PositionSpec{Symbol: symbol, Qty: decimal.New(int64(1+l.pick("quantity", 20_000)), -3), Price: cents("price", 300).Add(dec("1.01"))}
		if l.pick("whole shares", 2) == 0 {
			p.Qty = p.Qty.Ceil()
		}
		if l.lives("partial fill") {
			p.PartialFills = []decimal.Decimal{decimal.New(int64(l.pick("partial fill", 9)+1), -1)}
		}
		if l.lives("halt") {
			p.Resumes = sim.Duration(l.within("halt", 40*time.Hour))
		}
		if l.lives("fee") {
			p.Fee = dec("0.03")
		}
		s.Positions = append(s.Positions, p)
		if l.lives("open orders") {
			o := sim.OrderSpec{Symbol: symbol, Qty: p.Qty.Mul(dec("0.5")).Truncate(0)}
			if l.pick("open orders", 3) == 0 {
				o.Class = "bracket"
			}
			if o.Qty.IsPositive() {
				s.Orders = append(s.Orders, o)
			}
		}
	}
	if l.lives("several payouts") { // no more than a handful, or the life would never end
		worth := s.Cash
		for _, p := range s.Positions {
			worth = worth.Add(p.Qty.Mul(p.Price))
		}
		s.DailyLimit = worth.Div(decimal.NewFromInt(int64(2 + l.pick("several payouts", 3)))).Ceil().Add(decimal.NewFromInt(1))
		s.DailyLimit = decimal.Max(s.DailyLimit, decimal.NewFromInt(50)) // of an empty account, too, into which something comes
	}
	days := func(k Kind, n int) sim.Duration { return sim.Duration(l.within(k, time.Duration(n)*24*time.Hour)) }
	add := func(e sim.Event) { s.Events = append(s.Events, e) }
	if l.lives("return") {
		add(sim.Event{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: days("return", 2)})
		if l.lives("second return") {
			add(sim.Event{Type: "ach_return", When: sim.AfterLastPayoutComplete, After: days("return", 6)})
		}
	}
	if l.lives("reject") {
		add(sim.Event{Type: "ach_reject", When: sim.AfterFirstPayout, After: sim.Duration(l.within("reject", 10*time.Hour))})
	}
	if l.lives("dividend") {
		add(sim.Event{Type: "dividend", Amount: cents("dividend", 20).Add(dec("0.01")), After: days("dividend", 5)})
	}
	if l.lives("deposit") {
		add(sim.Event{Type: "deposit", Amount: cents("deposit", 400).Add(dec("0.01")), After: days("deposit", 4)})
	}
	if len(s.Positions) > 0 && l.lives("trade bust") {
		add(sim.Event{Type: "trade_bust", When: sim.AfterFirstFill, After: days("trade bust", 2)})
	}
	if l.lives("block") {
		what := []string{"transfers", "outgoing", "trading", "account"}[l.pick("block", 4)]
		add(sim.Event{Type: "block", What: what, After: days("block", 4), For: days("block for", 2)})
	}
	if l.lives("shares") {
		add(sim.Event{Type: "position", Symbol: "SPIN", Qty: dec("1.5"), Price: dec("7.77"), After: days("shares", 4)})
	}
	if l.lives("odd status") {
		e := sim.Event{Type: "transfer_status", Status: []string{"APPROVAL_PENDING", "COOKING"}[l.pick("odd status", 2)], When: sim.AfterFirstPayout, After: sim.Duration(l.within("odd status", 4*time.Hour))}
		add(e)
		e.Status, e.After = "PENDING", e.After+days("odd status for", 2)
		add(e)
	}
	if l.lives("not active") {
		add(sim.Event{Type: "status", Status: "ACCOUNT_UPDATED", After: days("not active", 4), For: days("not active for", 1)})
	}
	if l.lives("bank deleted") {
		gone := days("bank deleted", 4)
		add(sim.Event{Type: "relationship_delete", After: gone})
		if l.lives("another bank") {
			add(sim.Event{Type: "relationship_create", After: gone + sim.Duration(l.within("another bank", time.Hour))})
		}
	}
	if l.lives("closed elsewhere") {
		add(sim.Event{Type: "close", After: days("closed elsewhere", 5)})
	}
	return s
}

// happens puts what people do on the agenda.
func (l *life) happens(account string, asked time.Duration) {
	if l.lives("withdrawal") {
		sum := decimal.New(int64(l.pick("withdrawal", 30_000)+1), -2)
		l.after(l.within("withdrawal", 5*24*time.Hour), func() { l.withdraw(account, sum, "on their own") })
	}
	if l.lives("agent order") {
		l.after(l.within("agent order", 3*24*time.Hour), func() {
			truth, err := l.sim.Truth(account)
			if err != nil || len(truth.Positions) == 0 || truth.Status != "ACTIVE" {
				return
			}
			if p := truth.Positions[0]; p.Available.IsPositive() {
				_ = l.sim.Event(account, sim.Event{Type: "order", Symbol: p.Symbol, Qty: p.Available, Side: "sell"})
			}
		})
	}
	command := func(what string, within time.Duration) {
		l.after(asked+l.within(Kind(what+" command"), within), func() {
			for _, id := range l.order {
				if l.rows[id].AccountID == account {
					l.command(id, what)
				}
			}
		})
	}
	if l.lives("cancel") {
		command("cancel", 4*24*time.Hour)
	}
	if l.lives("pause command") {
		command("pause", 4*24*time.Hour)
		if l.lives("resume command") {
			command("resume", 6*24*time.Hour)
		}
	}
	if l.lives("wake") {
		for range 6 {
			command("wake", 5*24*time.Hour)
		}
	}
}
