package sim

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// broker answers on Alpaca's paths. Whatever is not here is a 404.
func (s *Sim) broker(q *request, late time.Duration) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp, err := s.route(q, late)
	if err != nil {
		return failure(err)
	}
	return resp
}

func (s *Sim) route(q *request, late time.Duration) (response, error) {
	p := q.parts
	where := q.method + " " + strings.Join(p, "/")
	switch where {
	case "GET v1/clock":
		return ok(s.clockView(s.now())), nil
	case "GET v1/calendar":
		return s.calendarRead(q)
	case "GET v1/accounts/activities":
		return s.activitiesRead(q)
	case "GET v1/rebalancing/subscriptions":
		return s.subscriptionsRead(q)
	}
	if len(p) < 3 || p[0] != "v1" {
		return response{}, errNoPath
	}
	switch {
	case p[1] == "assets" && len(p) >= 3 && q.method == http.MethodGet:
		return s.assetRead(strings.Join(p[2:], "/"))
	case p[1] == "accounts":
		return s.accountRoute(q, p[2], p[3:], late)
	case p[1] == "trading" && p[2] == "accounts" && len(p) >= 5:
		return s.tradingRoute(q, p[3], p[4:], late)
	}
	return response{}, errNoPath
}

// read brings the account up to date and shows it.
func (s *Sim) read(id string, view func(*account, time.Time) (any, error)) (response, error) {
	a, now, err := s.look(id)
	if err != nil {
		return response{}, err
	}
	if a.wants(AfterFirstRead) {
		if err := s.change(id, 0, func(v *visit) error { v.trigger(AfterFirstRead); return nil }); err != nil {
			return response{}, err
		}
		if a, now, err = s.look(id); err != nil {
			return response{}, err
		}
	}
	body, err := view(a, now)
	if err != nil {
		return response{}, err
	}
	return ok(body), nil
}

// write lets f change the account and answers with what it returns; nil is a 204.
func (s *Sim) write(id string, late time.Duration, f func(*visit) (any, error)) (response, error) {
	resp := noContent
	err := s.change(id, late, func(v *visit) error {
		body, err := f(v)
		if body != nil {
			resp = ok(body)
		}
		return err
	})
	return resp, err
}

func (s *Sim) accountRoute(q *request, id string, rest []string, late time.Duration) (response, error) {
	switch where := q.method + " " + strings.Join(rest, "/"); {
	case where == "GET ":
		return s.read(id, func(a *account, _ time.Time) (any, error) { return s.accountView(a), nil })
	case where == "GET ach_relationships":
		return s.read(id, func(a *account, _ time.Time) (any, error) { return a.bankViews(q.query.Get("statuses")), nil })
	case where == "POST ach_relationships":
		var b relationshipBody
		if err := q.decode(&b); err != nil {
			return response{}, err
		}
		return s.write(id, late, func(v *visit) (any, error) {
			r, err := v.createBank(b)
			if err != nil {
				return nil, err
			}
			return v.a.bankView(r), nil
		})
	case q.method == http.MethodDelete && len(rest) == 2 && rest[0] == "ach_relationships":
		return s.write(id, late, func(v *visit) (any, error) { return nil, v.deleteBank(rest[1]) })
	case where == "GET transfers":
		return s.read(id, func(a *account, now time.Time) (any, error) { return a.listTransfers(q, now) })
	case where == "POST transfers":
		var b transferBody
		if err := q.decode(&b); err != nil {
			return response{}, err
		}
		return s.write(id, late, func(v *visit) (any, error) {
			t, err := v.ask(b)
			if err != nil {
				return nil, err
			}
			return v.a.transferView(t), nil
		})
	case q.method == http.MethodDelete && len(rest) == 2 && rest[0] == "transfers":
		resp, err := s.write(id, late, func(v *visit) (any, error) { return nil, v.askUndo(rest[1]) })
		if err == nil {
			resp.status = http.StatusOK // the description's, where guides say 204
		}
		return resp, err
	case where == "POST actions/close":
		return s.write(id, late, func(v *visit) (any, error) { return nil, v.close() })
	}
	return response{}, errNoPath
}

func (s *Sim) tradingRoute(q *request, id string, rest []string, late time.Duration) (response, error) {
	switch where := q.method + " " + strings.Join(rest, "/"); {
	case where == "GET account":
		return s.read(id, func(a *account, now time.Time) (any, error) { return s.tradingView(a, now), nil })
	case where == "GET positions":
		return s.read(id, func(a *account, _ time.Time) (any, error) { return a.positionViews(), nil })
	case q.method == http.MethodGet && rest[0] == "positions":
		return s.read(id, func(a *account, _ time.Time) (any, error) {
			p := a.position(strings.Join(rest[1:], "/"))
			if p == nil {
				return nil, notFound("position")
			}
			return a.positionView(p), nil
		})
	case where == "GET orders":
		return s.read(id, func(a *account, now time.Time) (any, error) { return s.listOrders(a, q, now) })
	case where == "POST orders":
		var b orderBody
		if err := q.decode(&b); err != nil {
			return response{}, err
		}
		return s.write(id, late, func(v *visit) (any, error) {
			o, err := v.place(b)
			if err != nil {
				return nil, err
			}
			return s.orderView(v.a, o, v.at, true), nil
		})
	case where == "GET orders:by_client_order_id":
		return s.read(id, func(a *account, now time.Time) (any, error) {
			return s.orderWhere(a, now, func(o *order) bool { return o.ClientID == q.query.Get("client_order_id") })
		})
	case q.method == http.MethodGet && len(rest) == 2 && rest[0] == "orders":
		return s.read(id, func(a *account, now time.Time) (any, error) {
			return s.orderWhere(a, now, func(o *order) bool { return o.ID == rest[1] })
		})
	case q.method == http.MethodDelete && len(rest) == 2 && rest[0] == "orders":
		return s.write(id, late, func(v *visit) (any, error) { return nil, v.askCancel(rest[1]) })
	}
	return response{}, errNoPath
}

