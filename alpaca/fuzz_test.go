package alpaca

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var digits = regexp.MustCompile(`\d{7}`)

func FuzzDecodeError(f *testing.F) {
	for _, s := range []string{`{"code":40310000,"message":"no"}`, `{"code":"40310000","message":7}`, `"text"`, `<html>`, ``, `{"code":{},"message":[]}`, "\xff\xfe"} {
		f.Add(400, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := decodeError(&http.Response{StatusCode: status, Header: http.Header{}}, "GET", "/v1/clock", body)
		if e.Status != status || len(e.Message) > 210 || !utf8.ValidString(e.Message) {
			t.Errorf("%+v", e)
		}
		if strings.Contains(e.Error(), "\n") && !strings.Contains(e.Message, "\n") {
			t.Errorf("%q", e.Error())
		}
		if rest := uuids.ReplaceAllString(e.Message, " "); digits.MatchString(rest) {
			t.Errorf("shows a number: %q", rest)
		}
	})
}

func FuzzTransfers(f *testing.F) {
	for _, s := range []string{`[]`, `[` + transferRow(1) + `]`, `null`, `[{"id":"x","amount":""}]`, `[{"id":"x","amount":1e400}]`, `[{"id":"x","created_at":null}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		calls := 0
		c := clientOf(t, func(*http.Request) (*http.Response, error) {
			if calls++; calls > 1 {
				return says(200, "[]"), nil
			}
			return says(200, string(body)), nil
		})
		list, err := c.Transfers(t.Context(), accountID)
		if err != nil {
			if list != nil || Unavailable(err) {
				t.Errorf("%v, %v", list, err)
			}
			return
		}
		var rows []json.RawMessage
		if json.Unmarshal(body, &rows) != nil || rows == nil || len(list) > len(rows) {
			t.Errorf("%d transfers out of %s", len(list), body)
		}
		for _, row := range list {
			if row.ID == "" {
				t.Errorf("a transfer without an id out of %s", body)
			}
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{`"1.50"`, `1.5`, `null`, `""`, `-0`, `"1e9"`, `"0x10"`, `{}`, `1e999999999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var n Number
		if json.Unmarshal(b, &n) != nil {
			return
		}
		again, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		var m Number
		if err := json.Unmarshal(again, &m); err != nil || m.Valid != n.Valid || !m.Decimal.Equal(n.Decimal) {
			t.Errorf("%s became %s, %v", b, again, err)
		}
	})
}
