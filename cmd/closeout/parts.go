package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
	"closeout/worker"
)

// parts are what the server and the worker are made of.
type parts struct {
	settings
	timing  closure.Timing
	rdb     redis.UniversalClient
	ledger  *ledger.Ledger
	queue   *tasks.Queue
	broker  *alpaca.Client
	almanac *handlers.Almanac
	stop    func() // ends what runs beside the doors
}

func assemble(ctx context.Context, s settings, timing closure.Timing, rdb redis.UniversalClient, database string, broker alpaca.Options) (*parts, error) {
	worker.RepairAcks(rdb)
	p := &parts{settings: s, timing: timing, rdb: rdb}
	var err error
	if p.broker, err = alpaca.New(broker); err != nil {
		return nil, err
	}
	if p.ledger, err = ledger.Open(ctx, ledger.Options{URL: database, Environment: s.env, Policy: s.policy, Clock: s.clock, AccountStatus: s.status}); err != nil {
		return nil, err
	}
	p.queue = tasks.NewQueue(rdb, s.clock, timing.Task)
	p.almanac = &handlers.Almanac{Ledger: p.ledger, Broker: p.broker, Clock: s.clock, Log: s.log}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.almanac.Run(ctx) // it tells its troubles to the log, and the rules hold meanwhile
	}()
	p.stop = func() { cancel(); <-done }
	return p, nil
}

func (p *parts) close() error {
	p.stop()
	return errors.Join(p.ledger.Close(), p.rdb.Close())
}

func (p *parts) health(ctx context.Context) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return map[string]error{"ledger": p.ledger.Ping(ctx), "redis": p.queue.Ping(ctx)}
}

func (p *parts) handler(keys server.Keys) (http.Handler, error) {
	return server.New(server.Options{
		Ledger: p.ledger, Schedule: p.queue.Schedule, Keys: keys, Clock: p.clock, Policy: p.policy, Health: p.health, Log: p.log, Version: version,
		Readiness: &readiness.Checker{
			Broker: p.broker, Calendar: p.almanac.Calendar, Policy: p.policy, Clock: p.clock,
		},
		Monitoring: asynqmon.New(asynqmon.Options{RootPath: server.MonitoringPath, RedisConnOpt: shared{p.rdb}, ReadOnly: true}),
	})
}

func (p *parts) worker(mailer handlers.Mailer, concurrency int, healthAddr string) worker.Options {
	return worker.Options{
		Redis: p.rdb, Timing: p.timing, Concurrency: concurrency, Health: p.health, HealthAddr: healthAddr, Log: p.log,
		Runner: &handlers.Runner{
			Ledger: p.ledger, Queue: p.queue, Broker: p.broker, Calendar: p.almanac.Calendar,
			Clock: p.clock, Policy: p.policy, Timing: p.timing, Post: handlers.Letters{Broker: p.broker, Mailer: mailer}, Log: p.log,
		},
	}
}

// shared hands asynqmon the connection that is there already.
type shared struct{ rdb redis.UniversalClient }

var _ asynq.RedisConnOpt = shared{}

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.rdb }

// serve answers HTTP on a listener until ctx ends, then lets the requests in hand finish.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		return fmt.Errorf("drain HTTP: %w", err)
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w (is another one running? choose another address by flag)", addr, err)
	}
	return ln, nil
}

// logMailer writes letters to the log instead of sending them: kind, subject and Message-ID, no address and no name.
type logMailer struct{ log *logrus.Logger }

// Send implements handlers.Mailer.
func (m logMailer) Send(_ context.Context, l mail.Letter) error {
	subject, _, _, err := mail.Render(l)
	if err != nil {
		return err
	}
	m.log.WithFields(logrus.Fields{"letter": l.Kind, "message_id": l.MessageID("closeout.invalid")}).Info("letter: " + subject)
	return nil
}
