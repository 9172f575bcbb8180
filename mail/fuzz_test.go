package mail

import (
	"bytes"
	"fmt"
	netmail "net/mail"
	"strings"
	"testing"
)

// FuzzServer: a URL that is accepted names a host and a port, sends no password in the clear over a network, and shows it
// nowhere; a complaint shows nothing of the URL.
func FuzzServer(f *testing.F) {
	for _, s := range []string{
		"smtp://user:password@host.example:587", "smtps://user:p%40ss@host.example", "smtp+plain://localhost:1025", "smtp+plain://10.0.0.1", "smtp://[::1]:25", "smtp://[::ffff:127.0.0.1]",
		"smtp://u:hunter2hunter2/x@host", "smtp://u:hunter2#hunter2@host", "smtp://host:0", "smtp://host:65536", "smtp:host", "smtp://", "smtp://@host", "smtp://user@host", "SMTP://host", "smtp+plain://LOCALHOST", "smtp://[fe80::1%25en0]:587", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := parseServer(raw)
		if err != nil {
			for _, part := range strings.FieldsFunc(raw, func(r rune) bool { return strings.ContainsRune(":/@?#", r) }) {
				if len(part) > 12 && strings.Contains(err.Error(), part) && !strings.Contains("smtp://user:password@host:587 smtps characters unencrypted", part) {
					t.Errorf("%q: the complaint repeats %q: %v", raw, part, err)
				}
			}
			return
		}
		if s.host == "" || s.port < 1 || s.port > 65535 || (s.user == "") != (s.password() == "") {
			t.Errorf("%q: %+v", raw, s)
		}
		if !isLoopback(s.host) && s.security != startTLS && s.security != implicitTLS {
			t.Errorf("%q: may be unencrypted over a network", raw)
		}
		if p := s.password(); len(p) > 8 && !strings.Contains(s.host+s.user, p) && strings.Contains(fmt.Sprintf("%+v %#v", s, s), p) {
			t.Errorf("%q: shows the password", raw)
		}
	})
}

// FuzzLetter: whatever the addresses, names and words, a letter that is written at all reads back as a mail with one sender,
// one recipient, and no header that nobody meant.
func FuzzLetter(f *testing.F) {
	f.Add("Closeout <noreply@firm.example>", "ada@customer.example", "Ada Lovelace", "the bank is gone", "137512.43")
	f.Add("noreply@firm.example", `"a b"@customer.example`, "Ada\r\nBcc: eve@evil.example", "line\n\nTo: eve@evil.example", "0.00")
	f.Add("=?utf-8?q?a?= <x@y.example>", "a@[127.0.0.1]", "=?utf-8?q?=0aBcc:x?=", "\u202ereversed<script>", "")
	f.Add("a@b, c@d", "a@b,c@d", "\xff\x00", "\u2028", "-1")
	f.Add("Jo <noreply@bücher.example>", "jörg@bücher.example", "Jörg", ".\r\n.\r\n", "1e5")
	f.Add("a@b\r\nX: y", "a@b>\r\nX: y", "", "", "000000000000000000.1")
	f.Fuzz(func(t *testing.T, from, to, name, words, paid string) {
		s, err := New("smtp://localhost:1025", from)
		if err != nil {
			return
		}
		l := Example(ActionNeeded)
		l.To, l.Why, l.Hint, l.Paid, l.Confirmation = Recipient{Address: to, Name: name}, words, words, paid, words
		raw, err := s.message(l)
		if err != nil {
			return
		}
		m, err := netmail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		for key, values := range m.Header {
			switch key {
			case "Date", "Mime-Version", "Message-Id", "Subject", "From", "To", "Auto-Submitted", "X-Auto-Response-Suppress", "Content-Type":
			default:
				t.Errorf("a header %s", key)
			}
			if len(values) != 1 {
				t.Errorf("%s is there %d times", key, len(values))
			}
		}
		if all, err := m.Header.AddressList("To"); err != nil || len(all) != 1 || all[0].Address != to {
			t.Errorf("%q: to %v, %v: %q", to, all, err, m.Header.Get("To"))
		}
		if all, err := m.Header.AddressList("From"); err != nil || len(all) != 1 || all[0].Address != s.from.Address {
			t.Errorf("%q: from %v, %v", from, all, err)
		}
		if _, _, html, err := Render(l); err != nil || strings.Contains(html, words) && strings.ContainsAny(words, "<>\r\n") {
			t.Errorf("%q got into the HTML as it is, %v", words, err)
		}
	})
}

// FuzzDollars: a sum is said to the cent and never more than it is, or not said at all.
func FuzzDollars(f *testing.F) {
	for _, s := range []string{"137512.43", "0", "0.009", "00012", "1e5", "-1", ".5", "5.", "1,000", "999999999999999999.999", "٣", "1\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		said, zero, err := dollars(s)
		if err != nil {
			if said != "" {
				t.Errorf("%q: %q", s, said)
			}
			return
		}
		digits := strings.NewReplacer("$", "", ",", "").Replace(said)
		whole, cents, _ := strings.Cut(s, ".")
		if want := strings.TrimLeft(whole, "0") + "." + (cents + "00")[:2]; strings.TrimLeft(digits, "0") != want || zero != (strings.Trim(digits, "0.") == "") {
			t.Errorf("%q is said %q, zero %t", s, said, zero)
		}
	})
}
