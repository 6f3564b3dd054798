package proxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
)

var (
	jobDesc = describe("job_info",
		"1 for each job that pushed or holds something, with the policy entry that governs it, its owner and its mode.", "job", "entry", "owner", "mode")
	seriesLimitDesc = describe("series_limit",
		"Series that all jobs may hold together: the policy's budget or --limits.series, whichever is lower.")
	lendableDesc = describe("series_lendable",
		"Series that all jobs together may hold beyond what their policy entries are guaranteed, of which pushguard_series_lent are taken; only if any.")
	groupsLimitDesc = describe("groups_limit",
		"Groups that all jobs may have together; only if the policy says so.")
)

// jobsCollector exposes how jobs are governed, each and all together.
type jobsCollector struct{ guard *Guard }

// Describe is part of prometheus.Collector.
func (jobsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- jobDesc
	ch <- seriesLimitDesc
	ch <- lendableDesc
	ch <- groupsLimitDesc
}

// Collect is part of prometheus.Collector.
func (c jobsCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		if v > 0 {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
	}
	p := c.guard.epoch.Load().policy
	most := c.guard.mostSeries(p.SeriesBudget())
	gauge(seriesLimitDesc, most)
	gauge(lendableDesc, most-p.Reserved()-c.guard.found.len())
	gauge(groupsLimitDesc, p.GroupsBudget())
	for name := range c.jobs() {
		entry := governing(p, name)
		gauge(jobDesc, 1, name, entry.Name, entry.Owner, string(entry.Mode))
	}
}

// jobs are those that the guard's metrics name, otherJobs among them.
func (c jobsCollector) jobs() map[string]bool {
	jobs := map[string]bool{otherJobs: true}
	for _, name := range c.guard.cfg.Metrics.named() {
		jobs[name] = true
	}
	for _, j := range c.guard.book.Jobs(maxJobs) {
		if len(j.Job) <= maxJobName {
			jobs[j.Job] = true
		}
	}
	return jobs
}

// governing is the entry of a job; what is only the rest of them has none.
func governing(p *policy.Policy, job string) *policy.Entry {
	if job == otherJobs {
		return &policy.Entry{}
	}
	return p.Entry(job)
}
