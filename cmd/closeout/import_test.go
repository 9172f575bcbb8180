package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/legacy"
)

// What the earlier system does while the import goes through its accounts shows in the end: an account that was taken over by then is
// paused, one that is new is named, and one that is as it was, or has lost a record that has expired, is no matter.
func TestTheImportLooksOnceMoreInTheEnd(t *testing.T) {
	t.Parallel()
	s, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	broker, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Options{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "ledger.db"), Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accounts := []string{one, two, "5eed0000-0000-4000-8000-0000000000a3", "5eed0000-0000-4000-8000-0000000000a4"}
	record := func(n int, phase string) legacy.Raw {
		truth, err := s.Truth(accounts[n])
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		return legacy.Raw{Key: "closure_state:" + accounts[n], Text: `{"phase":"` + phase + `","ach_relationship_id":"` + truth.ACHRelationships[0].ID + `","initiated_at":"` + at + `"}`}
	}
	for _, id := range accounts {
		if _, err := s.AddAccount(sim.Spec{ID: id, Cash: decimal.NewFromInt(5)}); err != nil {
			t.Fatal(err)
		}
	}
	before := []legacy.Raw{record(0, "withdrawal"), record(1, "withdrawal"), record(2, "withdrawal")}
	after := []legacy.Raw{record(0, "withdrawal_waiting"), before[1], record(3, "starting")}
	take := func(again func() (legacy.Found, error)) (string, error) {
		var out, errs bytes.Buffer
		c := &importLegacyCmd{}
		err := c.take(t.Context(), output{out: &out, err: &errs}, &handlers.Takeovers{
			Ledger: l, Broker: broker, Calendar: calendar.Rules, Timing: closure.DefaultTiming, Actor: "operator:cli:ann", Stopped: true, Apply: true,
			Moved: func(context.Context, legacy.Account) (bool, error) { return false, nil },
		}, earlier{legacy.Parse(before), again, func(context.Context, int) ([]string, error) { return nil, nil }})
		return out.String(), err
	}
	text, err := take(func() (legacy.Found, error) { return legacy.Parse(after), nil })
	if !errors.Is(err, asksForPerson) {
		t.Errorf("ended with %v", err)
	}
	for _, want := range []string{one + "  a person must act    the earlier system has worked on it", accounts[3] + "  a person must act    its records have appeared", "3 accounts, 2 a person must act, 3 taken over"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing of %q in\n%s", want, text)
		}
	}
	for n, want := range []closure.State{closure.Paused, closure.Running, closure.Running} {
		if c, err := l.OfAccount(t.Context(), accounts[n]); err != nil || c.State != want {
			t.Errorf("%s is %s, want %s: %v", accounts[n], c.State, want, err)
		}
	}
	if _, err := take(func() (legacy.Found, error) { return legacy.Found{}, errors.New("gone") }); err == nil || !strings.Contains(err.Error(), "run it again: gone") {
		t.Errorf("a Redis that is gone in the end: %v", err)
	}
}

// Who is forgotten is told up to a number, which those that the run has told of already don't use up, and what was found before a failure is told.
func TestTheImportTellsOfTheForgotten(t *testing.T) {
	t.Parallel()
	found := legacy.Parse([]legacy.Raw{{Key: "closure_state:" + one, Text: `{"phase":"baffled"}`}})
	for name, tc := range map[string]struct {
		there  int
		failed error
		want   string // on the standard error
	}{
		"AFew":                 {2, nil, ""},
		"MoreThanAreToldOf":    {mostForgotten + 1, nil, "No more than 1000 forgotten accounts are named at once"},
		"AsFarAsTheyCanBeRead": {1, errors.New("hidden"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "ledger.db"), Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			pending := func(_ context.Context, limit int) ([]string, error) {
				ids := []string{strings.ToUpper(one)}
				for n := range tc.there {
					ids = append(ids, fmt.Sprintf("account-%04d", n))
				}
				return ids[:min(limit, len(ids))], tc.failed
			}
			var out, errs bytes.Buffer
			err = (&importLegacyCmd{}).take(t.Context(), output{out: &out, err: &errs}, &handlers.Takeovers{Ledger: l, Stopped: true},
				earlier{found, func() (legacy.Found, error) { return found, nil }, pending})
			if tc.failed == nil && !errors.Is(err, asksForPerson) || !errors.Is(err, cmp.Or(tc.failed, err)) {
				t.Errorf("ended with %v", err)
			}
			if n := strings.Count(out.String(), "  forgotten  "); n != min(tc.there, mostForgotten) {
				t.Errorf("%d are named of %d", n, tc.there)
			}
			if strings.Count(strings.ToLower(out.String()), one) != 1 || !strings.Contains(errs.String(), tc.want) || tc.want == "" && strings.Contains(errs.String(), "No more") {
				t.Errorf("said\n%s%s", out.String()[:min(out.Len(), 2000)], errs.String())
			}
		})
	}
}
