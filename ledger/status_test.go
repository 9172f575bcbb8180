package ledger_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

// onboarding is Supabase's table as the documented example has it, with its roles and row level security: a customer sees
// their own row, and the service's role passes by the policies.
var onboarding = []string{
	"CREATE ROLE authenticated", "CREATE ROLE closeout LOGIN BYPASSRLS", "CREATE ROLE outsider LOGIN",
	`CREATE TABLE public.user_onboarding (
		id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL DEFAULT gen_random_uuid(), alpaca_account_id text,
		status text NOT NULL, onboarding_data jsonb NOT NULL DEFAULT '{}', updated_at timestamptz NOT NULL DEFAULT now())`,
	"ALTER TABLE public.user_onboarding ENABLE ROW LEVEL SECURITY",
	"CREATE POLICY own ON public.user_onboarding TO authenticated USING (user_id = nullif(current_setting('request.jwt.sub', true), '')::uuid)",
	"GRANT SELECT, UPDATE ON public.user_onboarding TO closeout, outsider",
	"INSERT INTO public.user_onboarding (alpaca_account_id, status) VALUES ('a', 'approved'), ('b', 'submitted')",
}

var documented = &ledger.AccountStatus{Table: "user_onboarding", Key: "alpaca_account_id", Column: "status"}

// app is an application's database beside a ledger.
type app struct {
	*testing.T
	db *sql.DB
	l  *ledger.Ledger
}

// newApp makes the database, with policies beside the documented one, and opens the ledger in it as a role.
func newApp(t *testing.T, pg *servers.Postgres, role string, policies ...string) *app {
	t.Helper()
	url := pg.Database(t)
	db := pg.Open(t, url)
	for _, s := range slices.Concat(onboarding, policies) {
		if strings.HasPrefix(s, "CREATE ROLE") { // roles belong to the server, not to one database
			_, _ = db.ExecContext(t.Context(), s)
			continue
		}
		mustExec(t, db, s)
	}
	if role != "postgres" {
		var name string
		if err := db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, "GRANT CREATE ON DATABASE "+name+" TO "+role)
	}
	l, err := open(t, strings.Replace(url, "postgres@", role+"@", 1), documented)
	if err != nil {
		t.Fatal(err)
	}
	if n := l.Pool().InUse; n != 0 {
		t.Errorf("%d connections are held by nobody", n)
	}
	return &app{t, db, l}
}

func (a *app) create(account string) closure.Closure {
	a.Helper()
	c, created, err := a.l.Create(a.Context(), ledger.Wish{AccountID: account, RelationshipID: "bank", Actor: "test"})
	if err != nil || !created {
		a.Fatalf("create: %v, created %t", err, created)
	}
	return c
}

func (a *app) cancel(c closure.Closure) {
	a.Helper()
	_, err := a.l.Command(a.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Cancel(time.Now(), "ann", "never mind", false), nil
	})
	if err != nil {
		a.Fatal(err)
	}
}

func (a *app) done(c closure.Closure) {
	a.Helper()
	if _, err := a.l.Save(a.Context(), c, closure.Looked(time.Now(), closure.Done("closed"), closure.Look{}, nil), nil); err != nil {
		a.Fatal(err)
	}
}

func (a *app) says(account, want string) {
	a.Helper()
	var got string
	if err := a.db.QueryRowContext(a.Context(), "SELECT status FROM public.user_onboarding WHERE alpaca_account_id = $1", account).Scan(&got); err != nil {
		a.Fatal(err)
	}
	if got != want {
		a.Errorf("the application's row says %q, want %q", got, want)
	}
}

// told demands that the closure's last event is of a kind and has a text in it.
func (a *app) told(c closure.Closure, kind, text string) {
	a.Helper()
	evs, err := a.l.Events(a.Context(), c.ID)
	if err != nil {
		a.Fatal(err)
	}
	if last := evs[len(evs)-1]; last.Kind != kind || !strings.Contains(last.Text, text) {
		a.Errorf("the last event is %s: %s", last.Kind, last.Text)
	}
}

