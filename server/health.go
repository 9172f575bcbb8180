package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
}

type healthOutput struct{ Body Health }

// health asks nothing of anybody: a process that can answer is alive, and a restart mends no database.
func (s *server) health(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{Health{Status: "ok", Version: s.Version, Time: s.Clock.Now().Truncate(time.Second)}}, nil
}

func (s *server) ready(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, checking)
	defer cancel()
	found := map[string]error{}
	if s.Health != nil {
		found = s.Health(ctx)
	}
	results := map[string]error{"ledger": s.Ledger.Ping(ctx)}
	for name, err := range found {
		results[name] = err
	}
	var up, down []string
	var causes []error
	for name, err := range results {
		if err == nil {
			up = append(up, name)
			continue
		}
		down = append(down, name)
		causes = append(causes, fmt.Errorf("%s: %w", name, err))
	}
	slices.Sort(up)
	slices.Sort(down)
	if len(down) > 0 {
		p := notReady.problem("This does not answer: " + strings.Join(down, ", ") + ".").
			hinting("The log has the cause under the request_id.").because(errors.Join(causes...))
		for _, name := range down {
			p.Errors = append(p.Errors, Fault{name, "does not answer"})
		}
		return nil, p
	}
	out := &healthOutput{Health{Status: "ok", Version: s.Version, Time: s.Clock.Now().Truncate(time.Second), Checked: up}}
	return out, nil
}
