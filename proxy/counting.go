package proxy

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// leaves is how a metric leaves the snapshot otherwise than by a rule. The zero
// value is that it does not.
type leaves uint8

const (
	counted  leaves = iota + 1 // as an increment
	leftOut                    // as evidence that has served, an event, or dropped
	conflict                   // it is kept as totals for others
)

// counting is what a push brings to be added up, and the memory for that.
type counting struct {
	families []rules.Family
	classes  []rules.Classified // of the push's families
	stays    []bool             // by family: it would count, but stays in the snapshot
	taken    []bool             // by family: it is no counter here, but totals for others
	ways     []leaves           // by metric
	any      bool               // some metric is counted

	values  wire.Readings
	created map[createdAt]int64
	byName  map[string]int32
	raw     counter.GroupHash // as the client sent it
	output  counter.GroupHash // as the policy made it

	readings []counter.Reading
	metrics  []int32 // of the push, the first for each reading
	claims   []int32 // indices into claim.Metrics, one for each reading
	buckets  []float64
	claim    claim
	claimed  map[claimedAt]int32
	seen     []uint64 // series as pushed, see seriesHash
	added    counter.Increments
	push     counter.Push

	held      []int32 // families whose names are claimed for totals
	committed bool
	forgets   bool // a client deletes its group
}

// createdAt is a metric of which another says when it was created.
type createdAt struct {
	family int32
	print  uint64
}

// claimedAt is an output series of the push.
type claimedAt struct {
	family int32
	print  uint64
}

func (n *counting) reset() {
	clear(n.families) // names of the body
	n.families, n.classes, n.ways, n.any = n.families[:0], n.classes[:0], n.ways[:0], false
	n.stays, n.taken = n.stays[:0], n.taken[:0]
	clear(n.readings)
	n.readings, n.metrics, n.claims, n.buckets = n.readings[:0], n.metrics[:0], n.claims[:0], n.buckets[:0]
	clear(n.created)
	clear(n.byName)
	clear(n.claimed)
	n.held = n.held[:0]
	n.push, n.committed, n.forgets = counter.Push{}, false, false
}

// apart reports whether a metric leaves the snapshot otherwise than by a rule.
func (v *passage) apart(metric int) bool {
	return metric < len(v.counts.ways) && v.counts.ways[metric] != 0
}

// classify finds out what of the push adds up and what only says when that
// began, and takes it out of the snapshot, where the policy is enforced.
func (g *Guard) classify(v *passage) {
	n := &v.counts
	if v.entry.Mode == policy.Open || v.refused() {
		return
	}
	v.classes()
	n.ways = append(n.ways, make([]leaves, len(v.push.Metrics))...)
	n.stays = append(n.stays, make([]bool, len(n.classes))...)
	n.taken = append(n.taken, make([]bool, len(n.classes))...)
	routed := v.entry.Counters.Route != policy.RouteSnapshot
	for i := range n.classes {
		switch isCounter := n.classes[i].Class == rules.ClassCounter; {
		case v.push.Families[i].Metrics == 0, v.superseded(int32(i)):
		case isCounter && routed:
			n.stays[i] = !g.mayCount(v, i)
		default:
			n.stays[i] = isCounter
			n.taken[i] = g.isTotal(v, i)
		}
	}
	v.keepFaults()
	n.keepTogether()
	v.readValues()
	for i := range v.push.Metrics {
		v.leave(i)
	}
	for i := range v.push.Metrics {
		family := v.push.Metrics[i].Family
		switch class := n.classes[family].Class; {
		case v.superseded(family):
			n.ways[i] = leftOut // lest it takes the place of one that leaves
		case class == rules.ClassEvidence && n.any:
			n.ways[i] = leftOut
		case n.taken[family] && n.ways[i] == 0:
			n.ways[i] = conflict
			v.changed = true
		}
		if n.ways[i] != 0 {
			v.fates[i] = wire.Fate{Act: wire.LeaveOut}
		}
	}
	v.noteClasses()
	v.traceClasses(g)
	if g.route(v.entry) == toSnapshot {
		v.noteSharedCounters()
	}
}

