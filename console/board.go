package console

import (
	"cmp"
	"fmt"
	"net/url"
	"time"

	"closeout/signin"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

func (k *Console) routesBoard() {
	k.get("/{$}", signin.Viewer, k.board)
	k.get("/closures", signin.Viewer, k.list)
	k.mux.HandleFunc("GET /search", k.searched)
	k.post("/search", signin.Viewer, k.search)
}

// endedLately is how far back the board counts what was finished.
const endedLately = 7

// boardPage is the board: what is under way by lane, and how the market stands.
type boardPage struct {
	Market market
	Lanes  []lane
	Open   int
	Money  inside
	People []number // who must act, over all lanes
	Stuck  []number
	Ended  []number
	None   bool // there was never a closure
}

// lane is a column of the board.
type lane struct {
	Title, Does, Link  string
	N                  int
	Age, AgeLink       string // of the stay of the one that has been there the longest
	Oldest, OldestLink string // of the oldest closure in it, in business days since it was asked for; "": not known
	Since              time.Time
	Starts             bool // Since is to come: the first that begins
	Money              inside
	Stuck, People      []number
}

// inside is the money in closures: what is known of it, and of how many of them it is not.
type inside struct {
	ledger.Money
	N int
}

// Known says whether any of it is known: the sum of nothing is not zero.
func (i inside) Known() bool { return i.Unknown < i.N }

// number is a count with the list behind it.
type number struct {
	N           int
	Words, Link string
	Kind        string // of style: a state, or who must act
}

func (k *Console) board(a *ask) (page, error) {
	now := k.now()
	cal := k.Calendar()
	slow := k.slow(cal, now)
	since := calendar.DateOf(now).AddDays(-endedLately)
	b, err := k.Ledger.Board(a.Context(), slow, since.Time())
	if err != nil {
		return page{}, err
	}
	created, err := k.readings.oldest.Get(a.Context(), k.Ledger.Oldest)
	if err != nil {
		k.Log.WithError(err).Warn("the board does not know how old the oldest closures are")
	}
	p := boardPage{Market: marketAt(cal, now)}
	for _, ln := range ledger.Lanes() {
		one := laneOf(ln, b, cal, now)
		if at, ok := created[ln]; ok && one.N > 0 {
			one.Oldest, one.OldestLink = businessDays(cal, at, now), closuresAt("lane", string(ln), "order", "oldest")
		}
		p.Lanes = append(p.Lanes, one)
	}
	all := sumOf("", b)
	p.Open, p.Money, p.People, p.Stuck = all.N, all.Money, all.People, all.Stuck
	for _, s := range []closure.State{closure.Closed, closure.Canceled} {
		p.Ended = append(p.Ended, number{b.Ended[s], string(s), closuresAt("status", string(s), "ended_after", string(since)), string(s)})
	}
	if p.Open == 0 && b.Ended[closure.Closed]+b.Ended[closure.Canceled] == 0 {
		n, err := k.Ledger.Count(a.Context(), ledger.Filter{}, 1)
		if err != nil {
			return page{}, err
		}
		p.None = n == 0
	}
	return page{Template: "board", Title: "Board", Data: p, Watch: "all"}, nil
}

// closuresAt is the address of a list: pairs of a filter and its value. A pair without a value is left out.
func closuresAt(pairs ...string) string {
	v := url.Values{}
	for n := 0; n+1 < len(pairs); n += 2 {
		if pairs[n+1] != "" {
			v.Set(pairs[n], pairs[n+1])
		}
	}
	if len(v) == 0 {
		return "/closures"
	}
	return "/closures?" + v.Encode()
}

// laneOf draws up a lane.
func laneOf(ln ledger.Lane, b ledger.Board, cal *calendar.Calendar, now time.Time) lane {
	out := sumOf(ln, b)
	out.Link = closuresAt("lane", string(ln))
	out.AgeLink = closuresAt("lane", string(ln), "order", "stuck")
	if ln == ledger.StartLane {
		out.Title, out.Does, out.Starts = "Waiting to start", "accepted for later", true
		return out
	}
	p := closure.Phase(ln)
	out.Title, out.Does = closure.Capital(string(p)), closure.StepOf(p).Does
	if out.N > 0 {
		out.Age = ageIn(cal, p, out.Since, now)
	}
	return out
}

// sumOf adds up a lane, or with "" all of them.
func sumOf(ln ledger.Lane, b ledger.Board) lane {
	var out lane
	in := string(cmp.Or(ln, ledger.OpenLane))
	states, who, slow := map[closure.State]int{}, map[closure.Who]int{}, 0
	for _, t := range b.Tallies {
		if ln != "" && t.Lane != ln {
			continue
		}
		out.N += t.N
		out.Money.N += t.N
		out.Money.Add(t.Money)
		states[t.State] += t.N
		who[t.Who] += t.N
		slow += t.Slow
		if out.Since.IsZero() || t.Since.Before(out.Since) {
			out.Since = t.Since
		}
	}
	for _, s := range []closure.State{closure.Failed, closure.Dead, closure.Paused} {
		if states[s] > 0 {
			out.Stuck = append(out.Stuck, number{states[s], string(s), closuresAt("lane", in, "status", string(s), "order", "stuck"), string(s)})
		}
	}
	if slow > 0 {
		out.Stuck = append(out.Stuck, number{slow, "past the usual time", closuresAt("lane", in, "slow", "yes", "order", "stuck"), "slow"})
	}
	for _, w := range []closure.Who{closure.Operator, closure.Customer, closure.Broker} {
		if who[w] > 0 {
			out.People = append(out.People, number{who[w], "for " + theParty(w), closuresAt("lane", in, "who", string(w), "order", "stuck"), string(w)})
		}
	}
	return out
}

// slow says of each phase since when a closure must be in it to have been there longer than usual.
func (k *Console) slow(cal *calendar.Calendar, now time.Time) ledger.Cutoffs {
	return readiness.PastUsual(cal, k.Policy, now)
}

// daysOf says which days count in a phase, and what they are called.
func daysOf(cal *calendar.Calendar, p closure.Phase) (is func(calendar.Date) bool, name string) {
	if p == closure.Liquidation || p == closure.Settlement {
		return readiness.DaysOf(cal, p), "trading day"
	}
	return readiness.DaysOf(cal, p), "banking day"
}

// ageIn is how long a closure has been in a phase, in the days that count there.
func ageIn(cal *calendar.Calendar, p closure.Phase, since, now time.Time) string {
	n := cal.BankingBetween(calendar.DateOf(since), calendar.DateOf(now))
	if p == closure.Liquidation || p == closure.Settlement {
		n = cal.TradingBetween(calendar.DateOf(since), calendar.DateOf(now))
	}
	_, name := daysOf(cal, p)
	if n == 0 {
		return fmt.Sprintf("less than a %s", name)
	}
	return closure.Count(n, name)
}

// theParty is who must act, in a sentence.
func theParty(w closure.Who) string {
	if w == closure.Operator {
		return "an operator"
	}
	return "the " + string(w)
}
