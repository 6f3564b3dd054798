package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// budget is what the policy grants a job now, and how long its groups live.
// Groups end only where the policy is enforced.
func (e *epoch) budget(entry *policy.Entry, now time.Time) ledger.Budget {
	b, _ := entry.Budget(now)
	return ledger.Budget{
		Series: b.Series, Borrow: b.Borrow, Groups: b.Groups, LabelValues: b.LabelValues,
		NewSeriesPerHour: b.NewSeriesPerHour, NewSeriesPerDay: b.NewSeriesPerDay, PushesPerMinute: b.PushesPerMinute,
		EntrySeries: entry.EntryBudget, EntryJobs: entry.EntryJobs, NewJobsPerDay: entry.EntryNewJobsPerDay,
		Guaranteed: entry.Guaranteed(), Reserved: e.policy.Reserved(),
		GuardSeries: e.policy.SeriesBudget(), GuardGroups: e.policy.GroupsBudget(),
		StaleAfter: entry.StaleAfter, KeepLast: entry.KeepLastSuccess,
	}
}

// terms are those of a job in the book of what the upstream holds, where only
// what is enforced has limits and an end.
func (e *epoch) terms(entry *policy.Entry, now time.Time) ledger.Budget {
	b := e.budget(entry, now)
	if entry.Mode != policy.Enforce {
		return ledger.Budget{Guaranteed: b.Guaranteed, Reserved: b.Reserved}
	}
	return b
}

// enforcedClaim is the claim of a push under its budget.
func (g *Guard) enforcedClaim(v *passage, e *epoch) *claim {
	c := v.claimed(e, true)
	c.Folds, c.Budget = e.folds(v), e.budget(v.entry, v.started)
	g.capped(&c.Budget)
	g.tighten(v, &c.Budget)
	switch v.entry.OnOverBudget {
	case policy.RejectPush:
		c.OverBudget = ledger.Reject
	case policy.Collapse:
		c.OverBudget = ledger.Collapse
		c.Others = v.others(c, e)
	case policy.EvictOldest:
		c.OverBudget = ledger.EvictOldest
	default:
		c.OverBudget = ledger.Trim
	}
	return c
}

// claim is the claim of a push under its mode.
func (g *Guard) claim(v *passage, e *epoch) *claim {
	if v.enforced() {
		return g.enforcedClaim(v, e)
	}
	return g.plainClaim(v, e)
}

// plainClaim is the claim of a push that is not held to the policy, only to what
// holds in every mode: over that it is refused, since nothing may be left out of
// it.
func (g *Guard) plainClaim(v *passage, e *epoch) *claim {
	c := v.claimed(e, false)
	c.Budget, c.OverBudget = e.terms(v.entry, v.started), ledger.Reject
	g.capped(&c.Budget)
	g.tighten(v, &c.Budget)
	return c
}

// capped holds a budget to the guard's own cap. The guard's own series on the
// scraped page are billed to the guard: they are set aside as a guarantee is, so
// that no guarantee pays for them.
func (g *Guard) capped(b *ledger.Budget) {
	b.GuardSeries = g.mostSeries(b.GuardSeries)
	switch {
	case b.GuardSeries == 0:
	case b.Reserved > 0:
		b.Reserved += g.found.len()
	default:
		b.GuardSeries = max(1, b.GuardSeries-g.found.len())
	}
}

// mostSeries is how many series may be exposed where the policy says so many; 0
// is no limit.
func (g *Guard) mostSeries(policy int) int {
	if most := g.cfg.Caps.Series; most > 0 && (policy == 0 || policy > most) {
		return most
	}
	return policy
}

// noteRuling keeps what the ledger said of the budget, and leaves out or
// collapses what is over it. The error is for metrics that cannot be merged.
func (v *passage) noteRuling(c *claim, r ledger.Ruling, e *epoch) error {
	var err error
	if len(r.Collapsed) > 0 {
		v.ownFates()
		v.known = nil // its metrics have other labels than the rules gave them
		err = v.collapse(c, r, e)
	} else {
		for _, i := range r.Trimmed {
			v.leaveOut(int(c.Metrics[i].Metric))
			v.changed = true
		}
	}
	v.note(v.excess(c, r.Excess), false)
	if n := len(r.Evict); n > 0 {
		v.note([]finding.Finding{{
			ID: finding.Evicted, Label: v.oldLabel(r.Evict[0]), Count: n,
			Fix: "the job's oldest groups make room for this one: have its budget raised, or delete groups that nobody needs",
		}}, false)
	}
	v.traceRuling(r)
	if r.Near && len(r.Trimmed) == 0 {
		v.note([]finding.Finding{{
			ID: finding.NearBudget, Count: r.Held, Limit: r.Max,
			Fix: "the job holds 80 % of its budget: drop labels it does not need, or have the budget raised",
		}}, false)
	}
	return err
}