// classes asks the policy for the class of each family.
func (v *passage) classes() {
	n := &v.counts
	buckets := false
	for i := range v.push.Families {
		f := &v.push.Families[i]
		n.families = append(n.families, rules.Family{Name: f.Name, Type: f.Type})
		buckets = buckets || f.Type == dto.MetricType_UNTYPED && strings.HasSuffix(f.Name, "_bucket")
	}
	if buckets {
		for i := range v.push.Metrics {
			f := &n.families[v.push.Metrics[i].Family]
			f.Le = f.Le || f.Type == dto.MetricType_UNTYPED && slices.ContainsFunc(v.verdicts[i].labels(), isLe)
		}
	}
	n.classes = v.entry.Counters.Classes.Push(n.families, n.classes)
}

func isLe(l labels.Label) bool { return l.Name == labels.BucketLabel }

// labels are those of the metric as it was pushed; none of one that safety has
// decided about.
func (v *verdict) labels() []labels.Label {
	if v == nil {
		return nil
	}
	return v.pushed.labels
}

// keepFaults keeps families in the snapshot for which the upstream refuses the
// push: with a series that came twice, or a timestamp. They are not to slip by.
func (v *passage) keepFaults() {
	n := &v.counts
	n.seen = n.seen[:0]
	for i := range v.push.Metrics {
		m := &v.push.Metrics[i]
		if n.classes[m.Family].Class != rules.ClassCounter || v.verdicts[i] == nil {
			continue
		}
		if m.Stamped() {
			n.stays[m.Family] = true
		}
		n.seen = append(n.seen, v.seriesHash(i))
	}
	slices.Sort(n.seen)
	for i := 1; i < len(n.seen); i++ {
		if n.seen[i] == n.seen[i-1] {
			v.keepTwice(n.seen[i])
		}
	}
}

// seriesHash tells the series of a push, as pushed, from one another.
func (v *passage) seriesHash(metric int) uint64 {
	const golden = 0x9e3779b97f4a7c15
	return v.verdicts[metric].pushed.fingerprint + golden*uint64(v.push.Metrics[metric].Family)
}

func (v *passage) keepTwice(series uint64) {
	for i := range v.push.Metrics {
		if v.verdicts[i] != nil && v.seriesHash(i) == series {
			v.counts.stays[v.push.Metrics[i].Family] = true
		}
	}
}

// readValues reads what may be counted, and what says when that began.
func (v *passage) readValues() {
	n := &v.counts
	n.values.Read(&v.push, func(i int) bool {
		class := n.classes[v.push.Metrics[i].Family].Class
		return class == rules.ClassCounter || class == rules.ClassEvidence
	})
}

// leave decides whether a metric leaves by its own class.
func (v *passage) leave(i int) {
	n := &v.counts
	family := v.push.Metrics[i].Family
	switch n.classes[family].Class {
	case rules.ClassEvent, rules.ClassDrop:
		n.ways[i] = leftOut
	case rules.ClassCounter:
		value := &n.values.All[i]
		if n.stays[family] || v.superseded(family) || v.verdicts[i] == nil || v.verdicts[i].fate.Act == wire.LeaveOut {
			return
		}
		if value.Native && len(value.Buckets) == 0 {
			return // native buckets are nothing that increments could carry
		}
		n.ways[i], n.any = counted, true
	}
}

// keepTogether has all parts of a histogram stay in the snapshot where one does.
func (n *counting) keepTogether() {
	for i := range n.classes {
		unit := n.classes[i].Unit
		if unit == "" || !n.stays[i] {
			continue
		}
		for j := range n.classes {
			n.stays[j] = n.stays[j] || n.classes[j].Unit == unit
		}
	}
}

