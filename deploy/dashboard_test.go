package deploy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the dashboard and the runbook's quotations anew instead of comparing them")

// board is the part of a dashboard's model that this one uses; what it leaves out is Grafana's default.
type board struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	SchemaVersion int         `json:"schemaVersion"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"` // 1: one crosshair for all
	Refresh       string      `json:"refresh"`
	Time          span        `json:"time"`
	Timezone      string      `json:"timezone"`
	Templating    list        `json:"templating"`
	Annotations   list        `json:"annotations"`
	Panels        []drawPanel `json:"panels"`
}

type span struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type list struct {
	List []any `json:"list"`
}

type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type variable struct {
	Name       string  `json:"name"`
	Label      string  `json:"label"`
	Type       string  `json:"type"`
	Datasource *source `json:"datasource,omitempty"`
	Query      string  `json:"query"`
	IncludeAll bool    `json:"includeAll"`
	AllValue   string  `json:"allValue,omitempty"`
	Multi      bool    `json:"multi"`
	Refresh    int     `json:"refresh,omitempty"` // 2: with each change of the time
	Current    any     `json:"current"`
}

type annotation struct {
	Name       string `json:"name"`
	Datasource source `json:"datasource"`
	Enable     bool   `json:"enable"`
	Expr       string `json:"expr"`
	Step       string `json:"step"`
	Title      string `json:"titleFormat"`
	Color      string `json:"iconColor"`
}

type drawPanel struct {
	ID          int      `json:"id"`
	Type        string   `json:"type"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Grid        grid     `json:"gridPos"`
	Collapsed   *bool    `json:"collapsed,omitempty"`
	Inside      *[]any   `json:"panels,omitempty"` // of a row that is closed
	Datasource  *source  `json:"datasource,omitempty"`
	Fields      any      `json:"fieldConfig,omitempty"`
	Options     any      `json:"options,omitempty"`
	Targets     []target `json:"targets,omitempty"`
}

type grid struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type target struct {
	Ref        string `json:"refId"`
	Datasource source `json:"datasource"`
	Expr       string `json:"expr"`
	Legend     string `json:"legendFormat,omitempty"`
	Instant    bool   `json:"instant,omitempty"`
}

type object = map[string]any

var prometheus = source{"prometheus", "${datasource}"}

// drawn lays the rows out, 24 wide, and numbers the panels.
func drawn() board {
	b := board{
		UID: "closeout", Title: "Closeout", Tags: []string{"closeout"}, SchemaVersion: 39, Editable: true, GraphTooltip: 1, Refresh: "1m",
		Description: "Closures of accounts, from the request to the last cent. What a figure means for you stands in docs/RUNBOOK.md.",
		Time:        span{"now-24h", "now"}, Timezone: "browser",
		Templating: list{[]any{
			variable{Name: "datasource", Label: "Prometheus", Type: "datasource", Query: "prometheus", Current: object{}},
			variable{
				Name: "env", Label: "Environment", Type: "query", Datasource: &prometheus, Query: "label_values(closeout_build_info, env)",
				IncludeAll: true, AllValue: ".*", Refresh: 2, Current: object{"text": "All", "value": "$__all"},
			},
		}},
		Annotations: list{[]any{annotation{
			Name: "Deploys", Datasource: prometheus, Enable: true, Step: "60s", Title: "{{version}}", Color: "blue",
			Expr: expanded(`max by (version) (closeout_build_info{E}) unless max by (version) (closeout_build_info{E} offset 10m)`),
		}}},
	}
	id, y := 0, 0
	next := func(p drawPanel) {
		id++
		p.ID = id
		b.Panels = append(b.Panels, p)
	}
	for _, r := range dashboard {
		next(drawPanel{Type: "row", Title: r.title, Grid: grid{1, 24, 0, y}, Collapsed: new(false), Inside: &[]any{}})
		y++
		x, high := 0, 0
		for _, p := range r.panels {
			w, h := 8, 8
			if p.stat {
				w, h = 4, 4
			}
			if x+w > 24 {
				x, y, high = 0, y+high, 0
			}
			next(p.drawn(grid{h, w, x, y}))
			x, high = x+w, max(high, h)
		}
		y += high
	}
	return b
}

func (p panel) drawn(at grid) drawPanel {
	out := drawPanel{
		Type: "timeseries", Title: p.title, Description: p.says, Grid: at, Datasource: &prometheus,
		Fields: object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []any{}},
		Options: object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		},
	}
	if p.stat {
		steps := []object{{"color": "text", "value": nil}}
		if p.bad > 0 {
			steps = []object{{"color": "green", "value": nil}, {"color": "red", "value": p.bad}}
		}
		out.Type = "stat"
		out.Fields = object{"defaults": object{"unit": p.unit, "thresholds": object{"mode": "absolute", "steps": steps}}, "overrides": []any{}}
		out.Options = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area"}
	}
	for i, s := range p.shows {
		out.Targets = append(out.Targets, target{Ref: string(rune('A' + i)), Datasource: prometheus, Expr: expanded(s[0]), Legend: s[1]})
	}
	return out
}

// expanded writes the environment's matcher into each selector. Where nobody sets the label, all values match its absence.
func expanded(expr string) string {
	return strings.NewReplacer("{E", `{env=~"$env"`, "[R]", "[$__rate_interval]").Replace(expr)
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(drawn()); err != nil {
		t.Fatal(err)
	}
	const path = "grafana/closeout.json"
	if *update {
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text.String(), string(kept)); diff != "" {
		t.Errorf("%s is not what dashboard_panels_test.go says; make generate writes it (- wanted, + kept):\n%s", path, diff)
	}
}

// Read from the file as Grafana does, and not from what wrote it.
func TestTheDashboardShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana/closeout.json")
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Annotations struct {
			List []annotation `json:"list"`
		} `json:"annotations"`
		Panels []drawPanel `json:"panels"`
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	known := readNames(t)
	ids, exprs, shown := map[int]bool{}, []string{}, map[string]bool{}
	for _, a := range b.Annotations.List {
		exprs = append(exprs, a.Expr)
	}
	for _, p := range b.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%s: its id %d is another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("%s: shows nothing, or from a source that is not asked for", p.Title)
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" || q.Legend == "" {
				t.Errorf("%s: a query without a legend, or from a source that is not asked for", p.Title)
			}
			exprs = append(exprs, q.Expr)
		}
	}
	for _, e := range exprs {
		q, err := parse(e)
		if err != nil {
			t.Error(err)
		}
		for _, wrong := range known.check(q) {
			t.Errorf("%s: %s", e, wrong)
		}
		for _, s := range q.selectors {
			shown[s.name] = true
			if len(s.matchers) == 0 || s.matchers[0].label != "env" {
				t.Errorf("%s: %s is not of the chosen environment", e, s.name)
			}
		}
	}
	// What an alert looks at can be seen.
	for _, r := range readRules(t) {
		q, _ := parse(r.Expr)
		for _, s := range q.selectors {
			if !shown[s.name] {
				t.Errorf("%s looks at %s, which the dashboard does not show", r.Alert, s.name)
			}
		}
	}
	t.Logf("%d panels, %d queries, %d series", len(b.Panels), len(exprs), len(shown))

	// promtool knows PromQL, and reads it from rules.
	if testing.Short() {
		return
	}
	type recording struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []recording
	for i, e := range exprs {
		e = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$env", ".*").Replace(e)
		rules = append(rules, recording{"dashboard:" + strconv.Itoa(i), e})
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	body, err := yaml.Marshal(object{"groups": []object{{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
