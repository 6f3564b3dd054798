package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/audit"
)

// auditCommand is the subcommand audit: its flags, as given.
type auditCommand struct {
	files        []string
	filter       audit.Filter
	since, until func(now time.Time) time.Time
	wouldBe      bool
	follow       bool
	output       string
	limit        int
}

func newAuditCommand(app *kingpin.Application) *auditCommand {
	c := &auditCommand{}
	cmd := app.Command("audit", "Search audit logs. The files that were set aside from a FILE are read with it, oldest first, and several logs by the times of their records. Lines that are no records, as a crash leaves them, are skipped, and said on stderr.")
	cmd.Arg("FILE", "What serve has as --audit.file.").Required().StringsVar(&c.files)
	flag(cmd, "job", "Only of jobs that match, whole, this regular expression, as sent or after folding.", &c.filter.Job, parseAnchored).
		PlaceHolder("RE")
	cmd.Flag("owner", "Only of jobs of this owner.").PlaceHolder("OWNER").StringVar(&c.filter.Owner)
	cmd.Flag("finding", "Only those with a finding of this id.").PlaceHolder("ID").StringVar(&c.filter.Finding)
	word(cmd, "outcome", "Only those that became, or would under enforcement: passed, changed, refused, skipped, failed, removed or forecast.", &c.filter.Outcome,
		"passed", "changed", "refused", "skipped", "failed", "removed", audit.OutcomeForecast).PlaceHolder("OUTCOME")
	cmd.Flag("client", "Only of this client: an address, with or without its port.").PlaceHolder("ADDRESS").StringVar(&c.filter.Client)
	flag(cmd, "since", "Only what came since: a time such as 2026-03-04T05:06:07Z, or how long ago, such as 1h.", &c.since, parseMoment).
		PlaceHolder("TIME")
	flag(cmd, "until", "Only what came before: as --since.", &c.until, parseMoment).PlaceHolder("TIME")
	cmd.Flag("follow", "Go on with what is written after, across rotations, until SIGINT or SIGTERM. Of one FILE, without --until, --would-be and --limit.").BoolVar(&c.follow)
	cmd.Flag("would-be", "Sum up what enforcement would have made of the pushes to each job in report under its latest policy, say which jobs are safe to enforce, and sum up by owner.").BoolVar(&c.wouldBe)
	word(cmd, "output", "table or json, one record a line.", &c.output, "table", "json").Default("table")
	flag(cmd, "limit", "Only the latest so many. 0 is all.", &c.limit, orNone(parseCount)).Default("0")
	return c
}

// parseMoment reads a point of time, or how long ago it was.
func parseMoment(s string) (func(time.Time) time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return func(time.Time) time.Time { return t }, nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return nil, errors.New("want a time such as 2026-03-04T05:06:07Z, or how long ago, such as 1h or 7d")
	}
	return func(now time.Time) time.Time { return now.Add(-time.Duration(d)) }, nil
}

// run reads to the end of the logs, or until SIGINT or SIGTERM. A second one ends the
// process, which may wait for who reads its output.
func (c *auditCommand) run(ctx context.Context, now time.Time, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if c.since != nil {
		c.filter.Since = c.since(now)
	}
	if c.until != nil {
		c.filter.Until = c.until(now)
	}
	if c.follow && (c.until != nil || c.wouldBe || c.limit > 0 || len(c.files) > 1) {
		return flagFault("--follow is for one FILE, without --until, --would-be and --limit")
	}
	var skipped audit.Skipped
	var err error
	if c.follow {
		err = c.readOn(ctx, stdout, &skipped)
	} else {
		err = c.read(ctx, stdout, stderr, &skipped)
	}
	if s := skipped.String(); s != "" {
		fmt.Fprintln(stderr, "pushguard: "+s)
	}
	return err
}

// readOn writes what there is and what comes.
func (c *auditCommand) readOn(ctx context.Context, stdout io.Writer, skipped *audit.Skipped) error {
	out := recordWriter{out: stdout, json: c.output == "json"}
	return audit.Follow(ctx, c.files[0], followEvery, skipped, func(line audit.Line) error {
		if !c.filter.Matches(&line.Record) {
			return nil
		}
		return out.write(&line)
	})
}

// followEvery is how often a log that is followed is looked at.
const followEvery = 200 * time.Millisecond

// read writes what there is. Stopped, it says how far it came, and sums up nothing.
func (c *auditCommand) read(ctx context.Context, stdout, stderr io.Writer, skipped *audit.Skipped) error {
	s := auditSearch{auditCommand: c, out: recordWriter{out: stdout, json: c.output == "json"}}
	if err := s.readAll(ctx, stderr, skipped); err != nil {
		return err
	}
	s.out.out = stdout
	return s.end()
}