// mayCount reports whether a family of counters may be added up here, and says
// so if not: it is totals or a snapshot for the whole guard, whichever it was
// first.
func (g *Guard) mayCount(v *passage, family int) bool {
	if g.route(v.entry) != toTotals {
		return true
	}
	f := &v.push.Families[family]
	name, kind := v.totalOf(family)
	if !g.cfg.Totals.Holds(name) && g.isSnapshot(v, name, kind) {
		v.noteFamily(finding.FamilyConflict, f.Name, "other jobs keep this family as a snapshot: have them enforced too, or give the family another name")
		return false
	}
	if !v.enforced() {
		return true
	}
	if err := g.cfg.Totals.Claim(name, kind); err != nil {
		v.noteFamily(finding.FamilyConflict, f.Name, err.Error()+"; give the family another name")
		return false
	}
	v.counts.held = append(v.counts.held, int32(family))
	return true
}

// release gives back the names that the push has claimed: those of what it has
// added up are totals' own by now.
func (g *Guard) release(v *passage) {
	for _, family := range v.counts.held {
		g.cfg.Totals.Release(v.totalOf(int(family)))
	}
}

// isSnapshot reports whether other jobs keep a family, or one that has a name of
// its samples, as a snapshot. Those that would have it added up do not count: each
// would wait for the other.
func (g *Guard) isSnapshot(v *passage, name string, kind counter.Kind) bool {
	heldByOthers := func(jobs ...string) bool {
		return slices.ContainsFunc(kind.Names(name), func(sample string) bool { return g.book.HeldByOthers(sample, jobs...) })
	}
	if !heldByOthers(v.job) {
		return false
	}
	return !v.enforced() || heldByOthers(g.leaving.with(name, v.job)...)
}

// totalOf is as what a family is added up.
func (v *passage) totalOf(family int) (string, counter.Kind) {
	if unit := v.counts.classes[family].Unit; unit != "" {
		return unit, counter.Histogram
	}
	f := &v.push.Families[family]
	return f.Name, kindOf(f.Type)
}

// isTotal reports whether a family that does not count here is added up for
// others, and says so.
func (g *Guard) isTotal(v *passage, family int) bool {
	f := &v.push.Families[family]
	if !g.cfg.Totals.Holds(f.Name) {
		return false
	}
	v.noteFamily(finding.FamilyConflict, f.Name, "the guard adds this family up for others, so it cannot be a snapshot: give it another name")
	return true
}

// noteShadowed says which counters the group still holds as a snapshot, from
// before they were added up: what adds to a group leaves there what it does not
// name.
func (g *Guard) noteShadowed(v *passage, grant *ledger.Grant) {
	if !v.counts.any || !v.enforced() || grant.Method == http.MethodPut {
		return
	}
	family := int32(-1)
	for i := range v.push.Metrics {
		at := v.push.Metrics[i].Family
		if at == family || v.counts.ways[i] != counted {
			continue
		}
		family = at
		if name := v.push.Families[at].Name; g.book.Holds(v.group, name) {
			v.noteFamily(finding.ShadowedCounter, name, "the group holds a copy of this counter from before it was added up, which stands for nothing any more: delete the group between two runs")
		}
	}
}

func (v *passage) noteFamily(id, family, fix string) {
	for _, f := range v.findings.All() {
		if f.ID == id && f.Metric == family {
			return
		}
	}
	v.note([]finding.Finding{{ID: id, Metric: strings.Clone(family), Count: 1, Fix: fix}}, false)
}

// noteClasses says which families leave for another reason than to be added up.
func (v *passage) noteClasses() {
	n := &v.counts
	for i := range n.classes {
		f := &v.push.Families[i]
		if f.Metrics == 0 {
			continue
		}
		c := &n.classes[i]
		switch {
		case c.Class == rules.ClassEvent:
			v.changed = true
			v.noteFamily(finding.EventFamily, f.Name, "the policy takes it for an event: what happened once belongs into a log")
		case c.Class == rules.ClassDrop:
			v.changed = true
			v.noteFamily(finding.DroppedFamily, f.Name, "the policy leaves this family out")
		case c.Lint == finding.GaugeNamedTotal:
			v.noteFamily(finding.GaugeNamedTotal, f.Name, "declare it a counter if it counts, or name it otherwise: a gauge is not added up")
		}
	}
}

