package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// sweepCommand is the subcommand sweep: its flags, as given.
type sweepCommand struct {
	given          string
	url            *url.URL
	dryRun         bool
	olderThan      time.Duration
	job            *regexp.Regexp
	rate           float64
	configFile     string
	timeout        time.Duration
	listingTimeout time.Duration
}

func newSweepCommand(app *kingpin.Application) *sweepCommand {
	c := &sweepCommand{}
	cmd := app.Command("sweep", "Delete the groups of a Pushgateway that nobody refreshes, in one pass, and read back that they are gone. Through pushguard, a group that is pushed meanwhile is kept for certain; a Pushgateway alone deletes without a condition. Exits with 0 if every stale group is gone or was pushed meanwhile, with 1 if one was not deleted.")
	cmd.Arg("URL", "URL of pushguard or of a Pushgateway, with its route prefix if it has one.").Required().StringVar(&c.given)
	cmd.Flag("dry-run", "Delete nothing, and say what would be deleted.").BoolVar(&c.dryRun)
	flag(cmd, "older-than", "How long ago the last push of a group that was accepted must be; of a group that never had one, the last that failed.", &c.olderThan, parseAge).
		Default("6h")
	flag(cmd, "job", "Only the groups of the jobs that match, whole, this regular expression.", &c.job, parseAnchored).
		PlaceHolder("RE").Default(".*")
	flag(cmd, "rate", "Most groups to delete in one second.", &c.rate, parseRate).Default("200/s")
	cmd.Flag("pushgateway.config.file", "File that says how to speak to the URL, as serve has it.").
		PlaceHolder("FILE").StringVar(&c.configFile)
	flag(cmd, "pushgateway.timeout", "How long a deletion may take to be answered, and again, to be seen.", &c.timeout, parseTimeout).
		Default("30s")
	flag(cmd, "pushgateway.listing-timeout", "How long it may take to list all groups.", &c.listingTimeout, parseTimeout).
		Default("5m")
	return c
}

// run sweeps once. SIGTERM and SIGINT end the pass early, which then says of
// every stale group what became of it.
func (c *sweepCommand) run(ctx context.Context, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	upstream, err := c.openUpstream()
	if err != nil {
		return err
	}
	defer upstream.Close()
	guarded, err := upstream.Guarded(ctx)
	if err != nil {
		return err
	}
	utf8Names, err := upstream.UTF8Names(ctx)
	if err != nil {
		return err
	}
	pass := sweepPass{
		sweepCommand: c, upstream: upstream, guarded: guarded, utf8Names: utf8Names,
		report: sweepReport{out: stdout}, stderr: stderr,
	}
	if !guarded {
		pass.warn = func() { fmt.Fprintf(stderr, bareWarning, c.url) }
	}
	return pass.run(ctx)
}

const bareWarning = `pushguard: warning: %s is a Pushgateway without pushguard in front: a push that comes between the listing and the deletion of its group is lost.
To be safe, put pushguard in front and sweep through it: it deletes no group that was pushed meanwhile.
`

func (c *sweepCommand) openUpstream() (*gateway.Upstream, error) {
	var err error
	if c.url, err = parseUpstream(c.given); err != nil {
		return nil, flagFault("URL %q: %v", cut(c.given), err)
	}
	client, err := loadClient("pushgateway.config.file", c.configFile)
	if err != nil {
		return nil, err
	}
	upstream, err := gateway.New(gateway.Config{
		URL: c.url, Timeout: c.timeout, Client: client, UserAgent: product(),
	})
	if err != nil {
		return nil, flagFault("%v", err)
	}
	return upstream, nil
}

// parseAge takes no less than a second: within that, HTTP's dates could not tell
// a push from the one before.
func parseAge(s string) (time.Duration, error) {
	d, err := model.ParseDuration(s)
	if err != nil || time.Duration(d) < time.Second {
		return 0, errors.New("want a time of 1s or more, such as 6h or 7d")
	}
	return time.Duration(d), nil
}

func parseAnchored(s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("^(?s:" + s + ")$")
	if err != nil {
		return nil, fmt.Errorf("want a regular expression such as nightly_.*: %w", err)
	}
	return re, nil
}

func parseRate(s string) (float64, error) {
	rate, err := strconv.ParseFloat(strings.TrimSuffix(s, "/s"), 64)
	if err != nil || !(rate >= 0.001 && rate <= 1e6) {
		return 0, errors.New("want a number a second from 0.001/s to 1000000/s, such as 200/s")
	}
	return rate, nil
}
