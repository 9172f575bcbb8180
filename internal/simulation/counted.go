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
	case said.State != kept.State:
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