func kindOf(t dto.MetricType) counter.Kind {
	switch t {
	case dto.MetricType_HISTOGRAM:
		return counter.Histogram
	case dto.MetricType_SUMMARY:
		return counter.Summary
	default:
		return counter.Counter
	}
}

// read makes the readings of the push, and claims their output series.
func (g *Guard) read(v *passage, e *epoch) {
	n := &v.counts
	g.hasher.Group(&n.raw, v.raw.Labels())
	g.hasher.Group(&n.output, v.group.Labels())
	n.claim.reset(v, v.group)
	n.claim.Totals, n.claim.Method = true, http.MethodPost
	process, run := v.began(), v.namesRun(v.raw.Labels())
	for i := range v.push.Metrics {
		family := v.push.Metrics[i].Family
		if n.ways[i] != counted || n.classes[family].Unit != "" {
			continue
		}
		said := v.verdicts[i]
		h := said.hashes(g.hasher, v.entry.Counters.RunLabels)
		value := &n.values.All[i]
		evidence := counter.Evidence{Created: value.Created, Process: process, Run: run || h.namesRun}
		if evidence.Created == 0 && len(n.created) > 0 {
			evidence.Created = n.created[createdAt{family, said.pushed.fingerprint}]
		}
		r := counter.Reading{Identity: n.raw.Of(&h.raw), Semantics: semantics(n.classes[family].Semantics)}
		r.Source, r.Began = evidence.Source(v.started)
		r.Output = g.outputs.series(n.output.Of(&h.output), func() *counter.Series { return v.series(i, said.fate.Labels) }, v.shape(i, value))
		n.fill(&r, value)
		n.add(r, int32(i), v.claimOutput(e, i, family))
	}
	g.readUnits(v, e, process, run)
	n.push = counter.Push{
		Group: n.raw.Identity(), Method: v.request.Method, Client: host(v.request.Client), Body: v.decoded,
		IdempotencyKey: v.request.Header.Get("Idempotency-Key"),
		IgnoreUnknown:  v.entry.Counters.UnknownFirst == policy.IgnoreFirst,
	}
}

func (n *counting) add(r counter.Reading, metric, claim int32) {
	n.readings = append(n.readings, r)
	n.metrics = append(n.metrics, metric)
	n.claims = append(n.claims, claim)
}

// fill takes the values of a metric; its buckets in the order of their bounds.
func (n *counting) fill(r *counter.Reading, value *wire.Reading) {
	r.Value, r.Count, r.Sum = value.Value, value.Count, value.Sum
	if r.Output.Kind != counter.Histogram {
		return
	}
	start := len(n.buckets)
	for _, b := range value.Buckets {
		n.buckets = append(n.buckets, b.Count)
	}
	r.Buckets = n.buckets[start:len(n.buckets):len(n.buckets)]
}

// shape sorts the buckets of a metric and returns what a series that takes it
// must be like.
func (v *passage) shape(i int, value *wire.Reading) shape {
	f := &v.push.Families[v.push.Metrics[i].Family]
	slices.SortFunc(value.Buckets, func(a, b wire.Bucket) int { return cmp.Compare(a.Bound, b.Bound) })
	value.Buckets = slices.CompactFunc(value.Buckets, func(a, b wire.Bucket) bool { return a.Bound == b.Bound })
	return shape{kindOf(f.Type), value.Buckets}
}

