package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/state"
)

// eventFlags say which event logs get what does not belong into Prometheus, as
// given.
type eventFlags struct {
	urls       []string
	configFile string
	instance   string
	queueSize  int64
	flushEvery time.Duration
}

func (f *eventFlags) add(cmd *kingpin.CmdClause) {
	cmd.Flag("events.url", "Event log that gets what leaves as an event, and what is taken away, refused or deleted: loki+http://host:3100, elasticsearch+http://host:9200/DATA-STREAM, clickhouse+http://host:8123/DATABASE/TABLE, otlp+http://host:4318 (or https), file:///PATH or stdout:. Repeatable. None by default.").
		PlaceHolder("URL").StringsVar(&f.urls)
	flag(cmd, "events.config.file", "File with event logs that want more than a URL: tenant, user, headers, and Prometheus' http_config.", &f.configFile, parseGiven).
		PlaceHolder("FILE")
	cmd.Flag("events.instance", "What this guard is called in the records. The host's name by default.").
		PlaceHolder("NAME").StringVar(&f.instance)
	flag(cmd, "events.queue-size", "How much may wait for one event log in --state.dir, from 1MiB on. Without that directory 10,000 records may wait, in memory.", &f.queueSize, parseQueueSize).
		Default("256MiB")
	flag(cmd, "events.flush-interval", "How long a record waits for others to go with it.", &f.flushEvery, parseTimeout).
		Default("1s")
}

// parseQueueSize wants room for a few files of records: of less a queue that is full would
// drop all that it has, and of one file each record.
func parseQueueSize(s string) (int64, error) {
	n, err := parseSize(s)
	if err != nil || n < 1<<20 {
		return 0, errors.New("want a size from 1MiB to 2047MiB, such as 256MiB")
	}
	return n, nil
}

// open returns the log of events, nil without an event log.
func (f *eventFlags) open(dir *state.Dir, shutdown time.Duration, logger *slog.Logger) (*event.Log, error) {
	var targets []event.Target
	if f.configFile != "" {
		var err error
		if targets, err = event.LoadTargets(f.configFile); err != nil {
			return nil, flagFault("--events.config.file: %s", oneLine(err))
		}
	}
	for _, url := range f.urls {
		if !slices.ContainsFunc(targets, func(t event.Target) bool { return t.URL == url }) {
			targets = append(targets, event.Target{URL: url})
		}
	}
	if len(targets) == 0 {
		return nil, nil
	}
	instance := f.instance
	if instance == "" {
		instance, _ = os.Hostname() // none is no name
	}
	log, err := event.Open(event.Config{
		Targets: targets, Dir: dir, Limits: event.Limits{Disk: f.queueSize}, Instance: instance,
		FlushEvery: f.flushEvery, Drain: min(shutdown, 5*time.Second), Logger: logger,
	})
	if err != nil {
		return nil, flagFault("--events.url: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return log, nil
}

// runEvents is a lifecycle that delivers until everything else has ended, and then
// what is left.
func runEvents(ctx context.Context, l *event.Log) (execute func() error, interrupt func(error)) {
	return inContext(context.WithoutCancel(ctx), func(ctx context.Context) error {
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
}
