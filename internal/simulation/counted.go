package simulation

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// payout remembers the sum that is being asked for.
func (l *life) payout(r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/transfers") || r.Body == nil {
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	var t alpaca.TransferRequest
	if json.Unmarshal(body, &t) == nil {
		l.lastPayout[strings.Split(r.URL.Path, "/")[3]], _ = decimal.NewFromString(t.Amount)
	}
}

// noteAnswer counts what answers can do besides being heard in time.
func (l *life) noteAnswer(said, kept closure.Intent, ev closure.Event) {
	switch {
	case ev.Kind == "unsent":
		l.some("a writer that was too late did not write")
	case kept.State == closure.IntentLate:
		l.some("a payout given up for lost was answered")
	case said.State != kept.State || said.Status != kept.Status:
		l.some("an answer came over what was known already")
	}
}

// noteLearned counts what was found out about doubtful instructions.
func (l *life) noteLearned(k ledger.Learned) {
	i := k.Intent
	if k.Was == i.State {
		return
	}
	kind := map[closure.IntentKind]string{
		closure.TransferIntent: "payout", closure.OrderIntent: "order", closure.CancelIntent: "cancel", closure.CloseIntent: "closing",
	}[i.Kind]
	switch i.State {
	case closure.IntentSent:
		l.some("an unknown " + kind + " was found")
	case closure.IntentVoid:
		l.some("an unknown " + kind + " was given up")
	case closure.IntentLate:
		l.some("a payout given up for lost was listed")
	case closure.IntentSending, closure.IntentRefused:
	}
}

// noteClaim counts what is asked for once more.
func (l *life) noteClaim(is []closure.Intent) {
	for _, i := range is {
		c := l.rows[i.ClosureID]
		switch {
		case i.Kind == closure.OrderIntent && i.Key != c.Version:
			l.some("an unknown order was sent again")
		case i.Kind == closure.TransferIntent && c.Memo.CameBack > 0:
			l.some("a returned payout was paid again")
		}
	}
}

// noteRescue counts what the sweep has mended by giving the row a new version.
func (l *life) noteRescue(was, now closure.Closure) {
	if l.cur == nil || !strings.HasPrefix(l.cur.what, "sweep") || was.Version == now.Version {
		return
	}
	switch l.looked.Condition {
	case tasks.Archived:
		l.some("an archived task was rescued by the sweep")
	case tasks.Active:
		l.some("an orphan was rescued by the sweep")
	case tasks.Scheduled:
		l.some("a task that was scheduled too late was rescued by the sweep")
	case tasks.Missing, tasks.Waiting:
	}
}