// series makes the output series of a metric with these labels.
func (v *passage) series(metric int, ls []labels.Label) *counter.Series {
	family := v.push.Metrics[metric].Family
	s := &counter.Series{
		Name: strings.Clone(v.push.Families[family].Name), Kind: kindOf(v.push.Families[family].Type),
		Help: v.push.Help(int(family)), Labels: v.outputLabels(ls),
	}
	for _, b := range v.counts.values.All[metric].Buckets {
		s.Bounds = append(s.Bounds, b.Bound)
	}
	return s
}

// outputLabels are the labels of a metric in its group, in memory of their own.
func (v *passage) outputLabels(ls []labels.Label) []labels.Label {
	var out []labels.Label
	for _, l := range v.group.Labels() {
		if l.Value != "" {
			out = append(out, labels.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		}
	}
	for _, l := range ls {
		if _, taken := v.group.Get(l.Name); !taken && l.Value != "" {
			out = append(out, labels.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		}
	}
	slices.SortFunc(out, func(a, b labels.Label) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// claimOutput claims the output series of a metric, once for all metrics that
// have the same.
func (v *passage) claimOutput(e *epoch, metric int, family int32) int32 {
	n := &v.counts
	fingerprint, values := v.verdicts[metric].output.in(v.group, e.verdicts.secret)
	at := claimedAt{family, fingerprint}
	if i, ok := n.claimed[at]; ok {
		return i
	}
	samples := v.push.Metrics[metric].Samples
	if v.push.Families[family].Type == dto.MetricType_SUMMARY {
		samples = 2 // its quantiles stay behind
	}
	return n.claimSeries(at, v.push.Families[family].Name, values, samples, int32(metric))
}

func (n *counting) claimSeries(at claimedAt, family string, values []wire.LabelValue, samples, metric int32) int32 {
	i := int32(len(n.claim.Metrics))
	c := &n.claim
	c.Metrics = append(c.Metrics, ledger.MetricClaim{
		Fingerprint: at.print, Values: values, Family: c.family(family), Samples: samples,
	})
	c.metrics = append(c.metrics, metric)
	if n.claimed == nil {
		n.claimed = map[claimedAt]int32{}
	}
	n.claimed[at] = i
	return i
}

// began is when the process of the push started, in nanoseconds; 0 if it does not
// say. It gathers what _created says of its siblings, too.
func (v *passage) began() int64 {
	n := &v.counts
	process := int64(0)
	for i := range v.push.Metrics {
		family := v.push.Metrics[i].Family
		if n.classes[family].Class != rules.ClassEvidence {
			continue
		}
		at := counter.Nanoseconds(n.values.All[i].Value)
		base, isCreated := strings.CutSuffix(v.push.Families[family].Name, "_created")
		switch {
		case !isCreated:
			process = at
		case v.verdicts[i] != nil:
			v.noteCreated(base, v.verdicts[i].pushed.fingerprint, at)
		}
	}
	return process
}

func (v *passage) noteCreated(base string, fingerprint uint64, at int64) {
	n := &v.counts
	if n.created == nil {
		n.created, n.byName = map[createdAt]int64{}, map[string]int32{}
	}
	if len(n.byName) == 0 {
		for i := range v.push.Families {
			n.byName[v.push.Families[i].Name] = int32(i)
		}
	}
	for _, name := range [...]string{base, base + "_total"} {
		if family, ok := n.byName[name]; ok {
			n.created[createdAt{family, fingerprint}] = at
		}
	}
}

func (v *passage) namesRun(ls []labels.Label) bool { return namesRun(v.entry.Counters.RunLabels, ls) }

// namesRun reports whether some label names one run; names are sorted.
func namesRun(names []string, ls []labels.Label) bool {
	return slices.ContainsFunc(ls, func(l labels.Label) bool {
		_, ok := slices.BinarySearch(names, l.Name)
		return ok && l.Value != ""
	})
}

func semantics(s rules.Semantics) counter.Semantics {
	switch s {
	case rules.Cumulative:
		return counter.Cumulative
	case rules.Delta:
		return counter.Delta
	default:
		return counter.Auto
	}
}

// host is an address without its port.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}

// unit is a histogram whose parts were pushed as families without a type.
type unit struct {
	first   int32
	labels  []labels.Label // after the rules, without le
	source  []labels.Label // as pushed, without le
	run     bool
	value   wire.Reading
	samples int32
}

// readUnits makes readings of the histograms that came in parts.
func (g *Guard) readUnits(v *passage, e *epoch, process int64, run bool) {
	n := &v.counts
	type at struct {
		name  string
		print uint64
	}
	units := map[at]*unit(nil)
	var order []*unit
	for i := range v.push.Metrics {
		family := v.push.Metrics[i].Family
		name := n.classes[family].Unit
		if n.ways[i] != counted || name == "" {
			continue
		}
		source, le := cutLe(v.verdicts[i].pushed.labels)
		if units == nil {
			units = map[at]*unit{}
		}
		k := at{name, wire.Fingerprint(e.verdicts.secret, source)}
		u := units[k]
		if u == nil {
			out, _ := cutLe(v.verdicts[i].fate.Labels)
			u = &unit{first: int32(i), labels: out, source: source, run: v.namesRun(source)}
			units[k] = u
			order = append(order, u)
		}
		u.take(v.push.Families[family].Name[len(name):], le, n.values.All[i].Value)
		u.samples++
	}
	for _, u := range order {
		g.readUnit(v, e, u, counter.Evidence{Process: process, Run: run || u.run})
	}
}

// take adds the value of one part.
func (u *unit) take(suffix, le string, value float64) {
	switch suffix {
	case "_sum":
		u.value.Sum = value
	case "_count":
		u.value.Count = value
	default:
		if bound, err := strconv.ParseFloat(le, 64); err == nil && !math.IsInf(bound, 1) {
			u.value.Buckets = append(u.value.Buckets, wire.Bucket{Bound: bound, Count: value})
		}
	}
}

func (g *Guard) readUnit(v *passage, e *epoch, u *unit, evidence counter.Evidence) {
	n := &v.counts
	family := v.push.Metrics[u.first].Family
	name := n.classes[family].Unit
	slices.SortFunc(u.value.Buckets, func(a, b wire.Bucket) int { return cmp.Compare(a.Bound, b.Bound) })
	raw, output := g.hasher.Metric(name, u.source), g.hasher.Metric(name, u.labels)
	r := counter.Reading{Identity: n.raw.Of(&raw), Semantics: semantics(n.classes[family].Semantics)}
	r.Source, r.Began = evidence.Source(v.started)
	r.Output = g.outputs.series(n.output.Of(&output), func() *counter.Series {
		s := &counter.Series{Name: strings.Clone(name), Kind: counter.Histogram, Labels: v.outputLabels(u.labels)}
		for _, b := range u.value.Buckets {
			s.Bounds = append(s.Bounds, b.Bound)
		}
		return s
	}, shape{counter.Histogram, u.value.Buckets})
	n.fill(&r, &u.value)
	fingerprint, values := wire.Print(e.verdicts.secret, v.group, u.labels, nil)
	at := claimedAt{n.unitFamily(name), fingerprint}
	claim, ok := n.claimed[at]
	if !ok {
		claim = n.claimSeries(at, name, values, u.samples, u.first)
	}
	n.add(r, u.first, claim)
}

// unitFamily is where the claims of a unit are kept: at its first family.
func (n *counting) unitFamily(name string) int32 {
	return int32(slices.IndexFunc(n.classes, func(c rules.Classified) bool { return c.Unit == name }))
}

// cutLe returns the labels without le, and its value.
func cutLe(ls []labels.Label) ([]labels.Label, string) {
	i := slices.IndexFunc(ls, isLe)
	if i < 0 {
		return ls, ""
	}
	out := make([]labels.Label, 0, len(ls)-1)
	return append(append(out, ls[:i]...), ls[i+1:]...), ls[i].Value
}

// admitCounters holds the output series of the push to the job's budget, and
// leads the increments of those without room to the one series for which there
// is some. The grant is nil if nothing is counted.
func (g *Guard) admitCounters(ctx context.Context, v *passage, e *epoch, book *ledger.Book) (*ledger.Grant, error) {
	n := &v.counts
	if len(n.readings) == 0 {
		return nil, nil
	}
	c := &n.claim
	c.Budget = e.budget(v.entry, v.started)
	g.capped(&c.Budget)
	c.Budget.PushesPerMinute = 0 // the push has been counted
	c.OverBudget, c.Others = ledger.Collapse, v.others(c, e)
	if v.entry.OnOverBudget == policy.RejectPush {
		c.OverBudget = ledger.Reject
	}
	grant, err := book.Admit(ctx, c.Claim)
	if err != nil {
		return nil, err
	}
	v.noteCounters(c, grant.Ruling)
	return grant, nil
}

// noteCounters leads increments where the ledger has room for them.
func (v *passage) noteCounters(c *claim, r ledger.Ruling) {
	v.traceRoom(r)
	if len(r.Trimmed)+len(r.Collapsed) == 0 {
		return
	}
	n := &v.counts
	instead := make(map[int32]*counter.Series, len(r.Trimmed)+len(r.Collapsed))
	for _, i := range r.Trimmed {
		instead[int32(i)] = nil
	}
	collapsed := map[string]int{}
	for _, x := range r.Collapsed {
		i := int32(x.Metric)
		s := *n.readings[slices.Index(n.claims, i)].Output
		s.Labels = slices.Clone(s.Labels)
		for _, value := range x.Values {
			name := v.labelNamed(c.metrics[i], c.Metrics[i].Values[value]).Name
			collapsed[name]++
			if at := slices.IndexFunc(s.Labels, func(l labels.Label) bool { return l.Name == name }); at >= 0 {
				s.Labels[at].Value = wire.Other
			}
		}
		instead[i] = &s
	}
	kept := 0
	for i := range n.readings {
		to, over := instead[n.claims[i]]
		if over && to == nil {
			continue
		}
		if over {
			n.readings[i].Output = to
		}
		n.readings[kept], n.metrics[kept], n.claims[kept] = n.readings[i], n.metrics[i], n.claims[i]
		kept++
	}
	n.readings, n.metrics, n.claims = n.readings[:kept], n.metrics[:kept], n.claims[:kept]
	v.changed = true
	v.note(v.excess(c, r.Excess), false)
	v.noteCollapsed(collapsed)
}

// difference turns the readings into increments, and keeps why a push is refused
// of which a counter has no value that a counter can have.
func (g *Guard) difference(v *passage) error {
	n := &v.counts
	if len(n.readings) == 0 {
		return nil
	}
	err := g.cfg.Counters.Difference(&n.added, n.readings, n.push)
	var bad *counter.ValueError
	if errors.As(err, &bad) {
		v.note([]finding.Finding{{
			ID: finding.CounterValue, Metric: strings.Clone(bad.Metric), Count: 1,
			Fix: bad.Reason + ": a counter only grows from 0",
		}}, true)
	}
	return err
}

// commitTime is how long a push waits, at most, until what it counted is kept.
const commitTime = 5 * time.Second

// commit books what the push added, once it was applied and while its client
// waits for the answer. In report only the baselines advance.
func (g *Guard) commit(ctx context.Context, v *passage) {
	n := &v.counts
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	var sink counter.Sink
	if v.enforced() {
		sink = g.sink(v.entry)
	}
	if err := n.added.Commit(ctx, sink); err != nil {
		g.logger.Warn("What a push counted may not survive the end of the process", "job", v.raw.Job(), "err", err)
	}
	n.committed = true
	if n.added.Periodic() {
		v.note([]finding.Finding{{
			ID: finding.PeriodicCounter, Count: len(n.readings),
			Fix: "these look like running totals that are added up again with every push: set semantics to cumulative for this job, or have the client send created timestamps",
		}}, false)
	}
}
