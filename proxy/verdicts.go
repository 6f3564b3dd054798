package proxy

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// verdictBytes bounds what all cached verdicts weigh together, and fairShare
	// what one job's may before they make room for themselves: an explosion of
	// one job's labels turns over its own verdicts, never its neighbours'.
	verdictBytes = 64 << 20
	fairShare    = verdictBytes / 16
	verdictJobs  = 4096
	// verdictWeight is what a verdict weighs beside its labels and bytes.
	verdictWeight = 256
)

// verdict is what the rules decided about one metric, ready to be applied.
type verdict struct {
	identity string // compared in full: a hash alone decides nothing
	family   string
	fate     wire.Fate
	findings []finding.Finding
	rejected bool
	events   []string // the rules for which it leaves a record
	// pushed and output are the metric before and after the rules as a ledger
	// counts it.
	pushed, output print
	// counted is what tells the metric from others where it adds up.
	counted atomic.Pointer[hashes]
	counts  bool // it may be asked for
	// fed is the generation in which demand was told of the metric, from 1.
	// Guarded by the table.
	fed uint32
}

func (v *verdict) weight() int {
	n := verdictWeight + len(v.identity) + len(v.family) + len(v.fate.Block) + len(v.fate.Fields)
	for _, l := range v.fate.Labels {
		n += len(l.Name) + len(l.Value) + 32
	}
	n += 32 * (len(v.pushed.labels) + len(v.pushed.values) + len(v.output.values))
	if v.counts { // for counted
		n += 48 * (len(v.pushed.labels) + len(v.fate.Labels))
	}
	for _, f := range v.findings {
		n += 128 + len(f.Sample) + len(f.Fix)
	}
	return n
}

// verdicts caches the verdicts of one policy by job, or by group where the rules
// read the grouping key, and encoding. Rules are pure, so a verdict holds as long
// as its policy does. Safe for concurrent use.
type verdicts struct {
	seed   maphash.Seed
	secret uint64 // of fingerprints
	demand *demand.Estimator
	// asProtobuf has verdicts about text keep what it takes to send them on as protobuf.
	asProtobuf bool
	// kept is the size beyond which a push has no verdicts that stay.
	kept size
	// reclaimed is the size from which on a plain push makes room as it goes.
	reclaimed int

	mu     sync.Mutex
	tables *lru.Cache[tableKey, *verdictTable]
	bytes  int
}

type tableKey struct {
	entry int
	// job is the job's name; byGroup makes it the ID of the group.
	job      string
	byGroup  bool
	encoding wire.Encoding
}

// verdictTable holds the verdicts of one job in two generations: when the young
// one is full, the old one goes. What is pushed again and again stays.
type verdictTable struct {
	mu         sync.Mutex
	young, old map[uint64]*verdict
	youngBytes int
	oldBytes   int

	// Guarded by verdicts.mu.
	bytes   int
	evicted bool
}

func newVerdicts(secret uint64, d *demand.Estimator, asProtobuf bool) *verdicts {
	c := &verdicts{seed: maphash.MakeSeed(), secret: secret, demand: d, asProtobuf: asProtobuf, kept: size{largestKnown, mostVerdicts}, reclaimed: reclaimedBody}
	// The error is for a size that is not positive.
	c.tables, _ = lru.NewWithEvict(verdictJobs, func(_ tableKey, t *verdictTable) {
		c.bytes -= t.bytes
		t.evicted = true
	})
	return c
}

// table returns the job's table, locked; the caller unlocks it.
func (c *verdicts) table(k tableKey) *verdictTable {
	c.mu.Lock()
	t, ok := c.tables.Get(k)
	if !ok {
		k.job = strings.Clone(k.job) // it is a part of a request's path
		t = &verdictTable{young: map[uint64]*verdict{}, bytes: len(k.job)}
		c.tables.Add(k, t)
		c.bytes += t.bytes
	}
	c.mu.Unlock()
	t.mu.Lock()
	return t
}

// get finds the verdict about a metric, nil if there is none.
func (t *verdictTable) get(h uint64, family string, identity string) *verdict {
	v, young := t.young[h]
	if !young {
		v = t.old[h]
	}
	if v == nil || v.family != family || v.identity != identity {
		return nil
	}
	if !young {
		w := v.weight()
		delete(t.old, h)
		t.young[h] = v
		t.oldBytes -= w
		t.youngBytes += w
	}
	return v
}

// put keeps a verdict, and lets go of this table's old ones first, of other
// jobs' only when all together weigh too much.
func (c *verdicts) put(t *verdictTable, h uint64, v *verdict) {
	w, freed := v.weight(), 0
	if t.youngBytes+w > fairShare/2 {
		freed = t.oldBytes
		t.old, t.oldBytes = t.young, t.youngBytes
		t.young, t.youngBytes = map[uint64]*verdict{}, 0
	}
	if t.oldBytes > fairShare { // all of it came back to life: it is pushed whole, and too large
		freed += t.oldBytes
		t.old, t.oldBytes = nil, 0
	}
	if was, ok := t.young[h]; ok { // two identities met in one hash
		freed += was.weight()
		t.youngBytes -= was.weight()
	}
	t.young[h] = v
	t.youngBytes += w
	c.account(t, w-freed)
}

func (c *verdicts) account(t *verdictTable, delta int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.evicted {
		return
	}
	t.bytes += delta
	c.bytes += delta
	for c.bytes > verdictBytes && c.tables.Len() > 1 {
		c.tables.RemoveOldest()
	}
}

// judge decides about one metric whose verdict is not cached. The name is that of its family.
func judge(entry *policy.Entry, group wire.Key, secret uint64, p *wire.Push, metric int, name string) *verdict {
	m := &p.Metrics()[metric]
	v := &verdict{identity: strings.Clone(m.Identity), family: name}
	v.counts = counts(&p.Families[m.Family])
	ls := p.Labels(make([]labels.Label, 0, 8), metric)
	v.pushed = newPrint(secret, ls)
	if entry.Mode == policy.Open {
		v.fate, v.output = wire.Fate{Act: wire.Pass, Labels: ls}, v.pushed
		return v
	}
	said := entry.Rules.Judge(group.Labels(), v.family, ls)
	v.findings, v.events = said.Findings, said.Events
	v.fate = wire.Fate{Act: wire.Pass, Labels: said.Labels, Output: wire.Fingerprint(secret, said.Labels)}
	switch said.Outcome {
	case rules.Permitted:
		v.output = v.pushed
	case rules.Rewritten:
		v.fate.Act, v.fate.Gauges = wire.Relabel, joining(said.Gauges)
		v.fate.Block = wire.AppendLabels(nil, p.Encoding, said.Labels)
		v.output = newPrint(secret, said.Labels)
	case rules.LeftOut:
		v.fate = wire.Fate{Act: wire.LeaveOut}
	default:
		v.fate = wire.Fate{Act: wire.LeaveOut}
		v.rejected = true
	}
	return v
}

// keepFields keeps the labels of a metric of text as protobuf has them.
func (v *verdict) keepFields() {
	switch v.fate.Act {
	case wire.Pass:
		v.fate.Fields = wire.AppendLabels(nil, wire.Protobuf, v.pushed.labels)
	case wire.Relabel:
		v.fate.Fields = wire.AppendLabels(nil, wire.Protobuf, v.fate.Labels)
	}
}

func joining(word rules.Gauges) wire.Joining {
	switch word {
	case rules.Max:
		return wire.JoinMax
	case rules.Min:
		return wire.JoinMin
	case rules.Sum:
		return wire.JoinSum
	default:
		return wire.JoinLast
	}
}
