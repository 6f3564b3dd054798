package proxy

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
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

// claim is what a push wants of a book, whose metrics are known by their indices into
// Push.Metrics.
type claim struct {
	ledger.Claim
	slots []int32          // by family of the push: which of Families it is, from 1; 0 is none yet
	names map[string]int32 // of Families, where what is claimed is no family of the push
}

// reset fills in what both books are asked alike.
func (c *claim) reset(v *passage, group wire.Key) {
	c.Claim = ledger.Claim{
		Group: group, Raw: v.raw, Method: v.request.Method, Job: v.job, Entry: payer(v.entry),
		Families: c.Families[:0], Metrics: c.Metrics[:0], Values: c.Values[:0], Success: c.Success[:0],
	}
	clear(c.names)
}

// wanted is what pushes of a known shape claim, of groups whose labels none of its metrics
// has. It is immutable.
type wanted struct {
	families []string
	metrics  []ledger.MetricClaim
	values   [][]wire.LabelValue
	success  []int32
	sorting  ledger.Sorting
}

// wantedBytes is how much memory it takes for each metric, at the most.
const wantedBytes = 16 + 24 + 24 + 4 + ledger.SortedBytes

// wanted keeps what a claim wants.
func (c *claim) wanted() *wanted {
	return &wanted{
		families: slices.Clone(c.Families), metrics: slices.Clone(c.Metrics),
		values: slices.Clone(c.Values), success: slices.Clone(c.Success),
	}
}

// want has a claim that was reset want that. Its tables are not to be written to.
func (c *claim) want(w *wanted) {
	c.Families, c.Metrics, c.Values, c.Success, c.Sorting = w.families, w.metrics, w.values, w.success, &w.sorting
}

// claimed makes the claim of a push: as enforcement would have it, or as it came.
func (v *passage) claimed(e *epoch, enforced bool) *claim {
	group := v.raw
	if enforced {
		group = v.group
	}
	apart := v.known != nil && v.known.apartFrom(group)
	if !apart || enforced && !v.borrows() {
		v.claimMetrics(group, e, enforced, apart)
		return &v.claim
	}
	kept := v.known.claim(enforced)
	w := kept.Load()
	if w == nil {
		v.claimMetrics(group, e, enforced, apart)
		w = v.claim.wanted()
		kept.Store(w)
	}
	v.lent.reset(v, group)
	v.lent.want(w)
	return &v.lent
}

// claimMetrics claims what goes on of the metrics, one by one. Apart says that none has a
// label of the group.
func (v *passage) claimMetrics(group wire.Key, e *epoch, enforced, apart bool) {
	c, fates := &v.claim, v.safety
	if enforced {
		fates = v.fates
	}
	c.reset(v, group)
	if v.plain {
		v.claimedPlain(c, e, fates)
		return
	}
	v.claimEach(c, fates, func(i int) (uint64, int32) {
		p := &v.verdicts[i].pushed
		if enforced {
			p = &v.verdicts[i].output
		}
		if apart {
			return p.fingerprint, c.AddValues(p.values)
		}
		fingerprint, values := p.in(group, e.verdicts.secret)
		return fingerprint, c.AddValues(values)
	})
}

// claimEach claims the metrics that go on, as print prints them: by their fingerprints,
// and which of the claim's label values are theirs.
func (v *passage) claimEach(c *claim, fates []wire.Fate, print func(metric int) (fingerprint uint64, values int32)) {
	c.slots = append(c.slots[:0], make([]int32, len(v.push.Families))...)
	metrics := v.push.Metrics()
	for i := range metrics {
		if len(fates) > 0 && fates[i].Act == wire.LeaveOut {
			continue
		}
		m := &metrics[i]
		slot := &c.slots[m.Family]
		if *slot == 0 {
			if v.superseded(m.Family) {
				continue
			}
			*slot = 1 + c.add(v.push.Families[m.Family].Name)
		}
		fingerprint, values := print(i)
		c.Metrics = append(c.Metrics, ledger.MetricClaim{
			Fingerprint: fingerprint, Values: values, Family: *slot - 1, Samples: m.Samples, Metric: int32(i),
		})
	}
}

// add claims a family, and returns which of Families it is.
func (c *claim) add(name string) int32 {
	slot := int32(len(c.Families))
	c.Families = append(c.Families, name)
	if strings.Contains(name, lastSuccess) {
		c.Success = append(c.Success, slot)
	}
	return slot
}

// family returns which of Families has a name, and claims it if none has.
func (c *claim) family(name string) int32 {
	slot, ok := c.names[name]
	if ok {
		return slot
	}
	if c.names == nil {
		c.names = map[string]int32{}
	}
	slot = c.add(name)
	c.names[name] = slot
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
