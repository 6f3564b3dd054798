package proxy

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
)

// mostVerdicts is how many metrics a push may have for their verdicts to be kept: those
// of more have no room in the share of a job, however light each is.
const mostVerdicts = fairShare / verdictWeight

// size is that of a push.
type size struct{ bytes, metrics int }

// unkept reports whether the push is so large that nothing which is decided about it is
// kept for the next: then a verdict is there only while somebody looks at it.
func (v *passage) unkept(c *verdicts) bool {
	return v.trace == nil && len(v.decoded) > c.kept.bytes && len(v.push.Metrics()) > c.kept.metrics
}

// judgePlain holds the metrics of a push that is not kept to the rules, and reports
// whether all of them pass as they came and nothing is said of any: then the push is
// plain, and has neither fates nor verdicts of its own.
func (v *passage) judgePlain(c *verdicts) bool {
	if !v.unkept(c) || v.safety != nil {
		return false
	}
	p := &v.push
	group := v.group.Labels()
	var ls []labels.Label
	metrics := p.Metrics()
	for i := range metrics {
		ls = p.View(ls[:0], i)
		if v.entry.Mode == policy.Open {
			continue
		}
		said := v.entry.Rules.Judge(group, p.Families[metrics[i].Family].Name, ls)
		if said.Outcome != rules.Permitted || len(said.Findings) > 0 || len(said.Events) > 0 {
			return false
		}
	}
	v.askPlain(c)
	v.plain, v.reclaims, v.secret = true, len(v.decoded) >= c.reclaimed, c.secret
	return true
}

// askPlain tells the estimator of the values of a plain push.
func (v *passage) askPlain(c *verdicts) {
	var ls []labels.Label
	v.asked = v.asked[:0]
	for i := range v.push.Metrics() {
		ls = v.push.View(ls[:0], i)
		if v.asked = c.asked(v.asked, ls); len(v.asked) > maxAsked {
			c.demand.Add(v.job, v.asked)
			v.asked = v.asked[:0]
		}
	}
	v.ask(c)
}

// verdict is what was decided about a metric, nil if that is safety's alone. Of a plain
// push it is made anew, unless it was asked for last.
func (v *passage) verdict(metric int) *verdict {
	if !v.plain {
		return v.verdicts[metric]
	}
	if v.latest == nil || v.latestOf != metric {
		v.latest, v.latestOf = judge(v.entry, v.group, v.secret, &v.push, metric, v.nameOf(v.push.Metrics()[metric].Family)), metric
	}
	return v.latest
}

// leaveOut has a metric not go on.
func (v *passage) leaveOut(metric int) {
	if len(v.fates) == 0 { // of a plain push, until one of them is another
		v.own.fates = append(v.own.fates, make([]wire.Fate, len(v.push.Metrics()))...)
		v.fates = v.own.fates
		for i := range v.fates {
			v.fates[i].Act = wire.Pass
		}
	}
	v.ownFates()
	v.fates[metric] = wire.Fate{Act: wire.LeaveOut}
}

// plainPrints makes the prints of the metrics of a plain push for a claim. Metrics of
// different families mostly have the same labels: their values are kept once.
type plainPrints struct {
	v      *passage
	claim  *claim
	secret uint64
	ls     []labels.Label
	values []wire.LabelValue
	shared map[uint64]int32
}

// mostShared is how many different sets of values are looked for.
const mostShared = 4096

func (s *plainPrints) of(metric int) (fingerprint uint64, values int32) {
	s.ls = s.v.push.View(s.ls[:0], metric)
	start := len(s.values)
	fingerprint, s.values = wire.Print(s.secret, s.claim.Group, s.ls, s.values)
	if known, ok := s.shared[fingerprint]; ok {
		s.values = s.values[:start]
		return fingerprint, known
	}
	values = s.claim.AddValues(s.values[start:len(s.values):len(s.values)])
	if len(s.shared) < mostShared {
		s.shared[fingerprint] = values
	}
	return fingerprint, values
}

// claimedPlain is claimed for a plain push.
func (v *passage) claimedPlain(c *claim, e *epoch, fates []wire.Fate) {
	prints := plainPrints{v: v, claim: c, secret: e.verdicts.secret, shared: map[uint64]int32{}}
	c.grow(len(v.push.Metrics()), len(v.push.Families))
	v.claimEach(c, fates, prints.of)
}

// grow makes room for a large claim, which is empty yet.
func (c *claim) grow(metrics, families int) {
	c.Metrics, c.Families = slices.Grow(c.Metrics, metrics), slices.Grow(c.Families, families)
}

// unfold has a plain push have the fates and verdicts of any other.
func (v *passage) unfold() {
	if !v.plain {
		return
	}
	v.fates, v.verdicts = v.own.make(len(v.push.Metrics()))
	for i := range v.verdicts {
		v.verdicts[i] = v.verdict(i)
		if v.fates[i] = v.verdicts[i].fate; v.apart(i) {
			v.fates[i] = wire.Fate{Act: wire.LeaveOut}
		}
	}
	v.plain, v.reclaims = false, false
}
