package simulation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guard is one of the service's precautions, and how its source reads without it.
type guard struct {
	name string
	cuts []cut
}

type cut struct{ file, from, to string }

var guards = []guard{
	{"AnAnswerOf500IsUnknown", []cut{{"handlers/door.go", "case a.Status >= 400 && a.Status < 500 && a.Status != http408:", "case a.Status >= 400 && a.Status != http408 || false:"}}},
	{"Adopt", []cut{{"handlers/books.go", "if !mine && !known && t.Outgoing()", "if false && !mine && !known && t.Outgoing()"}}},
	{"Quarantine", []cut{{"handlers/plan.go", "if !b.Asked.After(i.Deadline.Add(b.Timing.Quarantine)) {", "if !b.Asked.After(i.Deadline) {"}}},
	{"Deadline", []cut{{"handlers/door.go", "age < 0 || age >= v.Timing.ToWire {", "age < -1<<62 {"}}},
	{"Gate", []cut{{"handlers/closing.go", "if o, ok, err := v.gate(ctx, a); err != nil || !ok {", "if o, ok, err := v.gate(ctx, a); err != nil && !ok {"}}},
	{"UnknownIsNotZero", []cut{{"handlers/settlement.go", "	if err != nil {\n		return o, false, err\n	}\n	if len(orders) > 0", "	_ = err\n	if len(orders) > 0"}}},
	{"PinnedBank", []cut{
		{"handlers/withdrawal.go", "if why := v.pinned(banks); why != \"\" {", "if why := v.pinned(banks); why != \"\" && len(banks) == 0 {"},
		{"handlers/withdrawal.go", "p.Bank = v.Closure.RelationshipID", "p.Bank = banks[0].ID"},
	}},
	{"Sweep", []cut{{"handlers/sweep.go", "err := r.Queue.Schedule(ctx, c)\n	if err == nil {\n		s.Rescheduled++\n		return nil\n	}", "return nil\n	var err error"}}},
	{"SweepOfTheArchive", []cut{{"handlers/sweep.go", "case tasks.Archived:\n		return r.reissue", "case tasks.Archived:\n		return nil\n		return r.reissue"}}},
	{"QuietBase", []cut{{"handlers/plan.go", "room = closure.Cents(base.CashBefore.Decimal.Sub(b.outSince(base)).Sub(b.lostSince(base)))", "room = cash"}}},
	{"BustedTrade", []cut{{"handlers/withdrawal.go", "	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {\n		return o, err\n	}\n	banks", "	banks"}}},
	{"ClaimsCompareAndSet", []cut{
		{"ledger/visits.go", "c, err := l.still(ctx, tx, c)\n		if err != nil {\n			return err\n		}\n		if next, _, err", "c, err := l.lock(ctx, tx, c.ID)\n		if err != nil {\n			return err\n		}\n		if next, _, err"},
		{"ledger/migrations/00001_ledger.sql", "CREATE UNIQUE INDEX intents_one_sending", "CREATE INDEX intents_one_sending"},
		{"ledger/migrations/00001_ledger.sql", "CREATE UNIQUE INDEX intents_one_a_day", "CREATE INDEX intents_one_a_day"},
	}},
	{"NotRunningTakesNoClaim", []cut{{"closure/apply.go", "if c.State != Running && ch.kind != kResume && ch.kind != kCancel {", "if c.State != Running && ch.kind != kResume && ch.kind != kCancel && ch.kind != kClaim {"}, {"ledger/visits.go", "now.Token != c.Token || now.State != c.State", "now.Token != c.Token"}}},
	{"Chain", []cut{{"ledger/events.go", "h.Write([]byte(prev))", "h.Write([]byte(prev[:len(prev)/2]))"}}},
}

// Each precaution is one: without it, the simulation finds what it prevents. The shipped code has no switch for this; a
// variant of the source is compiled over it.
func TestGuards(t *testing.T) {
	want := os.Getenv("GUARDS")
	if want == "" {
		t.Skip("takes minutes of building and simulating for each: make guards")
	}
	seed := regexp.MustCompile(`seed (\d+) goes wrong:\n((?:\s+.*\n)+)`)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guards {
		if want != "all" && !strings.Contains(g.name, want) {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			out := runVariant(t, root, g.cuts)
			m := seed.FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("not missed within 200 lives:\n%s", out[max(0, len(out)-3000):])
			}
			t.Logf("missed at seed %s:\n%s", m[1], strings.TrimRight(m[2], "\n"))
		})
	}
}

func runVariant(t *testing.T, root string, cuts []cut) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, c := range cuts {
		path := filepath.Join(root, c.file)
		from := path
		if done, ok := replace[path]; ok {
			from = done
		}
		source, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(source), c.from) != 1 {
			t.Fatalf("%s: the guard does not read like this any more: %q", c.file, c.from)
		}
		to := filepath.Join(dir, strings.ReplaceAll(c.file, "/", "_"))
		if err := os.WriteFile(to, []byte(strings.Replace(string(source), c.from, c.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = to
	}
	overlay := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-overlay", overlay, "-run", "^TestSimulate$", "./internal/simulation")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GUARDS=", "SEEDS=200", "FIRST=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "all lives went well:\n" + string(out)
	}
	return string(out)
}
