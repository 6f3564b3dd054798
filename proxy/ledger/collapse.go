package ledger

import (
	"cmp"
	"slices"

	"github.com/pushguard/pushguard/proxy/wire"
)

// overflow is what Collapse keeps track of: which metrics of a push pass with
// label values replaced by wire.Other, and what becomes equal by that.
//
// For each metric that others collapse into wholly, room is kept until it is
// admitted: a metric passes as it is only where that is left. So the total of a
// family stays exact, and the overflow is within the budget, not on top of it.
type overflow struct {
	others map[uint64]uint64 // of the claim; nil unless it collapses
	idents map[ident]placed
	lack   []int // by slot: series that the metrics collapsed wholly still need
	kept   int   // series for which room is kept, net of what goes for them
	fresh  int   // those of them that will be new
	which  []int

	collapsed []Collapsed
	entries   []entry // with the fingerprints of the collapsed; metric is an index into draft.entries
}

// ident is a metric of a family of the push.
type ident struct {
	slot  int
	print uint64
}

// placed is what is known of a metric that others may collapse into.
type placed struct {
	held  int // series that the group holds of it, which stay counted
	maybe int // series that it may hold
	want  int // of the largest metric that collapses into it wholly
	got   int // series that are admitted
}

func (p placed) cost(samples int) int  { return max(0, samples-max(p.held, p.got)) }
func (p placed) fresh(samples int) int { return max(0, samples-max(p.maybe, p.got)) }

func (o *overflow) reset() {
	o.others, o.kept, o.fresh, o.collapsed = nil, 0, 0, nil
	clear(o.idents)
	o.entries = o.entries[:0]
}

// permits reports whether the job may have one more value of a label. Where the
// value wire.Other is to be had, one of the limit is for that, and it always is.
func (o *overflow) permits(j *job, v wire.LabelValue, limit int) bool {
	if other, ok := o.others[v.Label]; ok {
		if v.Value == other {
			return true
		}
		if !j.values.has(other) {
			limit--
		}
	}
	return j.values.labels.distinct(v.Label) < limit
}

// prepare finds what the metrics of the push collapse into. What the group holds
// of that is none of what the push lets go.
func (t *tally) prepare() {
	d, o := t.draft, &t.draft.overflow
	o.others = t.claim.Others
	o.lack = zeroed(o.lack, len(d.names))
	if o.idents == nil {
		o.idents = map[ident]placed{}
	}
	held := d.families(t.group)
	keep := func(slot int, m *MetricClaim, which []int, want int32) {
		id := ident{slot, t.reprint(m, which)}
		p, known := o.idents[id]
		if !known {
			p = t.place(id, &held[slot])
		}
		p.want = max(p.want, int(want))
		o.idents[id] = p
	}
	for i := range t.claim.Metrics {
		m := &t.claim.Metrics[i]
		if which := t.collapsible(m, false); len(which) > 0 || t.holds(m) {
			keep(int(d.slots[m.Family]), m, which, m.Samples)
		}
	}
	for _, c := range d.candidates {
		m := &t.claim.Metrics[d.entries[c].metric]
		if which := t.collapsible(m, true); len(which) > 0 {
			keep(int(d.slots[m.Family]), m, which, 0)
		}
	}
}

// reserve begins to keep room, once the push has let go of what it replaces.
func (t *tally) reserve() {
	o := &t.draft.overflow
	for id, p := range o.idents {
		o.lack[id.slot] += p.cost(p.want)
		o.fresh += p.fresh(p.want)
	}
	for slot := range o.lack {
		o.kept += t.lacks(slot)
	}
}

// lacks is how much room a family still needs, net of what goes for it.
func (t *tally) lacks(slot int) int { return max(0, t.draft.overflow.lack[slot]-t.freed(slot)) }

// place finds what the group holds of a metric, and takes that off what the push
// lets go; one of totals lets go of nothing.
func (t *tally) place(id ident, held *family) placed {
	d := t.draft
	if i, ok := d.find(id); ok {
		e := d.entries[i]
		if e.metric < 0 {
			return placed{} // it was left out
		}
		if d.isCandidate(e.metric) {
			return d.placed(int32(i))
		}
		return placed{held: int(e.samples), maybe: int(e.samples), got: int(e.samples)}
	}
	i, ok := slices.BinarySearch(held.prints, id.print)
	if !ok {
		return placed{}
	}
	p := placed{maybe: int(held.size(i))}
	if !t.group.unsure {
		p.held = p.maybe
		if !t.claim.Totals {
			d.freed[id.slot] -= p.held
		}
	}
	return p
}

