package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
)

var (
	heldDesc = prometheus.NewDesc("pushguard_series_held",
		"Series that the Pushgateway behind holds of a job, its own two of each group among them.", []string{"job"}, nil)
	shadowDesc = prometheus.NewDesc("pushguard_series_shadow",
		"Series that it would hold of a job under enforcement; only of jobs in report.", []string{"job"}, nil)
	budgetDesc = prometheus.NewDesc("pushguard_series_budget",
		"Series that the policy grants a job; only of jobs with a budget.", []string{"job"}, nil)
)

// seriesCollector exposes what the jobs hold: the maxJobs that hold most by
// name, the others together.
type seriesCollector struct{ guard *Guard }

// Describe is part of prometheus.Collector.
func (seriesCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- heldDesc
	ch <- shadowDesc
	ch <- budgetDesc
}

// Collect is part of prometheus.Collector.
func (c seriesCollector) Collect(ch chan<- prometheus.Metric) {
	g := c.guard
	e, now := g.epoch.Load(), time.Now()
	rest := g.book.Series()
	for _, j := range g.book.Jobs(maxJobs) {
		if len(j.Job) > maxJobName {
			continue
		}
		rest -= j.Series
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(j.Series), j.Job)
		entry := e.policy.Entry(j.Job)
		if b, _ := entry.Budget(now); b.Series > 0 {
			ch <- prometheus.MustNewConstMetric(budgetDesc, prometheus.GaugeValue, float64(b.Series), j.Job)
		}
		if entry.Mode == policy.Report {
			ch <- prometheus.MustNewConstMetric(shadowDesc, prometheus.GaugeValue, float64(g.shadow.Held(j.Job)), j.Job)
		}
	}
	if rest > 0 {
		ch <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(rest), otherJobs)
	}
}
