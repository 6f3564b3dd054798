package ledger

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/pushguard/pushguard/proxy/wire"
)

// rule decides a claim. It changes nothing but that the job learns the new label
// values of what is admitted, which draft.fresh lists. The group is same if the
// push would leave it as it is.
func (b *Book) rule(g *group, j *job, c *Claim, d *draft, by writer) (r Ruling, same bool, err error) {
	d.fresh = d.fresh[:0]
	r.Method = c.Method
	switch c.Method {
	case http.MethodPut, http.MethodPost:
	case http.MethodDelete:
		r.Skip = c.Folds && g.exists && g.last != unknown && g.last != by
		return r, false, nil
	default:
		return r, false, fmt.Errorf("method %.20q is none of PUT, POST and DELETE", c.Method)
	}
	if twin := b.twin(c.Group); twin != nil {
		return r, false, &TwinError{Group: c.Group, Twin: twin.key()}
	}
	if c.Method == http.MethodPut && c.Folds && !g.writtenBy(by) {
		r.Method = http.MethodPost
	}
	same = d.compare(g, r.Method == http.MethodPut, by)
	for i, name := range c.Families {
		if w := d.writers[d.slots[i]]; w != unknown && w != by {
			r.Shared = append(r.Shared, name)
		}
	}
	t := b.tally(j, c, d)
	if t.foreign = g.job != j; !t.foreign {
		t.release(r.Method == http.MethodPut)
	}
	if !g.exists && !t.fits(ownSeries, ownSeries, -1) {
		t.sum()
		return r, false, t.refusal()
	}
	for _, m := range d.candidates {
		if !t.admit(m) {
			d.entries[m.entry].metric = -1
			r.Trimmed = append(r.Trimmed, int(m.metric))
		}
	}
	r.Excess = t.sum()
	if c.OverBudget == Reject && len(r.Trimmed) > 0 {
		return r, false, t.refusal()
	}
	r.Held, r.Max = t.used[0], c.Budget.Series
	r.Near = r.Max > 0 && 5*r.Held >= 4*r.Max
	return r, same && len(r.Trimmed) == 0, nil
}

// writtenBy reports whether w wrote every family last.
func (g *group) writtenBy(w writer) bool {
	for c := g.content.read(g.last); c.next(); {
		if c.at.writer != w {
			return false
		}
	}
	return true
}

// tally holds a claim's new metrics to the budget, one after the other.
type tally struct {
	job   *job
	claim *Claim
	draft *draft

	foreign bool   // another job pays for what the group holds
	used    [3]int // of seriesLimits, once the push is applied, with what is admitted so far
	max     [3]int
	excess  []Excess
	refused map[uint64]struct{} // new label values that were over
}

var seriesLimits = [3]Limit{SeriesLimit, EntrySeriesLimit, GuardSeriesLimit}

func (b *Book) tally(j *job, c *Claim, d *draft) tally {
	entry := b.entries[c.Entry]
	if j.entry != c.Entry {
		entry += j.series
	}
	return tally{
		job: j, claim: c, draft: d,
		used: [3]int{j.series, entry, b.series},
		max:  [3]int{c.Budget.Series, c.Budget.EntrySeries, c.Budget.GuardSeries},
	}
}

// release takes off what the push replaces for certain: a push is held to what
// there is once it is applied, and if it is not, there is what was.
func (t *tally) release(put bool) {
	freed := 0
	if put {
		freed = t.draft.gone
	}
	for slot := range t.draft.freed {
		if put || t.draft.certain[slot] {
			freed += t.draft.freed[slot]
			t.draft.freed[slot] = 0
		}
	}
	for i := range t.used {
		t.used[i] -= freed
	}
}

// admit admits a metric if it fits whole. The first of a family lets go of what
// the family held.
func (t *tally) admit(m candidate) bool {
	values := t.claim.Metrics[m.metric].Values
	freed := 0
	if t.draft.freed[m.slot] > 0 && !t.foreign {
		freed = t.draft.freed[m.slot]
	}
	if !t.valuesFit(values, int(m.metric)) || !t.fits(m.cost, m.cost-freed, int(m.metric)) {
		return false
	}
	t.draft.freed[m.slot] -= freed
	for _, v := range values {
		if t.job.learn(v) {
			t.draft.fresh = append(t.draft.fresh, v.Value)
		}
	}
	return true
}

// fits takes up series, net of what they replace, if they fit all limits, and
// otherwise notes the first that they do not.
func (t *tally) fits(series, net, metric int) bool {
	for i, limit := range t.max {
		if limit > 0 && t.used[i]+net > limit {
			t.note(Excess{Over: seriesLimits[i], Metric: metric, Value: -1, Max: limit}).Count += series
			return false
		}
	}
	for i := range t.used {
		t.used[i] += net
	}
	return true
}

func (t *tally) valuesFit(values []wire.LabelValue, metric int) bool {
	limit, fit := t.claim.Budget.LabelValues, true
	if limit <= 0 {
		return true
	}
	for i, v := range values {
		if _, known := t.job.values[v.Value]; known || t.job.distinct[v.Label] < limit {
			continue
		}
		fit = false
		x := t.note(Excess{Over: LabelValuesLimit, Metric: metric, Value: i, Max: limit, label: v.Label})
		if _, ok := t.refused[v.Value]; !ok {
			if t.refused == nil {
				t.refused = map[uint64]struct{}{}
			}
			t.refused[v.Value] = struct{}{}
			x.Count++
		}
	}
	return fit
}

// note counts a metric that is over a limit, and returns the excess, in whose
// Count is what did not fit until sum.
func (t *tally) note(x Excess) *Excess {
	i := slices.IndexFunc(t.excess, func(o Excess) bool { return o.Over == x.Over && o.label == x.label })
	if i < 0 {
		i = len(t.excess)
		t.excess = append(t.excess, x)
	}
	t.excess[i].Metrics++
	return &t.excess[i]
}

// sum ends the tally.
func (t *tally) sum() []Excess {
	for i := range t.excess {
		x := &t.excess[i]
		if x.Over == LabelValuesLimit {
			x.Count += t.job.distinct[x.label]
		} else {
			x.Count += t.used[slices.Index(seriesLimits[:], x.Over)]
		}
	}
	return t.excess
}

func (t *tally) refusal() error {
	return &OverBudgetError{Job: t.job.name, Excess: t.excess}
}
