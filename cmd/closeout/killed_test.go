package main

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
)

// kill -9 of the whole demo at five random moments, started again each time: the same ends, each cent paid once by the
// journal of the simulator, whose accepted mutations are on disk before they are answered.
func TestRealDemoKilledFiveTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	bin := built(t)
	data := t.TempDir()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any bits will do
	chance := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for life := range 6 {
		cmd := exec.CommandContext(t.Context(), bin, "dev", "--data", data, "--day", "12s",
			"--addr", "127.0.0.1:0", "--sim-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := make(chan string, 1000)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(stdout); s.Scan(); {
				lines <- s.Text()
			}
		}()
		if life < 5 {
			after := 2*time.Second + time.Duration(chance.Int64N(int64(14*time.Second)))
			killed := time.After(after)
			for alive := true; alive; {
				select {
				case <-killed:
					alive = false
				case line, ok := <-lines:
					if !ok {
						t.Fatalf("life %d ended by itself", life)
					}
					complain(t, line)
				}
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Logf("killed after %s", after)
			continue
		}
		broker := watch(t, lines)
		check(t, broker)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func complain(t *testing.T, line string) {
	t.Helper()
	if strings.Contains(line, "NOT AS EXPECTED") {
		t.Error(line)
	}
}

// watch follows the last life until every demo has ended, and returns the simulator's address.
func watch(t *testing.T, lines <-chan string) (broker string) {
	t.Helper()
	address := regexp.MustCompile(`Broker\s+(http://\S+)`)
	limit := time.After(6 * time.Minute)
	for {
		select {
		case <-limit:
			t.Fatal("not every demo has ended in six minutes")
		case line, ok := <-lines:
			if !ok {
				t.Fatal("the demo ended by itself")
			}
			complain(t, line)
			if m := address.FindStringSubmatch(line); m != nil {
				broker = m[1]
			}
			if strings.Contains(line, "ended as expected, ") {
				t.Log(strings.TrimSpace(line))
				return broker
			}
		}
	}
}

func check(t *testing.T, broker string) {
	t.Helper()
	for _, d := range demos {
		resp, err := http.Get(broker + "/sim/journal?account=" + d.id()) //nolint:noctx // loopback, and the test has its limit
		if err != nil {
			t.Fatal(err)
		}
		var journal struct {
			Entries []sim.Entry `json:"entries"`
		}
		err = json.NewDecoder(resp.Body).Decode(&journal)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var paid []string
		for _, e := range journal.Entries {
			if e.Kind == "transfer" {
				paid = append(paid, e.Amount)
			}
		}
		if !slices.Equal(paid, d.end.paid) {
			t.Errorf("%s: the journal has payouts %v, want %v", d.name, paid, d.end.paid)
		}
	}
}
