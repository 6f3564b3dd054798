package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// stats are what the rooms behind the guard say of themselves, at one moment.
type stats struct {
	counters counter.BookStats
	totals   counter.TotalsStats
	ledger   ledger.Totals
	demand   demand.Stats
}

// stat is one metric made of them.
type stat struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*stats) float64
}

func gaugeStat(name, help string, value func(*stats) float64) stat {
	return stat{describe(name, help), prometheus.GaugeValue, value}
}

func counterStat(name, help string, value func(*stats) float64) stat {
	return stat{describe(name, help), prometheus.CounterValue, value}
}

var (
	incrementsDesc = describe("counters_increments_total",
		"Readings of counters that were added up, by what told their source (created, process, run, anonymous).", "source")
	ambiguousDesc = describe("counters_ambiguous_total",
		"First readings of counters that may have been counted before, by what told their source.", "source")

	allStats = []stat{
		counterStat("counters_resets_total", "Readings below their baseline that began anew.",
			func(s *stats) float64 { return float64(s.counters.Resets) }),
		counterStat("counters_late_total", "Readings below their baseline that counted nothing, since a later one had.",
			func(s *stats) float64 { return float64(s.counters.Late) }),
		counterStat("counters_negative_sums_total", "Increments of histograms and summaries whose sum fell: StatsD is not told of it.",
			func(s *stats) float64 { return float64(s.counters.NegativeSums) }),
		counterStat("counters_retries_total", "Pushes that counted nothing, since they had been counted.",
			func(s *stats) float64 { return float64(s.counters.Retries) }),
		counterStat("counters_periodic_pushes_total", "Pushes of counters without a sign of their source that look like running totals, and are added up all the same.",
			func(s *stats) float64 { return float64(s.counters.Periodic) }),
		gaugeStat("counters_baselines", "Baselines of counters that are kept.",
			func(s *stats) float64 { return float64(s.counters.Baselines) }),
		counterStat("counters_baselines_evicted_total", "Baselines that made room for others: what comes back of them may count twice.",
			func(s *stats) float64 { return float64(s.counters.Evictions) }),
		counterStat("counters_baselines_expired_total", "Baselines that were not pushed for too long.",
			func(s *stats) float64 { return float64(s.counters.Expirations) }),
		gaugeStat("totals_series", "Totals that the guard keeps; a histogram or summary is one.",
			func(s *stats) float64 { return float64(s.totals.Series) }),
		gaugeStat("totals_families", "Families that the guard keeps totals of.",
			func(s *stats) float64 { return float64(s.totals.Families) }),
		counterStat("totals_collapsed_total", "Increments that were added to __other__, since the totals are full.",
			func(s *stats) float64 { return float64(s.totals.Collapsed) }),
		counterStat("totals_dropped_total", "Increments of families that could not be totals.",
			func(s *stats) float64 { return float64(s.totals.Dropped) }),
		gaugeStat("series_lent", "Series that jobs hold beyond what their policy entries are guaranteed.",
			func(s *stats) float64 { return float64(s.ledger.Lent) }),
		gaugeStat("jobs", "Jobs that hold something.",
			func(s *stats) float64 { return float64(s.ledger.Jobs) }),
		gaugeStat("jobs_idle", "Jobs that hold nothing and are remembered for what they brought.",
			func(s *stats) float64 { return float64(s.ledger.Idle) }),
		counterStat("jobs_forgotten_total", "Jobs of those that were forgotten before their time, since there were too many.",
			func(s *stats) float64 { return float64(s.ledger.Forgotten) }),
		gaugeStat("labels_tracked", "Labels, counted for each job, whose values are estimated.",
			func(s *stats) float64 { return float64(s.demand.Tracked) }),
		gaugeStat("labels_untracked", "Labels, counted for each job, for whose estimate there was no room within the last day; an estimate itself.",
			func(s *stats) float64 { return float64(s.demand.Untracked) }),
	}
)

// statsCollector exposes the stats.
type statsCollector struct{ guard *Guard }

// Describe is part of prometheus.Collector.
func (statsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- incrementsDesc
	ch <- ambiguousDesc
	for _, s := range allStats {
		ch <- s.desc
	}
}

// Collect is part of prometheus.Collector.
func (c statsCollector) Collect(ch chan<- prometheus.Metric) {
	g := c.guard
	now := stats{g.cfg.Counters.Stats(), g.cfg.Totals.Stats(), g.book.Totals(), g.demand.Stats()}
	for source, n := range now.counters.Increments {
		ch <- prometheus.MustNewConstMetric(incrementsDesc, prometheus.CounterValue, float64(n), source.String())
	}
	for source, n := range now.counters.Ambiguous {
		ch <- prometheus.MustNewConstMetric(ambiguousDesc, prometheus.CounterValue, float64(n), source.String())
	}
	for _, s := range allStats {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&now))
	}
}
