package server

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// checking is how long, in machine time, everything that /ready asks may take together.
const checking = 2 * time.Second

// Health is what a probe is told.
type Health struct {
	Status  string    `json:"status" doc:"ok"`
	Version string    `json:"version"`
	Time    time.Time `json:"time" doc:"Business time, which a demo runs faster"`
	Checked []string  `json:"checked,omitempty" doc:"What answered"`
	Without []string  `json:"without,omitempty" doc:"What does not answer; this process works without it, as far as it can"`
}

type healthOutput struct{ Body Health }

// health asks nothing of anybody: a process that can answer is alive, and a restart mends no database.
func (s *server) health(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{Health{Status: "ok", Version: s.Version, Time: s.Clock.Now().Truncate(time.Second)}}, nil
}

// ready is no for a server that would refuse what it is asked, which is one without a ledger. Without Redis it accepts
// closures all the same, and the sweep finds them.
func (s *server) ready(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, checking)
	defer cancel()
	beside := make(chan map[string]error, 1)
	go func() {
		if s.Beside == nil {
			beside <- nil
			return
		}
		beside <- s.Beside(ctx)
	}()
	if err := s.Ledger.Ping(ctx); err != nil {
		p := notReady.problem("This does not answer: ledger.").
			hinting("The log has the cause under the request_id.").because(fmt.Errorf("ledger: %w", err))
		p.Errors = append(p.Errors, Fault{"ledger", "does not answer"})
		return nil, p
	}
	out := Health{Status: "ok", Version: s.Version, Time: s.Clock.Now().Truncate(time.Second), Checked: []string{"ledger"}}
	for name, err := range <-beside {
		if err != nil {
			out.Without = append(out.Without, name)
			continue
		}
		out.Checked = append(out.Checked, name)
	}
	slices.Sort(out.Checked)
	slices.Sort(out.Without)
	return &healthOutput{out}, nil
}
