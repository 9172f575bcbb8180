package calendar_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"closeout/calendar"
)

// minutes draws a time on a whole minute, between 2023 and 2030.
func minutes(rt *rapid.T, name string) time.Time {
	start := time.Date(2023, time.January, 1, 0, 0, 0, 0, calendar.NewYork)
	return start.Add(time.Duration(rapid.IntRange(0, 8*365*24*60).Draw(rt, name)) * time.Minute)
}

// somewhere draws a calendar: the rules, or the broker's word over a few weeks of them, with days and hours of its own.
func somewhere(rt *rapid.T) *calendar.Calendar {
	c := calendar.Rules()
	for range rapid.IntRange(0, 3).Draw(rt, "ranges") {
		from := calendar.DateOf(minutes(rt, "from"))
		to := from.AddDays(rapid.IntRange(0, 20).Draw(rt, "days"))
		var sessions []calendar.Session
		for d := from; !d.After(to); d = d.AddDays(1) {
			if rapid.IntRange(0, 3).Draw(rt, "closed") == 0 {
				continue
			}
			opens := d.Time().Add(time.Duration(rapid.IntRange(4*60, 11*60).Draw(rt, "opens")) * time.Minute)
			closes := opens.Add(time.Duration(rapid.IntRange(1, 11*60).Draw(rt, "length")) * time.Minute)
			sessions = append(sessions, calendar.Session{Date: d, Open: opens, Close: closes})
		}
		c = c.With(sessions, from, to)
	}
	return c
}

func TestPropertyOpenTimeIsTheSumOfItsMinutes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := somewhere(rt)
		from := minutes(rt, "at")
		to := from.Add(time.Duration(rapid.IntRange(-60, 12*24*60).Draw(rt, "span")) * time.Minute)
		var want time.Duration
		for m := from; m.Before(to); m = m.Add(time.Minute) {
			if c.Open(m) {
				want += time.Minute
			}
		}
		if got := c.OpenTime(from, to); got != want {
			rt.Fatalf("open from %s to %s for %s, by the minute %s", from, to, got, want)
		}
	})
}

func TestPropertyOpenTimeAddsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := somewhere(rt)
		from := minutes(rt, "from")
		via := from.Add(time.Duration(rapid.Int64Range(0, int64(200*24*time.Hour)).Draw(rt, "first")))
		to := via.Add(time.Duration(rapid.Int64Range(0, int64(200*24*time.Hour)).Draw(rt, "second")))
		if whole, parts := c.OpenTime(from, to), c.OpenTime(from, via)+c.OpenTime(via, to); whole != parts {
			rt.Fatalf("%s is open, its parts %s", whole, parts)
		}
	})
}

func TestPropertyNextBells(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := somewhere(rt)
		now := minutes(rt, "now")
		opens, closes := c.NextOpen(now), c.NextClose(now)
		if !opens.After(now) || !closes.After(now) || !c.Open(opens) || c.Open(closes) || !c.Open(closes.Add(-1)) {
			rt.Fatalf("after %s it opens at %s and closes at %s", now, opens, closes)
		}
		// Nothing opens in between: the market is open only until the close that comes first, if that comes first.
		if c.Open(now) != closes.Before(opens) {
			rt.Fatalf("at %s it is open: %t, though it opens at %s and closes at %s", now, c.Open(now), opens, closes)
		}
		idle := now
		if c.Open(now) {
			idle = closes
		}
		if got := c.OpenTime(idle, opens); got != 0 {
			rt.Fatalf("it is open for %s before it opens", got)
		}
	})
}

func TestPropertyBankingDayGoesOnlyForward(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	rapid.Check(t, func(rt *rapid.T) {
		a, b := minutes(rt, "a"), minutes(rt, "b")
		if b.Before(a) {
			a, b = b, a
		}
		if c.BankingDay(b).Before(c.BankingDay(a)) {
			rt.Fatalf("%s belongs to %s, the later %s to %s", a, c.BankingDay(a), b, c.BankingDay(b))
		}
	})
}

func TestPropertyBankingDayStartIsItsFirstInstant(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	rapid.Check(t, func(rt *rapid.T) {
		now := minutes(rt, "now")
		d := c.BankingDay(now)
		start := c.BankingDayStart(d)
		if !c.Banking(d) || start.After(now) || c.BankingDay(start) != d || !c.BankingDay(start.Add(-1)).Before(d) {
			rt.Fatalf("the banking day %s of %s begins at %s", d, now, start)
		}
	})
}

func TestPropertyCountingIsTheInverseOfAdding(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	rapid.Check(t, func(rt *rapid.T) {
		d := calendar.DateOf(minutes(rt, "date"))
		n := rapid.IntRange(1, 300).Draw(rt, "n")
		later := c.AddBanking(d, n)
		if got := c.BankingBetween(d, later); got != n {
			rt.Fatalf("%d banking days from %s to %s, want %d", got, d, later, n)
		}
		if c.Banking(d) && c.AddBanking(later, -n) != d {
			rt.Fatalf("%d banking days before %s is %s, want %s", n, later, c.AddBanking(later, -n), d)
		}
		if next := c.NextBanking(d); next != c.AddBanking(d, 1) {
			rt.Fatalf("the next banking day after %s is %s", d, next)
		}
	})
}

func TestPropertySettlementIsLaterAndBothTradesAndBanks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := somewhere(rt)
		d := calendar.DateOf(minutes(rt, "trade"))
		s, next := c.Settlement(d), c.Settlement(d.AddDays(1))
		if !s.After(d) || !c.Trading(s) || !c.Banking(s) {
			rt.Fatalf("%s settles on %s", d, s)
		}
		// The change to one day, on 28 May 2024, let later trades settle with earlier ones, but none overtook.
		if next.Before(s) {
			rt.Fatalf("%s settles on %s, a day later already on %s", d, s, next)
		}
	})
}

func TestPropertyMorningsFollowEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := somewhere(rt)
		now := minutes(rt, "now")
		last, next, booking := c.Morning(now), c.NextMorning(now), c.NextBooking(now)
		if last.After(now) || !next.After(now) || !booking.After(now) || booking.After(next) {
			rt.Fatalf("at %s the last morning is %s, the next %s, the next booking %s", now, last, next, booking)
		}
		if !c.NextMorning(last).Equal(next) || !c.Morning(next).Equal(next) || !c.Morning(next.Add(-1)).Equal(last) {
			rt.Fatalf("there is another morning between %s and %s", last, next)
		}
		if d := calendar.DateOf(next); !c.Trading(d) || !c.Banking(d) || !c.Trading(calendar.DateOf(booking)) {
			rt.Fatalf("%s is no morning, or %s no booking", next, booking)
		}
	})
}
