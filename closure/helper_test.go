package closure_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"closeout/closure"
)

// noon is a Wednesday in New York, with the market open.
var noon = time.Date(2026, time.November, 18, 17, 0, 0, 0, time.UTC)

func policy() closure.Policy { return closure.DefaultPolicy(closure.Sandbox) }

// fresh is a closure as the ledger creates it, in a phase.
func fresh(p closure.Phase) closure.Closure {
	return closure.Closure{
		ID: "c", AccountID: "a", Environment: closure.Sandbox, Priority: closure.Normal, Phase: p, State: closure.Running,
		Version: 1, Token: "t", DueAt: noon, Reason: closure.Accepted, Why: closure.Reasons[closure.Accepted].Title,
		CreatedAt: noon, UpdatedAt: noon, EnteredAt: noon,
	}
}

// apply carries out changes that must be taken, one after the other, each with the token that the ledger would give.
func apply(tb rapid.TB, c closure.Closure, changes ...closure.Change) closure.Closure {
	tb.Helper()
	for _, ch := range changes {
		next, _, err := closure.Apply(c, ch, policy())
		if err != nil {
			tb.Fatalf("a change was refused: %v", err)
		}
		if next.Version != c.Version {
			next.Token = "t" + strconv.FormatInt(next.Version, 10)
		}
		c = next
	}
	return c
}

// stand is a closure in a state, brought there by changes.
func stand(tb testing.TB, s closure.State, p closure.Phase) closure.Closure {
	tb.Helper()
	c := fresh(p)
	switch s {
	case closure.Running:
		return apply(tb, c, closure.Looked(noon, closure.Wait(time.Hour, closure.Selling, "selling"), closure.Look{}, nil))
	case closure.Paused:
		return apply(tb, c, closure.Pause(noon, "ann", "hold it"))
	case closure.Failed:
		return apply(tb, c, closure.Looked(noon, closure.Fail(closure.OrderRefused, "no"), closure.Look{}, nil))
	case closure.Dead:
		for range closure.MaxRetries + 1 {
			c = apply(tb, c, closure.Stumbled(noon, "broken", 0, true))
		}
		return c
	case closure.Closed:
		return apply(tb, c, closure.Looked(noon, closure.Done("done"), closure.Look{}, nil))
	case closure.Canceled:
		return apply(tb, c, closure.Cancel(noon, "ann", "never mind", false))
	}
	tb.Fatalf("no way to the state %q is known", s)
	return c
}

// sources parses the module's Go files below dir, tests aside.
func sources(tb testing.TB, dir string) []*ast.File {
	tb.Helper()
	var files []*ast.File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// constants are this package's constants of a string type: name → value, read from the source so that a new one can't be
// forgotten.
func constants(tb testing.TB, typ string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	for _, f := range sources(tb, ".") {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v, ok := s.(*ast.ValueSpec)
				if id, isIdent := v.Type.(*ast.Ident); !ok || !isIdent || id.Name != typ {
					continue
				}
				for i, name := range v.Names {
					value, err := strconv.Unquote(v.Values[i].(*ast.BasicLit).Value)
					if err != nil {
						tb.Fatal(err)
					}
					out[name.Name] = value
				}
			}
		}
	}
	if len(out) == 0 {
		tb.Fatalf("no constant of type %s was found", typ)
	}
	return out
}

// makers are the functions of this package that return one value of a type.
func makers(tb testing.TB, typ string) []string {
	tb.Helper()
	var out []string
	for _, f := range sources(tb, ".") {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results.NumFields() != 1 {
				continue
			}
			if id, ok := fn.Type.Results.List[0].Type.(*ast.Ident); ok && id.Name == typ {
				out = append(out, fn.Name.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}
