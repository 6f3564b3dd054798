package proxy

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// classify finds out what of the push adds up and what only says when that
// began, and takes it out of the snapshot, where the policy is enforced.
func (g *Guard) classify(v *passage) {
	n := &v.counts
	if v.entry.Mode == policy.Open || v.refused() {
		return
	}
	v.classes()
	n.stays = append(n.stays, make([]bool, len(n.classes))...)
	n.taken = append(n.taken, make([]bool, len(n.classes))...)
	routed := v.entry.Counters.Route != policy.RouteSnapshot
	for i := range n.classes {
		switch isCounter := n.classes[i].Class == rules.ClassCounter; {
		case v.push.Families[i].Metrics == 0, v.superseded(int32(i)):
		case isCounter && routed:
			n.stays[i] = !g.mayCount(v, i)
			n.taken[i] = n.stays[i] && g.clashes(v, i)
		default:
			n.stays[i] = isCounter
			n.taken[i] = g.isTotal(v, i)
		}
	}
	if !v.stays() {
		v.takeOut(g.seed)
	}
	v.noteClasses()
	v.traceClasses(g)
	if g.route(v.entry) == toSnapshot {
		v.noteSharedCounters()
	}
}

// stays reports whether every metric stays in the snapshot, by the classes of the families.
func (v *passage) stays() bool {
	n := &v.counts
	if v.push.Encoding != wire.Text { // what is superseded leaves
		return false
	}
	for i := range n.classes {
		switch n.classes[i].Class {
		case rules.ClassCounter:
			if !n.stays[i] && v.push.Families[i].Metrics > 0 {
				return false
			}
		case rules.ClassEvidence, rules.ClassEvent, rules.ClassDrop:
			return false
		}
		if n.taken[i] {
			return false
		}
	}
	return true
}

// takeOut takes metrics out of the snapshot, each by the class of its family.
func (v *passage) takeOut(secret uint64) {
	n := &v.counts
	n.ways = append(n.ways, make([]leaves, len(v.push.Metrics()))...)
	v.keepFaults(secret)
	n.keepTogether()
	v.readValues()
	v.keepCreations()
	metrics := v.push.Metrics()
	for i := range metrics {
		v.leave(i)
	}
	for i := range metrics {
		family := metrics[i].Family
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
			v.leaveOut(i)
		}
	}
}

// classes asks the policy for the class of each family.
func (v *passage) classes() {
	n := &v.counts
	buckets := false
	n.families = slices.Grow(n.families, len(v.push.Families))
	for i := range v.push.Families {
		f := &v.push.Families[i]
		n.families = append(n.families, rules.Family{Name: f.Name, Type: f.Type})
		buckets = buckets || f.Type == dto.MetricType_UNTYPED && strings.HasSuffix(f.Name, "_bucket")
	}
	if buckets {
		metrics := v.push.Metrics()
		for i := range metrics {
			f := &n.families[metrics[i].Family]
			f.Le = f.Le || f.Type == dto.MetricType_UNTYPED && slices.ContainsFunc(v.verdict(i).labels(), isLe)
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
// push: with a series that came twice, or is there twice once the group's labels have
// taken the place of its own, or with a timestamp. They are not to slip by.
func (v *passage) keepFaults(secret uint64) {
	n := &v.counts
	n.seen = n.seen[:0]
	apart := v.known != nil && v.known.apartFrom(v.group)
	metrics := v.push.Metrics()
	for i := range metrics {
		m := &metrics[i]
		if n.classes[m.Family].Class != rules.ClassCounter {
			continue
		}
		said := v.verdict(i)
		if said == nil {
			continue
		}
		if v.push.Stamped(i) {
			n.stays[m.Family] = true
		}
		fingerprint := said.pushed.fingerprint
		if !apart {
			fingerprint, _ = said.pushed.in(v.group, secret)
		}
		n.seen = append(n.seen, familySeries{m.Family, fingerprint})
	}
	slices.SortFunc(n.seen, familySeries.compare)
	for i := 1; i < len(n.seen); i++ {
		if n.seen[i] == n.seen[i-1] {
			n.stays[n.seen[i].family] = true
		}
	}
}

// readValues reads what may be counted, and what says when that began.
func (v *passage) readValues() {
	n := &v.counts
	hasValue := func(c rules.Classified) bool { return c.Class == rules.ClassCounter || c.Class == rules.ClassEvidence }
	if slices.ContainsFunc(n.classes, hasValue) {
		n.values.Read(&v.push, func(i int) bool { return hasValue(n.classes[v.push.Metrics()[i].Family]) })
	}
}

// keepCreations keeps a family in the snapshot that is called as what tells when a
// sibling began, and is something else, such as how many orders were created.
func (v *passage) keepCreations() {
	n := &v.counts
	metrics := v.push.Metrics()
	for i := range metrics {
		family := metrics[i].Family
		c := &n.classes[family]
		if c.Class == rules.ClassEvidence && strings.HasSuffix(v.push.Families[family].Name, "_created") && !counter.IsCreation(n.values.All[i].Value, v.started) {
			c.Class, c.Reason = rules.ClassSnapshot, "named as a beginning, with values that are no times"
		}
	}
}

// leave decides whether a metric leaves by its own class.
func (v *passage) leave(i int) {
	n := &v.counts
	family := v.push.Metrics()[i].Family
	switch n.classes[family].Class {
	case rules.ClassEvent, rules.ClassDrop:
		n.ways[i] = leftOut
	case rules.ClassCounter:
		value := &n.values.All[i]
		if n.stays[family] || v.superseded(family) {
			return
		}
		if !v.plain && (v.verdicts[i] == nil || v.verdicts[i].fate.Act == wire.LeaveOut) {
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
	var stay map[string]bool
	for i := range n.classes {
		if unit := n.classes[i].Unit; unit != "" && n.stays[i] {
			if stay == nil {
				stay = map[string]bool{}
			}
			stay[unit] = true
		}
	}
	for i := range n.classes {
		n.stays[i] = n.stays[i] || stay[n.classes[i].Unit]
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
