package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"closeout/closure"
	"closeout/ledger"
)

// TestKeys makes, lists and revokes as an operator does. Only the one who made a key has seen its secret.
func TestKeys(t *testing.T) {
	db := filepath.Join(t.TempDir(), "ledger.db")
	t.Setenv("CLOSEOUT_DATABASE_URL", "sqlite:"+db)
	keys := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), append([]string{"keys"}, args...), &out, &errs); got != want {
			t.Fatalf("keys %v: status %d, want %d\n%s%s", args, got, want, &out, &errs)
		}
		return out.String(), errs.String()
	}
	shop, said := keys(0, "create", "shop")
	secret := strings.TrimSuffix(shop, "\n")
	if !strings.HasPrefix(secret, "co_sandbox_") || strings.ContainsAny(secret, " \n") || strings.Contains(said, secret) || !strings.Contains(said, "closures:read, closures:write") {
		t.Errorf("printed %q and %q", shop, said)
	}
	ops, _ := keys(0, "create", "ops", "--scope", "closures:read", "--scope", "operate")
	live, _ := keys(0, "create", "shop", "--environment", "live")
	if !strings.HasPrefix(live, "co_live_") {
		t.Errorf("printed %q", live)
	}
	if _, said := keys(1, "create", "shop"); !strings.Contains(said, "revoke it first") {
		t.Errorf("twice: %s", said)
	}
	keys(2, "create", "x", "--scope", "everything")
	keys(1, "create", "two words")

	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + db, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := l.APIKeys(t.Context())
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256([]byte(secret))
	if err != nil || len(all) != 2 || all[0].Name != "shop" || all[0].Hash != hex.EncodeToString(sum[:]) || !strings.HasPrefix(all[0].CreatedBy, "cli:") ||
		!slices.Equal(all[1].Scopes, []string{"closures:read", "operate"}) {
		t.Errorf("the ledger has %+v, %v", all, err)
	}

	keys(0, "revoke", "shop")
	if _, said := keys(1, "revoke", "shop"); !strings.Contains(said, "no living sandbox key") {
		t.Errorf("revoked twice: %s", said)
	}
	list, _ := keys(0, "list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "ops") || !strings.Contains(lines[1], "never") || !strings.Contains(lines[2], "shop") {
		t.Errorf("the list:\n%s", list)
	}
	files, err := filepath.Glob(db + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte(strings.TrimSpace(ops))) {
			t.Errorf("%s has a secret", filepath.Base(file))
		}
	}
	if strings.Contains(list, secret) {
		t.Error("the list shows a secret")
	}
}
