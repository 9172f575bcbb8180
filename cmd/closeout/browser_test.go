package main

import (
	"flag"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/internal/browser"
)

var images = flag.String("images", "", "where TestBrowserPictures puts its pictures; without it, nowhere that lasts")

var announced = regexp.MustCompile(`(API|Broker)\s+(http://[^\s/]+)`)

// startDemo starts `closeout dev` as anybody would, with a day of that length: a world of one process.
func startDemo(t *testing.T, day string, more ...string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Chromium, and minutes")
	}
	w := &world{TB: t, bin: built(t), key: "dev"}
	args := []string{"dev", "--data", t.TempDir(), "--day", day, "--addr", "127.0.0.1:0", "--sim-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"}
	p := w.start(append(args, more...)...)
	w.within(time.Minute, "the demo's banner", func() bool {
		for _, m := range announced.FindAllStringSubmatch(p.tail(1000), -1) {
			switch m[1] {
			case "API":
				w.api = m[2]
			case "Broker":
				w.broker = m[2]
			}
		}
		return w.api != "" && w.broker != ""
	})
	return w
}

// closing makes accounts at the simulated broker, asks for their closing, and gives the closures' ids.
func (w *world) closing(n int, spec sim.Spec) (closures []string) {
	w.Helper()
	for range n {
		closures = append(closures, w.initiate(w.account(spec)))
	}
	return closures
}

// breaks makes the broker refuse to show anybody's cash, which a closure dies of; mends ends that.
func (w *world) breaks() {
	w.Helper()
	w.ask("PUT", w.broker+"/sim/chaos", map[string]any{"rules": []sim.Rule{{
		Method: http.MethodGet, Path: "/v1/trading/accounts/*/account", Probability: 1, Fault: sim.FaultError, Status: http.StatusBadRequest,
	}}}, nil)
}

func (w *world) mends() { w.Helper(); w.ask("DELETE", w.broker+"/sim/chaos", nil, nil) }

// signs somebody in by one click.
func (w *world) signs(p *browser.Person, role string) {
	w.Helper()
	p.Open(w.api + "/signin")
	p.Click(`button[value="` + role + `"]`)
	p.Sees("Sign out")
}

// content says that the browser had nothing to complain of, and axe found no barrier.
func content(t *testing.T, p *browser.Person, where string) {
	t.Helper()
	for _, c := range p.Complaints() {
		t.Errorf("%s: the browser says: %s", where, c)
	}
	for _, b := range p.Barriers() {
		t.Errorf("%s: axe says: %s", where, b)
	}
}

// An operator finds a dead closure by its reason, reads why, retries it, and watches it reach closed without a reload.
func TestBrowserADeadClosureIsRetried(t *testing.T) {
	w := startDemo(t, "3s", "--no-initiate")
	dead := w.closing(1, sim.Spec{Cash: dollars("125.50")})[0]
	w.breaks()
	p := browser.Start(t).Person(t)
	w.signs(p, "operator")
	p.Open(w.api + "/attention")
	p.Sees("retries_used_up")
	content(t, p, "attention")
	p.Click(`a[href="/closures/` + dead + `"]`)
	p.Sees("failed 4 times in a row")
	content(t, p, "the dead closure")
	w.mends()
	p.ClickText("Retry")
	p.Until("a reason is asked for", `document.querySelector("[name=why]")`)
	content(t, p, "the preview")
	p.Type(`[name="why"]`, "the broker shows the cash again")
	p.Click(`main form button.act, main form button.danger`)
	p.Until("it is running", `document.querySelector("main .state.running")`)
	if !p.True(`(window.stayed = true)`) {
		t.Fatal("the window can't be marked")
	}
	p.Until("it is closed", `document.querySelector("main .state.closed")`)
	if !p.True(`window.stayed`) {
		t.Error("the page was loaded anew: it should have been told of the change")
	}
	p.Sees("the broker shows the cash again")
	p.Sees("$125.50")
	content(t, p, "the closed closure")
}

