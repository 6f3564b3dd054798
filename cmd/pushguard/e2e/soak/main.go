// Command soak loads guards for a long time while things go wrong, and holds what
// stands to a model.
//
//	go run ./cmd/pushguard/e2e/soak [flags]
//
// Two guards are loaded: one in front of a Pushgateway, with a spool and a
// statsd_exporter, and one that keeps the snapshots itself. To each, eight workers push
// what jobs push: snapshots by PUT, POST and DELETE, increments with keys, counters of
// processes and of runs, groups that the policy evicts, and what it refuses. What is not
// answered is pushed again. Every minute, or ten times where that is shorter, each guard
// has a fault of [both], and of [beyond] or [alone]. After each the jobs pause, and what stands is
// compared: the snapshots at the Pushgateway, the series that the guard says each job
// holds, its totals, and what reached StatsD, with the model, series by series; and its
// goroutines and descriptors with those of before. In the end its memory is to be what it
// was in the second fifth, of the same process: guards are killed in the first fifth, and
// by the last fault.
//
// The first difference ends it, with the faults before. It needs Linux, the go command
// and a prometheus-pushgateway in PATH, root to fill a disk, and is to be started inside
// the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

func main() {
	o := options{}
	flag.DurationVar(&o.length, "length", time.Hour, "how long it takes")
	flag.Float64Var(&o.rate, "rate", 25, "pushes a second, to each of the two guards")
	flag.StringVar(&o.guard, "guard", "", "a built pushguard; without it one is built from the source")
	flag.StringVar(&o.exporter, "exporter", "", "a built statsd_exporter; without it that of tools.mod")
	flag.StringVar(&o.only, "only", "", "a part of the names of the faults that are to be made alone")
	flag.StringVar(&o.dir, "dir", "", "directory for policy, audit log and state, which stay there; without it one that does not")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the order of the faults")
	flag.Parse()
	server.Main("soak", func(ctx context.Context, _ []string, out, _ io.Writer) error { return run(ctx, o, out) })
}

// options are what a command line says.
type options struct {
	length          time.Duration
	rate            float64
	guard, exporter string
	only, dir       string
	seed            uint64
}

// every is the time from one fault to the next.
func (o options) every() time.Duration { return min(time.Minute, o.length/10) }

// run is the whole program with its ends in the caller's hand.
func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := o.dir, error(nil)
	if dir == "" {
		if dir, err = os.MkdirTemp("", "soak"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if o.guard, err = server.Guard(ctx, o.guard, dir); err != nil {
		return err
	}
	if o.exporter == "" {
		if o.exporter, err = buildExporter(ctx); err != nil {
			return err
		}
	}
	machine, err := server.Describe(ctx, o.guard)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s; %s; load %s; seed %d\n", machine.Text(), machine.Versions(), machine.Load, o.seed)
	return soak(ctx, o, dir, out)
}

// soak has both stages play their part at the same time.
func soak(ctx context.Context, o options, dir string, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tell := &teller{out: out, begun: time.Now()}
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i, name := range []string{"gateway", "embedded"} {
		both.Go(func() {
			if errs[i] = play(ctx, o, dir, name, tell); errs[i] != nil {
				cancel()
			}
		})
	}
	both.Wait()
	return errors.Join(errs...)
}

// teller prints what happens, line by line.
type teller struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

func (t *teller) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%8s  %s\n", time.Since(t.begun).Round(time.Second), fmt.Sprintf(format, args...))
}
