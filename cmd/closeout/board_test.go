package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// saw is an account as it was read.
func saw(n int, phase, state, paid, finish, until, who, why, hint string) row {
	r := row{account: fmt.Sprintf("5eed0000-0000-4000-8000-%012x", n), seen: &progressView{Phase: phase, State: state, Finish: finish}}
	r.seen.Money.Paid = paid
	if state == "closed" || state == "canceled" {
		return r
	}
	r.seen.Waiting = &struct {
		Reason string     `json:"reason"`
		Why    string     `json:"why"`
		Until  *time.Time `json:"until,omitempty"`
		Who    string     `json:"who_must_act"`
		Hint   string     `json:"hint,omitempty"`
	}{Why: why, Who: who, Hint: hint}
	if at, err := time.Parse(time.RFC3339, until); err == nil {
		r.seen.Waiting.Until = &at
	}
	return r
}

// six are accounts in the most different states.
func six() []row {
	away := saw(0xa5, "settlement", "running", "0.00", "2027-01-26T07:46:00Z", "2026-11-30T07:45:00Z", "", "", "")
	away.err = errors.New("ask the server: connection refused")
	return []row{
		saw(0xa1, "liquidation", "running", "0.00", "2026-12-04T07:46:00Z", "2026-11-27T14:31:00Z", "", "3 positions are to be sold; the market opens Fri 27 Nov 09:30 EST", ""),
		saw(0xa2, "withdrawal", "running", "1234567.89", "", "2026-12-01T13:30:00Z", "broker", "the broker has blocked transfers out of the account", "Ask the broker to lift the block; the closure goes on by itself when it is lifted."),
		saw(0xa3, "withdrawal", "failed", "50000.00", "", "", "customer", "the bank chosen at the request is gone", "Relink the bank, then cancel and initiate again with the new relationship, or pay by hand."),
		saw(0xa4, "closing", "closed", "7048.48", "2026-12-04T07:46:00Z", "", "", "", ""),
		away,
		{account: "5eed0000-0000-4000-8000-0000000000a6", err: errors.New("the server answered 503 Service Unavailable")},
	}
}

func TestBoard(t *testing.T) {
	for width, want := range map[int]string{80: `
6 accounts: 3 running, 1 failed, 1 closed, 1 not known.
ACCOUNT  ROAD             STATE             PAID  FINISH       NEXT LOOK, ET
…0000a1  1/4 liquidation  running          $0.00  ~Fri 04 Dec  Fri 27 Nov 09:31
    3 positions are to be sold; the market opens Fri 27 Nov 09:30 EST
…0000a2  3/4 withdrawal   running    $1234567.89               Tue 01 Dec 08:30
    the broker must act: the broker has blocked transfers out of the account. …
…0000a3  3/4 withdrawal   failed       $50000.00
    the customer must act: the bank chosen at the request is gone. Relink the …
…0000a4  4/4 closing      closed        $7048.48  Fri 04 Dec
…0000a5  2/4 settlement   running          $0.00  ~Tue 26 Jan  Mon 30 Nov 02:45
    could not be read: ask the server: connection refused
…0000a6                   not known
    could not be read: the server answered 503 Service Unavailable
`, 120: `
6 accounts: 3 running, 1 failed, 1 closed, 1 not known.  Ctrl-C ends the watching, not the closing.
ACCOUNT  ROAD             STATE             PAID  FINISH       NEXT LOOK, ET
…0000a1  1/4 liquidation  running          $0.00  ~Fri 04 Dec  Fri 27 Nov 09:31
    3 positions are to be sold; the market opens Fri 27 Nov 09:30 EST
…0000a2  3/4 withdrawal   running    $1234567.89               Tue 01 Dec 08:30
    the broker must act: the broker has blocked transfers out of the account. Ask the broker to lift the block; the cl…
…0000a3  3/4 withdrawal   failed       $50000.00
    the customer must act: the bank chosen at the request is gone. Relink the bank, then cancel and initiate again wit…
…0000a4  4/4 closing      closed        $7048.48  Fri 04 Dec
…0000a5  2/4 settlement   running          $0.00  ~Tue 26 Jan  Mon 30 Nov 02:45
    could not be read: ask the server: connection refused
…0000a6                   not known
    could not be read: the server answered 503 Service Unavailable
`} {
		lines := board(six(), width, 40)
		if diff := cmp.Diff(want, "\n"+strings.Join(lines, "\n")+"\n"); diff != "" {
			t.Errorf("%d columns (-want +got)\n%s", width, diff)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) >= width {
				t.Errorf("%d columns, and a line has %d: %s", width, utf8.RuneCountInString(l), l)
			}
		}
	}
}