// Many dead closures are retried at once, slowly, and that is aborted.
func TestBrowserABulkRetryIsAborted(t *testing.T) {
	w := startDemo(t, "3s", "--no-initiate")
	w.closing(8, sim.Spec{Cash: dollars("10")})
	w.breaks()
	p := browser.Start(t).Person(t)
	w.signs(p, "operator")
	p.Open(w.api + "/attention")
	p.Until("all eight are dead", `/\b8\b/.test(document.querySelector("main").innerText)`)
	w.mends()
	p.Click(`main a[href^="/attention/retry"]`)
	p.Sees("8")
	p.Type(`[name="reason"]`, "the broker is well again")
	p.Until("there is a rate", `document.querySelector("[name=rate]")`)
	p.Type(`[name="rate"]`, "2")
	content(t, p, "the bulk retry's preview")
	p.Click(`main form button.act, main form button.danger`)
	p.Until("it is at work", `location.pathname.startsWith("/redrives/")`)
	content(t, p, "the redrive")
	p.Until("two have been retried, live", `/\b2 retried\b/.test(document.querySelector("main").innerText)`)
	p.Click(`main form[action$="/abort"] button`)
	p.Sees("aborted")
	p.Until("two were retried and no more", `/\b2 retried\b/.test(document.querySelector("main").innerText)`)
	content(t, p, "the aborted redrive")
}

// A viewer sees everything and can do nothing of it: not by what is shown, and not by a forged form.
func TestBrowserAViewerChangesNothing(t *testing.T) {
	w := startDemo(t, "3s", "--no-initiate")
	dead := w.closing(1, sim.Spec{Cash: dollars("10")})[0]
	w.breaks()
	p := browser.Start(t).Person(t)
	w.signs(p, "viewer")
	page := w.api + "/closures/" + dead
	p.Open(page)
	p.Until("it is dead", `document.querySelector("main .state.dead")`)
	if p.True(`document.querySelector("main form, main a[href$='/resume'], main a[href$='/retry'], main a[href$='/cancel']")`) {
		t.Error("a viewer is offered to act")
	}
	content(t, p, "a viewer's closure")
	for _, path := range []string{
		"/closures/" + dead + "/retry", "/closures/" + dead + "/cancel", "/closures/" + dead + "/paid_by_hand", "/closures/" + dead + "/relink_bank", "/closures/" + dead + "/reveal",
		"/attention/retry", "/system/hold", "/system/release",
	} {
		if got := p.Post(path, "reason=forged"); got != http.StatusForbidden {
			t.Errorf("a viewer's forged POST to %s: %d", path, got)
		}
	}
	p.Open(page)
	if !p.True(`document.querySelector("main .state.dead")`) {
		t.Error("the closure has changed")
	}
}

// Every page, light, dark and on a phone: nothing that axe finds serious, nothing that the browser complains of, and nothing
// that hangs out of the phone's side. The pictures are those of the README.
func TestBrowserPictures(t *testing.T) {
	w := startDemo(t, "12s")
	into := *images
	if into == "" {
		into = t.TempDir()
	}
	some := w.closing(12, sim.Spec{Cash: dollars("1520.25"), Positions: []sim.PositionSpec{stock("AAPL", "3", "231.40")}})
	w.closing(5, sim.Spec{Cash: dollars("61500")})
	b := browser.Start(t)
	p := b.Person(t)
	w.signs(p, "operator")
	p.Open(w.api + "/attention")
	p.Sees("negative_cash")
	p.Sees("bank_gone")
	stranger := b.Person(t)
	for _, place := range []struct {
		name, path string
		who        *browser.Person
	}{
		{"signin", "/signin", stranger},
		{"board", "/", p},
		{"list", "/closures", p},
		{"closure", "/closures/" + some[0], p},
		{"attention", "/attention", p},
		{"system", "/system", p},
	} {
		for _, screen := range []struct {
			kind          string
			width, height int64
			dark          bool
		}{{"light", 1280, 860, false}, {"dark", 1280, 860, true}, {"phone", 390, 844, false}} {
			where := place.name + "-" + screen.kind
			place.who.Screen(screen.width, screen.height, screen.dark)
			place.who.Open(w.api + place.path)
			place.who.Until("the page is drawn", `document.querySelector("main h1")`)
			content(t, place.who, where)
			if place.who.True(`document.documentElement.scrollWidth > window.innerWidth`) {
				t.Errorf("%s hangs out of the screen's side", where)
			}
			place.who.Shoot(filepath.Join(into, where+".png"))
		}
	}
}
