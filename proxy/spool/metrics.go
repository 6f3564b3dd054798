package spool

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are what became of writes.
type stats struct{ kept, delivered, rejected, retried, full, disk atomic.Uint64 }

func (s *stats) refused(err error) {
	if errors.Is(err, errFull) {
		s.full.Add(1)
		return
	}
	s.disk.Add(1)
}

// Status is how a spool is at a moment.
type Status struct {
	// Away says that an upstream does not answer, Full that nothing more can be kept, or
	// of bytes all but a fiftieth are taken: what is pushed seldom fits to the last one.
	Away, Full bool
	Groups     int
	Bytes      int64
	// Oldest is when the oldest write came that waits; zero if none does.
	Oldest time.Time
}

// Status looks at all that waits.
func (s *Spool) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{Groups: len(s.entries), Bytes: s.bytes, Away: !s.listed.Load()}
	for _, l := range s.lanes {
		out.Away = out.Away || l.down
	}
	for _, e := range s.entries {
		if came := e.parts[0].came; out.Oldest.IsZero() || came.Before(out.Oldest) {
			out.Oldest = came
		}
	}
	out.Full = out.Groups >= s.cfg.MaxGroups || out.Bytes >= s.cfg.MaxBytes-s.cfg.MaxBytes/50 || s.log.Err() != nil
	return out
}

// answerReady says that pushes are taken, as long as they are.
func (s *Spool) answerReady(w http.ResponseWriter) {
	now := s.Status()
	if now.Full {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "pushguard: the Pushgateway behind does not answer, and the spool takes no more", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "OK: the Pushgateway behind does not answer, pushes are kept (groups: %d, bytes: %d, the oldest for %v)\n",
		now.Groups, now.Bytes, now.age().Round(time.Second))
}

func (s Status) age() time.Duration {
	if s.Oldest.IsZero() {
		return 0
	}
	return max(0, time.Since(s.Oldest))
}

var (
	groupsDesc = prometheus.NewDesc("pushguard_spool_groups", "Groups of which a push waits for the Pushgateway behind.", nil, nil)
	bytesDesc  = prometheus.NewDesc("pushguard_spool_bytes", "Size of what waits for the Pushgateway behind.", nil, nil)
	oldestDesc = prometheus.NewDesc("pushguard_spool_oldest_age_seconds", "For how long the oldest push has waited; 0 if none does.", nil, nil)
	diskDesc   = prometheus.NewDesc("pushguard_spool_written", "Whether what waits for the Pushgateway behind is written to the state directory; 0 means that pushes are refused while it is away.", nil, nil)
	writesDesc = prometheus.NewDesc("pushguard_spool_pushes_total",
		"Pushes and deletes by what became of them in the spool: kept, delivered, retried, rejected by the Pushgateway in the end, full or disk where they were not kept.", []string{"result"}, nil)
)

// Describe is part of prometheus.Collector.
func (s *Spool) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{groupsDesc, bytesDesc, oldestDesc, diskDesc, writesDesc} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (s *Spool) Collect(out chan<- prometheus.Metric) {
	now := s.Status()
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(groupsDesc, float64(now.Groups))
	gauge(bytesDesc, float64(now.Bytes))
	gauge(oldestDesc, now.age().Seconds())
	written := 1.0
	if s.log.Err() != nil {
		written = 0
	}
	gauge(diskDesc, written)
	for result, n := range map[string]*atomic.Uint64{
		"kept": &s.stats.kept, "delivered": &s.stats.delivered, "retried": &s.stats.retried,
		"rejected": &s.stats.rejected, "full": &s.stats.full, "disk": &s.stats.disk,
	} {
		out <- prometheus.MustNewConstMetric(writesDesc, prometheus.CounterValue, float64(n.Load()), result)
	}
}
