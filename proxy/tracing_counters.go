package proxy

import (
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// leaves is how a metric leaves the snapshot otherwise than by a rule.
func (n *counting) leaves(metric int) leaves {
	if metric >= len(n.ways) {
		return 0
	}
	return n.ways[metric]
}

// traceClasses notes what the families are taken for, and what leaves of them.
func (v *passage) traceClasses(g *Guard) {
	if v.trace == nil {
		return
	}
	n := &v.counts
	at := make([]int, len(n.classes))
	for i := range n.classes {
		if v.push.Families[i].Metrics == 0 {
			continue
		}
		at[i] = len(v.trace.Families)
		v.trace.Families = append(v.trace.Families, v.traceFamily(g, i))
	}
	metrics := v.push.Metrics()
	for i := range metrics {
		t := &v.trace.Families[at[metrics[i].Family]]
		t.Metrics++
		switch {
		case n.leaves(i) == counted:
			t.Counted++
		case v.fates[i].Act == wire.LeaveOut:
			t.LeftOut++
		}
	}
}

func (v *passage) traceFamily(g *Guard, i int) TraceFamily {
	f, c := &v.push.Families[i], &v.counts.classes[i]
	t := TraceFamily{
		Family: strings.Clone(f.Name), Type: strings.ToLower(f.Type.String()), Unit: strings.Clone(c.Unit),
		Class: string(c.Class), Reason: c.Reason, Semantics: string(c.Semantics),
	}
	if c.Rule > 0 {
		place := v.entry.FamilyPlace(c.Rule)
		t.File, t.Line = place.File, place.Line
	}
	if c.Class == rules.ClassCounter {
		t.Route = g.route(v.entry).String()
		if v.counts.stays[i] && !f.OnlyNative() { // that has a reason of its own
			t.Route = toSnapshot.String()
		}
	}
	return t
}

// addedTo is a series of a family of the push that increments are added to.
type addedTo struct{ family, series string }

// traceCounters notes what the counters of the push add up to.
func (v *passage) traceCounters() {
	n := &v.counts
	if v.trace == nil || len(n.readings) == 0 {
		return
	}
	known := map[addedTo]int{}
	for i, inc := range n.added.All() {
		family := v.push.Families[v.push.Metrics()[n.metrics[i]].Family].Name
		at := slices.IndexFunc(v.trace.Families, func(t TraceFamily) bool { return t.Family == family })
		t := &v.trace.Families[at]
		t.count(inc, n.readings[i].Source, n.added.Reason(i))
		to := addedTo{family, labels.New(inc.Series.Labels...).String()}
		series, ok := known[to]
		if !ok {
			series = len(t.Added)
			known[to] = series
			t.Added = append(t.Added, newTraceAdded(inc, t.Route == toStatsD.String()))
		}
		t.Added[series].add(inc)
	}
	for i := range v.trace.Families {
		t := &v.trace.Families[i]
		if n := len(t.Added); n > traceShown {
			t.Added, t.MoreAdded = t.Added[:traceShown], n-traceShown
		}
	}
}

// traceCommit notes what is about to be added.
func (v *passage) traceCommit(sink counter.Sink) {
	if v.trace == nil || sink == nil {
		return
	}
	_, kept := sink.(*counter.Totals)
	for _, inc := range v.counts.added.All() {
		if inc.Value > 0 || inc.Count > 0 {
			inc.NoSum = inc.NoSum && !kept // totals take a sum that fell
			inc.Buckets = slices.Clone(inc.Buckets)
			v.trace.Increments = append(v.trace.Increments, inc)
		}
	}
}

// count notes an increment of the family.
func (t *TraceFamily) count(inc counter.Increment, source counter.Source, how counter.Reason) {
	if t.Increment == nil {
		t.Increment = new(float64)
	}
	*t.Increment += inc.Value + inc.Count
	t.Evidence = source.String()
	if !slices.Contains(t.How, how.String()) {
		t.How = append(t.How, how.String())
	}
}

// newTraceAdded is a series to which nothing was added yet. To StatsD goes no sum that fell.
func newTraceAdded(inc counter.Increment, toStatsD bool) TraceAdded {
	out := TraceAdded{Labels: make(map[string]string, len(inc.Series.Labels))}
	for _, l := range inc.Series.Labels {
		out.Labels[l.Name] = finding.RedactLabel(l.Name, l.Value)
	}
	if inc.Series.Kind != counter.Counter && !(inc.NoSum && toStatsD) {
		out.Sum = new(float64)
	}
	return out
}

// add adds an increment to what came to the series before.
func (a *TraceAdded) add(inc counter.Increment) {
	a.Increment += inc.Value + inc.Count
	if a.Sum != nil {
		*a.Sum += inc.Sum
	}
}
