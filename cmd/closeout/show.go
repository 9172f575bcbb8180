package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// demo is one account of the demo, with the end it must reach.
type demo struct {
	id, name, ends string
	spec           sim.Spec
}

func dollars(s string) decimal.Decimal { return decimal.RequireFromString(s) }

// demos are the demo's accounts. Their ids are fixed, so that a second start finds the same ones.
var demos = []demo{
	{
		id: "5eed0000-0000-4000-8000-000000000001", name: "cash only", ends: "closed, $4,217.08 paid out at once",
		spec: sim.Spec{Cash: dollars("4217.08"), Email: "ada@example.com", GivenName: "Ada", FamilyName: "Adams"},
	},
	{
		id: "5eed0000-0000-4000-8000-000000000002", name: "three stocks", ends: "closed, sold, settled, $6,903.45 paid out in one payment",
		spec: sim.Spec{
			Cash: dollars("310.25"), Email: "ben@example.com", GivenName: "Ben", FamilyName: "Brown",
			Positions: []sim.PositionSpec{
				{Symbol: "AAPL", Qty: dollars("10"), Price: dollars("231.40")},
				{Symbol: "VTI", Qty: dollars("12"), Price: dollars("290.05")},
				{Symbol: "F", Qty: dollars("66"), Price: dollars("12.10")},
			},
		},
	},
}

// show makes the demo accounts, asks for their closing and prints what happens to them.
type show struct {
	ledger *ledger.Ledger
	clock  closure.Clock
	out    io.Writer
	api    string
	sim    string
	data   string
}

func (s *show) run(ctx context.Context, broker *sim.Sim, initiate bool) error {
	for _, d := range demos {
		spec := d.spec
		spec.ID = d.id
		if _, err := broker.AddAccount(spec); err != nil {
			return fmt.Errorf("make demo account %q: %w", d.name, err)
		}
	}
	s.banner()
	if initiate {
		for _, d := range demos {
			bank, err := bankOf(broker, d.id)
			if err != nil {
				return err
			}
			if err := s.initiate(ctx, d, bank); err != nil {
				return err
			}
		}
	}
	return s.follow(ctx)
}

func (s *show) banner() {
	_, _ = fmt.Fprintf(s.out, `
  Closeout, the demo: everything in this one process, on loopback. A day takes %s.

    API        %s          (key: dev)
    Queues     %s/monitoring   (user: any, password: dev)
    Broker     %s          (simulated)
    Data       %s              (kill this at any time; the next start goes on)

  Close an account of your own:

    id=$(curl -s %s/sim/accounts -d '{"accounts":[{"cash":"1000"}]}' | grep -o '[0-9a-f-]\{36\}')
    bank=$(curl -s %s/sim/accounts/$id | grep -o '"ach_relationships":\[{"id":"[^"]*' | grep -o '[0-9a-f-]\{36\}')
    curl -s -X POST %s/api/account-closure/initiate/$id -H 'X-API-Key: dev' -H 'Content-Type: application/json' \
      -d '{"ach_relationship_id":"'$bank'","confirm_liquidation":true,"confirm_irreversible":true}'
    curl -s %s/api/account-closure/progress/$id -H 'X-API-Key: dev'

`, s.clock.Machine(24*time.Hour), s.api, s.api, s.sim, s.data, s.sim, s.sim, s.api, s.api)
	for _, d := range demos {
		_, _ = fmt.Fprintf(s.out, "  %-14s must end: %s\n", d.name, d.ends)
	}
	_, _ = fmt.Fprintln(s.out)
}

func bankOf(broker *sim.Sim, id string) (string, error) {
	t, err := broker.Truth(id)
	if err != nil {
		return "", err
	}
	for _, r := range t.ACHRelationships {
		if !r.Deleted {
			return r.ID, nil
		}
	}
	return "", fmt.Errorf("demo account %s has no bank", id)
}

// initiate asks by HTTP as a client would. An account that had its closure before is left alone.
func (s *show) initiate(ctx context.Context, d demo, bank string) error {
	if _, err := s.ledger.OfAccount(ctx, d.id); !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"ach_relationship_id": bank, "confirm_liquidation": true, "confirm_irreversible": true, "reason": "demo: " + d.name,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api+"/api/account-closure/initiate/"+d.id, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", "dev")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("initiate %q: %w", d.name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		return fmt.Errorf("initiate %q: %s: %s", d.name, resp.Status, text)
	}
	return nil
}

// follow prints each new event of the demo's closures in business time.
func (s *show) follow(ctx context.Context) error {
	seen := map[string]int64{}
	open := map[string]bool{}
	for _, d := range demos {
		open[d.id] = true
	}
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		for _, d := range demos {
			c, err := s.ledger.OfAccount(ctx, d.id)
			if err != nil || c.Seq == seen[c.ID] {
				continue
			}
			events, err := s.ledger.Events(ctx, c.ID)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			for _, e := range events {
				if e.Seq > seen[c.ID] {
					_, _ = fmt.Fprintf(s.out, "  %s  %-14s %-11s %s\n", e.At.In(calendar.NewYork).Format("Mon 02 Jan 15:04"), d.name, e.Phase, e.Text)
					seen[c.ID] = e.Seq
				}
			}
			if open[d.id] && c.State != closure.Running {
				open[d.id] = false
				_, _ = fmt.Fprintf(s.out, "  ==> %s: %s. Expected: %s\n", d.name, c.State, d.ends)
				if delete(open, d.id); len(open) == 0 {
					_, _ = fmt.Fprintln(s.out, "\n  Every demo account has ended; the service goes on. Ctrl-C stops it.")
				}
			}
		}
	}
}
