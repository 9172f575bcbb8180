package server_test

import (
	"io"
	"net/http"
	"testing"

	"closeout/server"
)

// A proxy keeps /metrics inside by its name: no other spelling may lead there.
func TestMetricsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *server.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "sums") })
	})
	for _, path := range []string{"/metrics", "/metrics?x=1"} {
		if a := b.do("GET", path, "", "X-API-Key", ""); a.status != http.StatusOK || a.text != "sums" {
			t.Errorf("%s answered %d %q", path, a.status, a.text)
		}
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/%6Detrics", "/metric%73", "/%6D%65%74%72%69%63%73", "//metrics", "/metrics/", "/METRICS", "/./metrics", "/x/../metrics", "/metrics%2f", "/metrics%00"} {
			if a := b.do(method, path, "", "X-API-Key", ""); a.status == http.StatusOK || a.text == "sums" {
				t.Errorf("%s %s answered %d %q", method, path, a.status, a.text)
			}
		}
	}
}
