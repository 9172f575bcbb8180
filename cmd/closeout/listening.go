package main

import (
	"crypto/rand"

	"closeout/worker"
)

// listening says what a worker makes of the broker's event streams.
type listening struct {
	Events       string `env:"CLOSEOUT_EVENTS" default:"on" help:"on or off: whether the broker's event streams are read, so that what happens is looked at within seconds. Without them looks come when they are due."`
	RelaxedLooks bool   `env:"CLOSEOUT_RELAXED_LOOKS" help:"While the streams are heard, look after the morning's booking for what settles, and every 12h at a payout, instead of every 1h and 2h."`
}

func (l listening) check(bad *complaints) {
	if l.Events != "on" && l.Events != "off" {
		bad.add("CLOSEOUT_EVENTS", "must be on or off, is %q", l.Events)
	}
	if l.Events == "off" && l.RelaxedLooks {
		bad.add("CLOSEOUT_RELAXED_LOOKS", "looks can be relaxed only while events are heard; CLOSEOUT_EVENTS is off")
	}
}

// listen has a worker read the streams.
func (l listening) listen(p *parts, o *worker.Options) {
	if l.Events == "off" {
		return
	}
	o.Streams = &worker.Streams{Broker: p.broker, Ledger: p.ledger, Hasten: o.Runner.Hasten, Missed: o.Runner.Missed, Holder: rand.Text(), Log: p.log}
	if l.RelaxedLooks {
		o.Runner.Heard = o.Streams.Heard
	}
}
