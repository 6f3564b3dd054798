package shared

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what the log tells of itself.
type counts struct {
	trips                    prometheus.Histogram
	failures, epochs, writes prometheus.Counter
	bytes, handed            prometheus.Counter
	unreadable               *prometheus.CounterVec
}

func newCounts() counts {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "pushguard_shared_" + name, Help: help})
	}
	unreadable := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pushguard_shared_unreadable_total",
		Help: "What guards said that this one could not read, by reason. damaged: the Redis has it otherwise than it was written; no guard carries it out, and its guard says it again. unknown: no guard of this version knows it, and none carries it out.",
	}, []string{"reason"})
	unreadable.WithLabelValues("damaged")
	unreadable.WithLabelValues("unknown")
	return counts{
		unreadable: unreadable,
		trips: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pushguard_shared_round_trip_seconds", Help: "How long the Redis that the guards share takes for a batch of commands.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
		failures: counter("failures_total", "Round trips to the Redis that the guards share which failed."),
		epochs:   counter("epochs_total", "How often this guard gave a Redis that had forgotten what the guards share what it knew."),
		writes:   counter("snapshots_total", "How often this guard wrote down what the guards share, so that the Redis can let go of older commands."),
		handed:   counter("handed_in_total", "Commands that this guard carried out by itself while the Redis was away, and handed in when it was back."),
		bytes:    counter("applied_bytes_total", "Commands of all guards that this one has applied, in bytes."),
	}
}

func (c *counts) trip(took time.Duration, err error) {
	if err != nil {
		c.failures.Inc()
		return
	}
	c.trips.Observe(took.Seconds())
}

func (c *counts) applied(bytes int)   { c.bytes.Add(float64(bytes)) }
func (c *counts) saved(time.Duration) { c.writes.Inc() }
func (c *counts) crowned()            { c.epochs.Inc() }

// Collectors are the metrics of the log.
func (l *Log) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pushguard_shared_" + name, Help: help}, value)
	}
	return []prometheus.Collector{
		l.counts.trips, l.counts.failures, l.counts.epochs, l.counts.writes, l.counts.bytes, l.counts.handed, l.counts.unreadable,
		gauge("up", "Whether the Redis that the guards share answers.", func() float64 { return number(!l.Away()) }),
		gauge("alone", "Whether this guard goes on by itself, within its share of each budget, since the Redis does not answer (--state.on-outage=degrade).", func() float64 { return number(l.Alone()) }),
		gauge("outage_bytes", "Commands that this guard carried out by itself and has not handed in yet, in bytes. At --state.outage-limit pushes are answered 503.", func() float64 { return float64(l.outage.bytes.Load()) }),
		gauge("guards", "Guards of the fleet, as far as this one knows.", func() float64 { return float64(l.Guards()) }),
		gauge("versions", "Versions of pushguard that the guards of the fleet are of: 1, but during an upgrade.", func() float64 { return float64(l.versions.Load()) }),
		gauge("leads", "Whether this guard does what one of the fleet is to do: sweep, and list the Pushgateway on schedule.", func() float64 { return number(l.Leads()) }),
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
