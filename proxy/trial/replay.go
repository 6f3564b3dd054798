package trial

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/record"
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
	// Happened says that this is a record of what was: its Budgets are not known.
	Happened bool
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
		out = append(out, record.Added(inc.Series)...)
	}
	if len(r.end.sent) == 0 || len(r.end.sent[0].Body) == 0 {
		return out
	}
	sent := r.end.sent[0] // what it evicts comes after
	return append(out, record.Series(sent.Body, sent.ContentType, sent.Key)...)
}
