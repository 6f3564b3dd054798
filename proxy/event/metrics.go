package event

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	bySink       = []string{"sink"}
	queuedDesc   = prometheus.NewDesc("pushguard_events_queued", "Records that wait for the event log, those on their way among them.", bySink, nil)
	bytesDesc    = prometheus.NewDesc("pushguard_events_queued_bytes", "Bytes of the records that wait, in memory or in the files of the state directory.", bySink, nil)
	fillDesc     = prometheus.NewDesc("pushguard_events_queue_fill_ratio", "How full the queue of records is: at 1 the oldest are dropped.", bySink, nil)
	sentDesc     = prometheus.NewDesc("pushguard_events_sent_total", "Records that the event log took.", bySink, nil)
	sentSizeDesc = prometheus.NewDesc("pushguard_events_sent_bytes_total", "Bytes of the records that the event log took, uncompressed.", bySink, nil)
	batchesDesc  = prometheus.NewDesc("pushguard_events_batches_total", "Batches that the event log took.", bySink, nil)
	halvedDesc   = prometheus.NewDesc("pushguard_events_batches_halved_total", "Batches that the event log did not want as a whole, or did not answer in time, and that were sent again in halves.", bySink, nil)
	errorsDesc   = prometheus.NewDesc("pushguard_events_errors_total", "Tries to deliver a batch that failed, and that are made again.", bySink, nil)
	droppedDesc  = prometheus.NewDesc("pushguard_events_dropped_total", "Records that never reach the event log, by reason: queue_full, rejected by the event log, closed while the guard ends, too_large, unreadable on disk or removed from it.", []string{"sink", "reason"}, nil)
	upDesc       = prometheus.NewDesc("pushguard_events_up", "Whether the event log took the last batch.", bySink, nil)
	spoolDesc    = prometheus.NewDesc("pushguard_events_spool_written", "Whether records are written to the state directory; 0 means that they are kept in memory alone until the disk takes them again.", bySink, nil)
	lastDesc     = prometheus.NewDesc("pushguard_events_last_success_timestamp_seconds", "When the event log last took a batch; 0 is never.", bySink, nil)
)

// reasons for which records are dropped.
var reasons = []string{full, "rejected", "closed", "too_large", unreadable}

// stats are what became of the records for one sink.
type stats struct {
	sent, sentBytes, batches, halved, errors atomic.Uint64

	drops map[string]*atomic.Uint64 // by reason; not changed
	down  atomic.Bool
	last  atomic.Int64 // Unix nanoseconds

	inFlight, inFlightBytes atomic.Int64 // taken out of the queue, and neither delivered nor given up
}

func newStats() *stats {
	s := &stats{drops: map[string]*atomic.Uint64{}}
	for _, r := range reasons {
		s.drops[r] = &atomic.Uint64{}
	}
	return s
}

func (s *stats) took(records, bytes int) {
	if records == 0 {
		return
	}
	s.sent.Add(uint64(records))
	s.sentBytes.Add(uint64(bytes))
	s.batches.Add(1)
	s.last.Store(time.Now().UnixNano())
}

// onTheWay counts records that are taken out of the queue, with less than 0 those of which
// it is known what became of them.
func (s *stats) onTheWay(records, bytes int) {
	s.inFlight.Add(int64(records))
	s.inFlightBytes.Add(int64(bytes))
}

func (s *stats) dropped(reason string, n int) { s.drops[reason].Add(uint64(n)) }

// Describe is part of prometheus.Collector.
func (l *Log) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queuedDesc, bytesDesc, fillDesc, sentDesc, sentSizeDesc, batchesDesc, halvedDesc, errorsDesc, droppedDesc, upDesc, spoolDesc, lastDesc,
	} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (l *Log) Collect(out chan<- prometheus.Metric) {
	for _, s := range l.shippers {
		s.collect(out)
	}
}

func (s *shipper) collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, s.name)
	}
	count := func(d *prometheus.Desc, v *atomic.Uint64, more ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), append([]string{s.name}, more...)...)
	}
	records, bytes := s.queue.size()
	if s.queue.spool == nil { // in its files they are still
		bytes += s.stats.inFlightBytes.Load()
	}
	gauge(queuedDesc, float64(records)+float64(s.stats.inFlight.Load()))
	gauge(bytesDesc, float64(bytes))
	gauge(fillDesc, s.queue.fill())
	count(sentDesc, &s.stats.sent)
	count(sentSizeDesc, &s.stats.sentBytes)
	count(batchesDesc, &s.stats.batches)
	count(halvedDesc, &s.stats.halved)
	count(errorsDesc, &s.stats.errors)
	for _, reason := range reasons {
		count(droppedDesc, s.stats.drops[reason], reason)
	}
	gauge(upDesc, truth(!s.stats.down.Load()))
	if s.queue.spool != nil {
		gauge(spoolDesc, truth(s.queue.spool.err() == nil))
	}
	last := 0.0
	if t := s.stats.last.Load(); t != 0 {
		last = float64(t) / 1e9
	}
	gauge(lastDesc, last)
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
