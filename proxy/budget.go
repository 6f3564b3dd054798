package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// print is one metric as the ledger counts it, without regard to any group.
type print struct {
	fingerprint uint64
	values      []wire.LabelValue
	labels      []labels.Label
}

func newPrint(secret uint64, ls []labels.Label) print {
	fingerprint, values := wire.Print(secret, wire.Key{}, ls, nil)
	return print{fingerprint, values, ls}
}

// in is the print of the metric in a group. The labels of the group overwrite
// the metric's own, which hardly any metric has.
func (p *print) in(group wire.Key, secret uint64) (uint64, []wire.LabelValue) {
	for _, l := range p.labels {
		if _, overwritten := group.Get(l.Name); overwritten {
			return wire.Print(secret, group, p.labels, nil)
		}
	}
	return p.fingerprint, p.values
}

// lastSuccess is in the name of a family that tells when a job succeeded last.
const lastSuccess = "last_success"

// claim is what a push wants of a book, and which of its metrics are claimed.
type claim struct {
	ledger.Claim
	metrics []int32 // indices into Push.Metrics, one for each of Claim.Metrics
	slots   map[string]int32
}

// reset fills in what both books are asked alike.
func (c *claim) reset(v *passage, group wire.Key) {
	c.Claim = ledger.Claim{
		Group: group, Raw: v.raw, Method: v.request.Method, Job: v.job, Entry: payer(v.entry),
		Families: c.Families[:0], Metrics: c.Metrics[:0], Success: c.Success[:0],
	}
	c.metrics = c.metrics[:0]
	if c.slots == nil {
		c.slots = map[string]int32{}
	}
	clear(c.slots)
}

// claimed makes the claim of a push: as enforcement would have it, or as it came.
func (v *passage) claimed(c *claim, e *epoch, enforced bool) {
	group, fates := v.raw, v.safety
	if enforced {
		group, fates = v.group, v.fates
	}
	c.reset(v, group)
	slot, family := int32(-1), int32(-1)
	for i := range v.push.Metrics {
		if fates != nil && fates[i].Act == wire.LeaveOut {
			continue
		}
		m := &v.push.Metrics[i]
		if m.Family != family {
			family, slot = m.Family, -1
			if !v.superseded(family) {
				slot = c.family(v.push.Families[family].Name)
			}
		}
		if slot < 0 {
			continue
		}
		p := &v.verdicts[i].pushed
		if enforced {
			p = &v.verdicts[i].output
		}
		fingerprint, values := p.in(group, e.verdicts.secret)
		c.Metrics = append(c.Metrics, ledger.MetricClaim{
			Fingerprint: fingerprint, Values: values, Family: slot, Samples: m.Samples,
		})
		c.metrics = append(c.metrics, int32(i))
	}
	for i := range v.push.Families {
		// A family that came without metrics is stored without.
		if f := &v.push.Families[i]; f.Metrics == 0 && v.push.Encoding == wire.Protobuf && !wire.Reserved(f.Name) {
			c.family(f.Name)
		}
	}
}

// family returns the slot of a family of the claim, a new one if it has none.
func (c *claim) family(name string) int32 {
	slot, ok := c.slots[name]
	if !ok {
		slot = int32(len(c.Families))
		c.Families = append(c.Families, name)
		c.slots[name] = slot
		if strings.Contains(name, lastSuccess) {
			c.Success = append(c.Success, slot)
		}
	}
	return slot
}

// superseded reports whether a family stands in the body again, further on: a
// Pushgateway takes the last of a name.
func (v *passage) superseded(family int32) bool {
	if v.push.Encoding != wire.Protobuf {
		return false
	}
	if len(v.last) == 0 {
		for i := range v.push.Families {
			v.last[v.push.Families[i].Name] = int32(i)
		}
	}
	return v.last[v.push.Families[family].Name] != family
}

// payer is where the jobs of an entry are billed together: by the entry's
// name, which another policy keeps where it means the same jobs.
func payer(entry *policy.Entry) int { return int(xxhash.Sum64String(entry.Name)) }

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
	c := &v.claim
	v.claimed(c, e, true)
	c.Folds, c.Budget = e.folds(v), e.budget(v.entry, v.started)
	g.capped(&c.Budget)
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
	c := &v.claim
	v.claimed(c, e, false)
	c.Budget, c.OverBudget = e.terms(v.entry, v.started), ledger.Reject
	g.capped(&c.Budget)
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

