package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"closeout/calendar"
	"closeout/closure"
)

// String is the filter as a text, from which ParseFilter reads it again: a query as the list's address has it, such as
// reason=bank_gone&status=dead%2Cfailed. The zero Filter is the empty text.
func (f Filter) String() string {
	v := url.Values{}
	set := func(name string, values ...string) {
		if text := strings.Join(values, ","); text != "" {
			v.Set(name, text)
		}
	}
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	set("status", f.Statuses...)
	set("phase", texts(f.Phases)...)
	set("who", texts(f.Who)...)
	set("reason", string(f.Reason))
	set("account_id", f.AccountID)
	set("batch_id", f.BatchID)
	set("lane", string(f.Lane))
	var slow []string
	for _, step := range closure.Road {
		if at, ok := f.Slow[step.Phase]; ok {
			slow = append(slow, string(step.Phase)+"@"+moment(at))
		}
	}
	if f.Slow != nil && len(slow) == 0 { // which means nothing, and not all
		slow = []string{nobody}
	}
	set("slow", slow...)
	set("client", f.Actor)
	set("person_of", f.PersonOf)
	set("exact", f.Exact)
	set("created_after", moment(f.CreatedFrom))
	set("created_before", moment(f.CreatedBefore))
	set("ended_after", moment(f.EndedFrom))
	set("q", f.Text)
	return v.Encode()
}

func texts[T ~string](words []T) (out []string) {
	for _, word := range words {
		out = append(out, string(word))
	}
	return out
}

// nobody is a Slow in which no phase has a time.
const nobody = "none"

// ages are the units of older_than.
var ages = map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

// ParseWords reads a filter as people write it: words such as phase=withdrawal reason=bank_gone, with the names of the lists
// of the API and the console, among them older_than=36h and dates of New York's. No word at all is refused, as a misspelt one is:
// it must not mean everything. now is business time.
func ParseWords(words string, now time.Time) (Filter, error) {
	v := url.Values{}
	for word := range strings.FieldsSeq(words) {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return Filter{}, fmt.Errorf("read the filter: want name=value, got %q", word)
		}
		switch d, err := calendar.ParseDate(value); {
		case name == "older_than":
			n, err := strconv.Atoi(value[:len(value)-1])
			unit := ages[value[len(value)-1]]
			if err != nil || unit == 0 || n < 0 || n > 999_999 {
				return Filter{}, errors.New("read the filter: older_than: must be a number and m, h or d, such as 36h or 5d")
			}
			name, value = "created_before", now.Add(-time.Duration(n)*unit).UTC().Format(time.RFC3339Nano)
		case err == nil && strings.HasSuffix(name, "_after") || err == nil && strings.HasSuffix(name, "_before"):
			value = d.Time().UTC().Format(time.RFC3339Nano)
		}
		if v.Has(name) && name == "created_before" {
			value = min(v.Get(name), value) // both must hold; all such times are written in one form
			v.Del(name)
		}
		v.Add(name, value)
	}
	if len(v) == 0 {
		return Filter{}, errors.New("read the filter: it has no word")
	}
	f, err := ParseFilter(v.Encode())
	for _, who := range f.Who {
		if who != closure.Operator && who != closure.Customer && who != closure.Broker {
			return Filter{}, fmt.Errorf("read the filter: who: there is no %q; there are operator, customer, broker", who)
		}
	}
	return f, err
}

// ParseFilter reads a filter. One that is misspelt is refused: it must not mean everything.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	v, err := url.ParseQuery(text)
	if err != nil {
		return f, fmt.Errorf("read the filter: %w", err)
	}
	var wrong []error
	moment := func(name, text string) (t time.Time) {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: must be a time such as 2026-11-18T15:00:00Z", name))
		}
		return t
	}
	for name, values := range v {
		text := strings.Join(values, ",")
		if text == "" {
			continue
		}
		switch name {
		case "status":
			f.Statuses = strings.Split(text, ",")
			if i := slices.IndexFunc(f.Statuses, func(word string) bool { return statuses[word] == "" }); i >= 0 {
				wrong = append(wrong, fmt.Errorf("status: there is no %q; there are %s", f.Statuses[i], strings.Join(Statuses(), ", ")))
			}
		case "phase":
			for word := range strings.SplitSeq(text, ",") {
				f.Phases = append(f.Phases, closure.Phase(word))
				if !closure.Phase(word).Valid() {
					wrong = append(wrong, fmt.Errorf("phase: there is no %q", word))
				}
			}
		case "reason":
			if f.Reason = closure.Reason(text); closure.Reasons[f.Reason].Title == "" {
				wrong = append(wrong, fmt.Errorf("reason: there is no %q", text))
			}
		case "account_id":
			f.AccountID = text
		case "batch_id":
			f.BatchID = text
		case "lane":
			f.Lane = Lane(text)
			if f.Lane != OpenLane && !slices.Contains(Lanes(), f.Lane) {
				wrong = append(wrong, fmt.Errorf("lane: there is no %q", text))
			}
		case "who":
			for word := range strings.SplitSeq(text, ",") {
				f.Who = append(f.Who, closure.Who(word))
			}
		case "slow":
			f.Slow = Cutoffs{}
			for part := range strings.SplitSeq(text, ",") {
				if part == nobody {
					continue
				}
				phase, at, _ := strings.Cut(part, "@")
				f.Slow[closure.Phase(phase)] = moment(name, at)
			}
		case "client":
			f.Actor = text
		case "person_of":
			f.PersonOf = text
		case "exact":
			f.Exact = text
		case "ended_after":
			f.EndedFrom = moment(name, text)
		case "created_after":
			f.CreatedFrom = moment(name, text)
		case "created_before":
			f.CreatedBefore = moment(name, text)
		case "q":
			f.Text = text
		default:
			wrong = append(wrong, fmt.Errorf("nothing can be filtered by %q", name))
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if err := errors.Join(wrong...); err != nil {
		return Filter{}, fmt.Errorf("read the filter: %w", err)
	}
	return f, nil
}
