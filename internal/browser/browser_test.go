package browser_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"closeout/internal/browser"
)

// TestBrowserSeesWhatIsWrong: the instrument itself must find what it is there to find.
func TestBrowserSeesWhatIsWrong(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Chromium")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>t</title><main><h1>Hello</h1><input><script>document.title = "ran"</script></main></html>`))
	}))
	t.Cleanup(srv.Close)
	p := browser.Start(t).Person(t)
	p.Open(srv.URL)
	p.Sees("Hello")
	p.Until("the refused script is told of", `document.title === "t"`)
	if found := strings.Join(p.Barriers(), "\n"); !strings.Contains(found, "label") {
		t.Errorf("an input without a label is no barrier? %q", found)
	}
	if said := strings.Join(p.Complaints(), "\n"); !strings.Contains(said, "Content Security Policy") {
		t.Errorf("the policy refused a script, and the browser says %q", said)
	}
}
