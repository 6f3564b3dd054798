package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
		Families: c.Families[:0], Metrics: c.Metrics[:0],
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

// budget is what the policy grants a job now.
func (e *epoch) budget(entry *policy.Entry, now time.Time) ledger.Budget {
	b, _ := entry.Budget(now)
	return ledger.Budget{
		Series: b.Series, LabelValues: b.LabelValues, EntrySeries: entry.EntryBudget, GuardSeries: e.policy.SeriesBudget(),
	}
}

// enforcedClaim is the claim of a push under its budget.
func (g *Guard) enforcedClaim(v *passage, e *epoch) *claim {
	c := &v.claim
	v.claimed(c, e, true)
	c.Folds, c.Budget = e.folds(v), e.budget(v.entry, v.started)
	// The guard's own series on the scraped page are billed to the guard.
	if c.Budget.GuardSeries > 0 {
		c.Budget.GuardSeries = max(1, c.Budget.GuardSeries-g.found.len())
	}
	c.OverBudget = ledger.Trim
	if v.entry.OnOverBudget == policy.RejectPush {
		c.OverBudget = ledger.Reject
	}
	return c
}

// forecast books in the shadow what enforcement would hold, so that a report
// says exactly what it would do. What the upstream did not take is asked about
// only.
func (g *Guard) forecast(ctx context.Context, v *passage, e *epoch, applied bool) {
	if v.entry.Mode != policy.Report || v.refused() {
		return
	}
	c := g.enforcedClaim(v, e)
	var ruling ledger.Ruling
	var err error
	if applied {
		var grant *ledger.Grant
		if grant, err = g.shadow.Admit(ctx, c.Claim); err == nil {
			ruling = grant.Ruling
			grant.Settle(ledger.Applied)
		}
	} else {
		ruling, err = g.shadow.Peek(c.Claim)
	}
	if err != nil {
		v.noteOverBudget(err)
		return
	}
	v.noteRuling(c, ruling)
}

// forecastRemoval takes out of the shadow what a DELETE would under enforcement.
func (g *Guard) forecastRemoval(ctx context.Context, v *passage, e *epoch) {
	grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: v.group, Raw: v.raw, Method: http.MethodDelete, Folds: e.folds(v)})
	if err == nil {
		grant.Settle(ledger.Applied)
	}
}

// noteRuling keeps what the ledger said of the budget, and leaves out what is
// over it.
func (v *passage) noteRuling(c *claim, r ledger.Ruling) {
	for _, i := range r.Trimmed {
		v.fates[c.metrics[i]] = wire.Fate{Act: wire.LeaveOut}
		v.changed = true
	}
	v.note(v.excess(c, r.Excess), false)
	v.traceRuling(r)
	if r.Near && len(r.Trimmed) == 0 {
		v.note([]finding.Finding{{
			ID: finding.NearBudget, Count: r.Held, Limit: r.Max,
			Fix: "the job holds 80 % of its budget: drop labels it does not need, or have the budget raised",
		}}, false)
	}
}

// noteOverBudget keeps why a push is refused whole, and reports whether the
// error was about a budget.
func (v *passage) noteOverBudget(err error) bool {
	var over *ledger.OverBudgetError
	if !errors.As(err, &over) {
		return false
	}
	v.note(v.excess(&v.claim, over.Excess), true)
	return true
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
		case ledger.SeriesLimit:
			f.ID, f.Fix = finding.SeriesBudget, v.overFix(x.Metrics, "drop labels it does not need, or have the job's budget raised")
		case ledger.EntrySeriesLimit:
			f.ID, f.Fix = finding.EntryBudget, v.overFix(x.Metrics, "the jobs of this policy entry share one budget: have it raised, or find the job that spends it")
		case ledger.GuardSeriesLimit:
			f.ID, f.Fix = finding.GuardBudget, v.overFix(x.Metrics, "all jobs together are at the guard's limit: have it raised, or find the job that spends it")
		case ledger.LabelValuesLimit:
			l := v.labelOf(c, x)
			f.ID, f.Label, f.Sample = finding.LabelValuesBudget, l.Name, finding.Redact(l.Value)
			f.Fix = v.overFix(x.Metrics, "give the label fewer values, or have label_values raised")
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}

func (v *passage) overFix(metrics int, fix string) string {
	return fmt.Sprintf("%d new over it; %s", metrics, fix)
}

// labelOf is the label whose values are over the budget.
func (v *passage) labelOf(c *claim, x ledger.Excess) labels.Label {
	want := c.Metrics[x.Metric].Values[x.Value]
	said := v.verdicts[c.metrics[x.Metric]]
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
