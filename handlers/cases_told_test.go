package handlers_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"closeout/closure"
	"closeout/readiness"
)

var (
	namedTest = regexp.MustCompile("`(Test\\w+)(?:/(\\w+))?`")
	namedCode = regexp.MustCompile("\\(`([a-z_]+)`")
)

// TestBrokerCasesAreTold holds docs/broker-cases.md to the code: each case has its row, each test that a row names exists,
// each scenario is named by its row, and each reason is one.
func TestBrokerCasesAreTold(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/broker-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	lived := map[string]bool{}
	for _, bc := range brokerCases() {
		if lived[bc.name] {
			t.Errorf("two cases are called %s", bc.name)
		}
		lived[bc.name] = true
	}
	tests := everyTest(t)
	told := map[string]bool{}
	n := 0
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) != 6 || strings.TrimSpace(cells[1]) != fmt.Sprint(n+1) {
			continue
		}
		n++
		named := namedTest.FindAllStringSubmatch(line, -1)
		if len(named) == 0 || !strings.Contains(line, "**") && n != 31 && n != 37 {
			t.Errorf("case %d is not decided, or names no test", n)
		}
		for _, m := range named {
			switch {
			case !tests[m[1]]:
				t.Errorf("case %d names %s, which does not exist", n, m[1])
			case m[1] == "TestBrokerCases" && !lived[m[2]]:
				t.Errorf("case %d names the scenario %s, which does not exist", n, m[2])
			case m[1] == "TestBrokerCases" && strings.HasPrefix(m[2], fmt.Sprintf("%02d_", n)):
				told[m[2]] = true
			}
		}
		for _, m := range namedCode.FindAllStringSubmatch(line, -1) {
			if _, ok := closure.Reasons[closure.Reason(m[1])]; !ok && !obstacle[m[1]] && m[1] != string(closure.Auto) {
				t.Errorf("case %d names %q, which is no reason", n, m[1])
			}
		}
	}
	if n != 42 {
		t.Errorf("the table has rows 1 to %d, want 42", n)
	}
	for name := range lived {
		if !told[name] {
			t.Errorf("no row of its number names the scenario %s", name)
		}
	}
}

// obstacle are codes of the door alone.
var obstacle = map[string]bool{readiness.NoBank: true, readiness.CashInterest: true, readiness.UnsupportedType: true}

// everyTest is the name of each test of the module.
func everyTest(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				tests[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
