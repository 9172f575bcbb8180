package main

import (
	"path/filepath"
	"testing"

	"closeout/alpaca/sim"
	"closeout/internal/browser"
)

// An operator holds everything: a closure waits and says why, whoever looks sees the banner, and once it is released the closure
// comes to its end.
func TestBrowserEverythingIsHeldAndReleased(t *testing.T) {
	w := startDemo(t, "3s", "--no-initiate")
	b := browser.Start(t)
	p := b.Person(t)
	w.signs(p, "operator")
	viewer := b.Person(t)
	w.signs(viewer, "viewer")
	viewer.Open(w.api + "/") // and stays there
	p.Open(w.api + "/system")
	content(t, p, "System")
	p.ClickText("Hold everything …")
	p.Sees("What will happen")
	content(t, p, "the preview of a hold")
	p.Type("#reason", "the broker's books look wrong")
	p.Click("main form button.danger")
	p.Until("the banner is there", `document.querySelector(".banner")`)
	p.Sees("What was claimed in the seconds before may still be on its way")

	account := w.account(sim.Spec{Cash: dollars("125.50")})
	id := w.initiate(account) // which is still accepted
	waiting := func() (why string) {
		var said struct {
			State   string `json:"state"`
			Waiting *struct {
				Reason string `json:"reason"`
				Why    string `json:"why"`
			} `json:"waiting"`
		}
		w.ask("GET", w.api+"/api/account-closure/progress/"+account, nil, &said)
		if said.Waiting != nil && said.Waiting.Reason == "service_held" {
			return said.Waiting.Why
		}
		return ""
	}
	w.until("closure "+id+" waits for the hold", func() bool { return waiting() != "" })
	if paid := w.payouts(account); len(paid) != 0 {
		t.Fatalf("%v was paid while everything is held", paid)
	}

	viewer.Until("a page that was open has the banner", `location.pathname === "/" && document.querySelector(".banner")`)
	viewer.Open(w.api + "/system")
	viewer.Sees("Everything is held. Nothing new is sent to the broker since")
	if viewer.True(`document.querySelector('a[href="/system/hold"]')`) {
		t.Error("a viewer is offered to release it")
	}
	content(t, viewer, "System, held")
	if status := viewer.Post("/system/release", "version=1&reason=mine"); status != 403 {
		t.Errorf("a viewer's release is answered %d", status)
	}

	p.Open(w.api + "/system")
	shots(t, p, "system-held")
	p.Screen(1280, 900, false)
	p.ClickText("Release the hold …")
	p.Sees("Instructions go to the broker again")
	content(t, p, "the preview of a release")
	p.Type("#reason", "they are right")
	p.Click("main form button.act")
	p.Sees("The hold is over")
	w.until("closure "+id+" is closed", func() bool { paid := w.payouts(account); return len(paid) == 1 && paid[0] == "125.50" })
	p.Open(w.api + "/system")
	shots(t, p, "system")
}

// shots are pictures of the page that is open, to be looked at, where they are asked for.
func shots(t *testing.T, p *browser.Person, name string) {
	t.Helper()
	if *images == "" {
		return
	}
	for kind, screen := range map[string]struct {
		width int64
		dark  bool
	}{"light": {1280, false}, "dark": {1280, true}, "phone": {390, false}} {
		p.Screen(screen.width, 860, screen.dark)
		p.Shoot(filepath.Join(*images, name+"-"+kind+".png"))
	}
}