// collapsible returns the values of a metric that can be replaced, which are
// indices, all or only those that are new to the job. The next call overwrites
// them.
func (t *tally) collapsible(m *MetricClaim, onlyNew bool) []int {
	o := &t.draft.overflow
	o.which = o.which[:0]
	for i, v := range t.claim.ValuesOf(m) {
		other, ok := o.others[v.Label]
		if !ok || other == v.Value {
			continue
		}
		if !onlyNew || !t.job.values.has(v.Value) {
			o.which = append(o.which, i)
		}
	}
	return o.which
}

// holds reports whether a metric is what others collapse into, or has no label
// that could tell it from that.
func (t *tally) holds(m *MetricClaim) bool {
	others := t.draft.overflow.others
	return !slices.ContainsFunc(t.claim.ValuesOf(m), func(v wire.LabelValue) bool { return others[v.Label] != v.Value })
}

func (t *tally) reprint(m *MetricClaim, which []int) uint64 {
	print, values := m.Fingerprint, t.claim.ValuesOf(m)
	for _, i := range which {
		v := values[i]
		print = wire.Reprint(print, v, wire.LabelValue{Label: v.Label, Value: t.draft.overflow.others[v.Label]})
	}
	return print
}

// admitOrCollapse admits a metric as it is, or with the label values replaced
// that are new to the job, or with all of them.
func (t *tally) admitOrCollapse(c int32) bool {
	o, metric := &t.draft.overflow, int(t.draft.entries[c].metric)
	m := &t.claim.Metrics[metric]
	id := ident{int(t.draft.slots[m.Family]), m.Fingerprint}
	p, tracked := o.idents[id]
	if !tracked {
		p = t.draft.placed(c)
	}
	values := t.claim.ValuesOf(m)
	if t.valuesFit(values, metric) && t.admitAs(id, p, m, metric) {
		t.learn(values)
		return true
	}
	some := len(t.collapsible(m, true))
	if some > 0 && t.admitCollapsed(c, m, o.which) {
		return true
	}
	all := t.collapsible(m, false)
	return len(all) > some && t.admitCollapsed(c, m, all)
}

// admitCollapsed admits a metric with the values replaced that which says.
func (t *tally) admitCollapsed(c int32, m *MetricClaim, which []int) bool {
	o := &t.draft.overflow
	id := ident{int(t.draft.slots[m.Family]), t.reprint(m, which)}
	p, tracked := o.idents[id]
	if !tracked {
		p = t.placeLate(id)
	}
	if !t.admitAs(id, p, m, -1) {
		return false
	}
	o.collapsed = append(o.collapsed, Collapsed{Metric: int(t.draft.entries[c].metric), Values: slices.Clone(which)})
	o.entries = append(o.entries, entry{print: id.print, metric: c, samples: m.Samples})
	for i, v := range t.claim.ValuesOf(m) {
		if slices.Contains(which, i) {
			v.Value = o.others[v.Label]
		}
		if t.job.learn(v) {
			t.draft.fresh = append(t.draft.fresh, v.Value)
		}
	}
	return true
}

// placeLate is place for a metric of which nobody could know before: a value has
// become known by an earlier metric. What the group holds of it goes and comes.
func (t *tally) placeLate(id ident) placed {
	if _, ok := t.draft.find(id); ok {
		return t.place(id, nil)
	}
	p := placed{}
	for c := t.group.content.read(t.group.last); c.next(); {
		if i, ok := slices.BinarySearch(c.at.prints, id.print); ok && c.at.name == t.draft.names[id.slot] {
			p.maybe = int(c.at.size(i))
		}
	}
	return p
}

