package handlers_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// An auditor finds each status that the broker showed of a payout, once, with the payout's id and its sum.
func TestEachStatusOfAPayoutIsToldOnce(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Ends(l.Open(sim.Spec{Cash: d("1234.56")}).ID, month)
		wants(l, c, closure.Closed, "", "1234.56")
		evs, err := l.Ledger.Events(l.TB.Context(), c.ID)
		if err != nil {
			l.TB.Fatal(err)
		}
		intents, err := l.Ledger.Intents(l.TB.Context(), c.ID)
		if err != nil {
			l.TB.Fatal(err)
		}
		id := intents[slices.IndexFunc(intents, func(i closure.Intent) bool { return i.Kind == closure.TransferIntent })].BrokerID
		var statuses []string
		waits := 0
		for _, e := range evs {
			var detail struct {
				ID     string `json:"broker_id"`
				Status any    `json:"status"`
				Amount string `json:"amount"`
			}
			if err := json.Unmarshal(e.Detail, &detail); len(e.Detail) > 0 && err != nil {
				l.TB.Fatal(err)
			}
			switch {
			case e.Kind == string(closure.TransferIntent):
				statuses = append(statuses, detail.Status.(string))
				if detail.ID != id || detail.Amount != "1234.56" {
					l.TB.Errorf("event %d is of the payout %q of %q", e.Seq, detail.ID, detail.Amount)
				}
			case e.Kind == "wait" && strings.Contains(e.Text, "1234.56"):
				waits++
			}
		}
		if want := []string{"PENDING", "SENT_TO_CLEARING", "COMPLETE"}; !slices.Equal(statuses, want) || waits != 1 {
			l.TB.Errorf("the statuses told are %v, want %v; it is waited for %d times, want once\n%s", statuses, want, waits, l.History(c.ID))
		}
	})
}
