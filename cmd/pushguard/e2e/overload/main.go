// Command overload offers a guard three times what it can do, and tells whom it serves,
// and how soon.
//
//	go run ./cmd/pushguard/e2e/overload [flags] [-- flags of pushguard serve]
//
// The guard keeps the snapshots itself and has one processor, so that the load beside it
// is not what is measured; its pushes are compressed and all of other labels than the ones
// before, so that each has to be parsed. What it can do is how many pushes a second a few
// clients get answered who push one after the other. Then pushes are sent when they are
// due, whether the others are answered or not: a tenth of that rate, and three times it,
// of the [classes], in turn. Medians of the rounds are printed. All come from one address,
// which may have every connection.
//
// It needs Linux and the go command, and is to be started inside the repository.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// options are what a command line says.
type options struct {
	series, rounds int
	duration       time.Duration
	guard          string
	flags          []string // of the guard
}

func main() {
	var o options
	flag.IntVar(&o.series, "series", 1000, "series of a push")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each load is offered")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "for how long each time")
	flag.StringVar(&o.guard, "guard", "", "a built pushguard; without it one is built from the source")
	flag.Parse()
	o.flags = flag.Args()
	server.Main("overload", func(ctx context.Context, _ []string, out, _ io.Writer) error { return run(ctx, o, out) })
}

const policyText = `
version: v1
default: {owner: load, mode: enforce, budget: {series: 100000}}
`

func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "overload")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.guard, err = server.Guard(ctx, o.guard, dir); err != nil {
		return err
	}
	policy := filepath.Join(dir, "policy.yml")
	if err := os.WriteFile(policy, []byte(policyText), 0o600); err != nil {
		return err
	}
	args := append([]string{"GOMAXPROCS=1", o.guard, "serve", "--policy.file=" + policy, "--limits.series=100000000", "--limits.connections=100000"}, o.flags...)
	guard, err := server.Start(ctx, "pushguard", "env", args...)
	if err != nil {
		return err
	}
	defer guard.Stop()
	machine, err := server.Describe(ctx, o.guard)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s; %s; load %s\n", machine.Text(), machine.Versions(), machine.Load)
	return measure(ctx, newClient(guard.URL, o.series), o, out)
}

// measure offers both loads in turn and prints what came of them.
func measure(ctx context.Context, c *client, o options, out io.Writer) error {
	rate, err := c.sustainable(ctx, o.duration)
	if err != nil {
		return err
	}
	var calm, storm rounds
	for range o.rounds {
		calm = append(calm, c.offer(ctx, rate/10, []class{classes[0]}, o.duration))
		storm = append(storm, c.offer(ctx, 3*rate, classes, o.duration))
	}
	fmt.Fprintf(out, "sustainable: %.0f pushes a second of %d series\n", rate, o.series)
	return table(out, calm, storm)
}
