package closure_test

import (
	"go/ast"
	"regexp"
	"slices"
	"testing"

	"closeout/closure"
)

func TestEveryReasonHasItsRow(t *testing.T) {
	t.Parallel()
	named := map[closure.Reason]string{}
	for name, value := range constants(t, "Reason") {
		r := closure.Reason(value)
		if other, twice := named[r]; twice {
			t.Errorf("%s and %s are the same reason %q", name, other, value)
		}
		named[r] = name
		if row, ok := closure.Reasons[r]; !ok || row.Title == "" {
			t.Errorf("%s has no row with a title in Reasons", name)
		}
	}
	for r := range closure.Reasons {
		if named[r] == "" {
			t.Errorf("the row of %q belongs to no constant", r)
		}
	}
}

func TestWhoMustActIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	var known []string
	for _, v := range constants(t, "Who") {
		known = append(known, v)
	}
	for r, row := range closure.Reasons {
		if !slices.Contains(known, string(row.Who)) {
			t.Errorf("%s: nobody knows a %q", r, row.Who)
		}
		if (row.Who == closure.Nobody) != (row.Hint == "") {
			t.Errorf("%s: %q must act, and the hint is %q", r, row.Who, row.Hint)
		}
		if row.Who == closure.Customer && row.Tell == "" {
			t.Errorf("%s: the customer must act and is not told how", r)
		}
	}
}

// What is written for the customer is not what is written for the operator, and asks nothing that only an operator can do.
func TestCustomersAreToldInTheirOwnWords(t *testing.T) {
	t.Parallel()
	ours := regexp.MustCompile(`(?i)\b(resumed?|initiate|cancel|relink|relationship|intent|ledger|phase|task|worker|broker|event|journal|adopt|void|by hand, then|the customer)\b`)
	for r, row := range closure.Reasons {
		if word := ours.FindString(row.Tell); word != "" {
			t.Errorf("%s tells the customer of %q: %s", r, word, row.Tell)
		}
		if row.Tell != "" && row.Tell == row.Hint {
			t.Errorf("%s tells the customer the operator's hint: %s", r, row.Tell)
		}
	}
}

// given are the reasons that the module's source hands, by name, to one of the functions: closure.Fail(closure.BankGone, …).
func given(tb testing.TB, functions ...string) map[string]bool {
	tb.Helper()
	reasons := constants(tb, "Reason")
	out := map[string]bool{}
	for _, f := range sources(tb, "..") {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !slices.Contains(functions, lastName(call.Fun)) {
				return true
			}
			for _, arg := range call.Args {
				if name := lastName(arg); reasons[name] != "" {
					out[name] = true
				}
			}
			return true
		})
	}
	return out
}

// lastName is the name in x or pkg.x.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// A closure that stops says what a person can do: whatever a phase fails with, and whatever Apply stops with.
func TestEveryStopHasAHint(t *testing.T) {
	t.Parallel()
	reasons := constants(t, "Reason")
	stops := given(t, "Fail", "failFor", "stop")
	for _, known := range []string{"BankGone", "TransferRefused", "OrderRefused", "LateTransfer", "LimitReached", "RetriesUsedUp", "PausedByOperator", "CanceledByRequest"} {
		if !stops[known] {
			t.Errorf("%s is not found among the stops: this test no longer sees them", known)
		}
	}
	for name := range stops {
		row := closure.Reasons[closure.Reason(reasons[name])]
		if name == "CanceledByRequest" { // an end: nothing is left to do
			continue
		}
		if row.Who == closure.Nobody || row.Hint == "" {
			t.Errorf("a closure stops with %s, whose row says %q must act: %q", name, row.Who, row.Hint)
		}
	}
}

// A parked closure waits for a person without any limit, so its row must name the person. A halted asset waits for the
// market.
func TestEveryParkedWaitNamesAPerson(t *testing.T) {
	t.Parallel()
	reasons := constants(t, "Reason")
	parks := given(t, "Park")
	if !parks["AccountBlocked"] || !parks["ClockSkew"] {
		t.Error("the waits for a person are not found: this test no longer sees them")
	}
	for name := range parks {
		if name != "Halted" && closure.Reasons[closure.Reason(reasons[name])].Who == closure.Nobody {
			t.Errorf("a closure is parked with %s, and its row names nobody who must act", name)
		}
	}
}
