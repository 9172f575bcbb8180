package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/closure"
)

// report prints what was found and says how the program ends.
func (r *reconciling) report() error {
	if r.cmd.JSON {
		e := json.NewEncoder(r.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r.v); err != nil {
			return err
		}
	} else {
		p := &page{now: r.clock.Now(), color: tty(r.output) != nil}
		p.reconciled(r.v)
		_, _ = fmt.Fprint(r.out, p.String())
	}
	switch {
	case r.v.Failed > 0:
		return errQuiet
	case r.v.asks():
		return asksForPerson
	}
	return nil
}

// reconciled is the report, and each of its parts says what it asks for.
func (p *page) reconciled(v reconcileView) {
	verb := "would be taken in"
	if v.Applied {
		verb = "was taken in"
	}
	p.line("The ledger of the %s environment ends with %s.", v.Environment, instantOr(v.Newest, "nothing: it has no event"))
	if v.Remembered != nil {
		p.line("Redis remembers an event of %s.", instantOr(v.Remembered, ""))
	} else {
		p.line("Redis remembers nothing of the ledger: it was emptied, or no worker of this version ever ran.")
	}
	p.title("Open closures: %d. What %s from the broker:", len(v.Closures), verb)
	var rows []table.Row
	for _, l := range v.Closures {
		rows = append(rows, table.Row{printable(l.JobID), string(l.State) + " in " + string(l.Phase), l.found(), printable(l.says())})
	}
	p.table(table.Row{"CLOSURE", "IS", "TAKEN IN", "ASKS"}, rows)
	if len(v.Broken) > 0 {
		p.title("Histories that are broken, and accepted as such: %d. They are evidence: keep a copy, and repair nothing.", len(v.Broken))
		for _, b := range v.Broken {
			p.line("- %s, event %d: %s", printable(b.JobID), b.Event, printable(b.Why))
		}
	}
	if len(v.Lost) > 0 {
		p.title("Closures that were acknowledged, and are not in the ledger: %d. Only their ids are known; your own records, and the mail of the customers, have the accounts.", len(v.Lost))
		p.line("Ask for each again, by closeout initiate or the same POST: where the broker has closed the account meanwhile it ends by itself. A closure that retention has removed may be among them.")
		for _, l := range v.Lost {
			p.line("- %s, asked for %s", printable(l.JobID), instantOr(l.Asked, "at an unknown time"))
		}
	}
	if len(v.Pending) > 0 {
		p.title("Accounts whose own status says pending_closure, and no closure is open: %d. Ask for each again.", len(v.Pending))
		for _, a := range v.Pending {
			p.line("- %s", printable(a))
		}
	}
	for _, u := range v.Unread {
		p.title("Not looked for: %s", printable(u))
	}
	p.title("What no reading can tell, for people to do before the release:")
	since := instantOr(v.Newest, "its beginning")
	p.line("- Commands since %s are lost: cancel, pause, resume, resolve. Ask who gave any; pause or cancel again first.", since)
	if v.Remembered == nil {
		p.line("- Closures that were asked for since then and had no task left in Redis are not listed above. Clients that hold a 202 must ask for them again.")
	}
	if len(v.Keys) > 0 {
		p.line("- API keys that live again, or still: %s. Revoke those that were revoked since: closeout keys revoke.", printable(strings.Join(v.Keys, ", ")))
	}
	if v.Applied {
		p.line("- %s of people ended: everybody signs in anew.", counts(v.Sessions, "session"))
	}
	p.line("- Letters due: %d, and what is looked at anew may owe more. What was sent in the lost time goes out a second time, with the same Message-ID, by which mail systems may drop it.", v.Letters)
	switch {
	case !v.Applied:
		p.title("Nothing was done: --apply --reason does it.")
	case v.Failed > 0:
		p.title("%s not reconciled. Everything stays held: run this again, or --accept what can't be read for good.", counts(v.Failed, "closure"))
	default:
		p.title("Everything stays held, by %s: %s", printable(v.Hold.Actor), printable(v.Hold.Reason))
		p.line("Start the workers: they look and send nothing. Then: closeout monitor release --reason ... --apply")
	}
}

func (l reconciledLine) found() string {
	var what []string
	if l.Payouts > 0 {
		what = append(what, fmt.Sprintf("%s of $%s", closure.Count(l.Payouts, "payout"), l.Sum))
	}
	if l.Orders > 0 {
		what = append(what, closure.Count(l.Orders, "order"))
	}
	if l.Settled > 0 {
		what = append(what, "the outcome of "+closure.Count(l.Settled, "instruction"))
	}
	switch {
	case l.Accepted:
		return "not reconciled, and accepted"
	case l.Error != "":
		return "not reconciled"
	case len(what) > 0:
		return strings.Join(what, ", ")
	case l.Same:
		return "nothing new"
	}
	return "nothing"
}

func (l reconciledLine) says() string {
	switch {
	case l.Accepted:
		return l.Error + "; " + l.Asks
	case l.Error != "":
		return l.Error
	case l.Asks != "":
		return l.Asks
	case l.Unknown > 0:
		return closure.Count(l.Unknown, "instruction") + " of unknown outcome: the next looks tell, or ask"
	case l.Closed:
		return "nothing: the account is closed at the broker, and the next look ends it"
	}
	return "nothing"
}

func instantOr(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}