// Of hundreds of accounts those that need somebody are seen first, then those that changed last, and the rest is counted.
func TestBoardOfManyAccounts(t *testing.T) {
	var rows []row
	for n := range 300 {
		r := saw(n, "closing", "closed", "1.00", "2026-12-04T07:46:00Z", "", "", "", "")
		if n%3 > 0 {
			r = saw(n, "withdrawal", "running", "0.00", "2026-12-04T07:46:00Z", "2026-11-30T07:45:00Z", "", "the payout of $1.00 is on its way", "")
		}
		r.changed = time.Unix(int64(n), 0)
		rows = append(rows, r)
	}
	rows[150] = saw(150, "withdrawal", "failed", "0.00", "", "", "customer", "the bank is gone", "Relink it.")
	for _, height := range []int{3, 5, 10, 23, 59} {
		lines := board(rows, 100, height)
		if len(lines) > max(height, 5) {
			t.Errorf("%d lines on %d", len(lines), height)
		}
		all := strings.Join(lines, "\n")
		if !strings.Contains(lines[2], "000096") || !strings.Contains(lines[3], "the customer must act") {
			t.Errorf("the one who needs somebody is not first:\n%s", all)
		}
		if height >= 10 && !strings.Contains(lines[4], "00012b") {
			t.Errorf("then the one that changed last:\n%s", all)
		}
		shown := strings.Count(all, "…0")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, fmt.Sprintf("and %d more: ", 300-shown)) || !strings.HasSuffix(last, "99 closed.") {
			t.Errorf("%d are shown, and then: %s", shown, last)
		}
	}
	rows = rows[:9]
	if lines := board(rows, 100, 23); !strings.Contains(lines[2], "000000") || strings.HasPrefix(lines[len(lines)-1], "and ") {
		t.Errorf("where all fit they keep their order:\n%s", strings.Join(lines, "\n"))
	}
}

func TestSummary(t *testing.T) {
	rows := six()[1:4]
	rows[0].seen.State, rows[0].seen.Waiting.Why = "paused", "held by an operator:\r\n\x1b[2Jwait"
	want := `
3 accounts: 1 paused, 1 failed, 1 closed. $1291616.37 was paid out.

5eed0000-0000-4000-8000-0000000000a2  paused in the withdrawal
    the broker must act: held by an operator: [2Jwait. Ask the broker to lift
    the block; the closure goes on by itself when it is lifted.

5eed0000-0000-4000-8000-0000000000a3  failed in the withdrawal
    the customer must act: the bank chosen at the request is gone. Relink the
    bank, then cancel and initiate again with the new relationship, or pay by
    hand.
`
	if diff := cmp.Diff(want, "\n"+strings.Join(summary(rows, 80), "\n")+"\n"); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	rows[2].seen.Money.Paid = ""
	if first := summary(rows, 80)[0]; strings.Contains(first, "$") {
		t.Errorf("a sum that is not known of each is told: %s", first)
	}
}

// terminal is as much of one as the screen asks for. Its lines break at its width.
type terminal struct {
	lines  [][]rune
	row, x int
}

func (v *terminal) Write(p []byte) (int, error) {
	s := string(p)
	for s != "" {
		for len(v.lines) <= v.row {
			v.lines = append(v.lines, nil)
		}
		switch {
		case strings.HasPrefix(s, "\x1b["):
			end := strings.IndexFunc(s[2:], func(r rune) bool { return r >= 'A' }) + 2
			switch n, _ := strconv.Atoi(s[2:end]); s[end] {
			case 'A':
				v.row -= n
			case 'K':
				v.lines[v.row] = v.lines[v.row][:min(v.x, len(v.lines[v.row]))]
			case 'J':
				v.lines[v.row] = v.lines[v.row][:min(v.x, len(v.lines[v.row]))]
				v.lines = v.lines[:v.row+1]
			default:
				return 0, fmt.Errorf("what is %q?", s[:end+1])
			}
			s = s[end+1:]
			continue
		case s[0] == '\n':
			v.row, v.x = v.row+1, 0
		case s[0] == '\r':
			v.x = 0
		default:
			r, _ := utf8.DecodeRuneInString(s)
			v.lines[v.row] = append(v.lines[v.row][:v.x], r)
			v.x++
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return len(p), nil
}

func (v *terminal) String() string {
	var b strings.Builder
	for _, l := range v.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// Whatever was drawn before, only the last board stands on the terminal, below what was there.
func TestScreenDrawsOverWhatItDrew(t *testing.T) {
	var v terminal
	s := &screen{out: &v, size: func() (int, int) { return 100, 24 }}
	_, _ = fmt.Fprintln(&v, "$ closeout initiate")
	rows := six()
	for n := range len(rows) {
		s.asking(n+1, len(rows))
		s.asked()
	}
	s.show(rows)
	rows[0].seen.Waiting.Why = "short"
	rows[1] = saw(0xa2, "closing", "closed", "1234567.89", "2026-12-04T07:46:00Z", "", "", "", "")
	s.show(rows)
	if want := "$ closeout initiate\n" + strings.Join(board(rows, 100, 23), "\n"); v.String() != want {
		t.Errorf("(-want +got)\n%s", cmp.Diff(want, v.String()))
	}
	_, _ = fmt.Fprint(&v, "^C")
	s.stop()
	if strings.Contains(v.String(), "^C") {
		t.Errorf("the ^C stands there:\n%s", v.String())
	}
}
