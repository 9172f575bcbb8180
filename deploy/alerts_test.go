package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"closeout/closure"
)

const rulesFile = "alerts/closeout.rules.yml"

// rule is an alert as Prometheus reads it; decoding is strict, so that a field that Prometheus would refuse is refused here.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readRules(t *testing.T) (out []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	readYAML(t, rulesFile, &file)
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("there are no rules")
	}
	return out
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalWithOptions(text, into, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// promtool runs Prometheus's own tool. It is missing only where scripts/need.sh did not run.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing, without which nobody knows whether Prometheus takes this: scripts/need.sh installs it, or says how")
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusTakesTheRules(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs promtool, and a quarter of a minute")
	}
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rulesFile)
	promtool(t, "check", "config", "prometheus.yml")
	promtool(t, append([]string{"test", "rules"}, ruleTests(t)...)...)
}

func ruleTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("alerts/*.rules.test.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests of rules: %v", err)
	}
	return files
}

// inAnnotation finds the labels that an annotation names.
var inAnnotation = regexp.MustCompile(`\$labels\.(\w+)`)

func TestEachAlertSaysWhatItMeans(t *testing.T) {
	t.Parallel()
	known := readNames(t)
	seen := map[string]bool{}
	for _, r := range readRules(t) {
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Closeout") {
			t.Errorf("%s: its name is taken, or does not begin with Closeout", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "page" && s != "ticket" || len(r.Labels) != 1 {
			t.Errorf("%s: its labels are %v; wanted is a severity, page or ticket, and nothing else", r.Alert, r.Labels)
		}
		if want := "docs/RUNBOOK.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: its runbook is %q, not %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 40 || len(r.Annotations) != 3 {
			t.Errorf("%s: wanted are a summary, a description and the runbook, and nothing else", r.Alert)
		}
		q, err := parse(r.Expr)
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		for _, wrong := range known.check(q) {
			t.Errorf("%s: %s", r.Alert, wrong)
		}
		for _, text := range r.Annotations {
			for _, m := range inAnnotation.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(q.groups, m[1]) {
					t.Errorf("%s: it tells of the label %s, by which nothing is grouped", r.Alert, m[1])
				}
			}
		}
	}
}

// An operator is reminded of every failure that is theirs to mend, whatever reasons come and go.
func TestTheForgottenAreThoseOfAnOperator(t *testing.T) {
	t.Parallel()
	for _, r := range readRules(t) {
		if r.Alert != "CloseoutStoppedForgotten" {
			continue
		}
		q, err := parse(r.Expr)
		if err != nil || len(q.selectors) != 2 || len(q.selectors[0].matchers) != 2 || q.selectors[0].matchers[1].op != "!~" || len(q.selectors[1].matchers) != 0 {
			t.Fatalf("wanted is what an operator must act on, and then, later, everything: %v, %+v", err, q)
		}
		out := strings.Split(q.selectors[0].matchers[1].value, "|")
		for reason, info := range closure.Reasons {
			if theirs := info.Hint == "" || strings.Contains(info.Hint, "by itself"); theirs {
				continue // it does not stop
			}
			if is, want := slices.Contains(out, string(reason)), info.Who != closure.Operator; is != want {
				t.Errorf("%s, for which the %s must act, is left out: %v", reason, info.Who, is)
			}
		}
		return
	}
	t.Fatal("the alert is gone")
}

// Each alert fires in one of promtool's tests and is silent in one, on series that the code shows.
func TestEachAlertIsTested(t *testing.T) {
	t.Parallel()
	known := readNames(t)
	fires, silent := map[string]bool{}, map[string]bool{}
	about := regexp.MustCompile(`^ALERTS\{(?:alertname="(\w+)",)?alertstate="firing"\}$`)
	for _, path := range ruleTests(t) {
		var file struct {
			Rules []string `yaml:"rule_files"`
			Every string   `yaml:"evaluation_interval"`
			Tests []struct {
				Name     string `yaml:"name"`
				Interval string `yaml:"interval"`
				Input    []struct {
					Series string `yaml:"series"`
					Values string `yaml:"values"`
				} `yaml:"input_series"`
				Exprs []struct {
					Expr    string `yaml:"expr"`
					At      string `yaml:"eval_time"`
					Samples []struct {
						Labels string  `yaml:"labels"`
						Value  float64 `yaml:"value"`
					} `yaml:"exp_samples"`
				} `yaml:"promql_expr_test"`
			} `yaml:"tests"`
		}
		readYAML(t, path, &file)
		for _, test := range file.Tests {
			for _, in := range test.Input {
				q, err := parse(in.Series)
				if err != nil {
					t.Errorf("%s: %v", test.Name, err)
				}
				wrong := known.check(q)
				for _, s := range q.selectors { // a series of the code has each of its labels
					for _, l := range known[s.name] {
						if !slices.ContainsFunc(s.matchers, func(m matcher) bool { return m.label == l }) {
							wrong = append(wrong, s.name+" is given without its label "+l)
						}
					}
				}
				for _, w := range wrong {
					t.Errorf("%s: %s", test.Name, w)
				}
			}
			for _, e := range test.Exprs {
				m := about.FindStringSubmatch(e.Expr)
				switch {
				case m == nil:
					t.Errorf("%s: %s asks for something else than alerts that fire", test.Name, e.Expr)
				case len(e.Samples) > 0:
					fires[m[1]] = true
				default:
					silent[m[1]] = true
				}
			}
		}
	}
	if !silent[""] {
		t.Error("no test shows that nothing at all fires while all is well")
	}
	for _, r := range readRules(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: it is made to fire %v, to stay silent %v", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}
