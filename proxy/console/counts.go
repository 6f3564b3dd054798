package console

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// outcomes are what may become of a push, in the order in which they are shown.
var outcomes = [...]string{"passed", "changed", "refused", "skipped", "failed"}

// refused is where outcomes has it.
const refused = 2

// tally counts pushes by their outcome.
type tally [len(outcomes)]float64

func (t tally) plus(o tally) tally {
	for i := range t {
		t[i] += o[i]
	}
	return t
}

// since is what came after an earlier tally: all of it where the counters began anew.
func (t tally) since(before tally) tally {
	for i := range t {
		if t[i] >= before[i] {
			t[i] -= before[i]
		}
	}
	return t
}

func (t tally) sum() float64 {
	sum := 0.0
	for _, n := range t {
		sum += n
	}
	return sum
}

// answers are how many requests the Pushgateway behind was sent, and how many of them it
// did not answer or failed.
type answers struct{ all, bad float64 }

func (a answers) plus(o answers) answers { return answers{a.all + o.all, a.bad + o.bad} }

// since is what came after earlier answers.
func (a answers) since(before answers) answers {
	return answers{a.all - before.all, a.bad - before.bad}
}

// counts are what the guard's own metrics say.
type counts struct {
	all      tally
	behind   answers
	byJob    map[string]tally
	families map[string]*dto.MetricFamily
	// overlooks is whether there are jobs in report of which it is counted without their
	// names what enforcement would have made of their pushes.
	overlooks bool
}

// read gathers the metrics. What cannot be gathered is not there.
func read(from prometheus.Gatherer) counts {
	c := counts{byJob: map[string]tally{}, families: map[string]*dto.MetricFamily{}}
	if from == nil {
		return c
	}
	gathered, _ := from.Gather()
	for _, mf := range gathered {
		c.families[mf.GetName()] = mf
	}
	c.behind = c.answered()
	for _, m := range c.families["pushguard_pushes_total"].GetMetric() {
		job, outcome := label(m, "job"), slices.Index(outcomes[:], label(m, "outcome"))
		if outcome < 0 {
			continue
		}
		var one tally
		one[outcome] = m.GetCounter().GetValue()
		c.all, c.byJob[job] = c.all.plus(one), c.byJob[job].plus(one)
	}
	c.overlooks = slices.ContainsFunc(c.families["pushguard_forecast_pushes_total"].GetMetric(), func(m *dto.Metric) bool {
		return label(m, "job") == otherJobs
	})
	return c
}

// nameless reports whether what is counted of the pushes of a job may be counted without
// its name: the guard's metrics name some jobs, and one more stands for all others.
func (c counts) nameless(job string) bool {
	_, named := c.byJob[job]
	_, others := c.byJob[otherJobs]
	return others && !named
}

// answered counts the answers of the Pushgateway behind; 0 is the code of none.
func (c counts) answered() answers {
	const name = "pushguard_upstream_request_duration_seconds"
	return answers{c.sum(name, nil), c.sum(name, func(m *dto.Metric) bool {
		code, _ := strconv.Atoi(label(m, "code"))
		return code == 0 || code >= 500
	})}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// has reports whether there is a metric of that name.
func (c counts) has(name string) bool { return len(c.families[name].GetMetric()) > 0 }

// every reports whether no metric of a name is 0.
func (c counts) every(name string) bool {
	for _, m := range c.families[name].GetMetric() {
		if m.GetGauge().GetValue() == 0 {
			return false
		}
	}
	return true
}

// sum adds up the metrics of a name that want admits; nil admits all.
func (c counts) sum(name string, want func(*dto.Metric) bool) float64 {
	sum := 0.0
	for _, m := range c.families[name].GetMetric() {
		if want != nil && !want(m) {
			continue
		}
		switch {
		case m.Histogram != nil:
			sum += float64(m.Histogram.GetSampleCount())
		case m.Counter != nil:
			sum += m.Counter.GetValue()
		default:
			sum += m.GetGauge().GetValue()
		}
	}
	return sum
}
