package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// TestWordsAreAFilter as people write it. What is misspelt is refused: it must not mean everything.
func TestWordsAreAFilter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 26, 3, 0, 0, 0, time.UTC)
	thanksgiving := time.Date(2026, time.November, 26, 5, 0, 0, 0, time.UTC) // its beginning in New York
	for words, want := range map[string]ledger.Filter{
		"phase=withdrawal reason=bank_gone":                  {Phases: []closure.Phase{closure.Withdrawal}, Reason: closure.BankGone},
		" status=failed,dead  who=broker ":                   {Statuses: []string{"failed", "dead"}, Who: []closure.Who{closure.Broker}},
		"status=failed status=dead":                          {Statuses: []string{"failed", "dead"}},
		"older_than=36h":                                     {CreatedBefore: now.Add(-36 * time.Hour)},
		"older_than=2d created_before=2026-11-20":            {CreatedBefore: time.Date(2026, time.November, 20, 5, 0, 0, 0, time.UTC)},
		"created_before=2026-11-26 older_than=2d":            {CreatedBefore: now.AddDate(0, 0, -2)},
		"created_after=2026-11-26":                           {CreatedFrom: thanksgiving},
		"created_after=2026-11-26T05:00:00Z client=api:shop": {CreatedFrom: thanksgiving, Actor: "api:shop"},
	} {
		got, err := ledger.ParseWords(words, now)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", words, err, diff)
		}
	}
	for words, why := range map[string]string{
		"": "no word", "  ": "no word", "failed": "want name=value", "reason=": "want name=value", "reason=bank_gon": "bank_gon", "phase=nowhere": "nowhere",
		"reasn=bank_gone": "reasn", "status=FAILD": "FAILD", "older_than=soon": "older_than", "older_than=-1d": "older_than", "older_than=3w": "older_than", "older_than=d": "older_than",
		"created_after=yesterday": "created_after", "who=nobody": "nobody", "slow=yes": "slow",
	} {
		if f, err := ledger.ParseWords(words, now); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %+v, %v; want it to say %q", words, f, err, why)
		}
	}
}
