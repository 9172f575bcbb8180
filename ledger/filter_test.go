package ledger_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// Whatever a filter asks is in its text: a field that was forgotten would widen a stored filter.
func TestAFilterIsReadFromItsText(t *testing.T) {
	t.Parallel()
	full := ledger.Filter{
		Statuses: []string{"failed", "dead"}, Phases: []closure.Phase{closure.Withdrawal, closure.Closing}, Reason: closure.BankGone,
		AccountID: "a&b=c", BatchID: "batch,1", CreatedFrom: time.Date(2026, 11, 18, 15, 0, 0, 123456000, time.UTC),
		CreatedBefore: time.Date(2026, 11, 19, 15, 0, 0, 0, time.UTC), Text: "CLA-<script>",
		Lane: ledger.StartLane, Slow: ledger.Cutoffs{closure.Settlement: time.Date(2026, 11, 17, 15, 0, 0, 5000, time.UTC)}, Who: []closure.Who{closure.Broker, closure.Customer},
		EndedFrom: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC), Actor: "api:a+b", PersonOf: "p", Exact: "order%201",
	}
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() {
			t.Errorf("this test leaves %s out", name)
		}
		one := ledger.Filter{}
		reflect.ValueOf(&one).Elem().Field(i).Set(v.Field(i))
		for _, f := range []ledger.Filter{one, full} {
			got, err := ledger.ParseFilter(f.String())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f, got); diff != "" {
				t.Errorf("%s: %s (-want +got)\n%s", name, f, diff)
			}
		}
	}
	if f, err := ledger.ParseFilter(ledger.Filter{Slow: ledger.Cutoffs{}}.String()); err != nil || f.Slow == nil {
		t.Errorf("what means nothing came to mean all: %+v, %v", f, err)
	}
	if f, err := ledger.ParseFilter(""); err != nil || f.String() != "" || !cmp.Equal(f, ledger.Filter{}) {
		t.Errorf("the empty text: %+v, %v", f, err)
	}
	for text, want := range map[string]string{
		"status=faild": "faild", "phase=x": `"x"`, "lane=x": `"x"`, "slow=closing": "slow", "reason=bank_gon": "bank_gon", "raeson=bank_gone": "raeson", "created_after=yesterday": "created_after",
		"%zz": "read the filter", "reason=bank_gone;x=1": "read the filter",
	} {
		if f, err := ledger.ParseFilter(text); err == nil || !strings.Contains(err.Error(), want) || !cmp.Equal(f, ledger.Filter{}) {
			t.Errorf("%q was read as %+v: %v", text, f, err)
		}
	}
}
