package proxy

import (
	"hash/maphash"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// judge finds the fate of every metric.
func (v *passage) judge(e *epoch) {
	if v.known != nil {
		v.judgeKnown(e)
		return
	}
	v.leaveOutReserved()
	if v.entry.Mode != policy.Open {
		v.noteExpired()
		v.judgeLimits()
	}
	explodes := v.refused() && v.enforced() // which costs no more than to count it
	switch {
	case explodes && v.trace == nil, !explodes && v.judgePlain(e.verdicts):
		return
	}
	v.fates, v.verdicts = v.own.make(len(v.push.Metrics()))
	for i := range v.safety {
		if v.safety[i].Act == wire.LeaveOut {
			v.fates[i].Act = wire.LeaveOut
		}
	}
	if !explodes {
		v.judgeMetrics(e.verdicts)
	}
}

// decided is memory for what was decided about the metrics of a push.
type decided struct {
	fates    []wire.Fate
	verdicts []*verdict
}

// make returns room for so many metrics, none of them decided about.
func (d *decided) make(metrics int) ([]wire.Fate, []*verdict) {
	d.fates = append(d.fates[:0], make([]wire.Fate, metrics)...)
	d.verdicts = append(d.verdicts[:0], make([]*verdict, metrics)...)
	return d.fates, d.verdicts
}

func (d *decided) reset() {
	clear(d.fates)
	clear(d.verdicts)
	d.fates, d.verdicts = d.fates[:0], d.verdicts[:0]
}

// borrows reports whether the fates are those of a known shape: they are not written to.
func (v *passage) borrows() bool { return v.known != nil && len(v.own.fates) == 0 }

// ownFates has the fates be the passage's own, for one of them to change.
func (v *passage) ownFates() {
	if v.borrows() {
		v.own.fates = append(v.own.fates, v.fates...)
		v.fates = v.own.fates
	}
}

// leaveOutReserved takes out the families that the Pushgateway writes itself, in
// every mode.
func (v *passage) leaveOutReserved() {
	metrics := v.push.Metrics()
	for i := range metrics {
		name := v.push.Families[metrics[i].Family].Name
		if !wire.Reserved(name) {
			continue
		}
		if v.safety == nil {
			v.safety = make([]wire.Fate, len(v.push.Metrics()))
			for i := range v.safety {
				v.safety[i].Act = wire.Pass
			}
		}
		v.safety[i].Act = wire.LeaveOut
		v.changed = true
		v.findings.Add(finding.Finding{
			ID: finding.ReservedFamily, Metric: strings.Clone(name), Count: 1,
			Fix: "do not push it: the gateway writes this metric for every group itself",
		})
	}
}

// judgeLimits holds the push as a whole to the limits of its entry.
func (v *passage) judgeLimits() {
	found := v.entry.Rules.JudgePush(v.push.Expanded)
	if limit := v.entry.Rules.Limits().BodySize; limit > 0 && int64(len(v.decoded)) > limit {
		found = append(found, finding.Finding{
			ID: finding.BodySizeLimit, Count: len(v.decoded), Limit: int(limit),
			Fix: "push fewer or smaller series, or have body_size_limit raised",
		})
	}
	v.note(found, true)
}

// judgeMetrics holds each metric that safety lets pass to the rules, or takes over what
// they said of the same one before. The table is locked for all of them at once.
func (v *passage) judgeMetrics(c *verdicts) {
	p := &v.push
	table := c.table(v.table(p.Encoding))
	defer table.mu.Unlock()
	family, hash := int32(-1), uint64(0)
	generation := c.demand.Generation()
	v.asked = v.asked[:0]
	metrics := p.Metrics()
	for i := range metrics {
		if v.fates[i].Act != 0 {
			continue
		}
		m := &metrics[i]
		f := &p.Families[m.Family]
		if m.Family != family {
			family, hash = m.Family, maphash.String(c.seed, f.Name)
		}
		h := hash ^ maphash.String(c.seed, m.Identity)
		said := table.get(h, f.Name, m.Identity)
		if said == nil {
			said = judge(v.entry, v.group, c.secret, p, i, v.nameOf(m.Family))
			if c.asProtobuf && p.Encoding == wire.Text && v.enforced() {
				said.keepFields()
			}
			c.put(table, h, said)
		}
		if said.fed != generation {
			said.fed = generation
			if v.asked = c.asked(v.asked, said.pushed.labels); len(v.asked) > maxAsked {
				c.demand.Add(v.job, v.asked)
				v.asked = v.asked[:0]
			}
		}
		v.fates[i], v.verdicts[i] = said.fate, said
		v.changed = v.changed || said.fate.Act != wire.Pass
		v.note(said.findings, said.rejected)
		v.traceMetric(i, said)
	}
	v.ask(c)
}

// ask tells the estimator which label values the job wants, those of the grouping
// key among them.
func (v *passage) ask(c *verdicts) {
	v.asked = c.asked(v.asked, v.raw.Labels())
	c.demand.Add(v.job, v.asked)
}

// asked appends label values as the estimator takes them.
func (c *verdicts) asked(dst []demand.Value, ls []labels.Label) []demand.Value {
	for _, l := range ls {
		if l.Value != "" {
			dst = append(dst, demand.Value{Label: l.Name, Hash: maphash.Comparable(c.seed, l), Text: l.Value})
		}
	}
	return dst
}
