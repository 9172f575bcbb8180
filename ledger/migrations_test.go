package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// released is the last migration of the oldest version that may run beside this one. What came with it is as it is; whatever comes
// after must leave its statements, its writes and its reading as they were.
const released = 13

// contracts are migrations that take something away, each with the reason why no version that may still run misses it. To take
// something away is a release of its own, after one that no longer uses it.
var contracts = map[string]string{
	"00014_indexes.sql":         "a server of before asks for nothing by closures_user, and for an account along the index that takes closures_account's place",
	"00015_events_postgres.sql": "a server of before writes an event with its closure's row, as this one does",
}

// Each migration only expands: a running process of the version before knows nothing of it, and goes on as before.
func TestMigrationsOnlyExpand(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	tables := map[string]bool{} // of before each migration
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		var n int
		if _, err := fmt.Sscanf(name, "%05d_", &n); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n > released && contracts[name] == "" {
			for _, no := range narrows(string(b), tables) {
				t.Errorf("%s: %s", name, no)
			}
		}
		for _, m := range creates.FindAllStringSubmatch(plainSQL(string(b)), -1) {
			tables[m[1]] = true
		}
	}
	for name := range contracts {
		if _, err := os.Stat(filepath.Join("migrations", name)); err != nil {
			t.Errorf("an exception for a migration that is not there: %v", err)
		}
	}
}

// What an older process would fail by, one of each kind; and what it would not notice.
func TestTheRuleOfMigrationsSeesWhatNarrows(t *testing.T) {
	t.Parallel()
	tables := map[string]bool{"closures": true, "events": true}
	for _, bad := range []string{
		"DROP TABLE closeout.events;", "drop index closeout.closures_due;", "ALTER TABLE closeout.closures DROP COLUMN memo;",
		"ALTER TABLE closeout.closures RENAME COLUMN memo TO notes;", "ALTER TABLE closeout.closures RENAME TO cases;",
		"ALTER TABLE closeout.closures ALTER COLUMN seq TYPE INTEGER;", "ALTER TABLE closeout.closures ALTER COLUMN due_at SET NOT NULL;",
		"ALTER TABLE closeout.closures ALTER COLUMN trace DROP DEFAULT;",
		"ALTER TABLE closeout.closures ADD COLUMN tax TEXT NOT NULL;", "ALTER TABLE closeout.closures ADD COLUMN tax TEXT UNIQUE DEFAULT '';",
		"ALTER TABLE closeout.closures ADD COLUMN tax TEXT CHECK (tax <> '');", "ALTER TABLE closeout.closures ADD COLUMN bank TEXT REFERENCES closeout.banks (id);",
		"ALTER TABLE closeout.closures ADD CONSTRAINT sane CHECK (version > 0);", "ALTER TABLE ONLY closeout.closures ADD PRIMARY KEY (id);",
		"CREATE UNIQUE INDEX closures_one ON closeout.closures (user_id);", "CREATE UNIQUE INDEX IF NOT EXISTS one ON closeout.events (at);",
		"CREATE TABLE closeout.taxes (id TEXT PRIMARY KEY, closure_id TEXT NOT NULL REFERENCES closeout.closures (id));",
		"CREATE TRIGGER no BEFORE DELETE ON closeout.closures BEGIN SELECT 1; END;", "UPDATE closeout.closures SET state = 'parked';",
		"DELETE FROM closeout.events;", "TRUNCATE closeout.events;", "REVOKE ALL ON closeout.events FROM PUBLIC;",
		"LOCK TABLE closeout.closures;", "VACUUM FULL closeout.closures;",
	} {
		if got := narrows("-- +goose Up\n"+bad+"\n-- +goose Down\nSELECT 1;\n", tables); len(got) == 0 {
			t.Errorf("%s: it says nothing", bad)
		}
	}
	for _, good := range []string{
		"-- no DROP here\nALTER TABLE closeout.closures ADD COLUMN tax TEXT;", "ALTER TABLE closeout.closures ADD COLUMN tax TEXT NOT NULL DEFAULT '';",
		"CREATE INDEX closures_tax ON closeout.closures (user_id) WHERE user_id <> ''; -- writers wait: a second for a million rows",
		"CREATE INDEX CONCURRENTLY closures_tax ON closeout.closures (user_id);",
		"CREATE TABLE closeout.taxes (id TEXT PRIMARY KEY, sum TEXT NOT NULL CHECK (sum <> ''), closure_id TEXT NOT NULL REFERENCES closeout.closures (id) ON DELETE CASCADE);\n" +
			"CREATE UNIQUE INDEX taxes_one ON closeout.taxes (closure_id);\nINSERT INTO closeout.taxes (id, sum, closure_id) SELECT id, '1', id FROM closeout.closures;",
	} {
		if got := narrows("-- +goose Up\n"+good+"\n-- +goose Down\nDROP TABLE closeout.taxes;\n", tables); len(got) > 0 {
			t.Errorf("%s: %q", good, got)
		}
	}
}

