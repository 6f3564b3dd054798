package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/trial"
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
	cmd := app.Command("replay", "Send captured pushes through two policies, by the code that serves, and tell what the second makes of them that the first does not. Nothing is sent anywhere. Exits as diff does: with 0 if nothing differs, with 1 if something does, with 2 if a file cannot be read or it was stopped.")
	cmd.Arg("FILE...", "Captures of pushes, one JSON object or many: request.method, .target, .headers and .body_base64, and time, without which a push comes a second after the one before.").Required().StringsVar(&c.files)
	cmd.Flag("policy.file", "The new policy: a file, or a folder of files. Required.").PlaceHolder("FILE").StringVar(&c.policyFile)
	cmd.Flag("against", "The policy to compare it with. Required.").PlaceHolder("FILE").StringVar(&c.against)
	cmd.Flag("rules.file", "File of Prometheus' rules, of which to name those that use a metric or label that goes. Repeatable.").
		PlaceHolder("FILE").StringsVar(&c.rules)
	cmd.Flag("dashboards", "A Grafana dashboard as JSON, or a folder of them, of which to name the panels that do. Repeatable.").
		PlaceHolder("FILE").StringsVar(&c.dashboards)
	cmd.Flag("output", "text for people, json for machines.").Default("text").EnumVar(&c.output, "text", "json")
	cmd.Flag("exit-zero", "Exit with 0 even if something differs.").BoolVar(&c.exitZero)
	cmd.Flag("push.enable-utf8-names", "Accept UTF-8 metric and label names, as serve does with this flag.").BoolVar(&c.utf8Names)
	c.limits.add(cmd)
	return c
}

// run replays every file; errDiffers if something differs. SIGTERM and SIGINT end it
// early, and it tells of the pushes until then.
func (c *replayCommand) run(ctx context.Context, stdout, stderr io.Writer) error {
	if c.policyFile == "" || c.against == "" {
		return flagFault("--policy.file and --against are required: the new policy, and the one to compare it with")
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	queries, err := readQueries(c.rules, c.dashboards)
	if err != nil {
		return err
	}
	before, err := c.open(c.against)
	if err != nil {
		return err
	}
	after, err := c.open(c.policyFile)
	if err != nil {
		return err
	}
	d := newDifference()
	err = c.replay(ctx, stderr, func(at time.Time, r proxy.Request, body []byte) {
		again := r
		again.Body = bytes.NewReader(body)
		d.add(before.Push(ctx, at, r), after.Push(ctx, at, again))
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

func (c *replayCommand) open(file string) (*trial.Replay, error) {
	rules, err := loadPolicy(file)
	if err != nil {
		return nil, err
	}
	return trial.NewReplay(trial.Config{Policy: rules, Caps: c.limits.caps(), UTF8Names: c.utf8Names})
}

// replay reads the captures one by one.
func (c *replayCommand) replay(ctx context.Context, stderr io.Writer, push func(time.Time, proxy.Request, []byte)) error {
	bar := startReading(stderr, "replaying", sizeOf(c.files))
	defer bar.end()
	at := time.Unix(0, 0).UTC()
	for _, name := range c.files {
		file, err := os.Open(name)
		if err != nil {
			return flagFault("%v", err)
		}
		err = eachCapture(bar.reader(file), func(when time.Time, r proxy.Request) error {
			if at = at.Add(time.Second); !when.IsZero() {
				at = when
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			r.Body = bytes.NewReader(body)
			push(at, r, body)
			return ctx.Err()
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
func eachCapture(r io.Reader, do func(time.Time, proxy.Request) error) error {
	in := json.NewDecoder(r)
	for n := 1; ; n++ {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("capture %d: %w", n, err)
		}
		var of struct{ Time time.Time }
		if err := json.Unmarshal(raw, &of); err != nil {
			return fmt.Errorf("capture %d: %w", n, err)
		}
		request, err := trial.ParseCapture(raw)
		if err != nil {
			return fmt.Errorf("capture %d: %w", n, err)
		}
		if err := do(of.Time, request); err != nil {
			return err
		}
	}
}
