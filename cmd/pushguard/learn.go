package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/deploy"
	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/policy/learn"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// learnCommand is the subcommand learn: its flags, as given.
type learnCommand struct {
	from       string
	output     string
	mode       string
	configFile string
	timeout    time.Duration
}

func newLearnCommand(app *kingpin.Application) *learnCommand {
	c := &learnCommand{}
	cmd := app.Command("learn", "Draft a policy from the series that are there, or from the pushes in an audit log, with the evidence for each choice in comments. Exits with 1 if they cannot be read to their end, without a draft then.")
	cmd.Flag("from", "What to learn from: the URL of a Pushgateway or of pushguard, with its route prefix if it has one; a file with what /metrics of it answered; an audit log, best of serve with --audit.all; or, as --from=-, either on standard input.").
		PlaceHolder("URL|FILE").Required().StringVar(&c.from)
	cmd.Flag("output", "File to write the draft to, which must not exist; standard output without it.").
		Short('o').PlaceHolder("FILE").StringVar(&c.output)
	word(cmd, "mode", "Mode of all entries: open, report or enforce.", &c.mode, string(policy.Open), string(policy.Report), string(policy.Enforce)).
		Default(string(policy.Report))
	cmd.Flag("pushgateway.config.file", "File that says how to speak to the URL, as serve has it.").
		PlaceHolder("FILE").StringVar(&c.configFile)
	flag(cmd, "timeout", "How long reading may take.", &c.timeout, parseTimeout).Default("10m")
	return c
}

// run writes the draft whole or not at all. SIGTERM and SIGINT end the reading; a
// second one ends the process, which may wait for a terminal.
func (c *learnCommand) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	summary, err := learn.New(deploy.ExamplePolicy)
	if err != nil {
		return err
	}
	page, err := c.open(ctx, stdin)
	if err != nil {
		return err
	}
	defer page.Close()
	if err := c.read(ctx, summary, page, stderr); err != nil {
		return fmt.Errorf("%s: %w; read were %d series of %s, and no draft is written", cut(c.from), err, summary.Series(), plural(summary.Jobs(), "job"))
	}
	return c.write(summary, stdout, stderr)
}

// read learns from a page, or from an audit log if it begins as one.
func (c *learnCommand) read(ctx context.Context, summary *learn.Summary, page io.Reader, stderr io.Writer) error {
	shown := startReading(stderr, "reading", size(page))
	defer shown.end()
	in := bufio.NewReaderSize(shown.reader(page), 64<<10)
	if !isAudit(in) {
		return summary.Read(ctx, in)
	}
	var skipped audit.Skipped
	defer func() {
		if s := skipped.String(); s != "" {
			fmt.Fprintln(shown.above(stderr), "pushguard: "+s)
		}
	}()
	for line, err := range audit.Scan(in, c.from, &skipped) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		learnRecord(summary, &line.Record)
	}
	return nil
}

// isAudit looks at the begin alone: a series may begin with a brace, but not with one
// and a name and a colon.
func isAudit(in *bufio.Reader) bool {
	begin, _ := in.Peek(len(`{"time":`))
	return string(begin) == `{"time":`
}

// learnRecord takes a push that went on; of one that did not it is not known what the
// job needs.
func learnRecord(summary *learn.Summary, r *audit.Record) {
	if r.Outcome != proxy.Passed.String() && r.Outcome != proxy.Changed.String() || r.Method == http.MethodDelete {
		return
	}
	push := learn.Push{Job: r.Job, Group: r.Group, At: r.Time, Samples: r.Samples}
	for _, f := range r.Findings {
		if f.Label != "" {
			push.Findings = append(push.Findings, learn.Finding{Rule: f.ID, Label: f.Label, Sample: f.Sample})
		}
	}
	summary.Push(push)
}

// size is how many bytes there are to read, -1 where that is not known.
func size(page io.Reader) int64 {
	if file, ok := page.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return -1
}

func (c *learnCommand) open(ctx context.Context, stdin io.Reader) (io.ReadCloser, error) {
	switch {
	case c.from == "-":
		return io.NopCloser(stdin), nil
	case !strings.HasPrefix(c.from, "http://") && !strings.HasPrefix(c.from, "https://"):
		file, err := os.Open(c.from)
		if errors.Is(err, fs.ErrNotExist) && meantAsURL(c.from) {
			return nil, flagFault("--from=%q: there is no such file, and a URL begins with http:// or https://", cut(c.from))
		}
		return file, err
	}
	upstream, err := c.upstream()
	if err != nil {
		return nil, err
	}
	page, err := upstream.Page(ctx)
	if err != nil {
		upstream.Close()
		return nil, err
	}
	return upstreamPage{page, upstream}, nil
}

// meantAsURL reports whether what names no file was rather the address of a server, as
// localhost:9091 is.
func meantAsURL(s string) bool {
	u, err := url.Parse("http://" + s)
	return strings.Contains(s, "://") || err == nil && u.Port() != ""
}

// upstreamPage closes with the page what it came from.
type upstreamPage struct {
	io.ReadCloser
	upstream *gateway.Upstream
}

func (p upstreamPage) Close() error {
	defer p.upstream.Close()
	return p.ReadCloser.Close()
}

func (c *learnCommand) upstream() (*gateway.Upstream, error) {
	at, err := parseUpstream(c.from)
	if err != nil {
		return nil, flagFault("--from %q: %v", cut(c.from), err)
	}
	client, err := loadClient("pushgateway.config.file", c.configFile)
	if err != nil {
		return nil, err
	}
	upstream, err := gateway.New(gateway.Config{URL: at, Timeout: c.timeout, Client: client, UserAgent: product()})
	if err != nil {
		return nil, flagFault("%v", err)
	}
	return upstream, nil
}

func (c *learnCommand) write(summary *learn.Summary, stdout, stderr io.Writer) error {
	if summary.Series() == 0 {
		return fmt.Errorf("%s: there is no series with the label job, and no push, to learn from", cut(c.from))
	}
	var draft bytes.Buffer
	leftOut, err := summary.Draft(&draft, c.mode)
	if err != nil {
		return err
	}
	if err := c.store(draft.Bytes(), stdout); err != nil {
		return err
	}
	if n := summary.Pushes(); n > 0 {
		fmt.Fprintf(stderr, "%s of %s read\n", plural(n, "push"), plural(summary.Jobs(), "job"))
	} else {
		fmt.Fprintf(stderr, "%d series of %s read, %d without a job passed over\n", summary.Series(), plural(summary.Jobs(), "job"), summary.Without())
	}
	if leftOut > 0 || summary.Beyond() > 0 {
		fmt.Fprintf(stderr, "not in the draft: %s without an entry, %d series of jobs beyond what is kept\n", plural(leftOut, "job"), summary.Beyond())
	}
	return nil
}

// store overwrites nothing: a policy that somebody worked on may have the name.
func (c *learnCommand) store(draft []byte, stdout io.Writer) error {
	if c.output == "" {
		_, err := stdout.Write(draft)
		return err
	}
	f, err := os.OpenFile(c.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // #nosec G302 -- a file for others, as their umask has it
	if err != nil {
		return err
	}
	_, err = f.Write(draft)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