var (
	comments = regexp.MustCompile(`--[^\n]*`)
	creates  = regexp.MustCompile(`(?i)\bCREATE TABLE (?:IF NOT EXISTS )?(?:closeout\.)?(\w+)`)
	uniques  = regexp.MustCompile(`(?i)\bCREATE UNIQUE INDEX .*? ON (?:closeout\.)?(\w+)`)
	plainIdx = regexp.MustCompile(`(?i)\bCREATE INDEX .*? ON (?:closeout\.)?(\w+)`)
	columns  = regexp.MustCompile(`(?i)\bADD COLUMN\b(.*)`)
	altered  = regexp.MustCompile(`(?i)\bALTER TABLE (?:ONLY )?(?:closeout\.)?(\w+)`)
	written  = regexp.MustCompile(`(?i)^(?:UPDATE|DELETE FROM|INSERT INTO)\s+(?:closeout\.)?(\w+)`)
	waits    = regexp.MustCompile(`(?i)-- writers wait: \S`)
	forbids  = map[string]*regexp.Regexp{
		"it takes something away":             regexp.MustCompile(`(?i)\b(DROP|TRUNCATE|REVOKE)\b`),
		"it renames":                          regexp.MustCompile(`(?i)\bRENAME\b`),
		"it changes a column":                 regexp.MustCompile(`(?i)\bALTER COLUMN\b`),
		"it constrains a table that is there": regexp.MustCompile(`(?i)\bALTER TABLE\b.*\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b`),
		"it makes a trigger, by which an older process's writes do something new": regexp.MustCompile(`(?i)\bCREATE (OR REPLACE )?(CONSTRAINT )?(TRIGGER|RULE)\b`),
		"it holds up everybody": regexp.MustCompile(`(?i)^\s*(LOCK|VACUUM|CLUSTER|REINDEX)\b`),
	}
)

// plainSQL is the part of a migration that is carried out, without comments, in one line a statement.
func plainSQL(text string) string {
	up, _, _ := strings.Cut(text, "-- +goose Down")
	return strings.Join(strings.Fields(comments.ReplaceAllString(up, "")), " ")
}

// narrows says what in a migration a process of the version before would not survive, given the tables of before.
func narrows(text string, tables map[string]bool) (out []string) {
	up, _, _ := strings.Cut(text, "-- +goose Down")
	there := func(re *regexp.Regexp, s string) bool {
		m := re.FindStringSubmatch(s)
		return m != nil && tables[strings.ToLower(m[1])]
	}
	for s := range strings.SplitSeq(plainSQL(up), ";") {
		s = strings.TrimSpace(s)
		say := func(why string) { out = append(out, fmt.Sprintf("%s: %.120s", why, s)) }
		for why, re := range forbids {
			if re.MatchString(s) {
				say(why)
			}
		}
		if m := columns.FindStringSubmatch(s); m != nil && there(altered, s) {
			c := strings.ToUpper(m[1])
			if strings.Contains(c, "NOT NULL") && !strings.Contains(c, "DEFAULT") {
				say("an older process does not fill the column, which must be nullable or have a default")
			}
			if strings.Contains(c, "UNIQUE") || strings.Contains(c, "CHECK") || strings.Contains(c, "REFERENCES") || strings.Contains(c, "PRIMARY") {
				say("an older process does not know what the column must be")
			}
		}
		if there(uniques, s) {
			say("an older process may write what the index refuses")
		}
		if there(plainIdx, s) && !regexp.MustCompile(`(?i)\bCONCURRENTLY\b`).MatchString(s) && !waits.MatchString(up) {
			say("writers wait while the index is made: make it CONCURRENTLY, or say how long in a comment that begins with \"writers wait:\"")
		}
		if there(written, s) {
			say("it writes rows that an older process may hold or read")
		}
		if m := creates.FindStringSubmatch(s); m != nil {
			for _, ref := range regexp.MustCompile(`(?i)\bREFERENCES (?:closeout\.)?(\w+)[^,]*`).FindAllStringSubmatch(s, -1) {
				if tables[strings.ToLower(ref[1])] && !strings.Contains(strings.ToUpper(ref[0]), "ON DELETE CASCADE") {
					say("an older process that removes a closure does not know of the table: ON DELETE CASCADE")
				}
			}
		}
	}
	return out
}
