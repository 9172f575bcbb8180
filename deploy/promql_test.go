package deploy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"closeout/closure"
)

// names are the series that server and workers really show, each with its labels: metrics writes the list from what it emits.
type names map[string][]string

// targetLabels are those that whoever scrapes adds. env tells sandbox from live where one Prometheus watches both.
var targetLabels = []string{"job", "instance", "env"}

func readNames(t *testing.T) names {
	t.Helper()
	text, err := os.ReadFile("../metrics/testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := names{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimSuffix(line, "}"), "{")
		out[name] = nil
		if labels != "" {
			out[name] = strings.Split(labels, ",")
		}
	}
	if len(out) < 50 {
		t.Fatalf("the list of series has only %d", len(out))
	}
	return out
}

// query is what a PromQL expression reads and by what it groups. Whether it is PromQL at all promtool says.
type query struct {
	selectors []selector
	groups    []string // labels of by, without, on, ignoring, group_left and group_right
}

type selector struct {
	name     string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// check holds a query to the list, and says what is not in it.
func (n names) check(q query) (wrong []string) {
	all := slices.Clone(targetLabels)
	for _, s := range q.selectors {
		labels, ok := n[s.name]
		if !ok {
			wrong = append(wrong, "no series is called "+s.name)
			continue
		}
		all = append(all, labels...)
		for _, m := range s.matchers {
			if !slices.Contains(labels, m.label) && !slices.Contains(targetLabels, m.label) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s, it has %v", s.name, m.label, labels))
			}
			wrong = append(wrong, m.check()...)
		}
	}
	for _, g := range q.groups {
		if !slices.Contains(all, g) {
			wrong = append(wrong, "no series of it has the label "+g)
		}
	}
	if len(q.selectors) == 0 {
		wrong = append(wrong, "it reads no series")
	}
	return wrong
}

// check holds a value to the words that closure knows, where the label is one of its.
func (m matcher) check() (wrong []string) {
	for _, v := range strings.Split(m.value, "|") {
		known := true
		switch m.label {
		case "reason":
			_, known = closure.Reasons[closure.Reason(v)]
		case "phase":
			known = v == "start" || slices.ContainsFunc(closure.Road, func(s closure.Step) bool { return string(s.Phase) == v })
		}
		if !known && v != "" && !strings.HasPrefix(v, "$") {
			wrong = append(wrong, fmt.Sprintf("%s %s is none that closure knows", m.label, v))
		}
	}
	return wrong
}

var (
	grouping    = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	operators   = []string{"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan"}
	aggregators = []string{"sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values", "bottomk", "topk", "quantile"}
)

// parse finds what an expression reads. It knows the words of PromQL and not its grammar.
func parse(expr string) (query, error) {
	var q query
	toks, err := lex(expr)
	if err != nil {
		return q, err
	}
	at := func(i int) string {
		if i < len(toks) {
			return toks[i]
		}
		return ""
	}
	for i := 0; i < len(toks); i++ {
		word := toks[i]
		switch {
		case word == "[": // a range: durations
			for i < len(toks) && toks[i] != "]" {
				i++
			}
		case word == "{":
			return q, fmt.Errorf("a selector without a name in %q: name the series", expr)
		case !isName(word), slices.Contains(operators, strings.ToLower(word)):
		case slices.Contains(grouping, strings.ToLower(word)):
			if at(i+1) != "(" {
				continue // group_left alone
			}
			for i += 2; i < len(toks) && toks[i] != ")"; i++ {
				if toks[i] != "," {
					q.groups = append(q.groups, toks[i])
				}
			}
		case at(i+1) == "(", slices.Contains(aggregators, strings.ToLower(word)):
		default:
			s := selector{name: word}
			if at(i+1) == "{" {
				for i += 2; i < len(toks) && toks[i] != "}"; i++ {
					if toks[i] == "," {
						continue
					}
					if i+2 >= len(toks) {
						return q, fmt.Errorf("a matcher is cut short in %q", expr)
					}
					s.matchers = append(s.matchers, matcher{toks[i], toks[i+1], strings.Trim(toks[i+2], "\"'`")})
					i += 2
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	return q, nil
}

func isName(word string) bool {
	return word != "" && (word[0] == '_' || word[0] == ':' || unicode.IsLetter(rune(word[0])))
}

// lex cuts an expression into names, strings with their quotes, numbers, durations, Grafana's $variables, and signs.
func lex(expr string) (toks []string, err error) {
	inWord := func(c byte) bool {
		return c == '_' || c == ':' || c == '.' || unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c))
	}
	for i := 0; i < len(expr); {
		c := expr[i]
		end := i + 1
		switch {
		case unicode.IsSpace(rune(c)):
			i = end
			continue
		case c == '#':
			for end < len(expr) && expr[end] != '\n' {
				end++
			}
			i = end
			continue
		case c == '"', c == '\'', c == '`':
			for end < len(expr) && expr[end] != c {
				if expr[end] == '\\' && c != '`' {
					end++
				}
				end++
			}
			if end >= len(expr) {
				return nil, fmt.Errorf("a string does not end in %q", expr)
			}
			end++
		case c == '$', inWord(c):
			for end < len(expr) && inWord(expr[end]) {
				end++
			}
		case strings.ContainsRune("=!<>", rune(c)):
			if end < len(expr) && strings.ContainsRune("=~", rune(expr[end])) {
				end++
			}
		}
		toks = append(toks, expr[i:end])
		i = end
	}
	return toks, nil
}

func TestWhatAnExpressionReads(t *testing.T) {
	t.Parallel()
	known := names{"a_total": {"kind"}, "b": {"phase", "reason"}, "c_bucket": {"le"}}
	for expr, want := range map[string]string{
		`sum by (env, kind) (increase(a_total{kind=~"x|y"}[15m:1m])) > 0.2 * max without (instance) (b offset 1h)`: "",
		`histogram_quantile(0.99, sum by (le) (rate(c_bucket[$__rate_interval])))`:                                 "",
		"b{phase=\"closing\", reason=\"\"} # and no more":                                                          "",
		`topk(3, b) and on (env) group(a_total) or vector(0) * b`:                                                  "",
		`a_totl`:                          "no series is called a_totl",
		`rate(a_total{knd="x"}[1m])`:      "a_total has no label knd",
		`sum by (kind) (b)`:               "no series of it has the label kind",
		`b{reason="bnk_gone"}`:            "reason bnk_gone is none",
		`b{phase=~"closing|withdrawl"}`:   "phase withdrawl is none",
		`b and on (job, le) c_bucket > 1`: "",
		`vector(1)`:                       "it reads no series",
		`{__name__="b"}`:                  "name the series",
		`b{phase="closing}`:               "a string does not end",
	} {
		q, err := parse(expr)
		got := strings.Join(known.check(q), "; ")
		if err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: said %q, want %q", expr, got, want)
		}
	}
}
