// Command gateways measures pushguard beside its peers: Debian's Pushgateway with its
// consistency check and without, haproxy, which only passes on, and a server of net/http
// that does nothing else, for what is left to the guard.
//
//	go run ./cmd/pushguard/e2e/gateways [flags]
//
// Each work of [works] starts the servers it compares, one process each, and has them
// take turns: the same pushes over the same connections for -duration, in -rounds
// rounds. What is compared is compared within a round, and what is told is the median
// of the rounds. The program writes a Markdown table to stdout and how it goes on to
// stderr. Without flags it takes about a quarter of an hour;
//
//	go run ./cmd/pushguard/e2e/gateways -duration 300ms -series 100000
//
// about three minutes. A work whose servers cannot be started is told as not measured.
//
// It needs Linux (/proc), the go command, a prometheus-pushgateway and a haproxy in
// PATH (testdata/install.sh haproxy), and is to be started inside the repository.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

func main() { server.Main("gateways", run) }

// options are what a command line says.
type options struct {
	rounds   int
	duration time.Duration // of one server's turn
	series   int           // of a store that is full
	conns    int           // connections that push at once
	only     *regexp.Regexp
	guard    string // path of a built pushguard; empty builds one
	dir      string // of files that are not kept
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("gateways", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.rounds, "rounds", 5, "rounds in which the servers take turns")
	fs.DurationVar(&o.duration, "duration", 3*time.Second, "how long a server is pushed to in one turn")
	fs.IntVar(&o.series, "series", 1_000_000, "series of a full store")
	fs.IntVar(&o.conns, "conns", 4, "connections over which is pushed at once")
	only := fs.String("only", "", "measure only the works that match this regular expression")
	fs.StringVar(&o.guard, "guard", "", "a built pushguard; without it one is built from the source")
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	if o.rounds < 1 || o.duration <= 0 || o.series < 10*perGroup || o.conns < 1 {
		return options{}, fmt.Errorf("-rounds, -duration and -conns must be above 0, -series at least %d", 10*perGroup)
	}
	var err error
	o.only, err = regexp.Compile(*only)
	return o, err
}

// run is the whole program with its ends in the caller's hand.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "gateways-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if o.guard, err = server.Guard(ctx, o.guard, o.dir); err != nil {
		return err
	}
	m, err := server.Describe(ctx, o.guard)
	if err != nil {
		return err
	}
	lines, err := measureAll(ctx, o, stderr)
	if err != nil {
		return err
	}
	return writeTable(stdout, o, m, lines)
}

// measureAll does one work after the other, so that none disturbs another. It gives up
// only when it is told to.
func measureAll(ctx context.Context, o options, stderr io.Writer) ([]line, error) {
	var lines []line
	for _, w := range works(o) {
		if !o.only.MatchString(w.name) {
			continue
		}
		started := time.Now()
		s := &stage{options: o}
		got, err := w.measure(ctx, s)
		s.stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			got = append(got, line{work: w.name, failed: err})
		}
		fmt.Fprintf(stderr, "%s: %s\n", w.name, time.Since(started).Round(time.Second))
		for _, l := range got {
			fmt.Fprintln(stderr, " ", l)
		}
		lines = append(lines, got...)
	}
	return lines, nil
}
