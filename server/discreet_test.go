package server_test

import (
	"strings"
	"testing"

	"closeout/closure"
	"closeout/server"
)

// What an operator says of a closure is for operators: a key that only reads, or only initiates, never sees it, wherever it
// looks.
func TestOperatorsWordsAreForOperators(t *testing.T) {
	k := newCase(t, "")
	readOnly := k.key("reader", server.ScopeRead, server.ScopeWrite)
	at := "/" + k.account
	seen := func(key string) (out []string) {
		for _, path := range []string{
			"/api/account-closure/progress" + at, "/api/account-closure", "/api/account-closure/case-file" + at,
			"/api/job-status/" + k.c.ID, "/account-closure/status" + at, "/account-closure/task-status" + at,
		} {
			a := k.do("GET", path, "", "X-API-Key", key)
			if a.status != 200 {
				t.Fatalf("%s answered %d %s", path, a.status, a.text)
			}
			if strings.Contains(a.text, "suspected fraud") {
				out = append(out, path)
			}
		}
		return out
	}
	// What everything is held for is said on each closure that waits for it.
	why := closure.Reasons[closure.ServiceHeld].Title + ": suspected fraud"
	c, err := k.ledger.Get(t.Context(), k.c.ID)
	if err == nil {
		_, err = k.ledger.Save(t.Context(), c, closure.Looked(c.UpdatedAt, closure.Park(0, closure.ServiceHeld, why), closure.Look{}, nil), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if paths := seen(readOnly); len(paths) > 0 {
		t.Errorf("while everything is held a reader sees the words at %s", strings.Join(paths, ", "))
	}
	if paths := seen(secret); len(paths) == 0 {
		t.Error("while everything is held not even an operator sees the words")
	}
	for _, command := range []string{"pause", "resume", "cancel"} {
		if a := k.do("POST", "/api/account-closure/"+command+at, `{"reason":"suspected fraud"}`); a.status != 200 {
			t.Fatalf("%s answered %d %s", command, a.status, a.text)
		}
		if paths := seen(readOnly); len(paths) > 0 {
			t.Errorf("after %s a reader sees the words at %s", command, strings.Join(paths, ", "))
		}
		if paths := seen(secret); len(paths) == 0 {
			t.Errorf("after %s not even an operator sees the words", command)
		}
	}
}
