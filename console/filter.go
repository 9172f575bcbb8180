package console

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// wanted is what a list is asked for: as the ledger reads it, as its address has it, and what in that is wrong.
type wanted struct {
	filter ledger.Filter
	page   ledger.Page
	back   bool       // the page is the one before its place
	values url.Values // of the filters and the order, without the place in the list
	faults []fault
}

// fault says what is wrong with one of the list's filters.
type fault struct{ Name, Text string }

// leastPart is how many letters of an id are looked for at the least.
const leastPart = 3

// oldest is how old closures are looked for at the most.
const oldest = 100 * 365 * 24 * time.Hour

// longest is how much of a text is searched for, in bytes.
const longest = 100

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	ageForm    = regexp.MustCompile(`^([0-9]{1,6})([mhd])$`)
	cursorForm = regexp.MustCompile(`^([0-9a-f]{12}) (-?[0-9]{1,17}) (.+)$`)
	units      = map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
)

// somebody is who, where it does not matter which of the parties must act.
const somebody = "somebody"

// filters are what the list's address may hold beside its place, and how each is read. A word that stands here for nothing
// is refused: it must not list everything.
var filters = map[string]func(k *Console, w *wanted, text string) (wrong string){
	"lane": func(_ *Console, w *wanted, text string) string {
		w.filter.Lane = ledger.Lane(text)
		return oneOf(ledger.Lane(text), append([]ledger.Lane{ledger.OpenLane}, ledger.Lanes()...))
	},
	"status": func(_ *Console, w *wanted, text string) string {
		w.filter.Statuses = strings.Split(text, ",")
		for _, word := range w.filter.Statuses {
			if wrong := oneOf(word, ledger.Statuses()); wrong != "" {
				return wrong
			}
		}
		return ""
	},
	"phase": func(_ *Console, w *wanted, text string) string {
		for word := range strings.SplitSeq(text, ",") {
			w.filter.Phases = append(w.filter.Phases, closure.Phase(word))
			if !closure.Phase(word).Valid() {
				return "there is no phase of this name"
			}
		}
		return ""
	},
	"reason": func(_ *Console, w *wanted, text string) string {
		w.filter.Reason = closure.Reason(text)
		if _, ok := closure.Reasons[w.filter.Reason]; !ok {
			return "there is no reason of this name"
		}
		return ""
	},
	"who": func(_ *Console, w *wanted, text string) string {
		w.filter.Who = []closure.Who{closure.Who(text)}
		if text == somebody {
			w.filter.Who = parties
			return ""
		}
		return oneOf(closure.Who(text), parties)
	},
	"slow": func(k *Console, w *wanted, text string) string {
		w.filter.Slow = k.slow(k.Calendar(), k.now())
		return oneOf(text, []string{"yes"})
	},
	"account_id": func(_ *Console, w *wanted, text string) string {
		w.filter.AccountID = strings.ToLower(text)
		return id(text)
	},
	"batch_id": func(_ *Console, w *wanted, text string) string {
		w.filter.BatchID = strings.ToLower(text)
		return id(text)
	},
	"person_of": func(_ *Console, w *wanted, text string) string {
		w.filter.PersonOf = strings.ToLower(text)
		return id(text)
	},
	"client":         func(_ *Console, w *wanted, text string) string { w.filter.Actor = text; return "" },
	"created_after":  func(_ *Console, w *wanted, text string) string { return moment(text, &w.filter.CreatedFrom) },
	"created_before": func(_ *Console, w *wanted, text string) string { return moment(text, &w.filter.CreatedBefore) },
	"ended_after":    func(_ *Console, w *wanted, text string) string { return moment(text, &w.filter.EndedFrom) },
	"older_than": func(k *Console, w *wanted, text string) string {
		m := ageForm.FindStringSubmatch(text)
		if m == nil {
			return "is a number and m, h or d, such as 36h or 5d"
		}
		n, _ := strconv.Atoi(m[1]) // six digits at the most
		if time.Duration(n) > oldest/units[m[2]] {
			return "is a hundred years at the most"
		}
		born := k.now().Add(-time.Duration(n) * units[m[2]])
		if w.filter.CreatedBefore.IsZero() || born.Before(w.filter.CreatedBefore) {
			w.filter.CreatedBefore = born
		}
		return ""
	},
	"q": func(_ *Console, w *wanted, text string) string {
		w.filter.Text = text
		switch {
		case strings.Contains(text, "@"):
			return "an e-mail is looked for by the search at the top alone: what stands in an address is written down on its way"
		case utf8.RuneCountInString(text) < leastPart:
			return "takes three letters or more"
		}
		return ""
	},
	"order": func(_ *Console, w *wanted, text string) string {
		by, ok := orders[text]
		w.page.By, w.page.OldestFirst = by.By, by.OldestFirst
		if !ok {
			return "there is no order of this name"
		}
		return ""
	},
}

var parties = []closure.Who{closure.Operator, closure.Customer, closure.Broker}

