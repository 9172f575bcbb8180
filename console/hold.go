package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"closeout/signin"

	"closeout/desk"
	"closeout/ledger"
)

// holdPatience is how long a hold waits for the claims that are at work when it comes; each takes milliseconds.
const holdPatience = 10 * time.Second

// holdPage is the page that asks before everything is held, or released.
type holdPage struct {
	Hold             ledger.Hold
	Running, Waiting int
	MostReason       int
}

func (k *Console) routesHold() {
	k.get("/system/hold", signin.Operator, k.holdForm)
	k.post("/system/hold", signin.Operator, k.hold)
	k.post("/system/release", signin.Operator, k.release)
}

// holdForm says what a hold, or its release, would do.
func (k *Console) holdForm(a *ask) (page, error) {
	p := holdPage{MostReason: desk.MostReason}
	var err error
	if p.Hold, err = k.Ledger.Hold(a.Context()); err != nil {
		return page{}, err
	}
	if p.Running, p.Waiting, err = k.Ledger.HoldReach(a.Context()); err != nil {
		return page{}, err
	}
	title := "Hold everything"
	if p.Hold.Held {
		title = "Release the hold"
	}
	return page{Template: "hold", Title: title, Data: p}, nil
}

// hold holds everything.
func (k *Console) hold(a *ask) (string, error) {
	version, reason, err := holdAsked(a)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(a.Context(), holdPatience)
	defer cancel()
	h, err := k.Ledger.HoldAll(ctx, version, a.Who.Actor(), reason)
	k.readings.holdChanged()
	switch {
	case h.Held && err != nil: // it is written, and refuses every new claim
		k.Log.WithError(err).Warn("everything is held")
		k.say(a, "Everything is held. An instruction that was being claimed at that moment was not seen to end: it may still go to the broker.")
	case err != nil:
		return "", k.notHeldSo(a, err)
	default:
		k.Log.WithField("actor", h.Actor).Warn("everything is held: nothing new is sent to the broker")
		k.say(a, "Everything is held. What was claimed in the seconds before may still be on its way to the broker.")
	}
	return "/system", nil
}

// release ends the hold.
func (k *Console) release(a *ask) (string, error) {
	version, reason, err := holdAsked(a)
	if err != nil {
		return "", err
	}
	h, err := k.Ledger.ReleaseAll(a.Context(), version, a.Who.Actor(), reason)
	k.readings.holdChanged()
	if err != nil {
		return "", k.notHeldSo(a, err)
	}
	k.Log.WithField("actor", h.Actor).Warn("the hold is over: instructions go to the broker again")
	k.say(a, "The hold is over. What waited for it goes on within a minute or so.")
	return "/system", nil
}

// holdChanged lets the next page see what was just done.
func (r readings) holdChanged() {
	r.hold.Forget()
	r.changes.Forget()
}

// holdAsked reads the form.
func holdAsked(a *ask) (version int64, reason string, err error) {
	version, err = strconv.ParseInt(a.PostFormValue("version"), 10, 64)
	if err != nil || version < 0 {
		return 0, "", trouble{Status: http.StatusUnprocessableEntity, Title: "Not understood", Detail: "The form does not say what it was about.", Hint: "Open the page System again, and do it there."}
	}
	reason, wrong := desk.Reason(a.PostFormValue("reason"))
	if wrong != "" {
		return 0, "", trouble{
			Status: http.StatusUnprocessableEntity, Title: "Nothing was changed", Detail: "The reason " + wrong + ".",
			Hint: "Go back and say why, on one line: everybody sees it above every page, and it stays in the history.",
		}
	}
	return version, reason, nil
}

// notHeldSo says why nothing was changed: mostly that somebody else came first.
func (k *Console) notHeldSo(a *ask, err error) error {
	if !errors.Is(err, ledger.ErrStale) {
		return err
	}
	h, err := k.Ledger.Hold(a.Context())
	if err != nil {
		return err
	}
	was := "Everything was released"
	switch {
	case h.Held:
		was = "Everything is held"
	case h.Since.IsZero():
		was = "Nothing was ever held"
	}
	if h.Actor != "" {
		was += " by " + h.Actor + " since " + newYork(h.Since) + ": " + h.Reason
	}
	return trouble{
		Status: http.StatusConflict, Title: "Somebody else came first", Detail: "Nothing was changed by you. " + strings.TrimSuffix(was, ".") + ".",
		Hint: "Look at the page System, and decide again.",
	}
}

// banner is what everybody must know, nil if there is nothing.
func (k *Console) banner(ctx context.Context) *Banner {
	h, err := k.readings.hold.Get(ctx, k.Ledger.Hold)
	if err != nil || !h.Held {
		return nil // a ledger that does not answer shows no page
	}
	return &Banner{
		Title: "Everything is held.", Link: "/system",
		Text: fmt.Sprintf("Nothing new is sent to the broker since %s, by %s: %s", newYork(h.Since), h.Actor, h.Reason),
	}
}

// holdSeen is the version of the hold as pages show it now; "" while nobody can tell.
func (k *Console) holdSeen(ctx context.Context) string {
	h, err := k.readings.hold.Get(ctx, k.Ledger.Hold)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(h.Version, 10)
}
