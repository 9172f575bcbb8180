package signin

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const goodPassword = "correct horse battery"

func TestPasswordsAreReadAndNeverShown(t *testing.T) {
	entry, err := MakePassword("ann", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.TrimPrefix(entry, "ann:")
	for text, want := range map[string]string{
		"ann:hunter2":                           "operator 1: has no bcrypt hash",
		"hunter2":                               "operator 1: must be written",
		"ann:" + hash + ",ann:" + hash:          "operator 2: has the name",
		"9ann:" + hash:                          "operator 1: must be written",
		"ann:$2a$04$" + strings.Repeat("x", 53): "operator 1: has a hash of the cost 4",
		"ann:" + hash + ",":                     "operator 2: must be written",
	} {
		_, err := ParsePasswords(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "$2a$") {
			t.Errorf("%s: %v", text, err)
		}
	}
	p, err := ParsePasswords(entry)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.String() + p.GoString(); strings.Contains(s, "$2a$") {
		t.Error(s)
	}
	if !p.check("ann", goodPassword) || p.check("ann", "x") || p.check("ben", goodPassword) || (Passwords{}).check("ann", goodPassword) {
		t.Error("the wrong ones are let in")
	}
	for name, secret := range map[string]string{"ann": "short", "9": goodPassword, "ben": strings.Repeat("x", 73)} {
		if _, err := MakePassword(name, secret); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyNamesAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		for n := range throttled {
			th.attempt(strings.Repeat("x", n%60)+stamp(time.Unix(int64(n), 0)), address(&http.Request{RemoteAddr: "192.0.2.1:1"}, false))
		}
		if len(th.names) != throttled {
			t.Errorf("%d names", len(th.names))
		}
		time.Sleep(nameEvery)
		if !th.attempt("ann", address(&http.Request{RemoteAddr: "192.0.2.2:1"}, false)) || len(th.names) > 10 {
			t.Errorf("%d names are remembered", len(th.names))
		}
	})
}

func TestAddressesAreTheBrowsers(t *testing.T) {
	for _, tc := range []struct {
		remote, forwarded string
		proxied           bool
		want              string
	}{
		{"192.0.2.1:99", "", false, "192.0.2.1"},
		{"192.0.2.1:99", "203.0.113.9", false, "192.0.2.1"},
		{"192.0.2.1:99", "203.0.113.9", true, "203.0.113.9"},
		{"192.0.2.1:99", "6.6.6.6, 203.0.113.9", true, "203.0.113.9"}, // the first is the browser's own invention
		{"[2001:db8:1:2:3::4]:99", "", false, "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:99", "", false, "192.0.2.1"},
		{"192.0.2.1:99", "nonsense", true, "invalid Prefix"},
	} {
		r := &http.Request{RemoteAddr: tc.remote, Header: http.Header{}}
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		if got := fromWhere(address(r, tc.proxied)); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
