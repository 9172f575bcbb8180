package mail

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // a slim container image has no time zones
	"unicode"
	"unicode/utf8"
)

var newYork = mustLoad("America/New_York")

func mustLoad(name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil { // tzdata is linked in
		panic(err)
	}
	return l
}

// day says a date in New York: "Friday, March 6, 2026"; nothing for no time.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(newYork).Format("Monday, January 2, 2006")
}

// moment says a time in New York: "Monday, March 2, 2026, 3:04 PM ET"; nothing for no time.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(newYork).Format("Monday, January 2, 2006, 3:04 PM") + " ET"
}

var sum = regexp.MustCompile(`^[0-9]{1,18}(\.[0-9]{1,18})?$`)

// dollars says a sum: "$137,512.43". Less than a cent is cut off, as it is when money is paid. What is not a plain decimal
// is an error: a letter with a sum that nobody can vouch for is not written.
func dollars(decimal string) (said string, zero bool, err error) {
	if !sum.MatchString(decimal) {
		return "", false, fmt.Errorf("%q is not a sum of money", decimal)
	}
	whole, cents, _ := strings.Cut(decimal, ".")
	cents = (cents + "00")[:2]
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	zero = whole == "0" && cents == "00"
	for n := len(whole) - 3; n > 0; n -= 3 {
		whole = whole[:n] + "," + whole[n:]
	}
	return "$" + whole + "." + cents, zero, nil
}

// fate says what a transfer's status means to the one who waits for the money. Unknown is in flight.
func fate(status string) string {
	switch strings.ToUpper(status) {
	case "COMPLETE", "COMPLETED", "SETTLED", "EXECUTED":
		return "paid"
	case "RETURNED":
		return "returned by the bank"
	case "REJECTED", "CANCELED", "CANCELLED", "EXPIRED":
		return "not carried out"
	}
	return "in progress"
}

// line makes one printable line of whatever was stored: no line breaks that would forge a paragraph or a header, no
// characters that turn the direction of what follows.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, unicode.In(r, unicode.Cc, unicode.Co, unicode.Bidi_Control):
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// sentence gives a stored phrase its capital and its full stop.
func sentence(s string) string {
	s = line(s)
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[size:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// wrap breaks lines at the given width; what follows in a broken line is indented as its beginning is.
func wrap(text string, width int) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, " \n")
		indent := l[:len(l)-len(strings.TrimLeft(l, " "))]
		used := 0
		for word := range strings.FieldsSeq(l) {
			n := utf8.RuneCountInString(word)
			switch {
			case used == 0:
				b.WriteString(indent)
				used = len(indent)
			case used+1+n > width:
				b.WriteString("\n" + indent)
				used = len(indent)
			default:
				b.WriteByte(' ')
				used++
			}
			b.WriteString(word)
			used += n
		}
		b.WriteByte('\n')
	}
	return b.String()
}
