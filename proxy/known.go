package proxy

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// knownBytes bounds what all known shapes weigh together, and knownOfJob how many
	// a job has: an explosion of one job's bodies turns over its own alone.
	knownBytes = 64 << 20
	knownOfJob = 4
	// mostNames is how many label names of a shape are remembered.
	mostNames = 64
	// largestKnown is the largest body that is remembered: of what is larger a few
	// would push all others out.
	largestKnown = 256 << 10
)

// known is a shape of bodies and what the rules decided about its metrics. It is
// immutable but for what is atomic.
type known struct {
	shape    *wire.Shape
	fates    []wire.Fate
	verdicts []*verdict
	findings []finding.Finding
	changed  bool
	distinct bool     // no rule can make two of its metrics equal
	names    []string // of the labels of its metrics, before the rules and after them
	asked    []demand.Value
	fed      atomic.Uint32 // the generation in which demand was told of them
	memo     gateway.Memo
	mould    *wire.Mould // of what goes on as protobuf; nil where each push is written by itself
	// pushed and ruled are what is claimed: as it came, and as the rules have it.
	pushed, ruled atomic.Pointer[wanted]
}

func (k *known) weight() int {
	return k.shape.Size() + k.mould.Size() + (112+2*wantedBytes)*len(k.fates) + 128*len(k.findings)
}

// claim is where what is claimed is kept.
func (k *known) claim(enforced bool) *atomic.Pointer[wanted] {
	if enforced {
		return &k.ruled
	}
	return &k.pushed
}

// knowns remembers shapes by job, as verdicts are: of one policy. It is safe for
// concurrent use.
type knowns struct {
	seed maphash.Seed

	mu    sync.Mutex
	jobs  *lru.Cache[tableKey, *knownJob]
	bytes int
}

// knownJob are the shapes of a job, the latest first, and the hash of the last body
// that had none of them: what came once is not remembered.
type knownJob struct {
	shapes []*known
	seen   uint64
	bytes  int
}

func newKnowns() *knowns {
	c := &knowns{seed: maphash.MakeSeed()}
	// The error is for a size that is not positive.
	c.jobs, _ = lru.NewWithEvict(verdictJobs, func(_ tableKey, j *knownJob) { c.bytes -= j.bytes })
	return c
}

// of returns the shapes that a job is known by.
func (c *knowns) of(k tableKey) []*known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if j, ok := c.jobs.Get(k); ok {
		return j.shapes
	}
	return nil
}

// again reports whether a body of this hash came before, and remembers that it did.
func (c *knowns) again(k tableKey, hash uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := c.jobs.Get(k)
	if !ok {
		j = &knownJob{}
		c.jobs.Add(k.cloned(), j)
	}
	before := j.seen
	j.seen = hash
	return before == hash
}

// learn keeps a shape. The oldest of the job goes, and other jobs' only where all
// together are too large.
func (c *knowns) learn(k tableKey, n *known) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := c.jobs.Get(k)
	if !ok {
		return // it was pushed out meanwhile
	}
	shapes := append(make([]*known, 0, knownOfJob+1), n)
	shapes = append(shapes, j.shapes...)
	grown := n.weight()
	if len(shapes) > knownOfJob {
		grown -= shapes[knownOfJob].weight()
		shapes = shapes[:knownOfJob]
	}
	j.shapes = shapes // what others read meanwhile stays as it was
	j.bytes += grown
	for c.bytes += grown; c.bytes > knownBytes && c.jobs.Len() > 1; {
		c.jobs.RemoveOldest()
	}
}

// cloned is the key without the request's memory.
func (k tableKey) cloned() tableKey {
	k.job = strings.Clone(k.job)
	return k
}

// recall parses the body by a shape that the job is known by. It reports whether
// there was one.
func (v *passage) recall(e *epoch, opts wire.Options) (bool, error) {
	if e.known == nil || v.trace != nil || len(v.decoded) == 0 || len(v.decoded) > largestKnown || wire.IsProtobuf(v.request.Header.Get("Content-Type")) {
		return false, nil
	}
	for _, k := range e.known.of(v.table(wire.Text)) {
		ok, err := k.shape.Parse(&v.push, v.decoded, v.raw, opts)
		if err != nil {
			return true, err
		}
		if ok {
			v.known = k
			return true, nil
		}
	}
	return false, nil
}

// table is where what was decided about the metrics of a push is kept.
func (v *passage) table(enc wire.Encoding) tableKey {
	k := tableKey{entry: v.entry.ID, job: v.job, encoding: enc}
	if v.entry.Rules.ReadsKey() {
		k.job, k.byGroup = v.group.ID(), true
	}
	return k
}

// remember keeps the shape of a push that was judged, if it came before: what the
// rules said of it holds for the next.
func (v *passage) remember(e *epoch) {
	if e.known == nil || v.known != nil || v.plain || v.safety != nil || v.refused() || v.trace != nil || len(v.decoded) > largestKnown || !v.push.Shapeable() {
		return
	}
	for i := range v.verdicts {
		if v.verdicts[i] == nil {
			return
		}
	}
	k := v.table(wire.Text)
	if !e.known.again(k, v.push.SkeletonHash(e.known.seed)) {
		return
	}
	n := &known{
		shape: wire.NewShape(&v.push), fates: append([]wire.Fate(nil), v.fates...), verdicts: append([]*verdict(nil), v.verdicts...),
		distinct: wire.Distinct(&v.push, v.fates),
	}
	var found finding.List
	for i, said := range n.verdicts {
		n.asked = e.verdicts.asked(n.asked, said.pushed.labels)
		n.changed = n.changed || v.fates[i].Act != wire.Pass
		for _, f := range said.findings {
			found.Add(f)
		}
	}
	if e.verdicts.asProtobuf && v.enforced() && n.distinct {
		n.mould = wire.NewMould(&v.push, n.fates)
	}
	n.findings = slices.Clone(found.All())
	n.names = labelNames(n.verdicts)
	e.known.learn(k, n)
}

// labelNames are the names of all labels of metrics, before the rules and after them:
// nil where they are more than are worth looking through.
func labelNames(verdicts []*verdict) []string {
	names := make([]string, 0, mostNames)
	for _, said := range verdicts {
		for _, ls := range [][]labels.Label{said.pushed.labels, said.output.labels} {
			for _, l := range ls {
				if slices.Contains(names, l.Name) {
					continue
				}
				if names = append(names, l.Name); len(names) > mostNames {
					return nil
				}
			}
		}
	}
	return names
}

// apartFrom reports whether no metric has a label of the group.
func (k *known) apartFrom(group wire.Key) bool {
	return k.names != nil && !slices.ContainsFunc(group.Labels(), func(l labels.Label) bool { return slices.Contains(k.names, l.Name) })
}

// judgeKnown has the metrics of a known shape have the fates that they had.
func (v *passage) judgeKnown(e *epoch) {
	k := v.known
	v.fates, v.verdicts = k.fates, k.verdicts
	if v.entry.Mode != policy.Open {
		v.noteExpired()
		v.judgeLimits()
		if v.refused() && v.enforced() {
			return
		}
	}
	v.changed = v.changed || k.changed
	v.note(k.findings, false)
	v.asked = v.asked[:0]
	if g := e.verdicts.demand.Generation(); k.fed.Load() != g {
		k.fed.Store(g)
		v.asked = append(v.asked, k.asked...)
	}
	v.ask(e.verdicts)
}
