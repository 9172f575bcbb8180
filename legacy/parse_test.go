package legacy_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"closeout/legacy"
)

const (
	account = "0a1b2c3d-0000-4000-8000-0000000000aa"
	other   = "0a1b2c3d-0000-4000-8000-0000000000bb"
	bank    = "99999999-0000-4000-8000-0000000000cc"
	bank2   = "99999999-0000-4000-8000-0000000000dd"
)

func text(key, value string) legacy.Raw { return legacy.Raw{Key: key, Text: value} }

func items(key string, values ...string) legacy.Raw { return legacy.Raw{Key: key, Items: values} }

// told is an account in short.
type told struct {
	Stands                     legacy.Stands
	Bank, Confirmation, Says   string
	User, Email, Began, Latest string
	Working                    bool
	Transfers, Unclear         []string
}

func short(a legacy.Account) told {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	_, working := a.Working()
	return told{a.Stands(), a.Bank, a.Confirmation, a.Says(), a.User, a.Email, at(a.Began()), at(a.Touched()), working, a.Transfers(), a.Unclear}
}

func TestParse(t *testing.T) {
	t.Parallel()
	job := func(status, kwargs string) string {
		return `{"id":"j1","queue_name":"account_closure","task_name":"automated_account_closure","args":["` + account + `"],"kwargs":` + kwargs + `,"status":"` + status + `","created_at":"2026-11-16T10:00:00.123456"}`
	}
	for _, tc := range []struct {
		name   string
		raws   []legacy.Raw
		want   map[string]told
		lost   []string // parts of each line
		others int
	}{
		{
			name: "AJobAsText", raws: []legacy.Raw{text("job_data:j1", job("PENDING", `{"ach_relationship_id":"`+strings.ToUpper(bank)+`","user_id":"u","email":"ann@example.com","confirmation_number":"cla-20261116100000-0000AA"}`))},
			want: map[string]told{account: {Stands: legacy.Open, Bank: bank, Confirmation: "CLA-20261116100000-0000aa", Says: "job pending", User: "u", Email: "ann@example.com", Began: "2026-11-16T10:00:00Z", Latest: "2026-11-16T10:00:00Z"}},
		},
		{
			name: "AJobAsAHashWithoutAStatusIsWhatItsPlaceSays",
			raws: []legacy.Raw{
				{Key: "job_data:j1", Hash: map[string]string{"task_name": "automated_account_closure", "args": `["` + account + `"]`, "kwargs": `{"ach_relationship_id": "` + bank + `"}`, "created_at": "1763287200.5"}},
				items("job_processing:account_closure", `"j1"`),
			},
			want: map[string]told{account: {Stands: legacy.Open, Bank: bank, Says: "job processing", Working: true, Began: "2025-11-16T10:00:00Z", Latest: "2025-11-16T10:00:00Z"}},
		},
		{
			name: "AJobWholeInItsQueueAndAlsoByItself", raws: []legacy.Raw{items("job_dead_letter:account_closure", job("DEAD", `{}`)), text("job_data:j1", job("FAILED", `{"ach_relationship_id":"`+bank+`"}`))},
			want: map[string]told{account: {Stands: legacy.Open, Bank: bank, Says: "job failed", Began: "2026-11-16T10:00:00Z", Latest: "2026-11-16T10:00:00Z"}},
		},
		{
			name: "JobsOfOtherKindsCloseNothing", others: 3,
			raws: []legacy.Raw{
				text("job_data:m", `{"task_name":"send_email","queue_name":"account_closure","kwargs":{"account_id":"`+account+`"}}`),
				text("job_data:n", `{"queue_name":"notifications","kwargs":{"account_id":"`+account+`"}}`),
				items("job_queue:notifications", "gone"),
			},
		},
		{
			name: "WhatIsLostIsNamed", lost: []string{`job "gone": its data is gone`, `job "b": its data can't be read: it is no JSON object`, "names no account", `an item of "job_queue:account_closure" is neither`, "nor a job's id", `"closure_state:nobody" names no account`, "it is larger"},
			raws: []legacy.Raw{
				items("job_queue:account_closure", "gone", "{broken", ""), text("job_data:b", "[1]"), text("job_data:c", `{"task_name":"account_closure"}`),
				text("closure_state:nobody", "{}"),
				{Key: "job_retry:account_closure", Unread: "it is larger"},
			},
		},
		{
			name: "TwoBanksAreUnclear", raws: []legacy.Raw{text("job_data:j1", job("PENDING", `{"ach_relationship_id":"`+bank+`"}`)), text("closure_state:"+account, `{"phase":"withdrawal","ach_relationship_id":"`+bank2+`","initiated_at":"2026-11-15T09:00:00+00:00"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Bank: bank2, Says: "closure_state withdrawal, job pending", Began: "2026-11-15T09:00:00Z", Latest: "2026-11-16T10:00:00Z", Unclear: []string{"its records name two banks"}}},
		},
		{
			name: "ABankThatIsNoneIsUnclear", raws: []legacy.Raw{text("closure_state:"+account, `{"phase":"settlement","ach_relationship_id":"my bank"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Says: "closure_state settlement", Unclear: []string{"closure_state names a bank that is no ACH relationship's id"}}},
		},
		{
			name: "TwoUsersAreNone", raws: []legacy.Raw{text("job_data:j1", job("PENDING", `{"user_id":"u","email":"nobody"}`)), text("closure_state:"+account, `{"phase":"starting","user_id":"v"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Says: "closure_state starting, job pending", Began: "2026-11-16T10:00:00Z", Latest: "2026-11-16T10:00:00Z"}},
		},
		{
			name: "ARecordOfAnotherAccountIsUnclear", raws: []legacy.Raw{text("closure_state:"+account, `{"phase":"starting","account_id":"`+other+`"}`)},
			want: map[string]told{account: {Unclear: []string{"closure_state is named after this account and speaks of another"}}},
		},
		{
			name: "Payouts",
			raws: []legacy.Raw{
				text("closure_state:"+strings.ToUpper(account), `{"phase":"withdrawal_24hr_wait"}`),
				text("withdrawal_state:"+account, `{"phase":"completed","started_at":"2026-11-17 08:00:00","transfers_completed":[{"transfer_id":"t1","amount":1,"initiated_at":"2026-11-18T08:00:00"},"t2",7,null],"last_transfer_id":"t2"}`),
				text("partial_withdrawal:"+account, `{"transfer_id":"t3"}`),
				{Key: "active_task:" + account, Hash: map[string]string{"status": "running", "created_at": "2026-11-19T00:00:00"}},
			},
			want: map[string]told{account: {Stands: legacy.Open, Says: "active_task running, closure_state withdrawal_24hr_wait, partial_withdrawal, withdrawal_state completed", Working: true, Began: "2026-11-17T08:00:00Z", Latest: "2026-11-19T00:00:00Z", Transfers: []string{"t3", "t1", "t2"}}},
		},
		{
			name: "WhatIsUnderWayOutweighsAnOlderJob", raws: []legacy.Raw{text("job_data:j1", job("COMPLETED", `{}`)), text("closure_state:"+account, `{"phase":"withdrawal","initiated_at":"2026-11-18T09:00:00"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Says: "closure_state withdrawal, job completed", Began: "2026-11-18T09:00:00Z", Latest: "2026-11-18T09:00:00Z"}},
		},
		{name: "KeysOfOthers", raws: []legacy.Raw{text("asynq:{account_closure}:pending", "x"), text("session_state:"+account, "{}")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			found := legacy.Parse(tc.raws)
			got := map[string]told{}
			for _, a := range found.Accounts {
				got[a.ID] = short(a)
			}
			if tc.want == nil {
				tc.want = map[string]told{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if found.Others != tc.others || len(found.Lost) != len(tc.lost) {
				t.Errorf("%d others, lost %q", found.Others, found.Lost)
			}
			for _, part := range tc.lost {
				if !slices.ContainsFunc(found.Lost, func(l string) bool { return strings.Contains(l, part) }) {
					t.Errorf("nothing of %q is in %q", part, found.Lost)
				}
			}
		})
	}
}

// Each word of the specification and of the running system has its meaning, whatever its case; no other has one.
func TestWords(t *testing.T) {
	t.Parallel()
	for stands, all := range map[legacy.Stands]string{
		legacy.Open: "PENDING PROCESSING RETRYING FAILED DEAD initiated canceling_orders liquidating_positions waiting_settlement withdrawing_funds " +
			"partial_withdrawal_waiting closing_account failed liquidating waiting_transfer starting liquidation settlement withdrawal withdrawal_waiting withdrawal_24hr_wait " +
			"withdrawal_resuming withdrawal_complete transfer_completion final_closure background_process_failed background_task_failed in_progress pending_closure",
		legacy.Done:      "completed COMPLETED updating_final_status closed",
		legacy.Telling:   "sending_completion_email",
		legacy.Withdrawn: "cancelled canceled CANCELLED cancelled_by_user",
		legacy.Strange:   "submitted approved dancing wiþ {}",
		legacy.Silent:    "unknown",
	} {
		for w := range strings.FieldsSeq(all) {
			for _, spelled := range []string{w, strings.ToUpper(w), " " + w + " "} {
				found := legacy.Parse([]legacy.Raw{text("closure_state:"+account, fmt.Sprintf(`{"phase":%q}`, spelled))})
				if got := found.Accounts[0].Stands(); got != stands {
					t.Errorf("%q stands %d, want %d", spelled, got, stands)
				}
			}
		}
	}
}

// Keys of every type are read, those that are too large are named, and nothing is written.
func TestRead(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	for n := range 2500 {
		_, _ = m.Push("job_queue:account_closure", fmt.Sprintf("j%d", n))
		_ = m.Set(fmt.Sprintf("asynq:{q}:t:%d", n), "x")
	}
	m.HSet("job_data:j0", "status", "PENDING", "junk", strings.Repeat("x", 1<<20))
	m.HSet("job_data:j1", "status", strings.Repeat("x", 1<<20))
	_ = m.Set("job_data:j2", strings.Repeat("x", 1<<20))
	_, _ = m.ZAdd("job_retry:q", 1, "j3")
	_, _ = m.SAdd("job_queue:set", "j4")
	_ = m.Set("closure_state:"+account, `{"phase":"starting"}`)
	dump := m.Dump()

	raws, err := legacy.Read(t.Context(), rdb)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]legacy.Raw{}
	for _, r := range raws {
		byKey[r.Key] = r
	}
	if len(byKey) != 7 || len(raws) != 7 {
		t.Errorf("%d keys, %d readings", len(byKey), len(raws))
	}
	if n := len(byKey["job_queue:account_closure"].Items); n != 2500 {
		t.Errorf("%d items", n)
	}
	if diff := cmp.Diff(map[string]string{"status": "PENDING"}, byKey["job_data:j0"].Hash); diff != "" {
		t.Error(diff)
	}
	for _, key := range []string{"job_data:j1", "job_data:j2", "job_queue:set"} {
		if r := byKey[key]; r.Unread == "" || r.Text != "" || r.Hash != nil || r.Items != nil {
			t.Errorf("%s: %q, %d bytes", key, r.Unread, len(r.Text))
		}
	}
	if m.Dump() != dump {
		t.Error("something was written")
	}
	for _, tc := range []struct {
		change func()
		moved  bool
	}{
		{func() {}, false},
		{func() { _ = m.Set("closure_state:"+other, "{}") }, false},
		{func() { _ = m.Set("closure_state:"+account, `{"phase":"settlement"}`) }, true},
		{func() { m.Del("closure_state:" + account) }, false}, // it has expired
	} {
		tc.change()
		if moved, err := legacy.Moved(t.Context(), rdb, account, raws); err != nil || moved != tc.moved {
			t.Errorf("moved %v %v, want %v", moved, err, tc.moved)
		}
	}
	m.Close()
	if _, err := legacy.Read(context.Background(), rdb); err == nil {
		t.Error("a Redis that is gone was read")
	}
}
