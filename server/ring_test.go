package server_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca/sim"
	"closeout/server"
)

// key makes one in the bench's ledger.
func (b *bench) key(name string, scopes ...server.Scope) string {
	b.tb.Helper()
	secret, k, err := server.MakeKey(b.ledger.Environment(), name, scopes, "test")
	must(b.tb, err)
	_, err = b.ledger.CreateKey(b.tb.Context(), k)
	must(b.tb, err)
	return secret
}

func TestAKeyOfTheLedgersLetsIn(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	shop := b.key("web", server.ScopeRead, server.ScopeWrite)
	if !strings.HasPrefix(shop, "co_sandbox_") || len(shop) < 60 {
		t.Errorf("the secret is %s", shop)
	}
	if a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "X-API-Key", shop); a.status != http.StatusAccepted {
		t.Fatalf("answered %d %s", a.status, a.text)
	}
	c, err := b.ledger.OfAccount(t.Context(), id)
	must(t, err)
	if c.Actor != "api:web" {
		t.Errorf("the actor is %s", c.Actor)
	}
	b.do("GET", "/api/account-closure/progress/"+id, "", "X-API-Key", shop+"X").problem(401, "wrong_key")
	b.do("GET", "/api/account-closure/progress/"+id, "", "X-API-Key", "co_sandbox_").problem(401, "wrong_key")
	if log := b.log.String(); strings.Contains(log, shop) {
		t.Errorf("the log shows the secret: %s", log)
	}
	for _, wrong := range []string{"", "a b", "9a", strings.Repeat("a", 33)} {
		if _, _, err := server.MakeKey("sandbox", wrong, nil, ""); err == nil {
			t.Errorf("a key of the name %q", wrong)
		}
	}
}

// TestScopes: what each scope may do, and what it is told of the rest.
func TestScopes(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	initiate := [3]string{"POST", "/api/account-closure/initiate/" + id, wish(bank)}
	progress := [3]string{"GET", "/api/account-closure/progress/" + id}
	nothing := [3]string{"GET", "/api/nothing"}
	secrets := map[server.Scope]string{}
	for name, scope := range map[string]server.Scope{"none": "", "reader": server.ScopeRead, "writer": server.ScopeWrite, "ann": server.ScopeOperate} {
		secrets[scope] = b.key(name, scope)
	}
	for _, tc := range []struct {
		scope  server.Scope
		ask    [3]string
		status int
		lacks  server.Scope
	}{
		{"", progress, 403, server.ScopeRead},
		{"", nothing, 404, ""},
		{server.ScopeRead, initiate, 403, server.ScopeWrite},
		{server.ScopeRead, progress, 404, ""}, // there is none
		{server.ScopeWrite, progress, 403, server.ScopeRead},
		{server.ScopeWrite, initiate, 202, ""},
		{server.ScopeOperate, initiate, 200, ""},
		{server.ScopeOperate, progress, 200, ""},
	} {
		a := b.do(tc.ask[0], tc.ask[1], tc.ask[2], "X-API-Key", secrets[tc.scope])
		if a.status != tc.status {
			t.Errorf("%q asks %v: %d %s", tc.scope, tc.ask[:2], a.status, a.text)
		}
		if tc.lacks != "" {
			if p := a.problem(403, "scope_missing"); !strings.Contains(p.Detail, string(tc.lacks)) || p.Hint == "" {
				t.Errorf("%q asks %v: %+v", tc.scope, tc.ask[:2], p)
			}
			if tc.ask == initiate {
				b.untouched(id)
			}
		}
	}
}

// TestARevokedKeyEnds within seconds, and says so.
func TestARevokedKeyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		secret := b.key("shop2", server.ScopeOperate)
		ask := func() answer { return b.do("GET", "/api/nothing", "", "X-API-Key", secret) }
		ask().problem(404, "route_not_found")
		must(t, b.ledger.RevokeKey(t.Context(), "shop2"))
		time.Sleep(server.KeysKnown)
		if p := ask().problem(401, "key_revoked"); !strings.Contains(p.Detail, "shop2") {
			t.Errorf("%+v", p)
		}

		// Its name is free, and a new key works a second after the keys were read.
		next := b.key("shop2", server.ScopeOperate)
		time.Sleep(time.Second)
		b.do("GET", "/api/nothing", "", "X-API-Key", next).problem(404, "route_not_found")
		ask().problem(401, "key_revoked")
	})
}

// TestKeysWithoutALedger: a known key works for as long as a revoked one would; then nobody can tell. Those of the settings
// need no ledger.
func TestKeysWithoutALedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ask := func(secret string) answer { return b.do("GET", "/api/nothing", "", "X-API-Key", secret) }
		shop := b.key("web", server.ScopeRead)
		ask(shop).problem(404, "route_not_found")
		must(t, b.ledger.Close())
		ask(shop).problem(404, "route_not_found")
		time.Sleep(server.KeysKnown)
		ask(shop).problem(503, "ledger_unavailable")
		ask("co_sandbox_unknown").problem(503, "ledger_unavailable")
		ask("unknown").problem(401, "wrong_key")
		ask(secret).problem(404, "route_not_found")
	})
}

// TestTheLastUseIsNoted beside the request, and not for each.
func TestTheLastUseIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		shop := b.key("web", server.ScopeRead)
		last := func() time.Time {
			t.Helper()
			synctest.Wait()
			all, err := b.ledger.APIKeys(t.Context())
			must(t, err)
			return all[0].LastUsedAt
		}
		if !last().IsZero() {
			t.Error("used before it was")
		}
		first := time.Now().UTC().Truncate(time.Microsecond)
		for range 3 {
			b.do("GET", "/api/nothing", "", "X-API-Key", shop)
			time.Sleep(time.Second)
		}
		if got := last(); !got.Equal(first) {
			t.Errorf("noted %s, want %s", got, first)
		}
		time.Sleep(time.Minute)
		b.do("GET", "/api/nothing", "", "X-API-Key", shop+"x")
		if got := last(); !got.Equal(first) {
			t.Error("a wrong key's use was noted")
		}
		b.do("GET", "/api/nothing", "", "X-API-Key", shop)
		if got := last(); got.Sub(first) < time.Minute {
			t.Errorf("noted %s", got)
		}
	})
}
