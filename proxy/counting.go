package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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
	taken    []bool             // by family: it does not count here, and others have its name for totals
	ways     []leaves           // by metric
	any      bool               // some metric is counted

	values  wire.Readings
	created map[familySeries]int64
	byName  map[string]int32
	raw     counter.GroupHash // as the client sent it
	output  counter.GroupHash // as the policy made it

	readings []counter.Reading
	metrics  []int32 // of the push, the first for each reading
	claims   []int32 // indices into claim.Metrics, one for each reading
	buckets  []float64
	claim    claim
	claimed  map[familySeries]int32
	seen     []familySeries // of the families that may count
	added    counter.Increments
	push     counter.Push

	held      []int32  // families whose names are claimed for totals
	helps     []string // of the push's families; filled by helpOf
	committed bool
	forgets   bool // a client deletes its group
}

// familySeries is a series of a family of the push, by its fingerprint.
type familySeries struct {
	family int32
	print  uint64
}

func (s familySeries) compare(o familySeries) int {
	return cmp.Or(cmp.Compare(s.family, o.family), cmp.Compare(s.print, o.print))
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
	clear(n.helps)
	n.helps = n.helps[:0]
	n.push, n.committed, n.forgets = counter.Push{}, false, false
}

// apart reports whether a metric leaves the snapshot otherwise than by a rule.
func (v *passage) apart(metric int) bool {
	return metric < len(v.counts.ways) && v.counts.ways[metric] != 0
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
	g.tighten(v, &c.Budget)
	c.Budget.PushesPerMinute = 0 // the push has been counted
	c.OverBudget, c.Others = ledger.Collapse, v.others(c, e)
	if v.entry.OnOverBudget == policy.RejectPush {
		c.OverBudget = ledger.Reject
	}
	grant, err := v.admit(ctx, book, c.Claim)
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
	replaced := make(map[int32][]string, len(r.Trimmed)+len(r.Collapsed)) // labels, by claim; nil: it is left out
	for _, i := range r.Trimmed {
		replaced[int32(i)] = nil
	}
	collapsed := map[string]int{}
	for _, x := range r.Collapsed {
		names := make([]string, len(x.Values))
		for i, value := range x.Values {
			names[i] = v.labelNamed(c, x.Metric, value).Name
			collapsed[names[i]]++
		}
		replaced[int32(x.Metric)] = names
	}
	others := map[*counter.Series]*counter.Series{}
	kept := 0
	for i := range n.readings {
		names, over := replaced[n.claims[i]]
		if over && names == nil {
			continue
		}
		if over {
			n.readings[i].Output = otherOf(n.readings[i].Output, names, others)
		}
		n.readings[kept], n.metrics[kept], n.claims[kept] = n.readings[i], n.metrics[i], n.claims[i]
		kept++
	}
	n.readings, n.metrics, n.claims = n.readings[:kept], n.metrics[:kept], n.claims[:kept]
	v.changed = true
	v.note(v.excess(c, r.Excess), false)
	v.noteCollapsed(collapsed)
}

// otherOf is the series for which there is room where there is none for s: with
// wire.Other for the labels of these names. Each is made once, and is of the bounds of s:
// of one claim there may be histograms of several.
func otherOf(s *counter.Series, names []string, made map[*counter.Series]*counter.Series) *counter.Series {
	if made[s] == nil {
		other := *s
		other.Labels = slices.Clone(s.Labels)
		for i := range other.Labels {
			if slices.Contains(names, other.Labels[i].Name) {
				other.Labels[i].Value = wire.Other
			}
		}
		made[s] = &other
	}
	return made[s]
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

// commitTime is how long a push waits, at most, until what it counted is kept, and as
// long until what was booked of it is.
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
	v.traceCommit(sink)
	if v.foresees() {
		n.added.Foresee()
	} else if err := n.added.Commit(ctx, sink); err != nil {
		g.warn.uncounted.Log(g.logger, "What a push counted may not survive the end of the process", "job", v.raw.Job(), "err", err)
	}
	n.committed = true
	if n.added.Periodic() {
		v.note([]finding.Finding{{
			ID: finding.PeriodicCounter, Count: len(n.readings),
			Fix: "these look like running totals that are added up again with every push: set semantics to cumulative for this job, or have the client send created timestamps",
		}}, false)
	}
}
