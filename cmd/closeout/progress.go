package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// progress tells how far something is that takes long: on a terminal in one line, each second; elsewhere in a line of its own, every
// few minutes.
type progress struct {
	to   io.Writer
	live bool
	said time.Time // when it was last told; zero: not yet
}

func newProgress(o output) *progress { return &progress{to: o.err, live: tty(o) != nil} }

func (p *progress) every() time.Duration {
	if p.live {
		return time.Second
	}
	return 5 * time.Minute
}

// tell says it, if that is due.
func (p *progress) tell(format string, args ...any) {
	now := time.Now()
	if p.said.IsZero() {
		p.said = now
	}
	if now.Sub(p.said) < p.every() {
		return
	}
	p.said = now
	text := fmt.Sprintf(format, args...)
	if p.live {
		_, _ = fmt.Fprintf(p.to, "\r%-79s", text)
		return
	}
	_, _ = fmt.Fprintln(p.to, text)
}

// done ends the line on a terminal.
func (p *progress) done() {
	if p.live && !p.said.IsZero() {
		_, _ = fmt.Fprintf(p.to, "\r%-79s\r", "")
	}
}

// countDown tells what is left of a wait until that is over, or ctx ends.
func (p *progress) countDown(ctx context.Context, until time.Time, of string) {
	p.said = time.Now()
	t := time.NewTicker(p.every())
	defer t.Stop()
	for time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			p.tell("%s: %s left", of, max(time.Until(until), 0).Round(time.Second))
		}
	}
}