func TestAccountStatus(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	for name, fn := range map[string]func(a *app){
		"FollowsTheClosure": func(a *app) {
			c := a.create("a")
			a.says("a", "pending_closure")
			a.told(c, "account_status", `was "approved"`)
			a.says("b", "submitted")
			a.done(c)
			a.says("a", "closed")
			a.told(c, "account_status", `set to "closed"`)
		},
		"NamesTheAccountsWhoseClosureIsLost": func(a *app) {
			mustExec(t, a.db, "UPDATE public.user_onboarding SET status = 'pending_closure' WHERE alpaca_account_id = 'b'",
				"INSERT INTO public.user_onboarding (alpaca_account_id, status) VALUES (NULL, 'pending_closure')")
			a.create("a")
			if lost, err := a.l.PendingWithout(a.Context(), 10); err != nil || len(lost) != 1 || lost[0] != "b" {
				a.Errorf("%q, %v", lost, err)
			}
		},
		"IsRestoredByCancel": func(a *app) {
			c := a.create("b")
			a.says("b", "pending_closure")
			a.cancel(c)
			a.says("b", "submitted")
			a.told(c, "account_status", `set back to "submitted"`)
		},
		"IsLeftAloneWhereSomebodyElseHasSetIt": func(a *app) {
			c := a.create("b")
			mustExec(t, a.db, "UPDATE public.user_onboarding SET status = 'suspended' WHERE alpaca_account_id = 'b'")
			a.cancel(c)
			a.says("b", "suspended")
			a.told(c, "warning", `says "suspended"`)
		},
		"IsRestoredToNothing": func(a *app) {
			mustExec(a.T, a.db, "ALTER TABLE public.user_onboarding ALTER COLUMN status DROP NOT NULL", "UPDATE public.user_onboarding SET status = NULL WHERE alpaca_account_id = 'a'")
			c := a.create("a")
			a.says("a", "pending_closure")
			a.cancel(c)
			var null bool
			if err := a.db.QueryRowContext(a.Context(), "SELECT status IS NULL FROM public.user_onboarding WHERE alpaca_account_id = 'a'").Scan(&null); err != nil || !null {
				a.Errorf("it is NULL again: %t, %v", null, err)
			}
		},
		"IsNotSetBackWhereItWasNeverSet": func(a *app) {
			c := a.create("later")
			mustExec(a.T, a.db, "INSERT INTO public.user_onboarding (alpaca_account_id, status) VALUES ('later', 'pending_closure')")
			a.cancel(c)
			a.says("later", "pending_closure")
			a.told(c, "warning", "nothing to set back")
		},
		"WarnsOfAMissingRow": func(a *app) {
			c := a.create("nobody")
			a.told(c, "warning", "has no row there")
			a.done(c)
			a.told(c, "warning", "has no row there")
		},
		"WarnsOfTwoRows": func(a *app) {
			mustExec(t, a.db, "INSERT INTO public.user_onboarding (alpaca_account_id, status) VALUES ('twice', 'one'), ('twice', 'two')")
			a.told(a.create("twice"), "warning", "has 2 rows there")
		},
		"WarnsWhereRowLevelSecurityHidesTheRow": func(a *app) {
			a = newApp(a.T, pg, "outsider")
			c := a.create("a")
			a.says("a", "approved")
			a.told(c, "warning", "row level security")
		},
		"SaysAtTheStartWhatRowLevelSecurityHides": func(a *app) {
			if why := a.l.StatusHidden(); why != "" {
				a.Errorf("to a role that passes by: %s", why)
			}
			const restrictive = "CREATE POLICY narrow ON public.user_onboarding AS RESTRICTIVE TO outsider USING (status <> 'secret')"
			for _, tc := range []struct {
				policies []string
				hides    bool
			}{
				{nil, true}, // that of others does not apply
				{[]string{"CREATE POLICY p ON public.user_onboarding USING (status <> 'approved')"}, true},
				{[]string{"CREATE POLICY p ON public.user_onboarding FOR SELECT TO outsider USING (true)"}, true},
				{[]string{"CREATE POLICY p ON public.user_onboarding TO outsider USING (true) WITH CHECK (status <> 'closed')"}, true},
				{[]string{"CREATE POLICY p ON public.user_onboarding TO outsider USING (true)", restrictive}, true},
				{[]string{"CREATE POLICY p ON public.user_onboarding TO outsider USING (true)"}, false},
				{[]string{"CREATE POLICY p ON public.user_onboarding USING (true)"}, false},
				{[]string{"CREATE POLICY p ON public.user_onboarding FOR SELECT TO outsider USING (true)", "CREATE POLICY q ON public.user_onboarding FOR UPDATE TO outsider USING (true)"}, false},
			} {
				a := newApp(a.T, pg, "outsider", tc.policies...)
				mustExec(a.T, a.db, "UPDATE public.user_onboarding SET status = 'pending_closure' WHERE alpaca_account_id = 'b'")
				why := a.l.StatusHidden()
				if (why != "") != tc.hides {
					a.Errorf("%q: %q", tc.policies, why)
				}
				lost, err := a.l.PendingWithout(a.Context(), 10)
				if tc.hides {
					if err == nil || err.Error() != why {
						a.Errorf("%q: nobody is pending for sure: %q, %v", tc.policies, lost, err)
					}
					_, mend, _ := strings.Cut(why, ", ")
					mustExec(a.T, a.db, "DROP POLICY IF EXISTS p ON public.user_onboarding", "DROP POLICY IF EXISTS narrow ON public.user_onboarding", mend)
				} else if err != nil || len(lost) != 1 || lost[0] != "b" {
					a.Errorf("%q: %q, %v", tc.policies, lost, err)
				}
				c := a.create("a") // by what was said, if that was needed
				a.says("a", "pending_closure")
				a.told(c, "account_status", `was "approved"`)
			}
		},
		"PassedOverByATrigger": func(a *app) {
			mustExec(a.T, a.db, "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
				"CREATE TRIGGER skip BEFORE UPDATE ON public.user_onboarding FOR EACH ROW EXECUTE FUNCTION skip()")
			c := a.create("a")
			a.says("a", "approved")
			a.told(c, "warning", "changed 0 rows")
		},
		"WarnsWhereTheTableRefuses": func(a *app) {
			c := a.create("a")
			mustExec(t, a.db, "ALTER TABLE public.user_onboarding ADD CHECK (status <> 'closed')")
			a.done(c)
			a.says("a", "pending_closure")
			a.told(c, "warning", "23514")
			if got, err := a.l.Get(a.Context(), c.ID); err != nil || got.State != closure.Closed {
				a.Errorf("the closure is %s: %v", got.State, err)
			}
		},
		"IsNotSetWhereTheClosureIsNot": func(a *app) {
			// The application holds its row: the closure waits for it, and is then called off as a whole.
			tx, err := a.db.BeginTx(a.Context(), nil)
			if err != nil {
				a.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.ExecContext(a.Context(), "UPDATE public.user_onboarding SET status = 'edited' WHERE alpaca_account_id = 'a'"); err != nil {
				a.Fatal(err)
			}
			_, created, err := a.l.Create(a.Context(), ledger.Wish{AccountID: "a", RelationshipID: "bank"})
			if err == nil || created {
				a.Fatalf("created %t: %v", created, err)
			}
			if _, err := a.l.OfAccount(a.Context(), "a"); err == nil {
				a.Error("the closure was written all the same")
			}
			if err := tx.Commit(); err != nil {
				a.Fatal(err)
			}
			a.says("a", "edited")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(newApp(t, pg, "closeout"))
		})
	}
}

