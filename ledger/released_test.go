package ledger_test

import (
	"context"
	"database/sql"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"closeout/internal/servers"
	"closeout/ledger"
)

var release = flag.String("release", "", "write down what the release of this name asks its database, in testdata/released; one that is written stays as it is")

// listen gathers what the conformance suite has the ledger ask of a kind of database. For a release, it is written down.
func listen(t *testing.T, kind string) func(string) {
	t.Helper()
	var mu sync.Mutex
	asked := map[string]bool{}
	t.Cleanup(func() {
		if *release == "" {
			return
		}
		var all []string
		for q := range asked {
			all = append(all, q)
		}
		slices.Sort(all)
		for _, part := range unheard(t, kind, all) {
			t.Errorf("the suite never has it ask %q: a statement that is not written down is not held to later schemas", part)
		}
		dir := filepath.Join("testdata", "released", *release)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Error(err)
		}
		// O_EXCL: what a released version asks does not change any more.
		f, err := os.OpenFile(filepath.Join(dir, "asked."+kind+".sql"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(strings.Join(all, ";\n") + ";\n")
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return func(q string) {
		mu.Lock()
		defer mu.Unlock()
		for one := range strings.SplitSeq(q, ";\n") { // of a batch
			if one != "BEGIN" && one != "COMMIT" {
				asked[strings.Join(strings.Fields(one), " ")] = true
			}
		}
	}
}

// elsewhere are the statements that are asked before there is a ledger, or of what is not its own, and what others are wrapped in.
var elsewhere = []string{"database.go", "status.go", "export_test.go", "write.go"}

// unheard are the beginnings of statements in the source that are in none of these.
func unheard(t *testing.T, kind string, asked []string) (out []string) {
	t.Helper()
	others := map[string]*regexp.Regexp{"sqlite": regexp.MustCompile(`pg_|feed_end|current_setting`), "postgres": regexp.MustCompile(`sqlite_|pragma_|max\(feed\), 1\)`)}[kind]
	numbers := regexp.MustCompile(`\$\d+`)
	plain := make([]string, len(asked))
	for n, q := range asked {
		plain[n] = numbers.ReplaceAllString(q, "?")
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	verb := regexp.MustCompile(`^(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) `)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || slices.Contains(elsewhere, file) {
			continue
		}
		src, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(src, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || !verb.MatchString(text) {
				return true
			}
			text, _, _ = strings.Cut(text, "%") // what follows is filled in
			text = numbers.ReplaceAllString(strings.Join(strings.Fields(text), " "), "?")
			if !others.MatchString(text) && !slices.ContainsFunc(plain, func(q string) bool { return strings.Contains(q, text) }) {
				out = append(out, file+": "+text)
			}
			return true
		})
	}
	return out
}

// Whatever a released version asks its database, the database still answers after the migrations of today: that version runs
// beside this one while it is rolled out, and again if it is rolled back. And what it inserts still says all that a row must have.
func TestWhatReleasedVersionsAskIsStillAnswered(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "closeout.db")
		if _, _, err := ledger.Migrate(t.Context(), "sqlite:"+path); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		stillAnswered(t, db, "sqlite", "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND c.\"notnull\" = 1 AND c.dflt_value IS NULL")
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		pg := servers.StartPostgres(t)
		url := pg.Database(t)
		if _, _, err := ledger.Migrate(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		stillAnswered(t, pg.Open(t, url), "postgres", "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'closeout' AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'")
	})
}

