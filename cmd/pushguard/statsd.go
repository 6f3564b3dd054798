package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/statsd"
)

// statsdFlags say where increments are sent, as given.
type statsdFlags struct {
	address   *url.URL
	tags      statsd.TagStyle
	prefix    string
	zeroHold  time.Duration
	heartbeat time.Duration
	rate      int
}

func (f *statsdFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "statsd.address", "StatsD socket to which the increments of counters are sent: udp://host:port, tcp://host:port or unixgram:///path. By default the guard adds them up itself, and shows the totals at /metrics.", &f.address, parseSocket).
		PlaceHolder("URL")
	flag(cmd, "statsd.tags", "How labels are written: dogstatsd, influxdb, librato, signalfx or none.", &f.tags, statsd.ParseTagStyle).
		Default("dogstatsd")
	cmd.Flag("statsd.prefix", "What stands in front of every name that is sent.").
		StringVar(&f.prefix)
	flag(cmd, "statsd.zero-hold", "How long the first increments of a new series wait after it was sent as 0, so that Prometheus sees it rise: two scrape intervals. 0s sends them at once.", &f.zeroHold, parseDuration).
		Default(statsd.DefaultZeroHold.String())
	flag(cmd, "statsd.heartbeat", "How often each live series is sent as 0, so that it lives on in an exporter that restarted. 0s never.", &f.heartbeat, parseDuration).
		Default(statsd.DefaultHeartbeat.String())
	flag(cmd, "statsd.rate", "Most lines a second over UDP, which loses what comes too fast.", &f.rate, parseCount).
		Default("20000")
}

// parseSocket leaves what a socket's URL may hold to package statsd.
func parseSocket(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return nil, errors.New("want udp://host:port, tcp://host:port or unixgram:///path")
	}
	return u, nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New("want a time, such as 30s, or 0s")
	}
	return d, nil
}

// sender returns what sends increments, nil without --statsd.address.
func (f *statsdFlags) sender(logger *slog.Logger, shutdown time.Duration) (*statsd.Sender, error) {
	if f.address == nil {
		return nil, nil
	}
	s, err := statsd.New(statsd.Config{
		Address: f.address, Tags: f.tags, Prefix: f.prefix, ZeroHold: f.zeroHold, Heartbeat: f.heartbeat,
		Rate: f.rate, ShutdownFlush: min(shutdown, statsd.DefaultShutdownFlush), Logger: logger,
	})
	if err != nil {
		return nil, flagFault("--statsd.*: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return s, nil
}

// runSender is a lifecycle that sends until everything else has ended, and then
// what is left.
func runSender(ctx context.Context, s *statsd.Sender) (execute func() error, interrupt func(error)) {
	return inContext(context.WithoutCancel(ctx), s.Run)
}
