package legacy

import (
	"encoding/json"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// fields are a record's, whichever way it was kept: of a JSON object, or of a hash, whose values are all text.
type fields map[string]any

// object reads a JSON object; ok is false for anything else. Numbers keep their digits.
func object(text string) (fields, bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var f fields
	if err := d.Decode(&f); err != nil || f == nil {
		return nil, false
	}
	_, err := d.Token()
	return f, err == io.EOF
}

// text is a field that is text or a number; "" where it is missing or anything else.
func (f fields) text(names ...string) string {
	for _, name := range names {
		switch v := f[name].(type) {
		case string:
			if v = strings.TrimSpace(v); v != "" {
				return v
			}
		case json.Number:
			return v.String()
		}
	}
	return ""
}

// has says whether a field holds anything.
func (f fields) has(name string) bool {
	if s, ok := f[name].(string); ok {
		return !slices.Contains([]string{"", "null", "None"}, strings.TrimSpace(s))
	}
	return f[name] != nil
}

// within is a field that is an object itself, or the text of one, as a hash keeps it.
func (f fields) within(name string) fields {
	switch v := f[name].(type) {
	case map[string]any:
		return v
	case string:
		o, _ := object(v)
		return o
	}
	return nil
}

// list is a field that is a list itself, or the text of one.
func (f fields) list(name string) []any {
	switch v := f[name].(type) {
	case []any:
		return v
	case string:
		var l []any
		d := json.NewDecoder(strings.NewReader(v))
		d.UseNumber()
		if d.Decode(&l) == nil {
			return l
		}
	}
	return nil
}

var (
	uuidForm         = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	confirmationForm = regexp.MustCompile(`^CLA-[0-9]{14}-[0-9a-z]{1,12}$`)
)

// id is an account's or a bank's id in small letters; "" where it is none.
func id(s string) string {
	if s = strings.ToLower(strings.TrimSpace(s)); uuidForm.MatchString(s) {
		return s
	}
	return ""
}

// confirmation is a confirmation number as this service writes it; "" where it is none.
func confirmation(s string) string {
	if len(s) < 4 || !strings.EqualFold(s[:4], "CLA-") {
		return ""
	}
	if s = "CLA-" + strings.ToLower(s[4:]); confirmationForm.MatchString(s) {
		return s
	}
	return ""
}

// plain is text of at most so many bytes without control characters; "" where it is not.
func plain(s string, most int) string {
	if len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}

// word is a status or phase as it is compared: small letters, and nothing but letters, digits, _ and -.
func word(s string) string {
	if s = strings.ToLower(strings.TrimSpace(s)); len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) {
		return "unreadable"
	}
	return s
}

// The forms in which Python writes times. One that names no zone is read as UTC, on which servers run.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999", "2006-01-02T15:04", "2006-01-02",
}

// moment reads a time: text, or seconds or milliseconds since 1970. The zero time is none.
func moment(s string) time.Time {
	var t time.Time
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if n > 1e11 { // milliseconds
			n /= 1000
		}
		if n < 1e8 || n > 1e10 || math.IsNaN(n) {
			return t
		}
		whole, part := math.Modf(n)
		return time.Unix(int64(whole), int64(part*1e9)).UTC()
	}
	for _, l := range layouts {
		if t, err := time.Parse(l, s); err == nil && t.Year() > 2000 && t.Year() < 2200 {
			return t.UTC()
		}
	}
	return t
}
