package proxy

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// maxJobs bounds the values of the label job in the guard's own metrics; the
	// jobs beyond share the value otherJobs.
	maxJobs   = 500
	otherJobs = "__other__"
	// maxJobName is the longest job, in bytes, that has a label value of its own.
	maxJobName = 200
	// recordLabel is the label of an exemplar that names a record of the audit log, as
	// /guard/audit/RECORD has it.
	recordLabel = "audit_record"
)

// Metrics are what the guard says of itself, at /guard/metrics. They are safe
// for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	pushes   *prometheus.CounterVec
	forecast *prometheus.CounterVec
	findings *prometheus.CounterVec
	refusals *prometheus.CounterVec
	duration *prometheus.HistogramVec
	upstream *prometheus.HistogramVec
	parse    prometheus.Histogram
	policy   prometheus.Histogram
	loads    loads
	removals *prometheus.CounterVec
	swept    prometheus.Gauge
	unsynced prometheus.Counter
	// explained counts what Explain told over HTTP.
	explained prometheus.Counter

	mu   sync.Mutex
	jobs map[string]string // a copy of each name: the name itself is part of a request
}

// steps are buckets for what takes microseconds to milliseconds.
var steps = prometheus.ExponentialBuckets(10e-6, 4, 8)

// NewMetrics returns the guard's metrics, registered at the registry.
func NewMetrics(registry *prometheus.Registry) *Metrics {
	m := &Metrics{
		registry: registry,
		jobs:     map[string]string{},
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pushguard_pushes_total",
			Help: "Pushes and deletes by job, mode of its policy entry and outcome (passed, changed, refused, skipped, failed).",
		}, []string{"job", "mode", "outcome"}),
		forecast: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pushguard_forecast_pushes_total",
			Help: "Pushes to jobs in report, by job and what enforcement would have made of them (passed, changed, refused).",
		}, []string{"job", "outcome"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pushguard_findings_total",
			Help: "Pushes in which something was found, by the finding's id and job.",
		}, []string{"id", "job"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pushguard_refusals_total",
			Help: "Pushes that the guard refused, by job and the id of each finding for which it did.",
		}, []string{"job", "id"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pushguard_push_duration_seconds",
			Help:    "Time from the head of a push or delete to its answer, the Pushgateway behind and waiting for others included, by outcome.",
			Buckets: prometheus.ExponentialBuckets(40e-6, 4, 10),
		}, []string{"outcome"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pushguard_upstream_request_duration_seconds",
			Help:    "Time the Pushgateway behind took to answer, by method and status; code 0 is no answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"method", "code"}),
		parse: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pushguard_parse_duration_seconds", Help: "Time to parse the body of a push.", Buckets: steps,
		}),
		policy: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pushguard_policy_duration_seconds", Help: "Time to judge a parsed push by the policy.", Buckets: steps,
		}),
		loads: newLoads(),
		removals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pushguard_groups_removed_total",
			Help: "Groups that the guard deleted by itself, by job, reason (stale, evicted) and result (deleted, failed).",
		}, []string{"job", "reason", "result"}),
		swept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pushguard_sweep_last_success_timestamp_seconds",
			Help: "When the last sweep ended that deleted every stale group and saw them gone.",
		}),
		unsynced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pushguard_sync_errors_total",
			Help: "Tries to list the groups of the Pushgateway behind that failed, and that are made again.",
		}),
	}
	m.explained = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pushguard_explained_total", Help: "Pushes that were explained over HTTP, of which nothing else is counted.",
	})
	registry.MustRegister(
		m.pushes, m.forecast, m.findings, m.refusals, m.duration, m.upstream, m.parse, m.policy,
		m.loads.ok, m.loads.at, m.removals, m.swept, m.unsynced, m.explained,
	)
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	var one sync.Mutex // gathers: what many ask for at once is not kept many times
	gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		one.Lock()
		defer one.Unlock()
		return m.registry.Gather()
	})
	return promhttp.HandlerFor(gather, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// ObserveUpstream counts one request to the upstream; status 0 is no answer.
func (m *Metrics) ObserveUpstream(method string, status int, d time.Duration) {
	m.upstream.WithLabelValues(method, strconv.Itoa(status)).Observe(d.Seconds())
}

// watch exposes what a guard holds.
func (m *Metrics) watch(g *Guard) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pushguard_groups", Help: "Groups that the Pushgateway behind is known to hold.",
		}, func() float64 { return float64(g.book.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pushguard_sweep_interval_seconds", Help: "How often groups are looked for that are stale; 0 is never.",
		}, g.cfg.Rhythm.Sweep.Seconds),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "pushguard_audit_lost_total", Help: "Audit records that could not be written.",
		}, func() float64 { return float64(g.cfg.Audit.Lost()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pushguard_audit_written", Help: "Whether the last audit record was written; 0 means that the disk does not take it.",
		}, func() float64 {
			if g.cfg.Audit.Err() != nil {
				return 0
			}
			return 1
		}),
		policyInfo(g),
		syncedAt(g),
		jobsCollector{g},
		seriesCollector{g},
		statsCollector{g},
	)
	g.watchMemory(m.registry)
	if g.gate != nil {
		m.registry.MustRegister(g.gate)
	}
}

func (m *Metrics) judged(parse, policy time.Duration) {
	m.parse.Observe(parse.Seconds())
	m.policy.Observe(policy.Seconds())
}

// pushed counts a push. What became of it is exemplified by its record in the audit log,
// if that has a name.
func (m *Metrics) pushed(v *passage, outcome Outcome, took time.Duration, record string) {
	job, mode := "", ""
	if v.entry != nil {
		job, mode = m.job(v.job), string(v.entry.Mode)
	}
	count(m.pushes.WithLabelValues(job, mode, outcome.String()), record)
	if mode == string(policy.Report) && v.request.Method != http.MethodDelete && (outcome == Passed || outcome == Changed) {
		m.forecast.WithLabelValues(job, v.said().String()).Inc()
	}
	for _, f := range v.findings.All() {
		m.findings.WithLabelValues(f.ID, job).Inc()
	}
	if outcome == Refused {
		m.refused(job, v.reasons(), record)
	}
	if duration := m.duration.WithLabelValues(outcome.String()); record == "" {
		duration.Observe(took.Seconds())
	} else {
		duration.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{recordLabel: record})
	}
}

// count adds one to a counter, with the record as its exemplar if there is one.
func count(c prometheus.Counter, record string) {
	if record == "" {
		c.Inc()
		return
	}
	c.(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{recordLabel: record})
}

// refused counts a push under each reason for it, once.
func (m *Metrics) refused(job string, reasons []finding.Finding, record string) {
	for i, f := range reasons {
		if !slices.ContainsFunc(reasons[:i], func(before finding.Finding) bool { return before.ID == f.ID }) {
			count(m.refusals.WithLabelValues(job, f.ID), record)
		}
	}
}

// removed counts a group that the guard deleted by itself.
func (m *Metrics) removed(job string, why reason, done result) {
	m.removals.WithLabelValues(m.job(job), string(why), string(done)).Inc()
}

// job is the value of the label job for a job: its name, as long as there is
// room for it.
func (m *Metrics) job(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if own, ok := m.jobs[name]; ok {
		return own
	}
	if len(m.jobs) == maxJobs || len(name) > maxJobName {
		return otherJobs
	}
	own := strings.Clone(name)
	m.jobs[own] = own
	return own
}

// named are the jobs that have a value of their own, in no order.
func (m *Metrics) named() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.jobs))
}
