package simulation

import (
	"net/http"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/ledger"
)

// kill ends a process: nothing of it is carried out any more, what it had leased stays leased, and it comes back.
func (l *life) kill(p *process) {
	p.alive = false
	for _, key := range l.hands(p) {
		if t := l.queue.tasks[key]; t != nil && t.state == active && l.strikes("orphan") {
			l.tell("the lease of %s is gone", key)
			t.lease = 0
		}
		l.watch(key)
	}
	l.after(0, func() { l.reap(p) })
	l.after(l.between("crash", time.Second, 4*time.Minute), func() { l.revive(p.n) })
}

// hands are the tasks that a process works on, in a stable order.
func (l *life) hands(p *process) (keys []string) {
	for _, key := range l.keys() {
		for th := range p.threads {
			if th.job != nil && th.job.m.key == key {
				keys = append(keys, key)
				break
			}
		}
	}
	return keys
}

func (l *life) revive(n int) {
	p := l.begin(n)
	if n == 0 || l.redisDown() {
		return
	}
	l.recover(p)
	l.queue.forward(time.Now().Add(p.off))
	for range l.keys() {
		l.after(l.within("poll", 1200*time.Millisecond), l.deliver)
	}
	l.letterBy(time.Now())
}

// afterFreeze lets a process that stood still go on with what has gathered.
func (l *life) afterFreeze(p *process) {
	l.at(p.frozen, func() {
		for range l.keys() {
			l.after(l.within("poll", 1200*time.Millisecond), l.deliver)
		}
	})
}

// redisDown says whether Redis can't be reached, which may begin with the question.
func (l *life) redisDown() bool {
	now := time.Now()
	if now.Before(l.redisBack) {
		return true
	}
	switch {
	case l.strikes("redis down"):
		l.redisBack = now.Add(l.between("redis down", time.Second, 10*time.Minute))
		l.tell("Redis is down until %s", l.redisBack.Format(time.TimeOnly))
		return true
	case l.strikes("redis emptied"):
		l.tell("Redis is emptied")
		if len(l.queue.tasks) > 0 {
			l.some("Redis was emptied")
		}
		l.queue.flush()
	}
	return false
}

// outage is the status with which the broker answers everything for now; 1: it does not answer, 0: all is well.
func (l *life) outage(dial bool) int {
	now := time.Now()
	if !now.Before(l.outageUntil) {
		if !l.strikes("outage") {
			return 0
		}
		l.outageUntil = now.Add(l.between("outage", time.Minute, 11*time.Hour))
		l.outageKind = []int{1, 1, 503, 500, 429, 401, 400}[l.pick("outage", 7)]
		l.tell("an outage (%d) until %s", l.outageKind, l.outageUntil.Format(time.DateTime))
	}
	if dial && l.outageKind != 1 {
		return 0
	}
	return l.outageKind
}

func (l *life) lost(resp *http.Response, _ error) {
	if resp != nil {
		_ = resp.Body.Close()
	}
}

var noChaos = sim.Chaos{}

func lateBy(d time.Duration) sim.Chaos {
	return sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultLate, Delay: sim.Duration(d)}}}
}

// twin lets the customer withdraw the very sum of a payout whose answer is lost, to the same bank, in those very minutes.
func (l *life) twin(r *http.Request) {
	part := strings.Split(r.URL.Path, "/")
	if !strings.HasSuffix(r.URL.Path, "/transfers") || !l.strikes("twin") {
		return
	}
	account := part[3]
	sum := l.lastPayout[account]
	l.after(l.between("twin", time.Second, 20*time.Minute), func() { l.withdraw(account, sum, "the same sum") })
}

// withdraw is the customer's own withdrawal, as far as the money is there: the broker would refuse another.
func (l *life) withdraw(account string, sum decimal.Decimal, why string) {
	truth, err := l.sim.Truth(account)
	if err != nil || truth.Status != "ACTIVE" || truth.TransfersBlocked || truth.AccountBlocked {
		return
	}
	if sum.GreaterThan(decimal.Min(truth.Booked, truth.CashWithdrawable)) || !sum.IsPositive() {
		return
	}
	l.tell("the customer of %s withdraws %s (%s)", account[len(account)-6:], sum.StringFixed(2), why)
	if err := l.sim.Event(account, sim.Event{Type: "withdrawal", Amount: sum}); err == nil {
		l.some("a withdrawal by the customer")
		l.withdrawn[account] = append(l.withdrawn[account], sum)
	}
}

// calm is the end of all faults: whoever was away or had a wrong clock starts again, and a person looks after what stopped.
func (l *life) calm() {
	l.tell("calm")
	l.live = false
	l.redisBack, l.outageUntil = time.Time{}, time.Time{}
	for _, p := range l.procs {
		if p.alive && p.off != 0 {
			l.kill(p)
		}
	}
	l.after(l.within("operator", 6*time.Hour), l.operate)
}

// resumes is how often a person sets a stopped closure going again before they leave it be.
const resumes = 5

func (l *life) operate() {
	for _, id := range l.order {
		c := l.rows[id]
		if c.State == closure.Paused || c.State == closure.Failed || c.State == closure.Dead {
			l.resumed[id]++
			if l.resumed[id] <= resumes {
				l.command(id, "resume")
			}
		}
	}
	l.after(12*time.Hour+l.within("operator", time.Hour), l.operate)
}

// command is what an operator asks of the server.
func (l *life) command(id, what string) {
	p := l.procs[0]
	if !p.alive {
		l.after(time.Minute, func() { l.command(id, what) })
		return
	}
	th := &thread{p: p, what: what + " of " + l.short(id)}
	l.start(th, func() {
		next, err := commit(p, "command", closure.Closure{}, func() (closure.Closure, error) {
			next, err := l.ledger.Command(l.tb.Context(), id, func(_ closure.Closure, is []closure.Intent) (closure.Change, error) {
				now := p.run.Clock.Now()
				switch what {
				case "cancel":
					return closure.Cancel(now, "operator", "the customer changed their mind", closure.PastNoReturn(is)), nil
				case "pause":
					return closure.Pause(now, "operator", "wait"), nil
				case "resume":
					return closure.Resume(now, "operator", "go on"), nil
				}
				return closure.Wake(now, "operator", "look now"), nil
			})
			if err == nil {
				l.some(what + " was accepted")
				if what == "wake" && !next.WokenAt.IsZero() {
					l.some("wake met a due visit")
				}
				l.note(next)
			} else {
				l.some(what + " was refused")
			}
			return next, err
		})
		if err == nil && next.State == closure.Running {
			_ = p.run.Queue.Schedule(l.tb.Context(), next)
		}
	})
}

// initiate is a client's request, repeated until it is answered.
func (l *life) initiate(w ledger.Wish) {
	p := l.procs[0]
	again := func() { l.after(30*time.Second, func() { l.initiate(w) }) }
	if !p.alive {
		again()
		return
	}
	answered := false
	th := &thread{p: p, what: "initiate " + w.AccountID[len(w.AccountID)-6:]}
	th.ended = func(bool) {
		if !answered {
			again()
		}
	}
	l.start(th, func() {
		c, err := commit(p, "create", closure.Closure{}, func() (closure.Closure, error) {
			c, created, err := l.ledger.Create(l.tb.Context(), w)
			if err == nil && created {
				l.note(c)
			}
			return c, err
		})
		if err != nil {
			return
		}
		answered = true
		l.acked = append(l.acked, c.ID)
		_ = p.run.Queue.Schedule(l.tb.Context(), c)
	})
	if !p.alive { // died with the answer unsaid, or said: the client asks again if it has not heard
		if !answered {
			again()
		}
	}
}
