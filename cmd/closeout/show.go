package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/mail"
)

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
	if err := makeDemos(broker); err != nil {
		return err
	}
	s.banner()
	waiting := slices.Clone(demos)
	if !initiate {
		waiting = nil
	}
	slices.SortStableFunc(waiting, func(a, b demo) int { return cmp.Compare(a.after, b.after) })
	began := time.Now()
	open := map[string]bool{}
	for _, d := range waiting {
		open[d.name] = true
	}
	good, trouble := 0, ""
	seen := map[string]int64{}
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		for len(waiting) > 0 && !s.clock.Now().Before(demoBegins.Add(waiting[0].after)) {
			if err := s.initiate(ctx, broker, waiting[0]); err != nil {
				if ctx.Err() == nil && err.Error() != trouble { // it is asked again at the next tick
					trouble = err.Error()
					_, _ = fmt.Fprintf(s.out, "  %-19s %s\n", "", trouble)
				}
				break
			}
			waiting = waiting[1:]
		}
		for _, d := range demos {
			ended, err := s.tell(ctx, d, seen)
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			if ended == "" || !open[d.name] {
				continue
			}
			delete(open, d.name)
			if ended == asExpected {
				good++
			}
			_, _ = fmt.Fprintf(s.out, "  ==> %s: %s\n", d.name, ended)
			if len(open) == 0 {
				_, _ = fmt.Fprintf(s.out, "\n  %d of %d ended as expected, %s after the banner. The service goes on; Ctrl-C stops it.\n", good, len(demos), time.Since(began).Round(time.Second))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

const asExpected = "ended as expected"

// tell prints a demo's new events, in business time, and says how it ended, once it has.
func (s *show) tell(ctx context.Context, d demo, seen map[string]int64) (ended string, err error) {
	c, err := s.ledger.OfAccount(ctx, d.id())
	if errors.Is(err, ledger.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if c.Seq != seen[c.ID] {
		events, err := s.ledger.Events(ctx, c.ID)
		if err != nil {
			return "", err
		}
		for _, e := range events {
			if e.Seq > seen[c.ID] {
				_, _ = fmt.Fprintf(s.out, "  %s  %-17s %-11s %s\n", e.At.In(calendar.NewYork).Format("Mon 02 Jan 15:04"), d.name, e.Phase, e.Text)
				seen[c.ID] = e.Seq
			}
		}
	}
	if c.State == closure.Running {
		return "", nil
	}
	intents, err := s.ledger.Intents(ctx, c.ID)
	if err != nil {
		return "", err
	}
	if d.end.reached(c, intents) {
		return asExpected, nil
	}
	return fmt.Sprintf("NOT AS EXPECTED: %s (%s), must end %s", c.State, c.Why, d.end), nil
}

func (s *show) banner() {
	_, _ = fmt.Fprintf(s.out, `
  Closeout, the demo: everything in this one process, on loopback. A day takes %s.

    API        %s          (key: dev)
    Console    %s          (one click signs you in; Asynq's own is at /monitoring)
    Broker     %s          (simulated)
    Data       %s              (kill this at any time; the next start goes on)
    Monitor    %s monitor stats --data %s

  Close an account of your own:

    id=$(curl -s %s/sim/accounts -d '{"accounts":[{"cash":"1000"}]}' | grep -o '[0-9a-f-]\{36\}')
    bank=$(curl -s %s/sim/accounts/$id | grep -o '"ach_relationships":\[{"id":"[^"]*' | grep -o '[0-9a-f-]\{36\}')
    curl -s -X POST %s/api/account-closure/initiate/$id -H 'X-API-Key: dev' -H 'Content-Type: application/json' \
      -d '{"ach_relationship_id":"'$bank'","confirm_liquidation":true,"confirm_irreversible":true}'
    curl -s %s/api/account-closure/progress/$id -H 'X-API-Key: dev'

`, s.clock.Machine(24*time.Hour), s.api, s.api, s.sim, s.data, asCalled(), s.data, s.sim, s.sim, s.api, s.api)
	for _, d := range demos {
		_, _ = fmt.Fprintf(s.out, "  %-17s must end %s\n", d.name, d.end)
	}
	_, _ = fmt.Fprintln(s.out)
}

// asCalled is how this program is called again from another terminal.
func asCalled() string {
	if strings.Contains(os.Args[0], "go-build") { // by go run, which removes it
		return "go run ./cmd/closeout"
	}
	return os.Args[0]
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
func (s *show) initiate(ctx context.Context, broker *sim.Sim, d demo) error {
	if _, err := s.ledger.OfAccount(ctx, d.id()); !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	bank, err := bankOf(broker, d.id())
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"ach_relationship_id": bank, "confirm_liquidation": true, "confirm_irreversible": true, "reason": "demo: " + d.name,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api+"/api/account-closure/initiate/"+d.id(), bytes.NewReader(body))
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

// consoleMailer shows the demo's letters by their subjects.
type consoleMailer struct{ out io.Writer }

// Send implements handlers.Mailer.
func (m *consoleMailer) Send(_ context.Context, l mail.Letter) error {
	subject, _, _, err := mail.Render(l)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.out, "  %-19s letter to the customer: %s\n", "", subject)
	return err
}
