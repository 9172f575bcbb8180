package sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// control answers on /sim: no auth, no faults, any Content-Type.
func (s *Sim) control(q *request) response {
	resp, err := s.controlRoute(q)
	if err != nil {
		return failure(err)
	}
	return resp
}

func (s *Sim) controlRoute(q *request) (response, error) {
	p := q.parts[1:]
	switch where := q.method + " " + strings.Join(p, "/"); {
	case where == "POST accounts":
		return s.controlMake(q)
	case where == "GET accounts":
		s.mu.Lock()
		defer s.mu.Unlock()
		return ok(map[string]any{"ids": append([]string{}, s.ids...)}), nil
	case q.method == http.MethodGet && len(p) == 2 && p[0] == "accounts":
		truth, err := s.Truth(p[1])
		if err != nil {
			return response{}, err
		}
		return ok(truth), nil
	case q.method == http.MethodPost && len(p) == 3 && p[0] == "accounts" && p[2] == "events":
		return s.controlEvents(q, p[1])
	case where == "GET journal":
		entries, err := s.Journal(q.query.Get("account"))
		if err != nil {
			return response{}, err
		}
		return ok(map[string]any{"entries": entries}), nil
	case where == "GET calls":
		return ok(s.Calls()), nil
	case where == "PUT chaos":
		var c Chaos
		if err := q.decodeControl(&c); err != nil {
			return response{}, err
		}
		if err := s.Chaos(c); err != nil {
			return response{}, err
		}
		return ok(c), nil
	case where == "GET chaos":
		return ok(s.chaosRules()), nil
	case where == "DELETE chaos":
		return noContent, s.Chaos(Chaos{})
	case where == "GET clock":
		return s.controlClock(), nil
	case where == "POST clock":
		var b struct {
			Advance Duration `json:"advance"`
		}
		if err := q.decodeControl(&b); err != nil {
			return response{}, err
		}
		if err := s.Advance(time.Duration(b.Advance)); err != nil {
			return response{}, err
		}
		return s.controlClock(), nil
	}
	return response{}, errNoPath
}

func (s *Sim) chaosRules() Chaos {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chaos == nil {
		return Chaos{Rules: []Rule{}}
	}
	return Chaos{Seed: s.chaos.Seed, Rules: slices.Clone(s.chaos.Rules)}
}

func (s *Sim) controlClock() response {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	return ok(map[string]any{"now": now, "new_york": now.In(NewYork).Format(time.RFC3339), "offset": s.offset.String(), "is_open": s.market.open(now), "fixed": s.o.FixedClock})
}

// controlMake makes the accounts that are described, or a count of accounts of one kind, or both.
func (s *Sim) controlMake(q *request) (response, error) {
	var b struct {
		Spec
		Cash     *decimal.Decimal `json:"cash"`
		Count    int              `json:"count"`
		Accounts []Spec           `json:"accounts"`
	}
	if err := q.decodeControl(&b); err != nil {
		return response{}, err
	}
	switch {
	case b.Count < 0 || b.Count > 1_000_000:
		return response{}, invalid("count is between 0 and 1,000,000")
	case b.Count == 0 && len(b.Accounts) == 0:
		return response{}, invalid("give a count or accounts")
	}
	kind := b.Spec
	kind.ID, kind.Cash = "", decimal.NewFromInt(1000)
	if b.Cash != nil {
		kind.Cash = *b.Cash
	}
	for range b.Count {
		b.Accounts = append(b.Accounts, kind)
	}
	ids, err := s.AddAccounts(b.Accounts)
	if err != nil {
		return response{}, err
	}
	return ok(map[string]any{"ids": ids}), nil
}

// controlEvents takes {"type": "dividend", "amount": "5"}, {"dividend": {"amount": "5"}} or {"events": [...]}, and answers
// with the truth after them.
func (s *Sim) controlEvents(q *request, id string) (response, error) {
	var b struct {
		Event
		Events []Event `json:"events"`
	}
	if err := q.decodeControl(&b); err != nil {
		return response{}, err
	}
	if b.Type == "" && len(b.Events) == 0 {
		var named map[string]json.RawMessage
		_ = json.Unmarshal(q.body, &named) // an object: it was decoded above
		for name, value := range named {
			if happenings[name] == nil {
				continue
			}
			e := b.Event
			if json.Unmarshal(value, &e.Amount) != nil && json.Unmarshal(value, &e) != nil && string(value) != "true" {
				return response{}, malformed("%s takes an object or an amount", name)
			}
			e.Type = name
			b.Events = append(b.Events, e)
		}
	}
	if b.Type != "" || len(b.Events) == 0 {
		b.Events = append(b.Events, b.Event)
	}
	if err := s.Event(id, b.Events...); err != nil {
		return response{}, err
	}
	truth, err := s.Truth(id)
	if err != nil {
		return response{}, err
	}
	return ok(truth), nil
}

// Event lets events befall the account: now, or at the time or after the trigger they name. If one of them cannot
// happen, none does.
func (s *Sim) Event(id string, events ...Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change(id, 0, func(v *visit) error {
		for _, e := range events {
			if err := v.schedule(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// decodeControl says what is wrong, unlike the broker, and lets unknown fields be.
func (q *request) decodeControl(into any) error {
	if err := json.Unmarshal(q.body, into); err != nil {
		return malformed("%s", err)
	}
	return nil
}
