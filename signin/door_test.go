package signin

import (
	"strings"
	"testing"
)

func TestWhereOneIsLedBackToIsHere(t *testing.T) {
	for next, want := range map[string]string{
		"/closures?q=a%2Fb&x=1#there": "/closures?q=a%2Fb&x=1", "/": "/", "": "/", "/a%2Fb": "/a%2Fb",
		"https://evil.example/": "/", "//evil.example": "/", "///evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "/\t/evil.example": "/",
		"javascript:alert(1)": "/", "closures": "/", "http:/x": "/", "/\r\nSet-Cookie: x": "/", "/signin": "/", "/signin/oidc?next=/": "/", "/signout": "/",
		"/live?of=/": "/", "/ x": "/", "/%": "/", "/" + strings.Repeat("x", 2001): "/", "//user@evil.example/": "/", "https:evil.example": "/",
	} {
		if got := local(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}
