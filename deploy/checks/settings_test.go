package checks

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fileSuffix on the name of a secret makes the name of the setting that says in which file it is.
const fileSuffix = "_FILE"

// commands are the types of the program's commands and of what they are made of, by their names in the source.
var commands = sync.OnceValues(func() (map[string]*ast.StructType, error) {
	types := map[string]*ast.StructType{}
	files, err := filepath.Glob(filepath.Join(root, "cmd/closeout/*.go"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					types[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	return types, nil
})

// settings are the variables that a command of the program reads, server or worker, as its source has them; true for a secret,
// whose name with fileSuffix is there too.
func settings(t *testing.T, command string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for name, tag := range tags(t, command) {
		_, secret := tag.Lookup("secret")
		found[name] = secret
		if secret {
			found[name+fileSuffix] = true
		}
	}
	return found
}

// tags are what the source says of each variable that a command reads.
func tags(t *testing.T, command string) map[string]reflect.StructTag {
	t.Helper()
	types, err := commands()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]reflect.StructTag{}
	var of func(name string)
	of = func(name string) {
		s := types[name]
		if s == nil {
			t.Fatalf("cmd/closeout has no type %s", name)
		}
		for _, f := range s.Fields.List {
			if embedded, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
				of(embedded.Name)
			}
			if f.Tag == nil {
				continue
			}
			text, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			tag := reflect.StructTag(text)
			if env := tag.Get("env"); env != "" {
				found[env] = tag
			}
		}
	}
	of(command + "Cmd")
	return found
}

// refused are the names among these which the command would not read, or which would be a secret in the environment, which is read
// more easily than a file. Names that are not the program's own, OTEL_… among them, are left alone.
func refused(t *testing.T, command string, names []string) (unknown, open []string) {
	t.Helper()
	known := settings(t, command)
	for _, name := range names {
		secret, is := known[name]
		switch {
		case !strings.HasPrefix(name, "CLOSEOUT_"):
		case !is:
			unknown = append(unknown, name)
		case secret && !strings.HasSuffix(name, fileSuffix):
			open = append(open, name)
		}
	}
	slices.Sort(unknown)
	slices.Sort(open)
	return unknown, open
}

// The settings are read where they are: some that are known, of each command.
func TestTheSettingsAreRead(t *testing.T) {
	for command, want := range map[string]map[string]bool{
		"server":    {"CLOSEOUT_DATABASE_URL": true, "CLOSEOUT_DATABASE_URL_FILE": true, "CLOSEOUT_ENVIRONMENT": false, "CLOSEOUT_API_KEYS": true, "CLOSEOUT_OIDC_ISSUER": false},
		"worker":    {"CLOSEOUT_SMTP_URL_FILE": true, "CLOSEOUT_EVENTS": false, "CLOSEOUT_PLAINTEXT": false},
		"migrate":   {"CLOSEOUT_DATABASE_URL": true},
		"simulator": {"CLOSEOUT_DAY": false},
	} {
		found := settings(t, command)
		for name, secret := range want {
			if is, known := found[name]; !known || is != secret {
				t.Errorf("%s reads %s: %v, as a secret: %v", command, name, known, is)
			}
		}
	}
	if _, known := settings(t, "migrate")["CLOSEOUT_REDIS_URL"]; known {
		t.Error("migrate reads where Redis is")
	}
}

// The series by which the worker's number is decided are there to be decided by.
func TestTheSeriesAreRead(t *testing.T) {
	names := metricNames(t)
	for _, name := range []string{"closeout_due_visits", "closeout_due_visit_oldest_seconds", "asynq_queue_size"} {
		if !names[name] {
			t.Errorf("there is no series %s among %d", name, len(names))
		}
	}
}
