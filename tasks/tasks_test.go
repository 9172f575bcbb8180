package tasks_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/tasks"
)

func TestATaskCarriesOnlyWhichRowAtWhichVersion(t *testing.T) {
	t.Parallel()
	c := closure.Closure{
		ID: "id", Version: 7, Token: "abc", AccountID: "account", Email: "x@example.test", RelationshipID: "bank", Phase: closure.Closing,
	}
	p := tasks.PayloadOf(c)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"closure_id":"id","version":7,"token":"abc"}`; string(b) != want {
		t.Errorf("it carries %s, want %s", b, want)
	}
	if p.ID() != "id/7.abc" {
		t.Errorf("its ID is %q", p.ID())
	}
	back, err := tasks.ParsePayload(b)
	if err != nil || back != p {
		t.Errorf("it reads %+v: %v", back, err)
	}
}

func TestAPayloadIsReadOrRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want tasks.Payload // zero: refused
	}{
		{`{"closure_id":"id","version":1,"token":"t"}`, tasks.Payload{ClosureID: "id", Version: 1, Token: "t"}},
		{`{"closure_id":"id","version":1,"token":"t","more":true}`, tasks.Payload{ClosureID: "id", Version: 1, Token: "t"}}, // of a later release
		{`{"closure_id":"id","version":9223372036854775807,"token":"t"}`, tasks.Payload{ClosureID: "id", Version: 1<<63 - 1, Token: "t"}},
		{`{"closure_id":"","version":1,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":"id","version":0,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":"id","version":-1,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":"id","version":1,"token":""}`, tasks.Payload{}},
		{`{"closure_id":"id","version":1}`, tasks.Payload{}},
		{`{"closure_id":"id","version":1.5,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":"id","version":9223372036854775808,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":7,"version":1,"token":"t"}`, tasks.Payload{}},
		{`{"closure_id":"id","version":1,"token":"t"} {}`, tasks.Payload{}},
		{`null`, tasks.Payload{}},
		{`[]`, tasks.Payload{}},
		{``, tasks.Payload{}},
	} {
		got, err := tasks.ParsePayload([]byte(tt.text))
		switch refused := tt.want == (tasks.Payload{}); {
		case refused && (err == nil || !strings.HasPrefix(err.Error(), "read task payload: ")):
			t.Errorf("%s is read as %+v: %v", tt.text, got, err)
		case !refused && (err != nil || got != tt.want):
			t.Errorf("%s is read as %+v: %v", tt.text, got, err)
		}
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{
		`{"closure_id":"id","version":1,"token":"t"}`, `{"closure_id":"a/b","version":12,"token":"c.d"}`, `{"version":1e3}`, `null`, ``,
		`{"CLOSURE_ID":"id","Version":1,"token":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := tasks.ParsePayload(b)
		if err != nil {
			return
		}
		if p.ClosureID == "" || p.Version < 1 || p.Token == "" {
			t.Fatalf("%q is read as %+v", b, p)
		}
		if want := p.ClosureID + "/" + strconv.FormatInt(p.Version, 10) + "." + p.Token; p.ID() != want {
			t.Fatalf("the ID of %+v is %q", p, p.ID())
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := tasks.ParsePayload(again); err != nil || back != p {
			t.Fatalf("%+v is written %s and read as %+v: %v", p, again, back, err)
		}
	})
}

func TestEachPriorityHasItsQueue(t *testing.T) {
	t.Parallel()
	got := map[closure.Priority]string{}
	for _, p := range []closure.Priority{closure.Urgent, closure.Normal, closure.Bulk, ""} {
		got[p] = tasks.QueueFor(p)
		if tasks.Queues[got[p]] == 0 {
			t.Errorf("%q: no worker looks at the queue %q", p, got[p])
		}
	}
	want := map[closure.Priority]string{
		closure.Urgent: "account_closure_urgent", closure.Normal: "account_closure", closure.Bulk: "account_closure_bulk", "": "account_closure",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"account_closure_urgent": 6, "account_closure": 3, "account_closure_bulk": 1}, tasks.Queues); diff != "" {
		t.Error(diff)
	}
}

func TestATaskIsShownWithoutItsToken(t *testing.T) {
	t.Parallel()
	p := tasks.Payload{ClosureID: "019e3f2b-0000-7000-8000-000000000001", Version: 12, Token: "0123456789ab"}
	for id, want := range map[string]string{
		p.ID(): "019e3f2b-0000-7000-8000-000000000001.12",
		tasks.BitePayload{BatchID: "b", Version: 2}.ID(): "b.2",
		"of another program":                             "of another program",
	} {
		if got := tasks.Shown(id); got != want {
			t.Errorf("%s is shown as %s, want %s", id, got, want)
		}
	}
}

func TestEachPhaseHasItsType(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range closure.Road {
		got = append(got, tasks.TypeOf(s.Phase))
	}
	want := []string{"closure:liquidation", "closure:settlement", "closure:withdrawal", "closure:closing"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
