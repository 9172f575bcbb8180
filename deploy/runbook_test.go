package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"closeout/closure"
)

const runbook = "../docs/RUNBOOK.md"

// section is a heading of the runbook and what stands under it, up to the next heading.
type section struct {
	title string
	lines []string
}

func (s section) says(word string) bool {
	return slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, "- **"+word+"**: ") })
}

// quotation is what closure.Reasons says of a reason, which the runbook repeats.
func quotation(r closure.Reason) string {
	info := closure.Reasons[r]
	out := "> " + strings.ToUpper(info.Title[:1]) + info.Title[1:] + "."
	if info.Who != closure.Nobody {
		out += " *Must act: " + string(info.Who) + ".*"
	}
	if info.Hint != "" {
		out += " " + info.Hint
	}
	return out
}

// readRunbook gives its sections by the anchor that GitHub makes of their titles. With -update it writes the quotations anew.
func readRunbook(t *testing.T) (map[string]section, string) {
	t.Helper()
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	out, anchor := map[string]section{}, ""
	for i, line := range lines {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			anchor = anchorOf(title)
			if _, twice := out[anchor]; twice {
				t.Errorf("two headings have the anchor #%s", anchor)
			}
			out[anchor] = section{title: strings.TrimSpace(title)}
			continue
		}
		if r, is := strings.CutPrefix(out[anchor].title, "`"); is && *update && strings.HasPrefix(line, ">") {
			lines[i] = quotation(closure.Reason(strings.TrimSuffix(r, "`")))
			line = lines[i]
		}
		s := out[anchor]
		s.lines = append(s.lines, line)
		out[anchor] = s
	}
	if *update {
		if err := os.WriteFile(runbook, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return out, strings.Join(lines, "\n")
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

func anchorOf(title string) string {
	return strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
}

func TestTheRunbook(t *testing.T) {
	t.Parallel()
	sections, text := readRunbook(t)

	stops := map[closure.Reason]bool{}
	for r, info := range closure.Reasons {
		s, ok := sections[string(r)]
		switch {
		case !ok || s.title != "`"+string(r)+"`":
			t.Errorf("the reason %s has no section", r)
			continue
		case len(s.lines) < 2 || s.lines[0] != quotation(r):
			t.Errorf("%s: it does not begin with what closure.Reasons says; make generate writes it:\n%s", r, quotation(r))
		case info.Hint != "" && !s.says("Do"):
			t.Errorf("%s: somebody must act, and it does not say what to do", r)
		case info.Each && !s.says("Don't"):
			t.Errorf("%s: a person must look at each, and it does not say what not to do", r)
		case strings.TrimSpace(strings.Join(s.lines[1:], "")) == "":
			t.Errorf("%s: it says nothing of its own", r)
		}
		stops[r] = true
	}
	alerts := map[string]bool{}
	for _, r := range readRules(t) {
		alerts[r.Alert] = true
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		s, ok := sections[anchor]
		if !ok || s.title != r.Alert {
			t.Errorf("%s has no section", r.Alert)
			continue
		}
		if len(s.lines) < 2 || !strings.HasPrefix(s.lines[1], "*"+r.Labels["severity"]+".* ") {
			t.Errorf("%s: it does not begin with its severity, *%s.*", r.Alert, r.Labels["severity"])
		}
		for _, word := range []string{"Look", "Do", "Don't"} {
			if !s.says(word) {
				t.Errorf("%s: it has no %s", r.Alert, word)
			}
		}
	}
	for _, s := range sections { // nothing is left of what is gone
		if r, is := strings.CutPrefix(s.title, "`"); is && !stops[closure.Reason(strings.TrimSuffix(r, "`"))] {
			t.Errorf("%s is no reason", s.title)
		}
		if strings.HasPrefix(s.title, "Closeout") && !alerts[s.title] {
			t.Errorf("%s is no alert", s.title)
		}
	}
	namesAreThere(t, runbook, text)
}
