package checks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// onceKubectl answers as Kubernetes does of a Job whose pod begins, loses its log's connection and ends with 3.
const onceKubectl = `case "$*" in
*" get jobs "*) ;;
*" delete jobs "* | *" logs "*) echo what it said ;;
*" create -f -") cat >"$CALLS.created" ;;
*status.phase*) n=$(cat "$CALLS.asked" 2>/dev/null || echo 0); echo $((n + 1)) >"$CALLS.asked"
	case $n in 0) exit 1 ;; 1) echo Pending ;; 2 | 3) echo Running ;; *) echo Failed ;; esac ;;
*exitCode*) echo 3 ;;
*) exit 254 ;;
esac`

// once.sh carries out a command word by word with the installation's values, waits for its end, and ends as it did.
func TestHelmOnce(t *testing.T) {
	t.Parallel()
	words := []string{"ledger", "reconcile", "--apply", "--reason", `restored to "14:05", disk of db\1`}
	helm := `case "$1" in get) echo "image: {tag: v1.2.3}" ;; template) echo "a job of $(cat)" ;; *) exit 254 ;; esac`
	run := func(kubectl, helm string, args ...string) (calls [][]string, status int, said string) {
		return scriptCalls(t, map[string]string{"kubectl": kubectl, "helm": helm, "sleep": ""}, "deploy/helm/once.sh", args...)
	}
	calls, status, said := run(onceKubectl, helm, append([]string{"closeout"}, words...)...)
	if status != 3 || !strings.Contains(said, "what it said") {
		t.Fatalf("it ends with %d: %s", status, said)
	}
	var once struct {
		Command []string
		By      string
	}
	given := strings.TrimPrefix(after(calls, "helm template closeout ", "--set-json"), "once=")
	if err := json.Unmarshal([]byte(given), &once); err != nil || !slices.Equal(once.Command, words) || once.By != "anna" {
		t.Errorf("it runs %+v, %v", once, err)
	}
	if only := after(calls, "helm template closeout ", "--show-only"); only != "templates/once.yaml" {
		t.Errorf("it makes a Job of %s", only)
	}
	for _, begins := range []string{"kubectl --namespace closeout create -f -", "helm get values closeout --namespace closeout --output yaml", "kubectl --namespace closeout logs "} {
		if !slices.ContainsFunc(calls, func(c []string) bool { return strings.HasPrefix(strings.Join(c, " "), begins) }) {
			t.Errorf("it never says %s: %q", begins, calls)
		}
	}
	// What it asks for is what the chart makes: it finds its own Job, and nothing else, by these labels.
	its := map[string]string{}
	for _, l := range strings.Split(after(calls, "kubectl --namespace closeout delete jobs ", "-l"), ",") {
		name, value, _ := strings.Cut(l, "=")
		its[name] = value
	}
	found := 0
	for _, doc := range rendered(t, "least", "once: "+given) {
		all := true
		for name, value := range its {
			all = all && strings.Contains(doc, "\n    "+name+": "+value+"\n")
		}
		if all && strings.Contains(doc, "kind: Job\n") {
			found++
		}
	}
	if found != 1 || len(its) != 3 {
		t.Errorf("%v are %d Jobs of the chart's", its, found)
	}

	for name, c := range map[string]struct{ kubectl, helm, says string }{
		"one runs already": {strings.Replace(onceKubectl, `*" get jobs "*)`, `*" get jobs "*) echo 1`, 1), helm, "already"},
		"it never begins":  {strings.Replace(onceKubectl, "2 | 3) echo Running", "*) echo Pending", 1), helm, "has not begun"},
		"no release":       {onceKubectl, "exit 1", ""},
		"no such value":    {onceKubectl, strings.Replace(helm, "template)", "template) exit 1;", 1), ""},
	} {
		calls, status, said := run(c.kubectl, c.helm, "closeout", "monitor", "stats")
		created := slices.ContainsFunc(calls, func(c []string) bool { return slices.Contains(c, "create") })
		if status == 0 || status == 3 || !strings.Contains(said, c.says) || created != (name == "it never begins") {
			t.Errorf("%s: it ends with %d, a Job was made: %v: %s", name, status, created, said)
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"closeout"}} {
		if calls, status, said := run(onceKubectl, helm, args...); status != 2 || len(calls) > 0 || !strings.Contains(said, "usage") {
			t.Errorf("%q: %d, %q: %s", args, status, calls, said)
		}
	}
}
