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
			want: map[string]told{account: {Stands: legacy.Open, Working: true, Bank: bank, Confirmation: "CLA-20261116100000-0000aa", Says: "job pending", User: "u", Email: "ann@example.com", Began: "2026-11-16T10:00:00Z", Latest: "2026-11-16T10:00:00Z"}},
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
			name: "JobsOfOtherKindsCloseNothing", others: 5,
			raws: []legacy.Raw{
				text("job_data:o", `{"task_name":"send_account_closure_email","status":"COMPLETED","kwargs":{"account_id":"`+account+`"}}`),
				text("job_data:p", `{"task_name":"cancel_account_closure","status":"CANCELLED","kwargs":{"account_id":"`+account+`"}}`),
				text("job_data:m", `{"task_name":"send_email","queue_name":"account_closure","kwargs":{"account_id":"`+account+`"}}`),
				text("job_data:n", `{"queue_name":"notifications","kwargs":{"account_id":"`+account+`"}}`),
				items("job_queue:notifications", "gone"),
			},
		},
		{
			name: "WhatIsLostIsNamed", lost: []string{
				"the job at item 0 of job_queue:account_closure: its data is gone", "the job at key 1 of job_data:*, sorted: its data can't be read: it is no JSON object", "the job at key 2 of job_data:*, sorted names no account",
				"item 1 of job_queue:account_closure is neither a job nor a job's id", "item 2 of job_queue:account_closure is neither", "key 1 of closure_state:*, sorted names no account", "job_retry:account_closure: it is larger",
			},
			raws: []legacy.Raw{
				items("job_queue:account_closure", "gone", "{broken", ""), text("job_data:b", "[1]"), text("job_data:c", `{"task_name":"account_closure"}`),
				text("closure_state:nobody", "{}"),
				{Key: "job_retry:account_closure", Unread: "it is larger"},
			},
		},
		{
			name: "TwoBanksAreUnclear", raws: []legacy.Raw{text("job_data:j1", job("PENDING", `{"ach_relationship_id":"`+bank+`"}`)), text("closure_state:"+account, `{"phase":"withdrawal","ach_relationship_id":"`+bank2+`","initiated_at":"2026-11-15T09:00:00+00:00"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Working: true, Bank: bank2, Says: "closure_state withdrawal, job pending", Began: "2026-11-15T09:00:00Z", Latest: "2026-11-16T10:00:00Z", Unclear: []string{"its records name two banks"}}},
		},
		{
			name: "ABankThatIsNoneIsUnclear", raws: []legacy.Raw{text("closure_state:"+account, `{"phase":"settlement","ach_relationship_id":"my bank"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Working: true, Says: "closure_state settlement", Unclear: []string{"closure_state names a bank that is no ACH relationship's id"}}},
		},
		{
			name: "TwoUsersAreNone", raws: []legacy.Raw{text("job_data:j1", job("PENDING", `{"user_id":"u","email":"nobody"}`)), text("closure_state:"+account, `{"phase":"starting","user_id":"v"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Working: true, Says: "closure_state starting, job pending", Began: "2026-11-16T10:00:00Z", Latest: "2026-11-16T10:00:00Z"}},
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
			want: map[string]told{account: {Stands: legacy.Open, Working: true, Says: "closure_state withdrawal, job completed", Began: "2026-11-18T09:00:00Z", Latest: "2026-11-18T09:00:00Z"}},
		},
		{
			name: "AJobOfAKindThatMayUndoAClosingIsUnclear", raws: []legacy.Raw{text("job_data:17", `{"task_name":"cancel_account_closure","status":"PENDING","kwargs":{"account_id":"`+account+`"}}`)},
			want: map[string]told{account: {Unclear: []string{"a job of a kind that is not known may have to do with its closing: job_data:17"}}},
		},
		{
			name: "JobsThatNameTwoAccountsAreLost", lost: []string{"job 1 names more than one account: " + account + ", " + other, "job 2 is there twice, and names different accounts"},
			raws: []legacy.Raw{
				text("job_data:1", `{"task_name":"utils.automated_account_closure","args":["`+other+`"],"kwargs":{"account_id":"`+account+`"}}`),
				items("job_queue:account_closure", `{"id":2,"task_name":"automated_account_closure","args":["`+account+`"]}`, `{"id":2,"task_name":"automated_account_closure","args":["`+other+`"]}`),
			},
		},
		{
			name: "AWordThatIsNotKnownIsNotPassedOn", raws: []legacy.Raw{text("closure_state:"+account, `{"phase":"512-88-7741","updated_at":"2026-11-18T09:00:00"}`)},
			want: map[string]told{account: {Stands: legacy.Strange, Says: "closure_state (a word that is not known)", Working: true, Latest: "2026-11-18T09:00:00Z"}},
		},
		{
			name: "PayoutsThatCanNotBeReadAreUnclear", raws: []legacy.Raw{text("closure_state:"+account, `{"phase":"failed"}`), text("withdrawal_state:"+account, `{"phase":"failed","transfers_completed":"[{"}`)},
			want: map[string]told{account: {Stands: legacy.Open, Says: "closure_state failed, withdrawal_state failed", Unclear: []string{"withdrawal_state names its payouts in a form that can't be read"}}},
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

// Nothing that may be a person's is passed on where it may be shown: whatever a field, an item or a key holds, only where it lies is told.
func TestNothingForeignIsShown(t *testing.T) {
	t.Parallel()
	planted := []string{"Zebulona Quattlebaum", "zebulona", "zq@planted.example", "440011229988", "512-88-7741", "512887741", "+15550104477", "77-Wyvern-Hollow"}
	for _, p := range planted {
		raws := []legacy.Raw{
			items("job_queue:account_closure", p, `"`+p+`"`, `{"name":"`+p+`","task_name":"account_closure"}`, `{"id":"`+p+`","task_name":"account_closure"}`, "{"+p, `{"id":"5","task_name":"`+p+`","args":["`+p+`"]}`),
			items("job_retry:"+p, p),
			{Key: "job_dead_letter:" + p, Unread: "a set is none of the earlier system's types"},
			text("job_data:"+p, p), text("closure_state:"+p, p), text("active_task:"+p, "{}"), text("withdrawal_state:"+other, p),
			{Key: "job_data:" + p + "2", Hash: map[string]string{"task_name": "account_closure_" + p, "kwargs": `{"account_id":"` + other + `"}`, "status": p, "queue_name": p}},
		}
		for _, prefix := range []string{"closure_state:", "withdrawal_state:", "partial_withdrawal:", "active_task:"} {
			f := map[string]string{}
			for _, name := range []string{
				"phase", "status", "current_step", "ach_relationship_id", "relationship_id", "confirmation_number", "initiated_at", "updated_at", "started_at", "created_at", "next_action_time",
				"transfers_completed", "last_transfer_id", "transfer_id", "last_withdrawal_at", "account_id",
			} {
				f[name] = p
			}
			raws = append(raws, legacy.Raw{Key: prefix + account, Hash: f})
			delete(f, "account_id")
			raws = append(raws, legacy.Raw{Key: prefix + strings.ToUpper(account), Hash: f})
		}
		for _, status := range []string{p, "PENDING"} {
			kwargs := `{"account_id":"` + account + `","ach_relationship_id":"` + p + `","confirmation_number":"` + p + `","initiated_at":"` + p + `","alpaca_account_id":"` + p + `"}`
			raws = append(raws, text("job_data:"+status, `{"task_name":"x.account_closure","queue_name":"`+p+`","kwargs":`+kwargs+`,"status":"`+status+`","created_at":"`+p+`","error_message":"`+p+`"}`))
		}
		found := legacy.Parse(raws)
		shown := slices.Clone(found.Lost)
		for _, a := range found.Accounts {
			by, _ := a.Working()
			shown = append(shown, append(a.Unclear, a.ID, a.Bank, a.Confirmation, a.Says(), by)...)
		}
		if len(found.Lost) < 6 || len(found.Accounts) != 2 || len(found.Accounts[0].Unclear) == 0 {
			t.Fatalf("%q: the test sows too little: %q, %d accounts", p, found.Lost, len(found.Accounts))
		}
		for _, s := range shown {
			if strings.Contains(strings.ToLower(s), strings.ToLower(p)) {
				t.Errorf("%q is shown: %s", p, s)
			}
		}
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

// While the earlier system runs, it is at work on what it will take up or go on with by itself; after these words on nothing.
func TestWorking(t *testing.T) {
	t.Parallel()
	resting := []string{"failed", "dead", "background_process_failed", "background_task_failed", "completed", "closed", "cancelled", "canceled", "FAILED"}
	going := []string{
		"withdrawal_waiting", "withdrawal_24hr_wait", "withdrawal_resuming", "withdrawal_complete", "transfer_completion", "final_closure", "settlement", "waiting_settlement", "starting",
		"initiated", "liquidation", "withdrawal", "sending_completion_email", "updating_final_status", "pending", "processing", "retrying", "a word", "",
	}
	works := func(raws ...legacy.Raw) bool {
		a := legacy.Parse(raws).Accounts[0]
		_, working := a.Working()
		return working
	}
	for _, w := range slices.Concat(resting, going) {
		state := fmt.Sprintf(`{"phase":%q}`, w)
		if got, want := works(text("closure_state:"+account, state)), slices.Contains(going, w); got != want {
			t.Errorf("%q: working %v", w, got)
		}
		waits := fmt.Sprintf(`{"phase":%q,"next_action_time":"2026-11-18T09:00:00"}`, w)
		if !works(text("closure_state:"+account, waits)) {
			t.Errorf("%q with a next action is at rest", w)
		}
		never := fmt.Sprintf(`{"phase":%q,"next_action_time":null}`, w)
		if got, want := works(text("closure_state:"+account, never)), slices.Contains(going, w); got != want {
			t.Errorf("%q without a next action: working %v", w, got)
		}
	}
	if !works(legacy.Raw{Key: "closure_state:" + account, Hash: map[string]string{"phase": "failed", "next_action_time": "1763287200.5"}}) {
		t.Error("a hash with a next action is at rest")
	}
	dead := text("job_data:1", `{"task_name":"automated_account_closure","args":["`+account+`"],"status":"DEAD"}`)
	for place, want := range map[string]bool{"job_dead_letter:q": false, "job_queue:q": true, "job_retry:q": true, "job_processing:q": true} {
		if got := works(dead, items(place, "1")); got != want {
			t.Errorf("a dead job in %s: working %v", place, got)
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
	_, _ = m.Push("job_queue:account_closure", `{"id":"77","task_name":"automated_account_closure","args":["`+strings.ToUpper(account)+`"],"status":"PENDING"}`)
	m.HSet("closure_state:"+other, "phase", "withdrawal_waiting", "next_action_time", "2026-11-18T09:00:00")
	dump := m.Dump()

	raws, err := legacy.Read(t.Context(), rdb)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]legacy.Raw{}
	for _, r := range raws {
		byKey[r.Key] = r
	}
	if len(byKey) != 8 || len(raws) != 8 {
		t.Errorf("%d keys, %d readings", len(byKey), len(raws))
	}
	if n := len(byKey["job_queue:account_closure"].Items); n != 2501 {
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
	found := legacy.Parse(raws)
	a := found.Accounts[0]
	if _, waits := found.Accounts[1].Working(); a.ID != account || !waits {
		t.Fatalf("%+v", found.Accounts)
	}
	for n, tc := range []struct {
		change func()
		moved  bool
	}{
		{func() {}, false},
		{func() { _ = m.Set("closure_state:"+other, "{}") }, false},
		{func() { _ = m.Set("closure_state:"+account, `{"phase":"settlement"}`) }, true},
		{func() { m.Del("closure_state:" + account) }, false}, // it has expired
		{func() { m.HSet("active_task:"+account, "status", "running") }, true},
		{func() { m.Del("active_task:" + account); _ = m.Set("withdrawal_state:"+strings.ToUpper(account), "{}") }, true},
		{func() {
			m.Del("withdrawal_state:" + strings.ToUpper(account))
			m.HSet("job_data:77", "status", "PROCESSING")
		}, true},
		{func() { m.Del("job_data:77"); _ = m.Set("partial_withdrawal:"+account, "{}") }, true},
	} {
		tc.change()
		if moved, err := legacy.Moved(t.Context(), rdb, a); err != nil || moved != tc.moved {
			t.Errorf("%d: moved %v %v, want %v", n, moved, err, tc.moved)
		}
	}
	raws, err = legacy.Read(t.Context(), rdb)
	if err != nil {
		t.Fatal(err)
	}
	if now := legacy.Parse(raws).Accounts; !now[0].Since(a) || a.Since(a) {
		t.Errorf("a record has appeared, and before and after are %+v and %+v", a.Records, now[0].Records)
	}
	m.Close()
	if _, err := legacy.Read(context.Background(), rdb); err == nil {
		t.Error("a Redis that is gone was read")
	}
}
