package statsd

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/counter"
)

const maxPrefix = 100

// Sender is a counter.Sink that sends what it is given to a StatsD server, and a
// prometheus.Collector of what became of it. It is safe for concurrent use.
type Sender struct {
	cfg Config
}

var (
	_ counter.Sink         = (*Sender)(nil)
	_ prometheus.Collector = (*Sender)(nil)
)

// New returns a sender of this configuration, or every fault in it. It opens
// nothing: see Run.
func New(c Config) (*Sender, error) {
	cfg, err := c.completed()
	if err != nil {
		return nil, err
	}
	return &Sender{cfg: cfg}, nil
}

// Add adds to what is pending. It never waits for the network.
func (s *Sender) Add([]counter.Increment) {}

// Run sends what is pending every Config.FlushEvery until the context ends; then
// it sends what is left, held increments too, and returns nil. That takes
// Config.ShutdownFlush and one Config.WriteTimeout at most. It is to be called
// once.
func (s *Sender) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Describe is part of prometheus.Collector.
func (s *Sender) Describe(chan<- *prometheus.Desc) {}

// Collect is part of prometheus.Collector.
func (s *Sender) Collect(chan<- prometheus.Metric) {}
