package trial

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// sweepEvery is how often, by its own clock, a replay deletes what is stale.
const sweepEvery = time.Minute

// Replay is a guard that knows nothing at first, before an empty store, through
// which pushes go one after the other, by a clock that they bring. Make one with
// NewReplay. Not safe for concurrent use.
type Replay struct {
	*rehearsal
	swept time.Time
}

// Replayed is what became of one push.
type Replayed struct {
	// Job is the one that pushed, and Entry what governs it; both are empty if the
	// path is none of a group.
	Job, Entry string
	// Outcome is passed, changed, refused, skipped or failed.
	Outcome string
	// Findings are the ids of what was noticed, sorted, each once.
	Findings []string
	// Budgets are the names of the limits that the push passes, sorted.
	Budgets []string
	// Series are those that the push set or added to, with the labels of the group
	// and without empty ones, histograms and summaries expanded. Their order is of no meaning.
	Series []model.Metric
}

// NewReplay returns a replay. The error is that of a cfg without a policy or caps.
func NewReplay(cfg Config) (*Replay, error) {
	r, err := rehearse(cfg, policy.Test{Start: longAgo(), StatsD: cfg.StatsD})
	if err != nil {
		return nil, err
	}
	return &Replay{rehearsal: r}, nil
}

// Push takes a push through the guard at a time. The clock does not go back: a push
// from before the last one is taken for one at the same time.
func (r *Replay) Push(ctx context.Context, at time.Time, push proxy.Request) Replayed {
	if at.After(r.now) {
		r.now = at
	}
	if r.now.Sub(r.swept) >= sweepEvery {
		r.guard.Sweep(ctx)
		r.swept = r.now
	}
	r.trace, r.end.sent = proxy.Trace{}, nil
	r.guard.Push(ctx, push)
	out := Replayed{Outcome: r.trace.Outcome, Findings: r.findings(), Budgets: r.over(), Series: r.series()}
	if r.trace.Key != nil {
		out.Job = r.trace.Key.Pushed[model.JobLabel]
	}
	if r.trace.Entry != nil {
		out.Entry = r.trace.Entry.Name
	}
	return out
}

func (r *Replay) over() []string {
	if r.trace.Budget == nil {
		return nil
	}
	var out []string
	for _, o := range r.trace.Budget.Over {
		out = append(out, o.Budget)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// series are those that the push set, and those that it added to.
func (r *Replay) series() []model.Metric {
	var out []model.Metric
	for _, inc := range r.trace.Increments {
		out = append(out, expandedSeries(inc)...)
	}
	if len(r.end.sent) == 0 || len(r.end.sent[0].Body) == 0 {
		return out
	}
	sent := r.end.sent[0] // what it evicts comes after
	pushed := gateway.Families(sent.Body, sent.ContentType)
	for _, f := range pushed {
		for _, m := range f.Metric {
			m.Label = gateway.Grouped(m.Label, sent.Key)
		}
	}
	// A type that has no samples has no series, either.
	samples, _ := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, pushed...)
	for _, s := range samples {
		// To Prometheus an empty label is none, as to a total.
		maps.DeleteFunc(s.Metric, func(_ model.LabelName, v model.LabelValue) bool { return v == "" })
		out = append(out, s.Metric)
	}
	return out
}

// expandedSeries are the series of an exposition that an increment adds to.
func expandedSeries(inc counter.Increment) []model.Metric {
	s := inc.Series
	with := func(suffix, le string) model.Metric {
		m := model.Metric{model.MetricNameLabel: model.LabelValue(s.Name + suffix)}
		for _, l := range s.Labels {
			m[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		}
		if le != "" {
			m[model.BucketLabel] = model.LabelValue(le)
		}
		return m
	}
	if s.Kind == counter.Counter {
		return []model.Metric{with("", "")}
	}
	out := []model.Metric{with("_count", ""), with("_sum", "")}
	if s.Kind == counter.Histogram {
		for _, bound := range s.Bounds {
			out = append(out, with("_bucket", number(bound)))
		}
		out = append(out, with("_bucket", "+Inf"))
	}
	return out
}
