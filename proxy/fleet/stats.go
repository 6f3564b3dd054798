package fleet

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are what became of groups that were to move.
type stats struct{ copied, deleted, refused atomic.Uint64 }

func (s *stats) add(copied, deleted, refused int) {
	s.copied.Add(uint64(copied))
	s.deleted.Add(uint64(deleted))
	s.refused.Add(uint64(refused))
}

var (
	upDesc     = prometheus.NewDesc(upName, upHelp, []string{"upstream"}, nil)
	straysDesc = prometheus.NewDesc("pushguard_upstream_stray_groups", "Groups that the Pushgateway behind holds though they belong to another, copies of those that have moved among them, as far as the guard knows; of several.", []string{"upstream"}, nil)
	movesDesc  = prometheus.NewDesc("pushguard_upstream_moves_total", "Groups that were copied to the Pushgateway they belong to, old copies that were deleted, and groups that were refused there; of several.", []string{"result"}, nil)
)

// Describe is part of prometheus.Collector.
func (f *Fleet) Describe(out chan<- *prometheus.Desc) {
	f.all[0].Describe(out)
	out <- upDesc
	out <- straysDesc
	out <- movesDesc
}

// Collect is part of prometheus.Collector.
func (f *Fleet) Collect(out chan<- prometheus.Metric) {
	for _, u := range f.all {
		u.Collect(out)
	}
	f.mu.Lock()
	up := f.up
	f.mu.Unlock()
	for _, m := range f.presence(up).Metric {
		out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, m.Gauge.GetValue(), m.Label[0].GetValue())
	}
	for i, strays := range f.astray() {
		out <- prometheus.MustNewConstMetric(straysDesc, prometheus.GaugeValue, float64(strays), f.all[i].Name())
	}
	for result, n := range map[string]*atomic.Uint64{"copied": &f.stats.copied, "deleted": &f.stats.deleted, "refused": &f.stats.refused} {
		out <- prometheus.MustNewConstMetric(movesDesc, prometheus.CounterValue, float64(n.Load()), result)
	}
}

// astray counts the strays that each of them has.
func (f *Fleet) astray() []int {
	out := make([]int, len(f.all))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.standings {
		if f.strays(s) {
			out[s.holder]++
		}
		for _, at := range s.old {
			if at != f.Place(s.key) {
				out[at]++
			}
		}
	}
	return out
}