// orders are what the list can be sorted by.
var orders = map[string]ledger.Page{
	"newest": {}, "oldest": {OldestFirst: true}, "due": {By: ledger.ByDue, OldestFirst: true}, "stuck": {By: ledger.BySince, OldestFirst: true},
}

// read reads the list's address.
func (k *Console) read(v url.Values) wanted {
	w := wanted{values: url.Values{}}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		text := strings.TrimSpace(strings.Join(slices.DeleteFunc(slices.Clone(v[name]), func(s string) bool { return s == "" }), ","))
		f, ok := filters[name]
		switch wrong := unreadable(text); {
		case name == "after" || name == "before" || text == "":
		case !ok:
			w.fault(printed(name), "nothing can be filtered by it")
		case wrong != "":
			w.fault(name, wrong)
		default:
			w.values.Set(name, text)
			if wrong := f(k, &w, text); wrong != "" {
				w.fault(name, wrong)
			}
		}
	}
	for _, name := range []string{"after", "before"} {
		if place := v.Get(name); place != "" && len(w.faults) == 0 {
			at, ok := w.parse(place)
			w.page.After, w.back = at, name == "before"
			if !ok || w.back && v.Get("after") != "" {
				w.fault(name, "is no place in this list: take the link to the page as it stands, or begin anew")
			}
		}
	}
	return w
}

func (w *wanted) fault(name, text string) { w.faults = append(w.faults, fault{name, text}) }

// unreadable says why a text is not looked at at all.
func unreadable(text string) string {
	switch {
	case len(text) > longest:
		return fmt.Sprintf("is longer than the %d letters that are looked at", longest)
	case !utf8.ValidString(text), strings.ContainsFunc(text, unicode.IsControl):
		return "has control characters"
	}
	return ""
}

// printed is a name that somebody wrote, fit to be shown.
func printed(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '·'
		}
		return r
	}, name)
	if len(name) > 40 {
		name = strings.ToValidUTF8(name[:40], "") + "…"
	}
	return name
}

func oneOf[T ~string](text T, words []T) string {
	if slices.Contains(words, text) {
		return ""
	}
	list := make([]string, len(words))
	for n, word := range words {
		list[n] = string(word)
	}
	return "is one of " + strings.Join(list, ", ")
}

func id(text string) string {
	if uuidForm.MatchString(strings.ToLower(text)) {
		return ""
	}
	return "is an id such as 3f2a8a5e-0c1b-4f6c-9c58-1f8f0a7b9c01"
}

// moment reads a date of New York's, or a time.
func moment(text string, to *time.Time) string {
	if d, err := calendar.ParseDate(text); err == nil {
		*to = d.Time()
		return ""
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || !storable(t) {
		return "is a date such as 2026-11-27, or a time such as 2026-11-27T15:00:00Z"
	}
	*to = t
	return ""
}

// storable says whether a database takes the time.
func storable(t time.Time) bool { return t.UTC().Year() > 0 && t.UTC().Year() < 9999 }

// link is the address of this list with some of its values changed, from its beginning.
func (w wanted) link(pairs ...string) string {
	v := maps.Clone(w.values)
	for n := 0; n+1 < len(pairs); n += 2 {
		v.Set(pairs[n], pairs[n+1])
		if pairs[n+1] == "" {
			v.Del(pairs[n])
		}
	}
	if len(v) == 0 {
		return "/closures"
	}
	return "/closures?" + v.Encode()
}

// at is the address of the page after a closure, or of that before it. A place belongs to the filters and the order it is of.
func (w wanted) at(side string, c closure.Closure) string {
	at := w.page.By.Position(c)
	return w.link(side, base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %d %s", w.digest(), at.At.UnixMicro(), at.ID)))
}

func (w wanted) digest() string {
	sum := sha256.Sum256([]byte(w.values.Encode()))
	return hex.EncodeToString(sum[:6])
}

func (w wanted) parse(after string) (at ledger.Position, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(after)
	m := cursorForm.FindSubmatch(b)
	if err != nil || len(after) > 3*longest || m == nil || string(m[1]) != w.digest() || !uuidForm.Match(m[3]) {
		return at, false
	}
	micros, err := strconv.ParseInt(string(m[2]), 10, 64)
	at = ledger.Position{At: time.UnixMicro(micros), ID: string(m[3])}
	return at, err == nil && storable(at.At)
}

// choice is one of the values of a filter that has few.
type choice struct {
	Value, Words string
	On           bool
}

// choices are the values of a filter, the first of which is none.
func (w wanted) choices(name, none string, words ...choice) []choice {
	out := append([]choice{{"", none, false}}, words...)
	for n := range out {
		out[n].On = out[n].Value == w.values.Get(name)
	}
	return out
}

// reasons are all reasons, by their words.
func reasons() []choice {
	var out []choice
	for r, info := range closure.Reasons {
		out = append(out, choice{Value: string(r), Words: string(r) + ": " + info.Title})
	}
	slices.SortFunc(out, func(a, b choice) int { return cmp.Compare(a.Value, b.Value) })
	return out
}