// noteOverBudget keeps why a push is refused whole, and reports whether the
// error was about a budget.
func (v *passage) noteOverBudget(c *claim, err error) bool {
	if err == nil {
		return false
	}
	var (
		over *ledger.OverBudgetError
		rate *ledger.RateError
	)
	switch {
	case errors.As(err, &over):
		v.note(v.excess(c, over.Excess), true)
		v.traceExcess(over.Excess, v.entry.OnOverBudget == policy.RejectPush)
	case errors.As(err, &rate):
		v.retryAfter = rate.RetryAfter
		v.traceExcess([]ledger.Excess{{Over: ledger.PushesPerMinuteLimit, Count: rate.Max + 1, Max: rate.Max}}, false)
		v.note([]finding.Finding{{
			ID: finding.PushesPerMinute, Count: rate.Max + 1, Limit: rate.Max,
			Fix: "push less often, or have pushes_per_minute raised",
		}}, true)
	default:
		return false
	}
	return true
}

// over is how a limit is told of.
type over struct{ id, fix string }

var overs = map[ledger.Limit]over{
	ledger.SeriesLimit:           {finding.SeriesBudget, "drop labels it does not need, or have the job's budget raised"},
	ledger.EntrySeriesLimit:      {finding.EntryBudget, "the jobs of this policy entry share one budget: have it raised, or find the job that spends it"},
	ledger.GuardSeriesLimit:      {finding.GuardBudget, "all jobs together are at the guard's limit: have it raised, or find the job that spends it"},
	ledger.RemainderLimit:        {finding.GuardBudget, "what the guard has left is set aside for other jobs: have the job guaranteed a budget, or the guard's raised"},
	ledger.GroupsLimit:           {finding.GroupsBudget, "push to fewer grouping keys, delete groups that nobody needs, or have groups raised"},
	ledger.GuardGroupsLimit:      {finding.GuardGroups, "all jobs together have as many groups as the guard may: delete some, or have the guard's budget raised"},
	ledger.NewSeriesPerHourLimit: {finding.NewSeriesPerHour, "a label has new values with every push: drop it, push less often, or have new_series_per_hour raised"},
	ledger.NewSeriesPerDayLimit:  {finding.NewSeriesPerDay, "a label has new values with every run: drop it, or have new_series_per_day raised"},
	ledger.EntryJobsLimit:        {finding.JobsBudget, "the policy entry has as many jobs as it may: keep the run's name out of the job's, or have jobs raised"},
	ledger.NewJobsPerDayLimit:    {finding.NewJobsPerDay, "too many job names are new today: keep the run's name out of the job's, or have new_jobs_per_day raised"},
}

// excess says what a push brings over its budgets.
func (v *passage) excess(c *claim, all []ledger.Excess) []finding.Finding {
	found := make([]finding.Finding, 0, len(all))
	for _, x := range all {
		f := finding.Finding{Count: x.Count, Limit: x.Max}
		if x.Metric >= 0 {
			f.Metric = c.Families[c.Metrics[x.Metric].Family]
		}
		switch x.Over {
		case ledger.LabelValuesLimit:
			l := v.labelOf(c, x)
			f.ID, f.Label, f.Sample = finding.LabelValuesBudget, l.Name, finding.RedactLabel(l.Name, l.Value)
			f.Fix = v.overFix(x.Metrics, "give the label fewer values, or have label_values raised")
		default:
			said, ok := overs[x.Over]
			if !ok {
				continue
			}
			f.ID, f.Fix = said.id, v.overFix(x.Metrics, said.fix)
			if x.Over == ledger.GuardSeriesLimit && v.tight {
				f.Fix = v.overFix(x.Metrics, "the guard's memory has no room for new series: give it more, or find the job that spends it")
			}
		}
		found = append(found, f)
	}
	return found
}

func (v *passage) overFix(metrics int, fix string) string {
	if metrics == 0 {
		return fix
	}
	return fmt.Sprintf("%d new over it; %s", metrics, fix)
}

// oldLabel is the first label by which a group that makes room differs from the
// push's own.
func (v *passage) oldLabel(victim wire.Key) string {
	for _, l := range victim.Labels() {
		if value, ok := v.group.Get(l.Name); !ok || value != l.Value {
			return l.Name
		}
	}
	return ""
}

// labelOf is the label whose values are over the budget.
func (v *passage) labelOf(c *claim, x ledger.Excess) labels.Label {
	return v.labelNamed(c, x.Metric, x.Value)
}

// labelNamed is the label that a value of a metric of the claim stands for.
func (v *passage) labelNamed(c *claim, metric, value int) labels.Label {
	m := &c.Metrics[metric]
	said, want := v.verdict(int(m.Metric)), c.ValuesOf(m)[value]
	for _, p := range []*print{&said.output, &said.pushed} {
		for i, value := range p.values {
			if value == want {
				return p.printed(i)
			}
		}
	}
	return labels.Label{}
}

// noteExpired says that a dated exception has ended.
func (v *passage) noteExpired() {
	b, expired := v.entry.Budget(v.started)
	if !expired {
		return
	}
	v.note([]finding.Finding{{
		ID: finding.BudgetExpired, Count: 1, Limit: b.Series,
		Fix: "the job's own budget has ended and default's holds: have it renewed or removed in the policy",
	}}, false)
}
