package ledger

import (
	"fmt"
	"net/http"
)

// verdict is a ruling and what the book books for it.
type verdict struct {
	Ruling
	same    bool // the push leaves the group as it is
	newJob  bool // the job had no group for a day
	fresh   int  // series that the group does not hold
	victims []*group
	shared  []int32 // the families of Ruling.Shared, if the claim has no names
}

// rule decides a claim. It changes nothing but that the job learns the new label
// values of what is admitted, which draft.fresh lists.
//
// The order: the method, twins, the rate, whether the job and the group may be
// new, then metric by metric in the claim's order.
func (b *Book) rule(g *group, j *job, c *Claim, d *draft, by writer) (v verdict, err error) {
	d.fresh = d.fresh[:0]
	d.overflow.reset()
	v.Method = c.Method
	switch c.Method {
	case http.MethodPut, http.MethodPost:
	case http.MethodDelete:
		v.Reason = g.keeps(c, by)
		v.Skip = v.Reason != 0
		return v, nil
	default:
		return v, fmt.Errorf("method %.20q is none of PUT, POST and DELETE", c.Method)
	}
	if twin := b.twin(c.Group); twin != nil && !c.Totals {
		return v, &TwinError{Group: c.Group, Twin: twin.key()}
	}
	if c.Method == http.MethodPut && c.Folds && !g.writtenBy(by) {
		v.Method = http.MethodPost
	}
	v.same = d.compare(g, v.Method == http.MethodPut, by)
	if b.alone != nil { // another guard may bring back what goes
		d.gone = 0
		clear(d.freed)
	}
	if c.Totals {
		v.same = len(d.candidates) == 0
		clear(d.freed)
		err = b.ruleSeries(g, j, c, d, &v)
		return v, err
	}
	for i, slot := range d.slots {
		w := d.writers[slot]
		switch {
		case w == unknown || w == by:
		case c.hashes == nil:
			v.Shared = append(v.Shared, c.Families[i])
		default:
			v.shared = append(v.shared, int32(i))
		}
	}
	err = b.ruleSeries(g, j, c, d, &v)
	return v, err
}

// ruleSeries holds a push to the budget.
func (b *Book) ruleSeries(g *group, j *job, c *Claim, d *draft, v *verdict) error {
	t := b.tally(g, j, c, d)
	if err := t.pace(); err != nil && !c.Totals {
		return err
	}
	put, collapses := v.Method == http.MethodPut, c.OverBudget == Collapse && len(d.candidates) > 0
	if collapses {
		t.prepare()
	}
	t.release(put)
	if !g.exists && !c.Totals && !t.begin() {
		t.sum()
		return t.refusal()
	}
	if collapses {
		t.reserve()
	}
	for _, entry := range d.candidates {
		if !t.admit(entry) {
			e := &d.entries[entry]
			v.Trimmed = append(v.Trimmed, int(e.metric))
			e.trim()
		}
	}
	t.finish(put)
	if g.exists && !c.Totals {
		t.makeUp()
	}
	v.Excess = t.sum()
	if c.OverBudget == Reject && len(v.Trimmed) > 0 {
		return t.refusal()
	}
	v.Collapsed, v.Evict, v.victims = t.draft.overflow.collapsed, t.evictions(), t.victims.chosen
	v.newJob, v.fresh = t.newJob, t.fresh
	v.Held, v.Max = t.used, c.Budget.Series
	v.Near = v.Max > 0 && 5*v.Held >= 4*v.Max
	v.same = v.same && len(v.Trimmed)+len(v.Collapsed) == 0
	return nil
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

// keeps returns why a DELETE must not act on the group, if so.
func (g *group) keeps(c *Claim, by writer) Reason {
	switch {
	case !c.Sweep && !c.Evict:
		if c.Folds && g.exists && g.last != unknown && g.last != by {
			return Overtaken
		}
		return 0
	case !g.exists:
		return Gone
	case c.Evict && !g.job.promised.has(g):
		return Spared
	case !c.IfOlder.IsZero() && g.at.after(c.IfOlder):
		return Fresh
	case g.job.pinned() == g:
		return Pinned
	default:
		return 0
	}
}
