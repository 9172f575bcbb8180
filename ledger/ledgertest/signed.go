package ledgertest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// session is what a ledger knows of a token, "" if nothing.
func (b *bench) session(l *ledger.Ledger, token string) string {
	b.Helper()
	data, found, err := l.SignIns().FindCtx(b.Context(), token)
	if err != nil || found != (data != nil) {
		b.Fatalf("%q, %t, %v", data, found, err)
	}
	return string(data)
}

func (b *bench) sign(token, data string, d time.Duration) {
	b.Helper()
	if err := b.l.SignIns().CommitCtx(b.Context(), token, []byte(data), time.Now().Add(d)); err != nil {
		b.Fatal(err)
	}
}

// signedOut ends a session.
func (b *bench) signedOut(l *ledger.Ledger, token string) {
	b.Helper()
	if err := l.SignIns().DeleteCtx(b.Context(), token); err != nil {
		b.Fatal(err)
	}
}

var signed = map[string]func(*bench){
	"ASessionIsKnownToAllServersOfItsEnvironment": func(b *bench) {
		const data = `{"name":"Zoë <script>","role":"operator"}`
		b.sign("token", "first", time.Hour)
		b.sign("token", data, time.Hour)
		if got := b.session(b.open(closure.Sandbox), "token"); got != data {
			b.Errorf("another server reads %q", got)
		}
		for what, got := range map[string]string{
			"the other environment": b.session(b.open(closure.Live), "token"),
			"another token":         b.session(b.l, "token2"),
			"no token":              b.session(b.l, ""),
			"the hash":              b.session(b.l, b.text("SELECT token_hash FROM sessions")),
			"broken text":           b.session(b.l, "\xff\x00"),
		} {
			if got != "" {
				b.Errorf("%s reads %q", what, got)
			}
		}
		b.signedOut(b.open(closure.Live), "token")
		if b.session(b.l, "token") != data {
			b.Error("it was ended from the other environment")
		}
	},

	"OfATokenOnlyAHashIsKept": func(b *bench) {
		b.sign("token-in-clear", "{}", time.Hour)
		if row := b.text("SELECT token_hash || ' ' || data FROM sessions"); strings.Contains(row, "clear") || b.count("sessions") != 1 {
			b.Errorf("%s", row)
		}
	},

	"AnEndedSessionStaysEnded": func(b *bench) {
		b.signedOut(b.l, "nobody's")
		b.sign("token", "secret", time.Hour)
		b.sign("other", "data", time.Hour)
		other := b.open(closure.Sandbox)
		b.signedOut(b.l, "token")
		b.signedOut(other, "token")
		b.sign("token", "anew", time.Hour) // by a request that began before
		if got := b.session(other, "token"); got != "" {
			b.Errorf("reads %q", got)
		}
		if b.count("sessions WHERE data IN ('secret', 'anew')") != 0 {
			b.Error("what was in it is kept")
		}
		if b.session(other, "other") != "data" {
			b.Error("somebody else's was ended")
		}
	},

	"OfManyAtOnceNoneComesAfterTheEnd": func(b *bench) {
		for n := range many() {
			token := fmt.Sprint("token", n)
			b.sign(token, "data", time.Hour)
			other, ctx := b.open(closure.Sandbox).SignIns(), context.WithoutCancel(b.Context())
			var fns []func()
			for range 4 {
				fns = append(fns, func() {
					if err := other.CommitCtx(ctx, token, []byte("later"), time.Now().Add(time.Hour)); err != nil {
						b.Error(err)
					}
				})
			}
			atOnce(append(fns, func() { b.signedOut(b.l, token) })...)
			if got := b.session(b.l, token); got != "" {
				b.Errorf("reads %q", got)
			}
		}
	},

	"ASessionWhoseTimeIsOverIsUnknownAndForgotten": func(b *bench) {
		for n := range 5 {
			b.sign(fmt.Sprint("old", n), "data", -time.Second)
		}
		b.signedOut(b.l, "old0")
		b.sign("new", "data", time.Hour)
		if got := b.session(b.l, "old1"); got != "" {
			b.Errorf("reads %q", got)
		}
		for round, want := range []int{3, 2, 0} {
			if got, err := b.l.Forget(b.Context(), 3); err != nil || got != want {
				b.Errorf("round %d forgot %d, %v, want %d", round, got, err, want)
			}
		}
		if b.session(b.l, "new") != "data" || b.count("sessions") != 1 {
			b.Errorf("%d are left", b.count("sessions"))
		}
	},
}
