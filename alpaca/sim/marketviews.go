package sim

import "time"

func (s *Sim) clockView(now time.Time) map[string]any {
	open, closes := s.market.session(now)
	isOpen := s.market.open(now)
	next := open
	if isOpen {
		next, _ = s.market.session(closes)
	}
	return map[string]any{
		"timestamp": now.In(NewYork).Format(time.RFC3339Nano), "is_open": isOpen,
		"next_open": next.Format(time.RFC3339), "next_close": closes.Format(time.RFC3339),
	}
}

// calendarRead gives the sessions of a span of at most twenty years; without bounds, of a year back and ahead.
func (s *Sim) calendarRead(q *request) (response, error) {
	start, err := instant(q, "start")
	if err != nil {
		return response{}, err
	}
	end, err := instant(q, "end")
	if err != nil {
		return response{}, err
	}
	if start.IsZero() {
		start = s.now().AddDate(-1, 0, 0)
	}
	if end.IsZero() {
		end = s.now().AddDate(1, 0, 0)
	}
	if end.Sub(start) > 20*366*24*time.Hour {
		return response{}, malformed("the simulator gives at most twenty years at once")
	}
	days := []map[string]any{}
	last := end.Format(time.DateOnly)
	for date := start.Format(time.DateOnly); date <= last; date = nextDate(date) {
		open, closes, isSession := s.market.Session(date)
		if !isSession {
			continue
		}
		days = append(days, map[string]any{
			"date": date, "open": open.In(NewYork).Format("15:04"), "close": closes.In(NewYork).Format("15:04"),
			"session_open": "0400", "session_close": "2000", "settlement_date": s.market.settlement(date),
		})
	}
	return ok(days), nil
}

func (s *Sim) assetRead(symbolOrID string) (response, error) {
	p, found := s.asset(symbolOrID)
	if !found || p.Class == "us_option" { // a contract is no asset: it is listed among the contracts
		return response{}, notFound("asset")
	}
	status := "active"
	if p.Inactive {
		status = "inactive"
	}
	venue := exchange(p.Class)
	return ok(map[string]any{
		"id": assetID(p.Symbol), "class": p.Class, "exchange": venue, "symbol": p.Symbol, "name": p.Symbol + " (simulated)",
		"status": status, "tradable": !p.Untradable && !p.Inactive, "marginable": false, "shortable": false,
		"fractionable": p.Class != "us_option", "margin_requirement_long": "100", "margin_requirement_short": "100",
		"attributes": []string{}, "maintenance_margin_requirement": 100,
	}), nil
}

func (s *Sim) subscriptionsRead(q *request) (response, error) {
	subscriptions := []map[string]any{}
	if a := s.accounts[q.query.Get("account_id")]; a != nil {
		a, _, err := s.look(a.ID)
		if err != nil {
			return response{}, err
		}
		if a.Rebalancing {
			subscriptions = append(subscriptions, map[string]any{
				"id": uuid(a.ID, " subscription"), "account_id": a.ID, "portfolio_id": uuid("portfolio"), "created_at": stamp{a.CreatedAt},
			})
		}
	}
	return ok(map[string]any{"subscriptions": subscriptions, "next_page_token": nil}), nil
}
