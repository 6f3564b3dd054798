// Command demo shows side by side what becomes of counters that jobs push to a
// bare Pushgateway, and to one behind pushguard.
//
//	go run ./cmd/pushguard/e2e/demo bin/pushguard
//
// It starts two Pushgateways and a pushguard in front of one of them, with the
// policy that pushguard ships, on free ports of 127.0.0.1; sends both the same
// pushes; and prints what a scrape of each reads. It fails if pushguard counted
// wrong. What it started it stops again.
//
// It is to be started in the top folder of the repository and needs Debian's
// prometheus-pushgateway, which testdata/install.sh pushgateway installs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

const (
	pushgateway = "prometheus-pushgateway"
	policy      = "deploy/policy.example.yml"
	// most is how long all of it may take.
	most = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	if len(args) != 1 {
		return errors.New("want one argument: the path of a built pushguard")
	}
	if _, err := exec.LookPath(pushgateway); err != nil {
		return fmt.Errorf("%w\nhint: testdata/install.sh pushgateway installs it, as root on a Debian", err)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var started servers
	defer started.stop()
	bare, err := started.start(ctx, "the bare Pushgateway", pushgateway, "--persistence.file=")
	if err != nil {
		return err
	}
	behind, err := started.start(ctx, "the Pushgateway behind", pushgateway, "--persistence.file=")
	if err != nil {
		return err
	}
	guarded, err := started.start(ctx, "pushguard", args[0], "serve", "--pushgateway.url="+behind, "--policy.file="+policy)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\nThe same pushes go to a bare Pushgateway at %s and to\npushguard at %s, which has one behind it.\n\n", bare, guarded)
	return show(ctx, stdout, bare, guarded)
}

// show plays all acts on both sides and prints what a scrape of each reads.
func show(ctx context.Context, stdout io.Writer, bare, guarded string) error {
	const row = "  %-60s %7s %7s %10s\n"
	fmt.Fprintf(stdout, row, "what the jobs do", "counted", "bare", "pushguard")
	var wrong error
	for _, a := range acts {
		var read [2]float64
		for i, url := range []string{bare, guarded} {
			if err := a.play(ctx, url); err != nil {
				return err
			}
			var err error
			if read[i], err = sum(ctx, url, a.counter, a.job); err != nil {
				return err
			}
		}
		fmt.Fprintf(stdout, row, a.says, fmt.Sprint(a.counted), fmt.Sprint(read[0]), fmt.Sprint(read[1]))
		if read[1] != a.counted {
			wrong = errors.Join(wrong, fmt.Errorf("%s: pushguard reads %v, want %v", a.says, read[1], a.counted))
		}
	}
	fmt.Fprintf(stdout, "\nA Pushgateway keeps the last push of a group. pushguard adds up what the pushes\nof each task are above what that task pushed before.\n\n")
	return wrong
}
