package proxy

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// describe names a metric of the guard.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pushguard_"+name, help, labels, nil)
}

var (
	heldDesc = describe("series_held",
		"Series that a job holds, in the Pushgateway behind, its own two of each group among them, and in the guard's totals or in what it sends to StatsD.", "job")
	shadowDesc = describe("series_shadow",
		"Series that it would hold under enforcement; only of jobs in report.", "job")
	budgetDesc = describe("series_budget",
		"Series that the policy grants a job; only of jobs with a budget.", "job")
	overDesc = describe("series_over",
		"Series that a job holds beyond its budget, from before; only of jobs that do.", "job")
	groupsDesc = describe("groups_held",
		"Groups of a job in the Pushgateway behind.", "job")
	groupsBudgetDesc = describe("groups_budget",
		"Groups that the policy grants a job; only of jobs with such a budget.", "job")
	newDesc = describe("series_new",
		"Series that a job brought within the window (hour or day) and that their group did not hold.", "job", "window")
	newBudgetDesc = describe("series_new_budget",
		"Series that a job may bring within the window; only of jobs with such a budget.", "job", "window")
	oldestDesc = describe("oldest_group_age_seconds",
		"Time since the last push to that group of a job that was not pushed to for longest.", "job")
	lifetimeDesc = describe("group_ttl_seconds",
		"Time after its last push at which a group of the job is deleted; only of jobs whose groups end.", "job")
	valuesDesc = describe("label_values",
		"Values that a job pushed of a label within the last day, before any rule; an estimate, of the labels with most values.", "job", "label")

	seriesDescs = []*prometheus.Desc{
		heldDesc, shadowDesc, budgetDesc, overDesc, groupsDesc, groupsBudgetDesc, newDesc, newBudgetDesc, oldestDesc, lifetimeDesc, valuesDesc,
	}
)

const (
	// estimatedJobs is how many jobs the guard's own metrics name labels of, those
	// that hold most, and estimatedLabels how many of each.
	estimatedJobs   = 100
	estimatedLabels = 3
)

// seriesCollector exposes what the jobs hold: the maxJobs that hold most by
// name, the others together, and with them one that is named as they are.
type seriesCollector struct{ guard *Guard }

// Describe is part of prometheus.Collector.
func (seriesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range seriesDescs {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (c seriesCollector) Collect(ch chan<- prometheus.Metric) {
	g := c.guard
	e, now := g.epoch.Load(), g.cfg.Now()
	rest := g.book.Series()
	for i, j := range g.book.Jobs(maxJobs) {
		if len(j.Job) > maxJobName || j.Job == otherJobs {
			continue
		}
		rest -= j.Series
		out := jobGauges{ch, j.Job}
		out.send(heldDesc, float64(j.Series))
		c.holds(out, e, j, now)
		if i >= estimatedJobs {
			continue
		}
		for _, l := range g.demand.Job(j.Job, estimatedLabels) {
			if len(l.Label) <= maxJobName {
				out.send(valuesDesc, float64(l.Values), strings.ToValidUTF8(l.Label, "\ufffd"))
			}
		}
	}
	if rest > 0 {
		jobGauges{ch, otherJobs}.send(heldDesc, float64(rest))
	}
}

// holds sends what a job holds besides its series, and what it may hold.
func (c seriesCollector) holds(out jobGauges, e *epoch, j ledger.JobUse, now time.Time) {
	entry := e.policy.Entry(j.Job)
	b, _ := entry.Budget(now)
	out.send(groupsDesc, float64(j.Groups))
	out.send(newDesc, float64(j.NewThisHour), "hour")
	out.send(newDesc, float64(j.NewThisDay), "day")
	out.sendIf(b.Series > 0, budgetDesc, float64(b.Series))
	out.sendIf(b.Groups > 0, groupsBudgetDesc, float64(b.Groups))
	out.sendIf(b.NewSeriesPerHour > 0, newBudgetDesc, float64(b.NewSeriesPerHour), "hour")
	out.sendIf(b.NewSeriesPerDay > 0, newBudgetDesc, float64(b.NewSeriesPerDay), "day")
	out.sendIf(j.Over > 0, overDesc, float64(j.Over))
	out.sendIf(!j.OldestPush.IsZero(), oldestDesc, max(0, now.Sub(j.OldestPush).Seconds())) // pushes are dated to whole seconds, up
	out.sendIf(entry.StaleAfter > 0, lifetimeDesc, entry.StaleAfter.Seconds())
	out.sendIf(entry.Mode == policy.Report, shadowDesc, float64(c.guard.shadow.Held(j.Job)))
}

// jobGauges sends gauges of one job.
type jobGauges struct {
	ch  chan<- prometheus.Metric
	job string
}

func (g jobGauges) send(d *prometheus.Desc, v float64, labels ...string) {
	g.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{g.job}, labels...)...)
}

func (g jobGauges) sendIf(ok bool, d *prometheus.Desc, v float64, labels ...string) {
	if ok {
		g.send(d, v, labels...)
	}
}
