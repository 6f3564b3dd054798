package statsd

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	linesDesc    = prometheus.NewDesc("pushguard_statsd_lines_total", "Lines the kernel took for the StatsD server.", nil, nil)
	packetsDesc  = prometheus.NewDesc("pushguard_statsd_packets_total", "Datagrams, or writes over TCP, that the kernel took.", nil, nil)
	bytesDesc    = prometheus.NewDesc("pushguard_statsd_bytes_total", "Bytes of the lines the kernel took.", nil, nil)
	errorsDesc   = prometheus.NewDesc("pushguard_statsd_errors_total", "Failures to connect (connect, resolve), with which nothing is lost, and to write, by kind.", []string{"kind"}, nil)
	droppedDesc  = prometheus.NewDesc("pushguard_statsd_dropped_total", "Increments that were not taken, by reason.", []string{"reason"}, nil)
	connectsDesc = prometheus.NewDesc("pushguard_statsd_connects_total", "Connections made: the first, and one for each time the server was away.", nil, nil)
	forgotDesc   = prometheus.NewDesc("pushguard_statsd_forgotten_series_total", "Series that were forgotten: unused, or to make room for new ones.", []string{"reason"}, nil)
	seriesDesc   = prometheus.NewDesc("pushguard_statsd_series", "Series that are remembered.", nil, nil)
	pendingDesc  = prometheus.NewDesc("pushguard_statsd_pending_series", "Series with increments that are not sent yet, held ones among them.", nil, nil)
	upDesc       = prometheus.NewDesc("pushguard_statsd_up", "1 if the server is there, as far as its transport can tell.", nil, nil)
	lastDesc     = prometheus.NewDesc("pushguard_statsd_last_success_timestamp_seconds", "When the kernel last took a packet; 0 is never.", nil, nil)
)

// tally is a counter.
type tally struct{ atomic.Uint64 }

func (t *tally) Inc() { t.Add(1) }

// stats are what became of increments and packets.
type stats struct {
	lines, packets, bytes, connects, expired, evicted tally

	errors  map[string]*tally  // by kind; not changed
	dropped map[Refusal]*tally // not changed
	up      atomic.Int32       // 0 or 1
	last    atomic.Int64
}

func newStats() *stats {
	s := &stats{errors: map[string]*tally{}, dropped: map[Refusal]*tally{}}
	for _, k := range kinds {
		s.errors[k] = new(tally)
	}
	for _, r := range refusals {
		s.dropped[r] = new(tally)
	}
	return s
}

func (s *stats) wrote(lines, bytes int, now time.Time) {
	s.lines.Add(uint64(lines))
	s.bytes.Add(uint64(bytes))
	s.packets.Inc()
	s.last.Store(now.UnixNano())
}

// Describe is part of prometheus.Collector.
func (s *Sender) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		linesDesc, packetsDesc, bytesDesc, errorsDesc, droppedDesc, connectsDesc, forgotDesc, seriesDesc, pendingDesc, upDesc, lastDesc,
	} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (s *Sender) Collect(out chan<- prometheus.Metric) {
	total := func(d *prometheus.Desc, t *tally, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(t.Load()), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	total(linesDesc, &s.stats.lines)
	total(packetsDesc, &s.stats.packets)
	total(bytesDesc, &s.stats.bytes)
	total(connectsDesc, &s.stats.connects)
	total(forgotDesc, &s.stats.expired, "idle")
	total(forgotDesc, &s.stats.evicted, "max_series")
	for _, k := range kinds {
		total(errorsDesc, s.stats.errors[k], k)
	}
	for _, r := range refusals {
		total(droppedDesc, s.stats.dropped[r], string(r))
	}
	s.mu.Lock()
	series, pending := len(s.series), s.queued.n
	s.mu.Unlock()
	gauge(seriesDesc, float64(series))
	gauge(pendingDesc, float64(pending))
	gauge(upDesc, float64(s.stats.up.Load()))
	gauge(lastDesc, float64(s.stats.last.Load())/1e9)
}
