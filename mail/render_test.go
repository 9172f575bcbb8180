package mail_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/mail"
)

var update = flag.Bool("update", false, "write testdata anew instead of comparing it")

func TestKindsAreThoseOfTheClosure(t *testing.T) {
	t.Parallel()
	var got []mail.Kind
	for _, l := range []closure.Letter{
		closure.LetterInitiated, closure.LetterActionNeeded, closure.LetterFailed, closure.LetterCompleted, closure.LetterCanceled,
	} {
		got = append(got, mail.Kind(l))
	}
	if diff := cmp.Diff(mail.Kinds(), got); diff != "" {
		t.Error(diff)
	}
}

func TestLettersReadAsKept(t *testing.T) {
	t.Parallel()
	letters := map[string]mail.Letter{}
	for _, k := range mail.Kinds() {
		letters[string(k)] = mail.Example(k)
	}
	nothing := mail.Example(mail.Completed)
	nothing.Paid, nothing.Transfers = "0.00", nil
	letters["completed_nothing_paid"] = nothing
	bare := mail.Letter{Confirmation: "CLA-20260302150400-4f2a9c"}
	for _, k := range mail.Kinds() {
		bare.Kind = k
		letters[string(k)+"_bare"] = bare
	}
	for name, l := range letters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subject, text, html, err := mail.Render(l)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", "Subject: "+subject+"\n\n"+text)
			golden(t, name+".html", html)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s reads otherwise now; go generate ./mail rewrites it (-kept +now)\n%s", path, diff)
	}
}

func TestStoredTextIsOnlyText(t *testing.T) {
	t.Parallel()
	const planted = "<script>alert(1)</script>\r\nBcc: <b>all</b>\n\n\u202e\"'&\x00 {{.Subject}}"
	for _, k := range mail.Kinds() {
		l := mail.Example(k)
		l.To.Name, l.Confirmation, l.AccountTail, l.Why, l.Hint = planted, planted, "<b>12</b>", planted, planted
		l.Transfers = []mail.Transfer{{Amount: "1", Status: planted}}
		subject, text, html, err := mail.Render(l)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(subject, "\r\n\x00\u202e") {
			t.Errorf("%s: the subject is not one clean line: %q", k, subject)
		}
		if strings.ContainsAny(text, "\r\x00\u202e") || strings.Contains(text, "\nBcc") {
			t.Errorf("%s: the text keeps planted line breaks or controls:\n%s", k, text)
		}
		if regexp.MustCompile(`(?i)<script|<b>`).MatchString(html) || strings.ContainsAny(html, "\r\x00\u202e") {
			t.Errorf("%s: the HTML keeps planted markup:\n%s", k, html)
		}
		if want := "&lt;script&gt;alert(1)&lt;/script&gt; Bcc: &lt;b&gt;all&lt;/b&gt; &#34;&#39;&amp; {{.Subject}}"; !strings.Contains(html, want) {
			t.Errorf("%s: the HTML does not show the name as it was stored:\n%s", k, html)
		}
	}
}

func TestHTMLLoadsNothing(t *testing.T) {
	t.Parallel()
	outside := regexp.MustCompile(`(?i)\b(src|href|url\(|@import|<img|<link|<script|http:|https:)`)
	for _, k := range mail.Kinds() {
		_, _, html, err := mail.Render(mail.Example(k))
		if err != nil {
			t.Fatal(err)
		}
		if found := outside.FindString(html); found != "" {
			t.Errorf("%s has %q", k, found)
		}
		for _, want := range []string{`<html lang="en">`, `content="light dark"`, "prefers-color-scheme: dark", `<th scope="row">`} {
			if !strings.Contains(html, want) {
				t.Errorf("%s lacks %q", k, want)
			}
		}
		if n := strings.Count(html, "<h1>"); n != 1 {
			t.Errorf("%s has %d headings of the first rank", k, n)
		}
	}
}

// Nothing that is not known is called zero, and nothing that is zero is called a transfer.
func TestSumsAreHonest(t *testing.T) {
	t.Parallel()
	sent := []mail.Transfer{{Amount: "10", Status: "returned"}}
	for _, c := range []struct {
		paid      string
		transfers []mail.Transfer
		want      string
	}{
		{"", nil, "What was paid out is shown on your account statements."},
		{"0", nil, "There was nothing to pay out."},
		{"0.00", nil, "There was nothing to pay out."},
		{"0.009", nil, "There was nothing to pay out."},
		{"0.00", sent, "None of the payouts listed below was completed."},
		{"0.01", nil, "$0.01 was paid out"},
		{"999.999", nil, "$999.99 was paid out"},
		{"1000", nil, "$1,000.00 was paid out"},
		{"00137512.4", nil, "$137,512.40 was paid out"},
		{"1234567.89", nil, "$1,234,567.89 was paid out"},
	} {
		l := mail.Example(mail.Completed)
		l.Paid, l.Transfers = c.paid, c.transfers
		_, text, html, err := mail.Render(l)
		if err != nil {
			t.Fatal(err)
		}
		if plain := strings.NewReplacer("<strong>", "", "</strong>", "").Replace(html); !strings.Contains(text, c.want) || !strings.Contains(plain, c.want) {
			t.Errorf("paid %q: want %q in\n%s\n%s", c.paid, c.want, text, html)
		}
		if strings.Contains(text+html, "$0.00") {
			t.Errorf("paid %q: speaks of $0.00:\n%s", c.paid, text)
		}
	}
}

func TestNoLetterIsWrittenOf(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*mail.Letter){
		"an unknown kind":      func(l *mail.Letter) { l.Kind = "birthday" },
		"no confirmation":      func(l *mail.Letter) { l.Confirmation = " \n" },
		"a sum that is none":   func(l *mail.Letter) { l.Paid = "lots" },
		"a negative sum":       func(l *mail.Letter) { l.Paid = "-5.00" },
		"an exponent":          func(l *mail.Letter) { l.Paid = "1e9" },
		"a transfer of no sum": func(l *mail.Letter) { l.Transfers = []mail.Transfer{{Amount: ""}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := mail.Example(mail.Completed)
			spoil(&l)
			if subject, text, html, err := mail.Render(l); err == nil || subject+text+html != "" {
				t.Errorf("got %q, %v", text, err)
			}
		})
	}
}

func TestTimesAreNewYorks(t *testing.T) {
	t.Parallel()
	l := mail.Example(mail.Completed)
	l.Requested = time.Date(2026, time.March, 3, 3, 30, 0, 0, time.UTC)
	l.Completed = time.Date(2026, time.July, 4, 4, 0, 0, 0, time.UTC)
	l.Transfers = []mail.Transfer{{Amount: "1", At: l.Requested, Status: "Sent_To_Clearing"}}
	_, text, _, err := mail.Render(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Requested: Monday, March 2, 2026, 10:30 PM ET\n",
		"Closed: Saturday, July 4, 2026, 12:00 AM ET\n",
		"  $1.00, Monday, March 2, 2026: in progress\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
}

func TestAccountIsNeverNamedInFull(t *testing.T) {
	t.Parallel()
	l := mail.Example(mail.Initiated)
	l.AccountTail = "0b0c5d3e-1111-2222-3333-444455556666"
	_, text, html, err := mail.Render(l)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text+html, "55556666") || !strings.Contains(text, "Account: ending in 556666\n") {
		t.Error(text)
	}
}
