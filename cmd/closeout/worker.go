package main

import (
	"context"
	"errors"

	"closeout/handlers"
	"closeout/mail"
	"closeout/worker"
)

type workerCmd struct {
	common
	remote
	listening
	HealthAddr  string `default:":8080" help:"Where GET /health answers."`
	Concurrency int    `env:"CLOSEOUT_CONCURRENCY" default:"20" help:"Visits at once."`
	SMTPURL     string `name:"smtp-url" env:"CLOSEOUT_SMTP_URL" secret:"" help:"smtp://user:password@host:587 or smtps://; without it letters go to the log alone."`
	MailFrom    string `env:"CLOSEOUT_MAIL_FROM" help:"Whom letters are from: Name <noreply@firm.example>."`
}

// Run works until it is told to stop, then drains.
func (c *workerCmd) Run(ctx context.Context) error {
	var bad complaints
	s := c.common.check(&bad)
	opts := c.remote.check(&s, &bad)
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		bad.add("CLOSEOUT_CONCURRENCY", "must lie between 1 and 1000, is %d", c.Concurrency)
	}
	c.listening.check(&bad)
	var mailer handlers.Mailer = logMailer{s.log}
	if c.SMTPURL != "" {
		smtp, err := mail.New(c.SMTPURL, c.MailFrom)
		if err != nil {
			bad.add("CLOSEOUT_SMTP_URL, CLOSEOUT_MAIL_FROM", "%v", err)
		}
		mailer = smtp
	}
	if err := bad.err(); err != nil {
		return err
	}
	if c.SMTPURL == "" {
		s.log.Warn("CLOSEOUT_SMTP_URL is not set: letters go to this log, and customers get none")
	}
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	o := p.worker(ctx, mailer, c.Concurrency, c.HealthAddr)
	c.listen(p, &o)
	o.Fit = func(ctx context.Context) ([]string, error) { return worker.Fit(ctx, p.rdb) }
	err = worker.Run(ctx, o)
	if errors.Is(err, worker.ErrCutShort) { // Asynq may still hold the Redis connection: it ends with the process
		p.stop()
		return errors.Join(err, p.ledger.Close())
	}
	return errors.Join(err, p.close())
}
