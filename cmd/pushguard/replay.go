package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/trial"
	"github.com/pushguard/pushguard/proxy/wire"
)

// errDiffers says that two policies do not make the same of the pushes, which has
// been told.
var errDiffers = errors.New("the policies differ")

// replayCommand is the subcommand replay: its flags and arguments, as given.
type replayCommand struct {
	policyFile string
	against    string
	rules      []string
	dashboards []string
	files      []string
	output     string
	exitZero   bool
	utf8Names  bool
	limits     limitFlags
}

func newReplayCommand(app *kingpin.Application) *replayCommand {
	c := &replayCommand{}
	cmd := app.Command("replay", "Send recorded pushes through a policy, by the code that serves, and tell what it makes of them that did not happen; or captured ones through two. Nothing is sent anywhere. Exits as diff does: with 0 if nothing differs, with 1 if something does, with 2 if a file cannot be read or it was stopped.")
	cmd.Arg("FILE...", "What serve has recorded, the oldest file first, compressed or not; or captures of pushes, one JSON object or many: request.method, .target, .headers and .body_base64, and time, without which a push comes a second after the one before.").Required().StringsVar(&c.files)
	cmd.Flag("policy.file", "The new policy: a file, or a folder of files. Required.").PlaceHolder("FILE").StringVar(&c.policyFile)
	cmd.Flag("against", "The policy to compare it with. By default the policy is compared with what happened, which recorded pushes tell.").PlaceHolder("FILE").StringVar(&c.against)
	cmd.Flag("rules.file", "File of Prometheus' rules, of which to name those that use a metric or label that goes. Repeatable.").
		PlaceHolder("FILE").StringsVar(&c.rules)
	cmd.Flag("dashboards", "A Grafana dashboard as JSON, or a folder of them, of which to name the panels that do. Repeatable.").
		PlaceHolder("FILE").StringsVar(&c.dashboards)
	word(cmd, "output", "text for people, json for machines.", &c.output, "text", "json").Default("text")
	cmd.Flag("exit-zero", "Exit with 0 even if something differs.").BoolVar(&c.exitZero)
	cmd.Flag("push.enable-utf8-names", "Accept UTF-8 metric and label names, as serve does with this flag.").BoolVar(&c.utf8Names)
	c.limits.add(cmd)
	return c
}

// run replays every file; errDiffers if something differs. SIGTERM and SIGINT end it
// early, and it tells of the pushes until then.
func (c *replayCommand) run(ctx context.Context, stdout, stderr io.Writer) error {
	if c.policyFile == "" {
		return flagFault("--policy.file is required: the new policy")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	queries, err := readQueries(c.rules, c.dashboards)
	if err != nil {
		return err
	}
	before, err := c.before()
	if err != nil {
		return err
	}
	after, err := c.open("policy.file", c.policyFile)
	if err != nil {
		return err
	}
	d := newDifference()
	err = c.replay(ctx, stderr, d, func(at time.Time, line *record.Line, r proxy.Request, body []byte) error {
		was, err := before(ctx, at, line, r)
		if err != nil {
			return err
		}
		again := r
		again.Body = bytes.NewReader(body)
		d.add(was, after.Push(ctx, at, again))
		return ctx.Err()
	})
	stopped := errors.Is(err, context.Canceled)
	if err != nil && !stopped {
		return err
	}
	return c.result(d.report(queries, stopped), stdout, stderr)
}

func (c *replayCommand) result(report replayReport, stdout, stderr io.Writer) error {
	if err := report.write(stdout, c.output); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	switch {
	case report.Stopped:
		fmt.Fprintln(stderr, "pushguard: stopped: this is the difference until then")
		return exitCode(exitUsage)
	case report.Differing > 0 && !c.exitZero:
		return errDiffers
	}
	return nil
}

func (c *replayCommand) open(flag, file string) (*trial.Replay, error) {
	rules, err := loadPolicy(flag, file)
	if err != nil {
		return nil, err
	}
	return trial.NewReplay(trial.Config{Policy: rules, Caps: c.limits.caps(), UTF8Names: c.utf8Names})
}

// outcomeOf is what became of a push before the new policy.
type outcomeOf func(ctx context.Context, at time.Time, line *record.Line, r proxy.Request) (trial.Replayed, error)

// before returns what the old policy makes of a push, or what happened to it.
func (c *replayCommand) before() (outcomeOf, error) {
	if c.against == "" {
		return c.happened, nil
	}
	old, err := c.open("against", c.against)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, at time.Time, _ *record.Line, r proxy.Request) (trial.Replayed, error) {
		return old.Push(ctx, at, r), nil
	}, nil
}

// happened is what the guard has recorded.
func (c *replayCommand) happened(_ context.Context, _ time.Time, line *record.Line, r proxy.Request) (trial.Replayed, error) {
	h := line.Happened
	if h == nil {
		return trial.Replayed{}, errors.New("no guard has recorded what happened to this push: --against names a policy to compare with")
	}
	key, err := wire.ParsePath(r.Path, c.utf8Names)
	if err != nil {
		return trial.Replayed{}, fmt.Errorf("request.target: %w", err)
	}
	return trial.Replayed{Job: h.Job, Entry: h.Entry, Outcome: h.Outcome, Findings: h.Findings, Series: line.SeriesOf(key), Happened: true}, nil
}

// replay reads the files one by one.
func (c *replayCommand) replay(ctx context.Context, stderr io.Writer, d *difference, push func(time.Time, *record.Line, proxy.Request, []byte) error) error {
	bar := startReading(stderr, "replaying", sizeOf(c.files))
	defer bar.end()
	at := time.Unix(0, 0).UTC()
	for _, name := range c.files {
		file, err := os.Open(name)
		if err != nil {
			return flagFault("%v", err)
		}
		n := 0
		err = eachCapture(bar.reader(file), &d.left.Torn, func(line *record.Line, r proxy.Request) error {
			n++
			if at = at.Add(time.Second); !line.Time.IsZero() {
				at = line.Time
			}
			if d.left.out(line, c.against == "") {
				return ctx.Err()
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = bytes.NewReader(body)
			if err := push(at, line, r, body); err != nil {
				return fmt.Errorf("capture %d: %w", n, err)
			}
			return nil
		})
		_ = file.Close()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return flagFault("%s: %v", name, err)
		}
	}
	return nil
}

// sizeOf is how many bytes the files have, -1 if that is not known.
func sizeOf(files []string) int64 {
	var sum int64
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		sum += info.Size()
	}
	return sum
}

// eachCapture reads captures that follow one another.
func eachCapture(r io.Reader, torn *int, do func(*record.Line, proxy.Request) error) error {
	n := 0
	for line, err := range record.Read(r, torn) {
		if err != nil {
			return err
		}
		n++
		request, err := trial.ParseCapture(line.Raw)
		if err != nil {
			return fmt.Errorf("capture %d: %w", n, err)
		}
		if err := do(&line, request); err != nil {
			return err
		}
	}
	return nil
}
