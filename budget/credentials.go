package budget

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
)

// refusedAccounts is for how many accounts in a row a read must be forbidden until that is said of the credentials, and not
// of an account.
const refusedAccounts = 3

// verdict is what an answer says of our credentials.
type verdict struct {
	refused  bool
	accepted bool
	account  string // refused for this one alone, for all that is known; empty: for everything
}

var verdictNone = verdict{}

// verdictOf reads an answer. 401 is about the credentials. 403 to a read is, too, unless it is about one account; 403 to an
// instruction is a refusal of that.
func verdictOf(h alpaca.Heard, write bool, who string, alone bool) verdict {
	switch {
	case h.Status == http.StatusUnauthorized:
		return verdict{refused: true}
	case h.Status == http.StatusForbidden && !write:
		if alone && !strings.Contains(who, "…") { // the clock, the calendar: no account's id in the path
			who = ""
		}
		return verdict{refused: true, account: who}
	case h.Status == 0, h.Status >= 500, h.Status == http.StatusTooManyRequests, h.Status == http.StatusForbidden:
		return verdictNone
	}
	return verdict{accepted: true}
}

// credentials knows whether the broker takes ours. While it does not, nobody asks, but for one read now and then.
type credentials struct {
	log   *logrus.Logger
	probe time.Duration

	mu       sync.Mutex
	refused  bool
	since    time.Time
	next     time.Time // of the next attempt
	trying   bool
	accounts map[string]bool // that a read was forbidden for, with nothing accepted since
}

func newCredentials(o Options) *credentials {
	return &credentials{log: o.Log, probe: 2 * o.Probe, accounts: map[string]bool{}}
}

// stand says whether asking makes sense at all.
func (c *credentials) stand() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused && (c.trying || time.Now().Before(c.next)) {
		return c.error()
	}
	return nil
}

func (c *credentials) error() error {
	return &alpaca.HeldError{Why: alpaca.HoldRefused, For: max(time.Until(c.next), 0), Age: time.Since(c.since)}
}

// pass lets a call through; while the credentials are refused, one read at a time. An instruction is never what tries them.
func (c *credentials) pass(write bool) (known func(verdict), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	try := false
	if c.refused {
		if write || c.trying || time.Now().Before(c.next) {
			return nil, c.error()
		}
		c.trying, try = true, true
	}
	return func(v verdict) { c.hear(v, try) }, nil
}

func (c *credentials) hear(v verdict, tried bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tried {
		c.trying, c.next = false, time.Now().Add(c.probe)
	}
	switch {
	case v.accepted:
		clear(c.accounts)
		if c.refused && tried { // an answer that was on its way when they were taken from us says nothing
			c.refused = false
			c.log.WithField("after", time.Since(c.since).Round(time.Second).String()).Info("the broker accepts this service's credentials again")
		}
	case v.refused && !c.refused:
		if v.account != "" {
			if c.accounts[v.account] = true; len(c.accounts) < refusedAccounts {
				return
			}
		}
		c.refused, c.since, c.next = true, time.Now(), time.Now().Add(c.probe/10) // once soon: it may have been a slip
		c.log.Error("the broker refuses this service's credentials: no closure goes on until it accepts them; check CLOSEOUT_ALPACA_KEY, CLOSEOUT_ALPACA_SECRET and CLOSEOUT_ENVIRONMENT")
	}
}

// down is since when they have been refused.
func (c *credentials) down() (since time.Time, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.refused
}
