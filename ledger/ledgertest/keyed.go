package ledgertest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

func apiKey(name, hash string) ledger.APIKey {
	return ledger.APIKey{Name: name, Hash: hash, Scopes: []string{"closures:read", "closures:write"}, CreatedBy: "ann"}
}

func (b *bench) keys(l *ledger.Ledger) []ledger.APIKey {
	b.Helper()
	all, err := l.APIKeys(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return all
}

var keyed = map[string]func(*bench){
	"AKeyIsReadAsItWasMade": func(b *bench) {
		made, err := b.l.CreateKey(b.Context(), apiKey("shop", "f00d"))
		if err != nil || made.ID == "" || time.Since(made.CreatedAt) > time.Minute {
			b.Fatalf("%+v, %v", made, err)
		}
		if diff := cmp.Diff([]ledger.APIKey{made}, b.keys(b.l)); diff != "" {
			b.Errorf("(-want +got)\n%s", diff)
		}
		if n := len(b.keys(b.open(closure.Live))); n != 0 {
			b.Errorf("the other environment knows %d", n)
		}
	},

	"ALivingNameIsTakenAndARevokedOneIsFree": func(b *bench) {
		ctx := b.Context()
		if err := b.l.RevokeKey(ctx, "shop"); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("revoked what is not there: %v", err)
		}
		for n, hash := range []string{"1", "2", "3"} {
			if _, err := b.l.CreateKey(ctx, apiKey("shop", hash)); err != nil {
				b.Fatalf("key %d: %v", n, err)
			}
			if _, err := b.l.CreateKey(ctx, apiKey("shop", hash+"b")); !errors.Is(err, ledger.ErrNameTaken) {
				b.Errorf("two of one name: %v", err)
			}
			if err := b.open(closure.Live).RevokeKey(ctx, "shop"); !errors.Is(err, ledger.ErrNotFound) {
				b.Errorf("revoked in another environment: %v", err)
			}
			if err := b.l.RevokeKey(ctx, "shop"); err != nil {
				b.Fatal(err)
			}
		}
		all := b.keys(b.l)
		if len(all) != 3 {
			b.Fatalf("%d keys", len(all))
		}
		for _, k := range all {
			if k.RevokedAt.IsZero() || time.Since(k.RevokedAt) > time.Minute {
				b.Errorf("%+v", k)
			}
		}
		if _, err := b.l.CreateKey(ctx, apiKey("other", "1")); err == nil {
			b.Error("a revoked key's secret was taken for another one")
		}
	},

	"OfManyAtOnceOneHasTheName": func(b *bench) {
		var made atomic.Int32
		var fns []func()
		for n := range 20 {
			fns = append(fns, func() {
				if _, err := b.l.CreateKey(b.Context(), apiKey("shop", account(n))); err == nil {
					made.Add(1)
				} else if !errors.Is(err, ledger.ErrNameTaken) {
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		if made.Load() != 1 || len(b.keys(b.l)) != 1 {
			b.Errorf("%d were made, %d are there", made.Load(), len(b.keys(b.l)))
		}
	},

	"TheLastUseIsKnownToTheMinute": func(b *bench) {
		k, err := b.l.CreateKey(b.Context(), apiKey("shop", "f00d"))
		if err != nil {
			b.Fatal(err)
		}
		at := time.Now().UTC().Truncate(time.Microsecond)
		for _, step := range []struct{ used, want time.Time }{
			{at, at}, {at.Add(59 * time.Second), at}, {at.Add(-time.Hour), at}, {at.Add(time.Minute), at.Add(time.Minute)},
		} {
			if err := b.l.KeyUsed(b.Context(), k.ID, step.used); err != nil {
				b.Fatal(err)
			}
			if got := b.keys(b.l)[0].LastUsedAt; !got.Equal(step.want) {
				b.Errorf("used at %s: noted %s, want %s", step.used, got, step.want)
			}
		}
	},
}
