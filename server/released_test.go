package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/readiness"
	"closeout/server"
)

// What a released version has left is answered by every read of the API, and so is what a newer version writes that this one does not
// know, while both run: a phase, a state, a reason, who must act, an instruction, an event, a batch and a letter, each in its own words.
func TestEachReadAnswersOverOtherVersionsLedgers(t *testing.T) {
	t.Parallel()
	for _, r := range lab.Releases(t, "../ledger/testdata/released") {
		for name, change := range map[string]string{
			"AsItWasLeft": "",
			"NewerRows": `UPDATE closures SET reason = 'quantum_hold', why = 'the vault is shut', who = 'notary' WHERE state NOT IN ('closed', 'canceled');
				UPDATE closures SET phase = 'escrow' WHERE rowid % 3 = 0;
				UPDATE closures SET state = 'suspended', due_at = NULL WHERE rowid % 3 = 1;
				UPDATE closures SET memo = '{"v":99,"teleport":true}' WHERE rowid % 4 = 0;`,
			"NewerBesideThem": `UPDATE intents SET state = 'queued', kind = 'journal', finished = 'TELEPORTED', request = '{"v":9}';
				UPDATE events SET kind = 'teleported', body = replace(replace(body, '"kind":"accepted"', '"kind":"teleported"'), '"phase":"liquidation"', '"phase":"escrow"');
				UPDATE notices SET kind = 'telegram', data = '{"v":9}', state = 'held';
				UPDATE batches SET state = 'teleporting'; UPDATE batch_rows SET state = 'teleported';`,
		} {
			t.Run(r.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := r.Ledger(t, change)
				s, err := sim.Open(sim.Options{Path: r.Broker(t), Key: "key", Secret: "secret"})
				must(t, err)
				t.Cleanup(func() { _ = s.Close() })
				client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.Transport()})
				must(t, err)
				b := newBench(t, func(o *server.Options) {
					o.Ledger, o.Readiness = l, &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: o.Policy}
				})
				get := func(path string, words ...string) {
					t.Helper()
					a := b.do(http.MethodGet, path, "")
					for _, word := range words {
						if a.status != http.StatusOK || !strings.Contains(a.text, word) {
							t.Errorf("%s answers %d without %q: %.600s", path, a.status, word, a.text)
						}
					}
				}
				get("/api/account-closure/batch/"+r.Batch, r.Batch)
				get("/api/account-closure?limit=100", r.Ends[0].ID)
				for _, e := range r.Ends {
					if e.ID == "" {
						continue
					}
					c, err := l.Get(context.Background(), e.ID)
					must(t, err)
					words := []string{e.ID, fmt.Sprintf("%q:%q", "phase", c.Phase), fmt.Sprintf("%q:%q", "state", c.State)}
					if c.Reason == "quantum_hold" && !c.State.Ended() {
						words = append(words, "the vault is shut", "quantum_hold", "notary")
						if c.State != closure.Running {
							words = append(words, "a newer one wrote it")
						}
					}
					get("/api/account-closure/progress/"+e.Account, words...)
					get("/api/job-status/"+e.ID, e.ID, `"status":"`)
					get("/api/account-closure/case-file/"+e.Account, e.ID, c.Confirmation)
					get("/api/account-closure/check-readiness/"+e.Account, e.Account)
					get("/api/account-closure?account_id="+e.Account, e.ID)
				}
			})
		}
	}
}
