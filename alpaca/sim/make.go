package sim

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

var isUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func seedOf(parts ...any) uint64 {
	h := sha256.Sum256(fmt.Append(nil, parts...))
	return binary.BigEndian.Uint64(h[:8])
}

// AddAccount makes one account, or leaves the one that has that id as it is.
func (s *Sim) AddAccount(spec Spec) (string, error) {
	ids, err := s.AddAccounts([]Spec{spec})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// AddAccounts makes all of them or, where one is wrong, none.
func (s *Sim) AddAccounts(specs []Spec) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	ids := make([]string, 0, len(specs))
	var c change
	made := map[string]bool{}
	for i, spec := range specs {
		id := strings.ToLower(spec.ID)
		if id == "" {
			id = uuid(s.o.Seed, " account ", len(s.ids)+len(c.accounts))
		}
		ids = append(ids, id)
		if s.accounts[id] != nil || made[id] {
			continue
		}
		made[id] = true
		v := &visit{s: s, at: now, a: &account{ID: id}}
		if err := v.open(spec); err != nil {
			return nil, invalid("account %d: %s", i, err)
		}
		v.advance(now)
		c.accounts = append(c.accounts, v.a)
		c.lines = append(c.lines, v.lines...)
		c.told = append(c.told, v.told...)
	}
	if len(c.accounts) == 0 {
		return ids, nil
	}
	for i := range c.lines {
		c.lines[i].Seq = s.seq + int64(i) + 1
	}
	for i := range c.told {
		c.told[i].Seq = s.toldSeq + int64(i) + 1
	}
	c.offset = s.offset
	if err := s.store.commit(c); err != nil {
		return nil, err
	}
	s.seq += int64(len(c.lines))
	s.toldSeq += int64(len(c.told))
	for _, a := range c.accounts {
		s.keep(a)
		s.expect(a)
	}
	s.stirred()
	return ids, nil
}

var givenNames = []string{"Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Niklaus", "Radia", "Tony"}

var familyNames = []string{"Morgan", "Reyes", "Okafor", "Lindqvist", "Tanaka", "Novak", "Haddad", "Silva", "Kowalski", "Byrne"}

