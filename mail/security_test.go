package mail_test

import (
	"fmt"
	"strings"
	"testing"

	"closeout/mail"
)

func TestConnectionIsEncrypted(t *testing.T) {
	t.Parallel()
	config, pool := certificate(t)
	const login = "ada:p%40ss%2Fw0rd@"
	for name, c := range map[string]struct {
		url      string // %s: the server's address
		offered  bool
		implicit bool
		secure   bool
		refused  string // part of the error; empty: delivered
	}{
		"FarAwayWithStartTLS":      {url: "smtp://" + login + "example.com", offered: true, secure: true},
		"FarAwayWithout":           {url: "smtp://" + login + "example.com", refused: "STARTTLS"},
		"FarAwayWithAnotherName":   {url: "smtp://" + login + "other.test", offered: true, refused: "certificate"},
		"ImplicitTLS":              {url: "smtps://" + login + "example.com", offered: true, implicit: true, secure: true},
		"ImplicitTLSMisnamed":      {url: "smtps://" + login + "other.test", offered: true, implicit: true, refused: "certificate"},
		"ImplicitTLSToAPlainOne":   {url: "smtps://" + login + "example.com", refused: "connect"},
		"OnThisMachineWithTLS":     {url: "smtp://" + login + "%s", offered: true, secure: true},
		"OnThisMachineWithout":     {url: "smtp://" + login + "%s"},
		"OnThisMachinePlainChosen": {url: "smtp+plain://" + login + "%s", offered: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &office{user: "ada", password: "p@ss/w0rd"}
			offer := config
			if !c.offered {
				offer = nil
			}
			o.open(t, offer, c.implicit)
			s := post(t, strings.Replace(c.url, "%s", o.Addr, 1))
			s.Set(0, pool, o.Addr)
			err := s.Send(t.Context(), mail.Example(mail.Initiated))
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || !mail.Temporary(err) || strings.Contains(err.Error(), "w0rd") {
					t.Errorf("temporary %v: %v", mail.Temporary(err), err)
				}
				if got := o.delivered(); len(got) != 0 {
					t.Errorf("delivered %d", len(got))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if len(o.got) != 1 || o.secure[len(o.secure)-1] != c.secure {
				t.Errorf("delivered %d, encrypted %v", len(o.got), o.secure)
			}
		})
	}
}

func TestNewComplains(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "mail.example:587", "://", "smtp://", "smtp:///x", "http://user:hunter2@mail.example", "smtp+plain://user:hunter2@mail.example:25",
		"smtp://user:hunter2@mail.example/path", "smtp://user:hunter2@mail.example?x=1", "smtp://user:hunter2@mail.example#x",
		"smtp://user:hunter2@mail.example:0", "smtp://user:hunter2@mail.example:99999", "smtp://user:hunter2@mail.example:x",
		"smtp://user@mail.example", "smtp://:hunter2@mail.example", "smtp://user:hunter2/x@mail.example", "smtp://user:1/hunter2@mail.example",
		"smtp://user:hunter2%zz@mail.example", "user:hunter2@mail.example", "hunter2://mail.example", "smtp://user:hunter2 @mail.example",
	} {
		s, err := mail.New(url, sender)
		if err == nil || s != nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "mail.example") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, from := range []string{"", "noreply", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example", "a@[127.0.0.1]", "a@bücher.example"} {
		if s, err := mail.New("smtp://mail.example", from); err == nil || s != nil {
			t.Errorf("from %q is taken", from)
		}
	}
}

func TestNewAccepts(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"smtp://mail.example", "smtp://user:hunter2@mail.example:2525/", "smtps://user:hunter2@mail.example", "SMTP://mail.example",
		"smtp+plain://localhost:1025", "smtp+plain://127.0.0.5", "smtp+plain://[::1]:1025", "smtp://[2001:db8::1]:587",
	} {
		s, err := mail.New(url, "noreply@firm.example")
		if err != nil {
			t.Errorf("%q: %v", url, err)
			continue
		}
		if said := fmt.Sprintf("%v %+v %#v", s, s, *s); strings.Contains(said, "hunter2") {
			t.Errorf("%q: printed, it shows the password: %s", url, said)
		}
	}
}

func TestHelloHasADot(t *testing.T) {
	t.Parallel()
	o := new(office).open(t, nil, false)
	s, err := mail.New("smtp://"+o.Addr, "closeout@localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), mail.Example(mail.Initiated)); err != nil {
		t.Fatal(err)
	}
	if o.helos[0] != "closeout.localhost" {
		t.Errorf("got %q", o.helos)
	}
}
