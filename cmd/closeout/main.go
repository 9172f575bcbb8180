// Command closeout closes Alpaca Broker API accounts, durably, over days. Each subcommand has a file of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the build: -ldflags "-X main.version=...".
var version = "dev"

// cli is the whole command line.
type cli struct {
	Dev       devCmd           `cmd:"" help:"Run everything in one process on loopback, with a simulated broker and demo accounts; only Go is needed."`
	Server    serverCmd        `cmd:"" help:"Serve the HTTP API."`
	Worker    workerCmd        `cmd:"" help:"Carry out closures; run as many as you like."`
	Simulator simulatorCmd     `cmd:"" help:"Serve the simulated broker alone."`
	Initiate  initiateCmd      `cmd:"" help:"Ask a server to close accounts."`
	Keys      keysCmd          `cmd:"" help:"Make, list and revoke API keys."`
	Monitor   monitorCmd       `cmd:"" help:"Look at the service and mend it, by the ledger and Redis themselves."`
	Ledger    ledgerCmd        `cmd:"" help:"Verify the ledger's histories; reconcile a restored one with the broker."`
	Import    importCmd        `cmd:"" help:"Take over closures from the system before this one."`
	Migrate   migrateCmd       `cmd:"" help:"Bring the ledger's schema up to date; server and worker also do it at their start."`
	Mail      mailCmd          `cmd:"" help:"Show the letters to customers."`
	Bench     benchCmd         `cmd:"" help:"Measure what a closure costs, beside a bare Asynq chain of as much work."`
	Readyz    readyzCmd        `cmd:"" help:"Ask a running server or worker whether it is ready, for health checks."`
	Version   kong.VersionFlag `help:"Print the version."`
}

// errQuiet ends the program with status 1 after the error was told already.
var errQuiet = errors.New("")

// output is where a command prints.
type output struct{ out, err io.Writer }

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	os.Exit(run(signals(), os.Args[1:], os.Stdout, os.Stderr))
}

// garbage is how much of it may gather before it is collected, in percent of what is in use. That is little, some 20 MiB whatever
// waits, and by Go's own 100 collecting takes every fourteenth of this process's seconds of CPU; so it takes half of that. GOGC in
// the environment goes before it.
const garbage = 200

// signals is a context that the first signal ends: doors close, what is in hand finishes. The second says to hurry: what is
// in hand is cut short. From then on signals are no longer caught, so that a third kills.
func signals() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	hurry := make(chan struct{})
	go func() {
		<-caught
		stop()
		<-caught
		signal.Stop(caught)
		close(hurry)
	}()
	return context.WithValue(ctx, hurryKey{}, hurry)
}

type hurryKey struct{}

// hurried is closed at the second signal; nil, in tests, never is.
func hurried(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(hurryKey{}).(chan struct{})
	return c
}

// run is the program, for main and for tests. It returns the exit status: 0, 1 for a failure, 2 for wrong usage or settings;
// a command's help names others.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c cli
	var files secretFiles
	exit := -1
	parser, err := kong.New(&c, kong.Name("closeout"), kong.Description("Closes Alpaca Broker API accounts, durably, over days. A secret setting may stand in a file: CLOSEOUT_…_FILE is its path."),
		kong.Resolvers(&files), kong.ValueFormatter(helped),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exit = code }), kong.Vars{"version": version},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.UsageOnError())
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "closeout:", err)
		return 2
	}
	k, err := parser.Parse(args)
	if exit >= 0 { // help or version was asked for
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "closeout: %v\nRun closeout --help for what there is.\n", err)
		return 2
	}
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(output{stdout, stderr})
	own.learn(k)
	if err = files.bad.err(); err == nil {
		err = k.Run()
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errQuiet):
		return 1
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	_, _ = fmt.Fprintf(stderr, "closeout %s: %s\n", k.Command(), own.mask(err.Error()))
	if _, ok := errors.AsType[*settingsError](err); ok {
		return 2
	}
	return 1
}