func (s *Sim) orderWhere(a *account, now time.Time, is func(*order) bool) (any, error) {
	for i := range a.Orders {
		if o := &a.Orders[i]; is(o) && !o.VisibleAt.After(now) {
			return s.orderView(a, o, now, true), nil
		}
	}
	return nil, notFound("order")
}

func (s *Sim) listOrders(a *account, q *request, now time.Time) (any, error) {
	limit, err := number(q, "limit", 50, 500)
	if err != nil {
		return nil, err
	}
	after, err := instant(q, "after")
	if err != nil {
		return nil, err
	}
	until, err := instant(q, "until")
	if err != nil {
		return nil, err
	}
	nested, which := q.query.Get("nested") == "true", cmp.Or(q.query.Get("status"), "open")
	if which != "open" && which != "closed" && which != "all" {
		return nil, malformed("status must be open, closed or all")
	}
	symbols := strings.FieldsFunc(q.query.Get("symbols"), func(r rune) bool { return r == ',' })
	var found []*order
	for i := range a.Orders {
		o := &a.Orders[i]
		open := o.open()
		if nested {
			open = open || slices.ContainsFunc(a.Orders, func(leg order) bool { return leg.Parent == o.ID && leg.open() })
		}
		switch {
		case nested && o.Parent != "", which == "open" && !open, which == "closed" && open, o.VisibleAt.After(now),
			!after.IsZero() && !o.Submitted.After(after), !until.IsZero() && !o.Submitted.Before(until),
			len(symbols) > 0 && !slices.Contains(symbols, o.Symbol):
			continue
		}
		found = append(found, o)
	}
	slices.SortStableFunc(found, func(x, y *order) int {
		return cmp.Or(y.Submitted.Compare(x.Submitted), cmp.Compare(x.ID, y.ID))
	})
	if q.query.Get("direction") == "asc" {
		slices.Reverse(found)
	}
	views := []orderView{}
	for _, o := range found[:min(limit, len(found))] {
		views = append(views, s.orderView(a, o, now, nested))
	}
	return views, nil
}

// listTransfers gives them newest first, as far as they show.
func (a *account) listTransfers(q *request, now time.Time) (any, error) {
	limit, err := number(q, "limit", 50, 100)
	if err != nil {
		return nil, err
	}
	offset, err := number(q, "offset", 0, 1<<30)
	if err != nil {
		return nil, err
	}
	direction := strings.ToUpper(q.query.Get("direction"))
	views := []transferView{}
	for i := len(a.Transfers) - 1; i >= 0; i-- {
		t := &a.Transfers[i]
		if t.VisibleAt.After(now) || direction != "" && t.Direction != direction {
			continue
		}
		views = append(views, a.transferView(t))
	}
	offset = min(offset, len(views))
	return views[offset:min(offset+limit, len(views))], nil
}

func (s *Sim) activitiesRead(q *request) (response, error) {
	size, err := number(q, "page_size", 100, 100)
	if err != nil {
		return response{}, err
	}
	after, err := instant(q, "after")
	if err != nil {
		return response{}, err
	}
	until, err := instant(q, "until")
	if err != nil {
		return response{}, err
	}
	category := q.query.Get("category")
	types := strings.FieldsFunc(q.query.Get("activity_types"), func(r rune) bool { return r == ',' })
	if category != "" && len(types) > 0 {
		return response{}, invalid("category cannot be used with activity_types")
	}
	return s.read(q.query.Get("account_id"), func(a *account, _ time.Time) (any, error) {
		views := []activityView{}
		for i := range a.Activities {
			n := &a.Activities[i]
			switch {
			case category == "trade_activity" && n.Type != "FILL", category == "non_trade_activity" && n.Type == "FILL",
				len(types) > 0 && !slices.Contains(types, n.Type),
				!after.IsZero() && !n.At.After(after), !until.IsZero() && !n.At.Before(until):
				continue
			}
			views = append(views, a.activityView(n))
		}
		if q.query.Get("direction") != "asc" {
			slices.Reverse(views)
		}
		if token := q.query.Get("page_token"); token != "" {
			i := slices.IndexFunc(views, func(v activityView) bool { return v.ID == token })
			if i < 0 {
				return nil, invalid("invalid page_token")
			}
			views = views[i+1:]
		}
		return views[:min(size, len(views))], nil
	})
}

func number(q *request, name string, otherwise, most int) (int, error) {
	text := q.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, malformed("invalid %s", name)
	}
	return min(n, most), nil
}

func instant(q *request, name string) (time.Time, error) {
	text := q.query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, malformed("invalid %s", name)
}
