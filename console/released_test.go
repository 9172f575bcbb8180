package console

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/ledger"
	"closeout/live"
	"closeout/readiness"
)

const releases = "../ledger/testdata/released"

// over is a console over a ledger, and over the broker that was beside it.
func over(t *testing.T, r lab.Released, l *ledger.Ledger) *bench {
	t.Helper()
	s, err := sim.Open(sim.Options{Path: r.Broker(t), Key: "key", Secret: "secret"})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.Transport()})
	must(t, err)
	b := newBench(t, func(o *Options) {
		ready := &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: o.Policy}
		o.Ledger, o.Desk.Ledger, o.Readiness, o.Desk.Readiness, o.System = l, l, ready, ready, &rack{}
		o.Live = live.NewHub(live.Options{Feed: l})
		t.Cleanup(o.Live.Close)
	})
	b.ledger = l
	return b
}

var (
	itsMain   = regexp.MustCompile(`(?s)<main.*</main>`)
	thousands = regexp.MustCompile(`(\d),(\d{3}\b)`)
	tags      = regexp.MustCompile(`<[^>]*>`)
	unsaid    = regexp.MustCompile(`%!|<nil>|\bNaN\b|0001-01-01|1 Jan 00:00|Something went wrong`)
)

// reads gives what a person reads on a page, which must have these words and nothing that only a program would write.
func (b *bench) reads(t *testing.T, path string, words ...string) string {
	t.Helper()
	w := b.do(http.MethodGet, path)
	if w.Code != http.StatusOK {
		t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		return ""
	}
	text := html.UnescapeString(tags.ReplaceAllString(itsMain.FindString(w.Body.String()), " "))
	text = thousands.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1$2")
	if bad := unsaid.FindString(text); bad != "" || len(text) < 40 {
		t.Errorf("%s says %q: %s", path, bad, text)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(word)) {
			t.Errorf("%s does not say %q: %s", path, word, text)
		}
	}
	return text
}

// everyPage reads all that there is to be seen.
func (b *bench) everyPage(t *testing.T, r lab.Released) {
	t.Helper()
	for _, path := range []string{
		"/", "/closures", "/closures?order=oldest", "/attention", "/attention/retry?status=failed", "/redrives", "/redrives/" + r.Redrive, "/system", "/system/hold", "/closures?batch_id=" + r.Batch,
	} {
		b.reads(t, path)
	}
	for _, s := range closure.States {
		b.reads(t, "/closures?status="+string(s))
	}
	for _, s := range closure.Road {
		b.reads(t, "/closures?phase="+string(s.Phase))
	}
	for _, e := range r.Ends {
		if e.ID == "" {
			continue
		}
		c, err := b.ledger.Get(context.Background(), e.ID)
		must(t, err)
		b.reads(t, "/closures/"+e.ID, c.Confirmation)
		b.reads(t, "/closures/"+e.ID+"/broker")
		for _, do := range actions {
			b.reads(t, "/closures/"+e.ID+"/"+do.Name)
		}
		if w := b.do(http.MethodGet, "/closures/"+e.ID+"/case-file"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.Confirmation) {
			t.Errorf("%s: the case file: %d %.300s", e.Name, w.Code, w.Body)
		}
		b.reads(t, "/closures?q="+url.QueryEscape(e.Account), c.Confirmation)
	}
}

// What a released version has left is shown on every page.
func TestWhatAReleasedVersionHasLeftIsShown(t *testing.T) {
	t.Parallel()
	for _, r := range lab.Releases(t, releases) {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			b := over(t, r, r.Ledger(t, ""))
			b.everyPage(t, r)
			for _, e := range r.Ends {
				if e.ID == "" {
					continue
				}
				c, err := b.ledger.Get(context.Background(), e.ID)
				must(t, err)
				words := []string{string(c.State), string(c.Phase)}
				if !c.State.Ended() {
					words = append(words, c.Why)
				}
				b.reads(t, "/closures/"+e.ID, words...)
			}
		})
	}
}

// What a newer version writes that this one does not know, while both run, is shown by its own words on every page, and takes
// nothing else off it: a phase, a state, a reason, who must act, an instruction, an event and a letter.
func TestWhatANewerVersionWroteIsShown(t *testing.T) {
	t.Parallel()
	for _, r := range lab.Releases(t, releases) {
		for name, change := range map[string]string{
			"Rows": `UPDATE closures SET reason = 'quantum_hold', why = 'the vault is shut', who = 'notary' WHERE state NOT IN ('closed', 'canceled');
				UPDATE closures SET phase = 'escrow' WHERE rowid % 3 = 0;
				UPDATE closures SET state = 'suspended', due_at = NULL, who = 'operator' WHERE rowid % 3 = 1;
				UPDATE closures SET memo = '{"v":99,"teleport":true}' WHERE rowid % 4 = 0;`,
			"BesideThem": `UPDATE intents SET state = 'queued', kind = 'journal', finished = 'TELEPORTED', request = '{"v":9}';
				UPDATE events SET kind = 'teleported', body = replace(replace(body, '"kind":"accepted"', '"kind":"teleported"'), '"phase":"liquidation"', '"phase":"escrow"');
				UPDATE notices SET kind = 'telegram', data = '{"v":9}', state = 'held';
				UPDATE redrives SET state = 'teleporting';`,
		} {
			t.Run(r.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := over(t, r, r.Ledger(t, change))
				b.everyPage(t, r)
				for _, e := range r.Ends {
					if e.ID == "" {
						continue
					}
					c, err := b.ledger.Get(context.Background(), e.ID)
					must(t, err)
					var words []string
					if c.Reason == "quantum_hold" && !c.State.Ended() {
						words = append(words, "the vault is shut")
						if c.State != "suspended" {
							words = append(words, "the notary must act")
						}
						if c.State != closure.Running {
							words = append(words, "a newer one wrote it")
						}
					}
					for _, word := range []string{string(c.Phase), string(c.State)} {
						if word == "escrow" || word == "suspended" {
							words = append(words, word)
						}
					}
					b.reads(t, "/closures/"+e.ID, words...)
				}
			})
		}
	}
}
