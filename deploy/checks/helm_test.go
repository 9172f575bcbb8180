package checks

import (
	"flag"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

const chartDir = root + "/deploy/helm/closeout"

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	slog.SetLogLoggerLevel(slog.LevelWarn) // it tells of the link
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chartValues reads what a person would give by -f, and what they would add to it.
func chartValues(t *testing.T, name, more string) map[string]any {
	t.Helper()
	out, over := map[string]any{}, map[string]any{}
	text, err := os.ReadFile(filepath.Join("testdata", "helm", name+".values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(more), &over); err != nil {
		t.Fatal(err)
	}
	lay(out, over)
	return out
}

// lay puts one tree of values over another, as a second -f does: null takes away.
func lay(under, over map[string]any) {
	for k, v := range over {
		if a, ok := under[k].(map[string]any); ok {
			if b, ok := v.(map[string]any); ok {
				lay(a, b)
				continue
			}
		}
		if _, there := under[k]; there && v == nil {
			delete(under, k)
			continue
		}
		under[k] = v // nil takes the chart's default away
	}
}

// renderChart does what helm template does: each file's text by its name, notes included. A value that a template names and that is not
// there is an error, unless the schema is skipped: then it is as for who skips it.
func renderChart(t *testing.T, vals map[string]any, skipSchema bool) (map[string]string, error) {
	t.Helper()
	c := loadChart(t)
	all, err := util.ToRenderValuesWithSchemaValidation(c, vals, common.ReleaseOptions{Name: "closeout", Namespace: "money", Revision: 1, IsInstall: true}, nil, skipSchema)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: !skipSchema}.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, text := range files {
		if name = strings.TrimPrefix(name, c.Name()+"/templates/"); strings.TrimSpace(text) != "" && !strings.HasPrefix(name, "_") {
			out[name] = text
		}
	}
	return out, nil
}

// manifests are the rendered documents, in the order of their files.
func manifests(files map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == "NOTES.txt" {
			continue
		}
		for doc := range strings.SplitSeq("\n"+files[name], "\n---\n") {
			if strings.TrimSpace(doc) != "" {
				out = append(out, strings.Trim(doc, "\n")+"\n")
			}
		}
	}
	return out
}

// rendered are the manifests of values that are in order.
func rendered(t *testing.T, name, more string) []string {
	t.Helper()
	files, err := renderChart(t, chartValues(t, name, more), false)
	if err != nil {
		t.Fatal(err)
	}
	return manifests(files)
}

// As helm lint --strict: a warning fails too.
func TestHelmLint(t *testing.T) {
	for _, name := range []string{"least", "full"} {
		for _, m := range lint.RunAll(chartDir, chartValues(t, name, ""), "money").Messages {
			if !strings.Contains(m.Err.Error(), "icon is recommended") {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
	if l := lint.RunAll(chartDir, chartValues(t, "least", "worker: {replicas: 0}"), "money"); l.HighestSeverity == 0 {
		t.Error("lint finds nothing wrong with no worker")
	}
}

func TestHelmRendersAsBefore(t *testing.T) {
	for _, name := range []string{"least", "full"} {
		files, err := renderChart(t, chartValues(t, name, ""), false)
		if err != nil {
			t.Fatal(err)
		}
		// The rules are looked at by TestHelmRulesAreTheAlerts, and stand once in this repository.
		docs := slices.DeleteFunc(manifests(files), func(doc string) bool { return strings.Contains(doc, "\nkind: PrometheusRule\n") })
		got := strings.Join(docs, "---\n") + "---\n# NOTES.txt\n#" + strings.ReplaceAll(strings.TrimSpace(files["NOTES.txt"]), "\n", "\n#") + "\n"
		golden := filepath.Join("testdata", "helm", name+".golden.yaml")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the chart renders otherwise than %s says: go -C deploy/checks test -run Helm -update . writes it anew; look at its diff", name, golden)
		}
	}
}

// The alerts stand once: the chart has a link, which helm follows, and renders them unread by its template engine.
func TestHelmRulesAreTheAlerts(t *testing.T) {
	type group struct {
		Name  string           `json:"name"`
		Rules []map[string]any `json:"rules"`
	}
	var rule struct {
		Spec struct {
			Groups []group `json:"groups"`
		} `json:"spec"`
	}
	for _, doc := range rendered(t, "full", `prometheusRule: {runbook: ""}`) {
		if strings.Contains(doc, "kind: PrometheusRule") {
			if err := yaml.Unmarshal([]byte(doc), &rule); err != nil {
				t.Fatal(err)
			}
		}
	}
	var alerts struct {
		Groups []group `json:"groups"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/alerts/closeout.rules.yml"), &alerts); err != nil {
		t.Fatal(err)
	}
	got, _ := yaml.Marshal(rule.Spec.Groups)
	want, _ := yaml.Marshal(alerts.Groups)
	if string(got) != string(want) || len(alerts.Groups) == 0 {
		t.Errorf("the PrometheusRule has %d groups and not the %d of deploy/alerts, or other rules", len(rule.Spec.Groups), len(alerts.Groups))
	}
	with := strings.Join(rendered(t, "full", ""), "")
	if n := strings.Count(with, "runbook_url: https://git.firm.example/closeout/blob/main/docs/RUNBOOK.md#"); n != strings.Count(string(want), "runbook_url") {
		t.Errorf("%d alerts have the runbook's address", n)
	}
}