func stillAnswered(t *testing.T, db *sql.DB, kind, needed string) {
	t.Helper()
	must := map[string][]string{}
	rows, err := db.QueryContext(t.Context(), needed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		must[table] = append(must[table], column)
	}
	if err := rows.Err(); err != nil || len(must["closures"]) == 0 {
		t.Fatalf("%v, %v", must, err)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "released", "*", "asked."+kind+".sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d releases, %v", len(files), err)
	}
	inserts := regexp.MustCompile(`^INSERT INTO closeout\.(\w+)(?: AS \w+)? \(([^)]*)\)`)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Split(strings.TrimSuffix(string(b), ";\n"), ";\n")
		for _, q := range all {
			text := q
			if kind == "sqlite" {
				text = strings.ReplaceAll(q, "closeout.", "")
			}
			if err := prepare(t.Context(), db, text); err != nil {
				t.Errorf("%s: %v\n%s", file, err, q)
				continue
			}
			if m := inserts.FindStringSubmatch(q); m != nil {
				for _, column := range must[m[1]] {
					if !slices.Contains(strings.Split(m[2], ", "), column) {
						t.Errorf("%s: a row of %s must say its %s, and this does not\n%s", file, m[1], column, q)
					}
				}
			}
		}
		t.Logf("%s: %d statements", file, len(all))
	}
}

func prepare(ctx context.Context, db *sql.DB, q string) error {
	s, err := db.PrepareContext(ctx, q)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return nil
}

// A ledger that a released version wrote on Postgres is migrated as it stands, and is whole: its rows are those that the version
// wrote on SQLite, whose text is the same.
func TestAReleasedVersionsLedgerIsMigratedOnPostgres(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	files, err := filepath.Glob(filepath.Join("testdata", "released", "*", "ledger.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		var version int64
		for line := range strings.Lines(string(b)) {
			table, values, isRow := strings.Cut(strings.TrimPrefix(line, "INSERT INTO "), " ")
			switch {
			case !isRow || !strings.HasPrefix(line, "INSERT INTO "), table == "holds": // each environment's row is the migration's
			case table == "goose_db_version":
				_, values, _ = strings.Cut(values, "VALUES (")
				id, err := strconv.ParseInt(strings.Split(values, ", ")[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				version = max(version, id)
			default:
				rows = append(rows, line)
			}
		}
		url := pg.Database(t)
		if _, _, err := ledger.Migrate(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Back(t.Context(), url, version); err != nil {
			t.Fatal(err)
		}
		db := pg.Open(t, url+"&search_path=closeout")
		mustExec(t, db, rows...)
		mustExec(t, db, "SELECT setval('closeout.events_feed', (SELECT max(feed) FROM events))")
		l, err := open(t, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := l.Verify(t.Context(), "", 1000)
		if err != nil || len(v.Broken) > 0 || v.Closures < 10 {
			t.Errorf("%s: %d histories, %v, %v", file, v.Closures, v.Broken, err)
		}
		page, err := l.List(t.Context(), ledger.Filter{}, ledger.Page{Limit: 1000})
		if err != nil || len(page) != v.Closures {
			t.Errorf("%s: %d closures are listed of %d, %v", file, len(page), v.Closures, err)
		}
		for _, c := range page {
			if _, _, err := l.Load(t.Context(), c.ID); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		t.Logf("%s: %d closures with %d events, from version %d", file, v.Closures, v.Events, version)
	}
}

// A version that was rolled back finds a schema with migrations that it does not know of. It starts, and leaves it as it is.
func TestAnOlderVersionStartsOnANewerSchema(t *testing.T) {
	t.Parallel()
	at := func(t *testing.T, url string, db *sql.DB) {
		t.Helper()
		if _, _, err := ledger.Migrate(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (98, true), (99, true)", "ALTER TABLE closures ADD COLUMN tax TEXT NOT NULL DEFAULT 'none'", "CREATE TABLE taxes (id TEXT)")
		if from, to, err := ledger.Migrate(t.Context(), url); from != 99 || to != 99 || err != nil {
			t.Errorf("it migrated from %d to %d: %v", from, to, err)
		}
		l, err := open(t, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, created, err := l.Create(t.Context(), ledger.Wish{AccountID: "a", RelationshipID: "b"})
		if err != nil || !created {
			t.Errorf("created %t: %v", created, err)
		}
		if _, err := l.Get(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
		mustExec(t, db, "INSERT INTO taxes SELECT tax FROM closures")
	}
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "closeout.db")
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		at(t, "sqlite:"+path, db)
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		pg := servers.StartPostgres(t)
		url := pg.Database(t)
		at(t, url, pg.Open(t, url+"&search_path=closeout"))
	})
}
