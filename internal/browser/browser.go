// Package browser drives a real Chromium for the tests of the console: what a person does and sees, what the browser
// complains of, and what axe finds of barriers. It is for tests alone.
package browser

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe is axe-core 4.14.1 as it was published.
//
//go:embed axe.min.js
var axe string

// patience is how long, in machine time, a person's step may take to show: an account may be closed meanwhile.
const patience = 2 * time.Minute

// Browser is a Chromium of a test's own. Each Person in it has cookies of their own.
type Browser struct {
	tb  testing.TB
	ctx context.Context
}

// Start starts a browser, which ends with the test.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Flag("force-prefers-reduced-motion", true))
	if os.Geteuid() == 0 { // Chromium's sandbox refuses root
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(tb.Context()), options...)
	tb.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	tb.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("start Chromium: %v", err)
	}
	return &Browser{tb, ctx}
}

// Person is somebody at a page.
type Person struct {
	tb  testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// Person opens a window with cookies of its own, as wide as a desk's screen.
func (b *Browser) Person(tb testing.TB) *Person {
	tb.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	tb.Cleanup(cancel)
	p := &Person{tb: tb, ctx: ctx}
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleWarning || m.IsException() {
				p.mu.Lock()
				p.complaints = append(p.complaints, m.String()+" at "+m.URL)
				p.mu.Unlock()
			}
		}
	}()
	p.Screen(1280, 900, false)
	return p
}

// Complaints are the errors and warnings that the browser has had so far: refused by the policy, not found, thrown.
func (p *Person) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.complaints...)
}

// Screen sets the size of the window in pixels, and whether the person likes it dark.
func (p *Person) Screen(width, height int64, dark bool) {
	p.tb.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.do(fmt.Sprintf("a screen of %d×%d", width, height), chromedp.EmulateViewport(width, height))
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		p.tb.Fatalf("choose a %s screen: %v", scheme, err)
	}
}

// Open goes to an address.
func (p *Person) Open(url string) {
	p.tb.Helper()
	p.do("open "+url, chromedp.Navigate(url))
}

// Click clicks what a CSS selector names, once it is there.
func (p *Person) Click(selector string) {
	p.tb.Helper()
	p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// ClickText clicks the link or button with these words.
func (p *Person) ClickText(words string) {
	p.tb.Helper()
	p.Until("there is "+words+" to click", `[...document.querySelectorAll("a, button, summary")].some(e => e.innerText.trim() === `+strconv.Quote(words)+`)`)
	p.do("click "+words, chromedp.Click(chromedp.Search(`(//a|//button|//summary)[normalize-space()=`+xpath(words)+`]`)))
}

// Type writes into the field that a CSS selector names.
func (p *Person) Type(selector, text string) {
	p.tb.Helper()
	p.Until("there is a field "+selector, `(e => e && (e.value = "", true))(document.querySelector(`+strconv.Quote(selector)+`))`)
	p.do("type into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Press presses keys.
func (p *Person) Press(keys string) {
	p.tb.Helper()
	p.do("press "+keys, chromedp.KeyEvent(keys))
}

// Sees waits until the page shows these words.
func (p *Person) Sees(words string) {
	p.tb.Helper()
	p.Until("the page shows "+words, `document.body.innerText.includes(`+strconv.Quote(words)+`)`)
}

// Until waits until an expression is true in the page that is open then.
func (p *Person) Until(what, expression string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		// A page that is left while it is asked takes the question with it: then the next one is asked.
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")")); err == nil && is {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			p.tb.Fatalf("waited for: %s, at %s; the page says:\n%s", what, p.At(), p.Text())
		}
	}
}

// At is the page's address.
func (p *Person) At() string { return ask(p, "where am I", chromedp.Location()) }

// Text is what the page shows, in words.
func (p *Person) Text() string {
	return ask(p, "read the page", chromedp.Evaluate[string](`document.body.innerText`))
}

// True says whether an expression is true in the page now.
func (p *Person) True(expression string) bool {
	p.tb.Helper()
	return ask(p, expression, chromedp.Evaluate[bool]("Boolean("+expression+")"))
}

// Post sends a form as a script in the page could, and gives the status of what comes in the end.
func (p *Person) Post(path, form string) int {
	p.tb.Helper()
	return ask(p, "post to "+path, chromedp.Evaluate[int](fmt.Sprintf(
		`fetch(%q, {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: %q}).then(r => r.status)`, path, form), chromedp.EvalAwaitPromise))
}

// Shoot writes a picture of what the screen shows.
func (p *Person) Shoot(file string) {
	p.tb.Helper()
	png := ask(p, "take a picture", chromedp.CaptureScreenshot())
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(file, png, 0o600); err != nil {
		p.tb.Fatal(err)
	}
}

// Barriers are what axe finds of serious or critical barriers in the page for people with disabilities.
func (p *Person) Barriers() []string {
	p.tb.Helper()
	p.do("load axe", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Evaluate[chromedp.Void](axe+"; undefined")(ctx, t)
		return err
	}))
	found := ask(p, "run axe", chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations
		.filter(v => v.impact === "serious" || v.impact === "critical")
		.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.target.join(" ")).join(", ")).join("\n"))`, chromedp.EvalAwaitPromise))
	if found == "" {
		return nil
	}
	return strings.Split(found, "\n")
}

// do takes steps, and fails the test with what they were for.
func (p *Person) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.tb.Fatalf("%s: %v", what, err)
	}
}

func ask[T any](p *Person, what string, action chromedp.Action[T]) T {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.tb.Fatalf("%s: %v", what, err)
	}
	return v
}

// xpath quotes words for an XPath, which knows no escapes.
func xpath(words string) string {
	if strings.Contains(words, `"`) {
		return "'" + words + "'"
	}
	return `"` + words + `"`
}
