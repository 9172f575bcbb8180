package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"closeout/server"
)

func TestParseKeys(t *testing.T) {
	k, err := server.ParseKeys(" shop=0123456789abcdef , ci=with=equals=signs=in=it ")
	if err != nil || !slices.Equal(k.Names(), []string{"shop", "ci"}) {
		t.Fatalf("%v, %v", k.Names(), err)
	}
	for _, print := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k)} {
		if print != "keys of shop, ci" {
			t.Errorf("printed as %s", print)
		}
	}
	cases := map[string][]string{
		"":                       {"no API key is set"},
		"dev":                    {"API key 1: must be written name=secret"},
		"dev=dev":                {"API key 1 (dev): its secret must have at least 16 characters"},
		"shop=0123456789abcdef,": {"API key 2: is empty"},
		"shop=0123456789abcdef,topsecrettopsecret":    {"API key 2: must be written name=secret"},
		"shop=0123456789abcdef,shop=0123456789abcdeg": {"API key 2 (shop): has the same name as API key 1"},
		"shop=0123456789abcdef,ci=0123456789abcdef":   {"API key 2 (ci): has the same secret as API key 1"},
		"=0123456789abcdef":                           {"API key 1: its name must"},
		"a b=0123456789abcdef":                        {"API key 1: its name must"},
		"shop=0123456789 abcdef":                      {"API key 1 (shop): its secret must be of printable"},
		"shop=tooshort,9=0123456789abcdef,":           {"API key 1 (shop)", "API key 2: its name", "API key 3: is empty"},
		"topsecrettopsecret=shop":                     {"API key 1: its secret must have at least 16"}, // the wrong way round
	}
	for in, want := range cases {
		_, err := server.ParseKeys(in)
		if err == nil {
			t.Errorf("%q is accepted", in)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %q does not say %q", in, err, w)
			}
		}
		for _, leak := range []string{"topsecret", "0123456789", "tooshort"} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%q: the complaint shows a secret: %q", in, err)
			}
		}
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := server.New(server.Options{})
	if err == nil {
		t.Fatal("a server of nothing")
	}
	for _, want := range []string{"Ledger", "Readiness", "Schedule"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func TestDevKey(t *testing.T) {
	b := newBench(t, func(o *server.Options) { o.Keys = server.DevKeys() })
	if a := b.do("GET", "/api/nothing", "", "X-API-Key", "dev"); a.status != 404 {
		t.Errorf("answered %d %s", a.status, a.text)
	}
	b.do("GET", "/api/nothing", "", "X-API-Key", "Dev").problem(401, "wrong_key")
}