// open makes the account that a spec describes.
func (v *visit) open(spec Spec) error {
	a := v.a
	if !isUUID.MatchString(a.ID) {
		return fmt.Errorf("the id must be a UUID: %q", spec.ID)
	}
	if spec.CashMoves != "" && !slices.Contains([]string{AtCreation, AtComplete, Late}, spec.CashMoves) {
		return fmt.Errorf("cash moves %s, %s or %s, not %q", AtCreation, AtComplete, Late, spec.CashMoves)
	}
	n := seedOf(a.ID)
	a.Number = fmt.Sprintf("9%08d", n%100_000_000)
	a.Status = cmp.Or(strings.ToUpper(spec.Status), "ACTIVE")
	a.AccountType = cmp.Or(spec.AccountType, "trading")
	a.GivenName = cmp.Or(spec.GivenName, givenNames[n%10])
	a.FamilyName = cmp.Or(spec.FamilyName, familyNames[n/10%10])
	a.Email = cmp.Or(spec.Email, strings.ToLower(a.GivenName+"."+a.FamilyName)+"@example.com")
	a.CreatedAt = v.at.AddDate(-1, 0, 0)
	a.AccruedFees, a.DailyLimit, a.CashMoves, a.Rebalancing = spec.Fees, spec.DailyLimit, spec.CashMoves, spec.Rebalancing
	a.TradingBlocked, a.TransfersBlocked, a.AccountBlocked = spec.TradingBlocked, spec.TransfersBlocked, spec.AccountBlocked
	a.TradeSuspended, a.SubType, a.Interest = spec.TradeSuspended, spec.SubType, strings.ToUpper(spec.CashInterest)
	a.SaleFees, a.Held, a.Minimum = spec.SaleFees, spec.Held, spec.MinimumPayout
	v.move(spec.Cash, Entry{Kind: "opened"})
	if spec.Unsettled.IsPositive() {
		date := dateOf(v.at)
		until := at(date, 2, 30)
		if m := v.s.market; !until.After(v.at) || !m.trades(date) || !m.Banking(date) {
			until = at(m.settlement(date), 2, 30)
		}
		a.Holds = append(a.Holds, hold{Amount: spec.Unsettled, Until: until})
	}
	for _, p := range spec.Positions {
		if err := a.addPosition(p, v.at); err != nil {
			return err
		}
	}
	for _, o := range spec.Orders {
		if err := a.addOrder(v, o); err != nil {
			return err
		}
	}
	switch strings.ToLower(spec.ACH) {
	case "", "approved":
		v.addBank(a.owned(0), "APPROVED")
	case "queued":
		v.addBank(a.owned(0), "QUEUED")
	case "none":
	default:
		return fmt.Errorf("ach is approved, queued or none, not %q", spec.ACH)
	}
	for _, e := range spec.Events {
		if err := v.schedule(e); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) addPosition(p PositionSpec, now time.Time) error {
	switch {
	case p.Symbol == "":
		return fmt.Errorf("a position needs a symbol")
	case p.Qty.IsZero() || p.Price.IsNegative():
		return fmt.Errorf("position %s needs a quantity and a price", p.Symbol)
	case !p.Qty.Equal(p.Qty.Truncate(9)):
		return fmt.Errorf("position %s has more than nine decimal places", p.Symbol)
	case p.AssetClass == "us_option" && !contract.MatchString(strings.ToUpper(p.Symbol)):
		return fmt.Errorf("position %s is an option, whose symbol is one as AAPL261218C00250000", p.Symbol)
	case a.position(p.Symbol) != nil:
		return fmt.Errorf("position %s is there twice", p.Symbol)
	}
	q := position{
		Symbol: strings.ToUpper(p.Symbol), Class: cmp.Or(p.AssetClass, "us_equity"), Qty: p.Qty, Price: p.Price, Entry: p.Price.Mul(decimal.New(8, -1)),
		Fee: p.Fee, Untradable: p.Tradable != nil && !*p.Tradable, Inactive: p.Inactive, Halted: p.Halted || p.Resumes > 0,
		PartialFills: slices.Clone(p.PartialFills), Locked: p.Locked,
	}
	if p.Resumes > 0 {
		q.ResumesAt = now.Add(time.Duration(p.Resumes))
	}
	a.Positions = append(a.Positions, q)
	return nil
}

// addOrder adds an order that is there already, a bracket with its exits.
func (a *account) addOrder(v *visit, spec OrderSpec) error {
	side := cmp.Or(strings.ToLower(spec.Side), "sell")
	if spec.Symbol == "" || !spec.Qty.IsPositive() || side != "sell" && side != "buy" {
		return fmt.Errorf("an order needs a symbol, a quantity and a side of buy or sell")
	}
	p, price, class := a.position(spec.Symbol), spec.Price, "us_equity"
	if known, ok := v.s.asset(spec.Symbol); ok {
		price, class = known.Price, known.Class
	}
	if p != nil {
		price, class = p.Price, p.Class
	}
	price = pick(price, spec.LimitPrice, decimal.NewFromInt(100))
	two, half := decimal.NewFromInt(2), decimal.New(5, -1)
	far, near := price.Mul(half), price.Mul(two) // prices at which nothing fills
	if side == "sell" {
		far, near = near, far
	}
	o := order{
		ID: a.newID("order"), ClientID: a.newID("client order"), Symbol: strings.ToUpper(spec.Symbol), Class: class,
		Side: side, Type: cmp.Or(strings.ToLower(spec.Type), "limit"), TIF: cmp.Or(strings.ToLower(spec.TimeInForce), "gtc"),
		OrderClass: strings.ToLower(spec.Class), Qty: spec.Qty, Price: price, Status: "new", Submitted: v.at, Updated: v.at,
	}
	switch o.Type {
	case "limit", "stop_limit":
		o.Limit = pick(spec.LimitPrice, far)
	}
	if strings.HasPrefix(o.Type, "stop") {
		o.Stop = pick(spec.StopPrice, near)
	}
	exit := func(kind string) order {
		leg := o
		leg.ID, leg.ClientID, leg.Parent, leg.Type = a.newID("order"), a.newID("client order"), o.ID, kind
		leg.Limit, leg.Stop, leg.TIF = decimal.Zero, decimal.Zero, "gtc"
		return leg
	}
	switch {
	case o.OrderClass == "" || o.OrderClass == "simple":
		a.Orders = append(a.Orders, o)
	case o.OrderClass == "oco" || o.OrderClass == "bracket" && side == "sell" && p != nil:
		o.Type, o.Limit, o.Stop = "limit", pick(spec.TakeProfit, spec.LimitPrice, far), decimal.Zero
		stop := exit("stop")
		stop.Stop = pick(spec.StopLoss, spec.StopPrice, near)
		a.Orders = append(a.Orders, o, stop)
	case o.OrderClass == "bracket":
		filled := p != nil && p.Qty.Sub(a.held(p)).GreaterThanOrEqual(spec.Qty)
		if spec.Filled != nil {
			filled = *spec.Filled
		}
		profit, stop := exit("limit"), exit("stop")
		profit.Side = map[string]string{"buy": "sell", "sell": "buy"}[side]
		stop.Side = profit.Side
		profit.Limit, stop.Stop = pick(spec.TakeProfit, near), pick(spec.StopLoss, far)
		if filled {
			o.Status, o.Filled, o.AvgPrice, o.Ended = "filled", o.Qty, price, v.at
		} else {
			profit.Status, stop.Status = "accepted", "accepted"
		}
		a.Orders = append(a.Orders, o, profit, stop)
	default:
		return fmt.Errorf("an order's class is simple, bracket or oco, not %q", spec.Class)
	}
	return nil
}

func pick(prices ...decimal.Decimal) decimal.Decimal {
	for _, p := range prices {
		if p.IsPositive() {
			return p
		}
	}
	return decimal.Zero
}
