package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca/sim"
)

// TestASlowBodyHoldsNobody: a body that does not come, or comes drop by drop, is answered after five seconds, with an
// Idempotency-Key as without, and nothing is changed.
func TestASlowBodyHoldsNobody(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		drops  bool
	}{
		"nothing comes":          {"Content-Length: 400\r\n", false},
		"drop by drop":           {"Content-Length: 400\r\n", true},
		"nothing comes, keyed":   {"Content-Length: 400\r\nIdempotency-Key: k\r\n", false},
		"drop by drop, keyed":    {"Content-Length: 400\r\nIdempotency-Key: k\r\n", true},
		"of no announced length": {"Transfer-Encoding: chunked\r\nIdempotency-Key: k\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				id, _ := b.account(sim.Spec{})
				ln := pipes{make(chan net.Conn), make(chan struct{})}
				srv := &http.Server{Handler: b.handler, ReadHeaderTimeout: time.Second}
				go func() { _ = srv.Serve(ln) }()
				client, conn := net.Pipe()
				ln.conns <- conn
				started := time.Now()
				_, err := fmt.Fprintf(client, "POST /api/account-closure/initiate/%s HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Type: application/json\r\n%s\r\n", id, secret, tc.header)
				must(t, err)
				stop := make(chan struct{})
				if tc.drops {
					go func() {
						for {
							select {
							case <-stop:
								return
							case <-time.After(time.Second):
							}
							if _, err := client.Write([]byte(" ")); err != nil {
								return
							}
						}
					}()
				}
				res, err := http.ReadResponse(bufio.NewReader(client), nil)
				must(t, err)
				defer func() { _ = res.Body.Close() }()
				text, err := io.ReadAll(res.Body)
				if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Error(err)
				}
				answer{t, res.StatusCode, res.Header, string(text)}.problem(408, "body_too_slow")
				b.foreseen(t.Context(), http.MethodPost, "/api/account-closure/initiate/"+id, res.StatusCode)
				if took := time.Since(started); took != 5*time.Second {
					t.Errorf("answered after %s", took)
				}
				close(stop)
				_ = client.Close()
				must(t, srv.Close())
				b.untouched(id)
				if n := countKeys(t, b); n != 0 {
					t.Errorf("%d keys are held", n)
				}
			})
		})
	}
}

func countKeys(tb testing.TB, b *bench) (n int) {
	tb.Helper()
	must(tb, b.beside().QueryRowContext(tb.Context(), "SELECT count(*) FROM idempotency_keys").Scan(&n))
	return n
}
