package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"closeout/closure"
)

type readyzCmd struct {
	URL  string        `name:"url" help:"Where to ask. Default: a server on this machine, http://127.0.0.1:8000/ready, or where none listens a worker, http://127.0.0.1:8080/health."`
	Wait time.Duration `help:"Ask again for so long until it is ready, such as 30s."`
}

// besides are the two that may be beside this process, each where it listens by default. One container image is both, and its
// health check is one.
var besides = []string{"http://127.0.0.1:8000/ready", "http://127.0.0.1:8080/health"}

// readyAsk is machine time for one question: both pages answer within two seconds.
const readyAsk = 3 * time.Second

// Run prints one line. Exit status: 0 for ready, 1 for not ready or no answer, 2 for wrong usage.
func (c *readyzCmd) Run(ctx context.Context, o output) error {
	var bad complaints
	at := besides
	if c.URL != "" {
		at = []string{c.URL}
	}
	var pages []*url.URL
	for _, where := range at {
		u, err := url.Parse(where)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			bad.add("--url", "is no http:// or https:// URL")
		}
		pages = append(pages, u)
	}
	if c.Wait < 0 {
		bad.add("--wait", "must not be negative, is %s", c.Wait)
	}
	if err := bad.err(); err != nil {
		return err
	}
	until := time.Now().Add(c.Wait)
	for {
		ready, said := askFirst(ctx, pages)
		if ready {
			_, _ = fmt.Fprintln(o.out, "ready: "+said)
			return nil
		}
		if ctx.Err() != nil || !time.Now().Before(until) {
			_, _ = fmt.Fprintln(o.out, "not ready: "+said)
			return errQuiet
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(500*time.Millisecond, max(0, time.Until(until)))):
		}
	}
}

// askFirst asks the first of the pages at whose address anybody listens; where nobody does, it says so of each.
func askFirst(ctx context.Context, pages []*url.URL) (ready bool, said string) {
	var nobody []string
	for _, u := range pages {
		ready, heard, said := askReady(ctx, u)
		if heard {
			return ready, said
		}
		nobody = append(nobody, said)
	}
	return false, strings.Join(nobody, "; ")
}

// askReady asks once. What it says is one line. heard is false where the connection was refused: nobody listens there.
func askReady(ctx context.Context, u *url.URL) (ready, heard bool, said string) {
	ctx, cancel := context.WithTimeout(ctx, readyAsk)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, true, "this URL can't be asked"
	}
	// A proxy of the environment is not on the way to a process beside this one.
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		heard := !errors.Is(err, syscall.ECONNREFUSED)
		if cause := errors.Unwrap(err); cause != nil { // without the URL, which may hold a password
			err = cause
		}
		return false, heard, fmt.Sprintf("no answer from %s: %s", u.Redacted(), closure.OneLine(err.Error()))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return false, true, fmt.Sprintf("%s broke off its answer", u.Redacted())
	}
	if resp.StatusCode != http.StatusOK {
		return false, true, fmt.Sprintf("%s: %s", resp.Status, closure.OneLine(told(body)))
	}
	return true, true, closure.OneLine(told(body))
}

// told is the gist of a page: the server's detail or what it has checked, or each thing that a worker looks at.
func told(body []byte) string {
	var page struct {
		Detail  string   `json:"detail"`
		Checked []string `json:"checked"`
		Without []string `json:"without"`
	}
	if json.Unmarshal(body, &page) == nil && page.Detail != "" {
		return page.Detail
	}
	if len(page.Checked) > 0 {
		said := strings.Join(page.Checked, ", ") + " ok"
		if len(page.Without) > 0 {
			said += ", without " + strings.Join(page.Without, ", ")
		}
		return said
	}
	var parts map[string]string
	if json.Unmarshal(body, &parts) == nil {
		var out []string
		for _, what := range slices.Sorted(maps.Keys(parts)) {
			out = append(out, what+" "+parts[what])
		}
		return strings.Join(out, ", ")
	}
	return string(body[:min(len(body), 200)])
}