// What can't work is refused at the start, with everything that is wrong.
func TestAccountStatusIsCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	mustExec(t, pg.Open(t, url),
		"CREATE TYPE mood AS ENUM ('approved', 'closed')",
		`CREATE TABLE "odd ""table" (id uuid, "the status" varchar(12), feeling mood, n int, good mood)`,
		"CREATE TABLE users (account uuid PRIMARY KEY, status varchar(40) NOT NULL)",
		"INSERT INTO users VALUES ('5eed0000-0000-4000-8000-000000000001', 'ok')",
		"CREATE VIEW joined AS SELECT count(*)::text AS account, 'x'::text AS status FROM users",
		"CREATE ROLE reader LOGIN", "GRANT SELECT ON users TO reader",
	)
	if _, _, err := ledger.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	mustExec(t, pg.Open(t, url), "GRANT USAGE ON SCHEMA closeout TO reader", "GRANT SELECT ON ALL TABLES IN SCHEMA closeout TO reader")
	for name, tc := range map[string]struct {
		role string
		ledger.AccountStatus
		want []string
	}{
		"NoTable":               {"postgres", ledger.AccountStatus{Table: "user_onboarding", Key: "id", Column: "status"}, []string{"no table user_onboarding"}},
		"NoColumns":             {"postgres", ledger.AccountStatus{Table: "users", Key: "nokey", Column: "nostatus"}, []string{"no column nokey", "no column nostatus"}},
		"TooShort":              {"postgres", ledger.AccountStatus{Table: `odd "table`, Key: "id", Column: "the status"}, []string{"holds 12 characters"}},
		"NotInTheEnum":          {"postgres", ledger.AccountStatus{Table: `odd "table`, Key: "id", Column: "feeling"}, []string{"lacks the value pending_closure"}},
		"NoText":                {"postgres", ledger.AccountStatus{Table: `odd "table`, Key: "id", Column: "n"}, []string{"of the type integer"}},
		"NoRight":               {"reader", ledger.AccountStatus{Table: "users", Key: "account", Column: "status"}, []string{"no UPDATE right"}},
		"AViewThatLocksNothing": {"postgres", ledger.AccountStatus{Table: "joined", Key: "account", Column: "status"}, []string{"can't be read and locked"}},
		"SQLInAName":            {"postgres", ledger.AccountStatus{Table: "users; DROP TABLE users", Key: "account", Column: "status"}, []string{"no table"}},
		"AUUIDAndASchema":       {"postgres", ledger.AccountStatus{Table: "public.users", Key: "account", Column: "status"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := open(t, strings.Replace(url, "postgres@", tc.role+"@", 1), &tc.AccountStatus)
			if len(tc.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				a := &app{t, nil, l}
				a.told(a.create("5eed0000-0000-4000-8000-000000000001"), "account_status", `was "ok"`)
				return
			}
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
		})
	}
	t.Run("WithSQLite", func(t *testing.T) {
		if _, err := open(t, "sqlite:"+t.TempDir()+"/x.db", documented); err == nil {
			t.Error("it was accepted")
		}
	})
}

func TestParseAccountStatus(t *testing.T) {
	t.Parallel()
	got, err := ledger.ParseAccountStatus(" table=user_onboarding  key=alpaca_account_id column=status ")
	if err != nil || *got != *documented {
		t.Errorf("%v: %v", got, err)
	}
	for _, bad := range []string{"", "user_onboarding", "table=a key=b", "table=a key=b column=", "table=a table=b key=c column=d", "table=a key=b column=c where=1"} {
		if _, err := ledger.ParseAccountStatus(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
