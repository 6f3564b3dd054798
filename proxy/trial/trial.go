// Package trial runs pushes through a real guard whose far end is harmless:
// what it tells is what a serving guard decides, since the same code decides.
package trial

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
)

// Config is what a trial shares with the guard it stands for. Policy and Caps are
// required.
type Config struct {
	Policy    *policy.Policy
	Caps      proxy.Caps
	UTF8Names bool
	// StatsD says that the guard has a StatsD socket for the increments of
	// counters.
	StatsD bool
}

// nowhere is a socket to which nothing is sent.
type nowhere struct{}

// Add is part of counter.Sink.
func (nowhere) Add([]counter.Increment) {}

// longAgo is when the guard of a trial started: a counter that says when it began
// did so later, and was surely not counted before.
func longAgo() time.Time { return time.Unix(0, 0) }

// Explain tells what a guard that was always there and has seen nothing yet would make
// of a push, before an empty Pushgateway.
func Explain(ctx context.Context, cfg Config, r proxy.Request) (*proxy.Trace, error) {
	of := proxy.Config{
		Policy: cfg.Policy, Upstream: &Recorder{}, Restored: true, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
		Caps: cfg.Caps, UTF8Names: cfg.UTF8Names, AnyUser: true,
		Counters: counter.NewBook(counter.Config{Now: longAgo}),
	}
	if cfg.StatsD {
		of.StatsD = nowhere{}
	}
	guard, err := proxy.New(of)
	if err != nil {
		return nil, err
	}
	return guard.Explain(ctx, r, "")
}
