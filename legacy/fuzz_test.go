package legacy_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"closeout/legacy"
)

// FuzzLegacy: whatever the earlier system's Redis holds, reading it panics nowhere, and what is passed on has the form of what it
// claims to be.
func FuzzLegacy(f *testing.F) {
	f.Add("job_data:j1", `{"task_name":"automated_account_closure","args":["`+account+`"],"kwargs":{"ach_relationship_id":"`+bank+`"},"status":"DEAD"}`, "j1", `{"phase":"withdrawal","user_id":"u"}`)
	f.Add("job_queue:account_closure", "j1", `{"id":7,"task_name":"account_closure","kwargs":"{\"account_id\":\"`+account+`\"}"}`, `{"phase":null,"transfers_completed":[[],{"transfer_id":{}}],"initiated_at":1e400}`)
	f.Add("withdrawal_state:"+account, `{"transfers_completed":"[{\"transfer_id\":\"t\"}]","started_at":"0001-01-01"}`, "", "[")
	f.Add("active_task:"+other, "\xff", "\x00", `{"account_id":"`+other+`","confirmation_number":"CLA-"}`)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	f.Fuzz(func(t *testing.T, key, value, item, state string) {
		found := legacy.Parse([]legacy.Raw{
			{Key: key, Text: value},
			{Key: "job_processing:account_closure", Items: []string{item, value}},
			{Key: "closure_state:" + account, Text: state},
			{Key: "job_data:" + item, Hash: map[string]string{"task_name": "account_closure", "args": value, "kwargs": state, "status": item, "created_at": value}},
			{Key: "partial_withdrawal:" + account, Text: value},
		})
		for _, a := range found.Accounts {
			if !uuid.MatchString(a.ID) || a.Bank != "" && !uuid.MatchString(a.Bank) {
				t.Errorf("account %q, bank %q", a.ID, a.Bank)
			}
			if a.Confirmation != "" && !strings.HasPrefix(a.Confirmation, "CLA-") || len(a.Confirmation) > 40 {
				t.Errorf("confirmation %q", a.Confirmation)
			}
			for _, s := range append([]string{a.User, a.Email, a.Says()}, append(a.Transfers(), a.Unclear...)...) {
				if len(s) > 1000 || strings.ContainsFunc(s, unicode.IsControl) {
					t.Errorf("passed on: %q", s)
				}
			}
			for _, at := range []int{a.Began().Year(), a.Touched().Year()} {
				if at != 1 && (at < 1970 || at > 2300) {
					t.Errorf("a time of the year %d", at)
				}
			}
		}
		for _, l := range found.Lost {
			if len(l) > 2000 || strings.ContainsFunc(l, unicode.IsControl) {
				t.Errorf("named: %q", l)
			}
		}
	})
}