// forecast books in the shadow what enforcement would hold, so that a report
// says exactly what it would do. What the upstream did not take is asked about
// only.
func (g *Guard) forecast(ctx context.Context, v *passage, e *epoch, applied bool) {
	if v.entry.Mode != policy.Report || v.refused() {
		return
	}
	c := g.enforcedClaim(v, e)
	ruling, err := g.foretell(ctx, c.Claim, applied)
	if err != nil {
		v.noteOverBudget(c, err)
		return
	}
	if err := v.noteRuling(c, ruling, e); err != nil {
		v.noteUnmergeable(err)
		return
	}
	if !applied {
		return
	}
	for _, victim := range ruling.Evict {
		g.foretellEviction(ctx, v, e, victim)
	}
	if len(v.counts.readings) == 0 {
		return
	}
	counters, err := g.admitCounters(ctx, v, e, g.shadow)
	if err != nil {
		v.noteOverBudget(&v.counts.claim, err)
		return
	}
	counters.Settle(ledger.Applied)
}

// foretell asks the shadow about a claim, and books it if it was applied.
func (g *Guard) foretell(ctx context.Context, c ledger.Claim, applied bool) (ledger.Ruling, error) {
	if !applied {
		return g.shadow.Peek(c)
	}
	grant, err := g.shadow.Admit(ctx, c)
	if err != nil {
		return ledger.Ruling{}, err
	}
	grant.Settle(ledger.Applied)
	return grant.Ruling, nil
}

// foretellEviction takes out of the shadow a group that would make room for the
// push, and says so.
func (g *Guard) foretellEviction(ctx context.Context, v *passage, e *epoch, victim wire.Key) {
	grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: victim, Raw: victim, Method: http.MethodDelete, Evict: true})
	if err != nil {
		return
	}
	skip := grant.Skip
	grant.Settle(ledger.Applied)
	if !skip {
		g.recordForecast(e, ledger.StaleGroup{Key: victim, Job: v.job}, evictedGroup)
	}
}

// forecastRemoval takes out of the shadow what a DELETE would under enforcement.
func (g *Guard) forecastRemoval(ctx context.Context, v *passage, e *epoch) {
	grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: v.group, Raw: v.raw, Method: http.MethodDelete, Folds: e.folds(v)})
	if err == nil {
		grant.Settle(ledger.Applied)
	}
}

// noteRuling keeps what the ledger said of the budget, and leaves out or
// collapses what is over it. The error is for metrics that cannot be merged.
func (v *passage) noteRuling(c *claim, r ledger.Ruling, e *epoch) error {
	var err error
	if len(r.Collapsed) > 0 {
		err = v.collapse(c, r, e)
	} else {
		for _, i := range r.Trimmed {
			v.fates[c.metrics[i]] = wire.Fate{Act: wire.LeaveOut}
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
	var (
		over *ledger.OverBudgetError
		rate *ledger.RateError
	)
	switch {
	case errors.As(err, &over):
		v.note(v.excess(c, over.Excess), true)
		v.traceExcess(over.Excess)
	case errors.As(err, &rate):
		v.retryAfter = rate.RetryAfter
		v.traceExcess([]ledger.Excess{{Over: ledger.PushesPerMinuteLimit, Count: rate.Max + 1, Max: rate.Max}})
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
			f.ID, f.Label, f.Sample = finding.LabelValuesBudget, l.Name, finding.Redact(l.Value)
			f.Fix = v.overFix(x.Metrics, "give the label fewer values, or have label_values raised")
		default:
			said, ok := overs[x.Over]
			if !ok {
				continue
			}
			f.ID, f.Fix = said.id, v.overFix(x.Metrics, said.fix)
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
	return v.labelNamed(c.metrics[x.Metric], c.Metrics[x.Metric].Values[x.Value])
}

// labelNamed is the label of a metric that a value stands for.
func (v *passage) labelNamed(metric int32, want wire.LabelValue) labels.Label {
	said := v.verdicts[metric]
	for _, p := range []*print{&said.output, &said.pushed} {
		for i, value := range p.values {
			if value == want {
				return p.printed(i)
			}
		}
	}
	return labels.Label{}
}

// printed is the label behind one of the values.
func (p *print) printed(value int) labels.Label {
	for _, l := range p.labels {
		if l.Value == "" {
			continue
		}
		if value == 0 {
			return l
		}
		value--
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