// admitAs admits a metric under an identity, if it fits and the room that is kept
// for others is left; a limit that it does not fit is noted for the metric, unless
// that is -1. What is there anyway always fits, and so, if it fits at all, does
// what others collapse into.
func (t *tally) admitAs(id ident, p placed, m *MetricClaim, metric int) bool {
	o := &t.draft.overflow
	cost, fresh := p.cost(int(m.Samples)), p.fresh(int(m.Samples))
	net := cost - t.freed(id.slot)
	keep, keepFresh := 0, 0
	if p.want == 0 {
		keep, keepFresh = o.kept-t.lacks(id.slot)+o.lack[id.slot], o.fresh
	}
	if cost > 0 || fresh > 0 {
		if limit, most := t.over(net+keep, fresh+keepFresh); limit != 0 {
			if metric >= 0 {
				t.note(Excess{Over: limit, Metric: metric, Value: -1, Max: most}).Count += t.counts(limit, cost, fresh)
			}
			return false
		}
	}
	t.take(net)
	t.fresh += fresh
	o.kept -= t.lacks(id.slot)
	o.lack[id.slot] -= p.cost(p.want)
	o.fresh -= p.fresh(p.want)
	p.got = max(p.got, int(m.Samples))
	o.lack[id.slot] += p.cost(p.want)
	o.fresh += p.fresh(p.want)
	t.write(id.slot)
	o.kept += t.lacks(id.slot)
	o.idents[id] = p
	return true
}

// finish lets go of what stayed counted for a metric that does not pass, or not in
// that size.
func (t *tally) finish(put bool) {
	d := t.draft
	for id, p := range d.overflow.idents {
		if put || d.certain[id.slot] {
			t.take(-max(0, p.held-p.got))
		}
	}
	for _, c := range d.candidates {
		e := &d.entries[c]
		passes := e.metric >= 0 && d.overflow.collapsedAt(int(e.metric)) < 0
		slot := int(d.slots[t.claim.Metrics[e.claimed()].Family])
		if _, counted := d.overflow.idents[ident{slot, e.print}]; !passes && !counted && (put || d.certain[slot]) {
			cost, _ := d.brings(c)
			t.take(cost - int(e.samples))
		}
	}
}

// families returns what the group holds, by the names of the push.
func (d *draft) families(g *group) []family {
	out := make([]family, len(d.names))
	for c := g.content.read(g.last); c.next(); {
		if slot, ok := slices.BinarySearch(d.names, c.at.name); ok {
			out[slot] = c.at
		}
	}
	return out
}

// find returns where the push has a metric as it came.
func (d *draft) find(id ident) (at int, ok bool) {
	i, ok := slices.BinarySearchFunc(d.of(id.slot), id.print, func(e entry, print uint64) int { return cmp.Compare(e.print, print) })
	return int(d.starts[id.slot]) + i, ok
}

// isCandidate reports whether a metric is one that the group does not hold.
func (d *draft) isCandidate(metric int32) bool {
	_, ok := slices.BinarySearchFunc(d.candidates, metric, func(c, metric int32) int { return cmp.Compare(d.entries[c].claimed(), metric) })
	return ok
}

// placed is what is known of a candidate by itself.
func (d *draft) placed(c int32) placed {
	samples := int(d.entries[c].samples)
	cost, fresh := d.brings(c)
	return placed{held: samples - cost, maybe: samples - fresh}
}

// collapse gives the collapsed metrics of the push their fingerprints. Of those
// that are equal then, one is left, in the size of the largest.
func (d *draft) collapse() {
	if len(d.overflow.entries) == 0 {
		return
	}
	for _, e := range d.overflow.entries {
		d.entries[e.metric].print = e.print
	}
	for slot := range d.names {
		es := d.of(slot)
		sortEntries(es)
		last := -1
		for i := range es {
			switch {
			case es[i].metric < 0:
			case last >= 0 && es[last].print == es[i].print:
				es[last].samples = max(es[last].samples, es[i].samples)
				es[i].trim()
			default:
				last = i
			}
		}
	}
}

// values appends the values with which a metric passes.
func (o *overflow) values(dst []uint64, c *Claim, metric int) []uint64 {
	start := len(dst)
	for _, v := range c.ValuesOf(&c.Metrics[metric]) {
		dst = append(dst, v.Value)
	}
	if i := o.collapsedAt(metric); i >= 0 {
		for _, v := range o.collapsed[i].Values {
			dst[start+v] = o.others[c.ValuesOf(&c.Metrics[metric])[v].Label]
		}
	}
	return dst
}

// collapsedAt returns where in collapsed a metric of the claim is, or -1.
func (o *overflow) collapsedAt(metric int) int {
	i, ok := slices.BinarySearchFunc(o.collapsed, metric, func(c Collapsed, metric int) int { return cmp.Compare(c.Metric, metric) })
	if !ok {
		return -1
	}
	return i
}
