// Command explosion shows what a new value in every push does to a Pushgateway,
// bare and behind pushguard, and to a well-behaved job that pushes all the while.
//
//	go run ./cmd/pushguard/e2e/explosion [flags] [-- flags of pushguard serve]
//
// Each attack of [attacks] is run twice, each time on a Pushgateway of its own:
// once straight at it, once at a pushguard in front of it that enforces the
// policy of -policy. The program writes a table to stdout, and explosion.csv and
// explosion.svg to the directory of -out.
//
// The bare Pushgateway runs with --push.disable-consistency-check: with its
// check it looks at all it holds in every push, and 100,000 would take hours. It
// then answers 202 before it has applied a push. The one behind the guard keeps
// its check. A run that exceeds -bound is stopped and says where.
//
// It needs Linux (/proc), the go command and a prometheus-pushgateway in PATH,
// and is to be started inside the repository.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

func main() { server.Main("explosion", run) }

// options are what a command line says.
type options struct {
	pushes     int           // of an attack, in one run
	pushers    int           // connections of an attack
	every      time.Duration // between two pushes of the well-behaved job
	bound      time.Duration // of one run
	policy     string        // path of the policy file
	out        string        // directory of what is written
	guard      string        // path of a built pushguard; empty builds one
	guardFlags []string      // more flags of pushguard serve
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("explosion", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.pushes, "pushes", 100_000, "pushes of each attack")
	fs.IntVar(&o.pushers, "pushers", 2, "connections an attack pushes over")
	fs.DurationVar(&o.every, "every", 50*time.Millisecond, "time between two pushes of the well-behaved job")
	fs.DurationVar(&o.bound, "bound", 20*time.Minute, "time after which a run is stopped early")
	fs.StringVar(&o.policy, "policy", "deploy/policy.example.yml", "policy file of the guard")
	fs.StringVar(&o.out, "out", "docs", "directory for explosion.csv and explosion.svg")
	fs.StringVar(&o.guard, "guard", "", "a built pushguard; without it one is built from the source")
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	o.guardFlags = fs.Args()
	if o.pushes < 1 || o.pushers < 1 || o.every <= 0 || o.bound <= 0 {
		return options{}, errors.New("-pushes, -pushers, -every and -bound must be above 0")
	}
	return o, nil
}

// run is the whole program with its ends in the caller's hand.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "explosion-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.guard, err = server.Guard(ctx, o.guard, dir); err != nil {
		return err
	}
	m, err := server.Describe(ctx, o.guard)
	if err != nil {
		return err
	}
	results, err := measureAll(ctx, o, stderr)
	if err != nil {
		return err
	}
	if err := writeTable(stdout, o, m, results); err != nil {
		return err
	}
	return writeFiles(o, m, results)
}

// measureAll runs every attack against both, one after the other, so that none
// disturbs another.
func measureAll(ctx context.Context, o options, stderr io.Writer) ([]result, error) {
	var results []result
	for _, a := range attacks {
		for _, guarded := range []bool{false, true} {
			r, err := measure(ctx, o, a, guarded)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", a.name, side(guarded), err)
			}
			fmt.Fprintf(stderr, "%s, %s: %d pushes in %s\n", a.name, r.side(), r.pushes, r.took.Round(time.Second))
			results = append(results, r)
		}
	}
	return results, nil
}

func writeFiles(o options, m server.Machine, results []result) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	var csv bytes.Buffer
	if err := writeCSV(&csv, results); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, "explosion.csv"), csv.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.out, "explosion.svg"), plot(o, m, results), 0o644)
}
