package store

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// tables are those of a text push in the order in which its families are stored. What
// they hold is of one push; their memory is for the next.
type tables struct {
	*wire.Push
	families []int32 // that have metrics, in the order of their names
	// The metrics of family f are metrics[ofFamily[f]:ofFamily[f+1]], and the samples of
	// metric m samples[ofMetric[m]:ofMetric[m+1]], in the order they were pushed; that
	// is sample m where all are single.
	ofFamily, metrics []int32
	ofMetric, samples []int32
	single            bool
	values            []float64 // by metric, if they are single
}

// read orders the tables of a push. It reports whether they say all that is stored: that
// every metric passes as it is or not at all.
func (t *tables) read(p *wire.Push, fates []wire.Fate) bool {
	if p.Encoding != wire.Text || slices.ContainsFunc(fates, func(f wire.Fate) bool { return f.Act != wire.Pass && f.Act != wire.LeaveOut }) {
		return false
	}
	t.order(p, fates)
	if t.single {
		t.values = p.Values(t.values[:0])
	}
	return !slices.ContainsFunc(t.metrics, func(m int32) bool { return p.Stamped(int(m)) })
}

// order orders the tables of a push but for what its fates leave out.
func (t *tables) order(p *wire.Push, fates []wire.Fate) {
	t.Push = p
	t.ofFamily, t.metrics = gather(t.ofFamily, t.metrics, len(p.Families), len(p.Metrics()), func(m int) int32 {
		if len(fates) > 0 && fates[m].Act == wire.LeaveOut {
			return -1
		}
		return p.Metrics()[m].Family
	})
	if t.single = p.Single(); !t.single {
		samples := p.Samples()
		t.ofMetric, t.samples = gather(t.ofMetric, t.samples, len(p.Metrics()), len(samples), func(s int) int32 { return samples[s].Metric })
	}
	t.families = t.families[:0]
	for f := range p.Families {
		if t.ofFamily[f] < t.ofFamily[f+1] && !wire.Reserved(p.Families[f].Name) {
			t.families = append(t.families, int32(f))
		}
	}
	slices.SortFunc(t.families, func(a, b int32) int { return strings.Compare(p.Families[a].Name, p.Families[b].Name) })
}

// lines are, of each line of a family in the order in which they are built, the sample
// that it shows; negative for none.
func (t *tables) lines(f int32) []int32 {
	metrics := t.metrics[t.ofFamily[f]:t.ofFamily[f+1]]
	if t.single {
		return slices.Clone(metrics)
	}
	var out []int32
	for _, m := range metrics {
		out = append(out, inOrder(t.Push, t.Families[f].Type, t.samples[t.ofMetric[m]:t.ofMetric[m+1]])...)
	}
	return out
}

// gather puts n members in the order of what they belong to, and those of one in the order
// they had. Those of i are then ordered[starts[i]:starts[i+1]]. What belongs to none, by a
// negative number, is left out.
func gather(starts, ordered []int32, owners, n int, owner func(member int) int32) (_, _ []int32) {
	starts = append(starts[:0], make([]int32, owners+2)...)
	for i := range n {
		if o := owner(i); o >= 0 {
			starts[o+2]++
		}
	}
	for o := range owners {
		starts[o+2] += starts[o+1]
	}
	ordered = slices.Grow(ordered[:0], n)[:starts[owners+1]]
	for i := range n {
		if o := owner(i); o >= 0 {
			ordered[starts[o+1]] = int32(i)
			starts[o+1]++
		}
	}
	return starts[:owners+1], ordered
}

// fromTables makes the families of a push as build does of what expfmt read. It reports
// whether it could: if two series may be one, or a count has a fraction, build decides.
func (b *builder) fromTables(p *wire.Push, fates []wire.Fate, pushed int64) ([]*family, bool) {
	t := &b.tables
	if !t.read(p, fates) {
		return nil, false
	}
	families := make([]*family, len(t.families))
	own := make([]family, len(t.families))
	for i, f := range t.families {
		s, ok := b.tableFamily(t, f)
		if !ok {
			return nil, false
		}
		own[i] = family{shape: s, values: string(b.values), pushed: pushed}
		families[i] = &own[i]
	}
	return families, true
}

func (b *builder) tableFamily(t *tables, f int32) (*shape, bool) {
	from := &t.Families[f]
	b.begin()
	b.hashes = b.hashes[:0]
	s := newShape(from.Name, from.Type, t.Help(int(f)))
	for _, m := range t.metrics[t.ofFamily[f]:t.ofFamily[f+1]] {
		b.labels = b.sanitized(t.View(b.labels[:0], int(m)))
		b.hashes = append(b.hashes, b.hash(b.labels))
		b.starts = append(b.starts, uint32(len(b.lines)))
		b.note(b.labels)
		if t.single {
			b.line(s, b.labels, "", "", 0, t.values[m])
		} else if !b.tableMetric(t, s, t.samples[t.ofMetric[m]:t.ofMetric[m+1]]) {
			return nil, false
		}
	}
	slices.Sort(b.hashes)
	for i := 1; i < len(b.hashes); i++ {
		if b.hashes[i] == b.hashes[i-1] {
			return nil, false
		}
	}
	b.end(s)
	return s, true
}

// tableMetric adds the lines of the metric whose samples and labels are at hand.
func (b *builder) tableMetric(t *tables, s *shape, samples []int32) bool {
	if s.Type != dto.MetricType_HISTOGRAM && s.Type != dto.MetricType_SUMMARY {
		b.line(s, b.labels, "", "", 0, t.Samples()[samples[0]].Value)
		return len(samples) == 1
	}
	var sum, count float64
	infinite := false
	for _, i := range samples {
		sample := &t.Samples()[i]
		switch part := t.PartOf(int(i)); {
		case part == wire.Sum:
			sum = sample.Value
		case part == wire.Count:
			count = sample.Value
		case s.Type == dto.MetricType_SUMMARY:
			b.line(s, b.labels, "", model.QuantileLabel, t.Bound(int(i)), sample.Value)
		case !isCount(sample.Value):
			return false
		default:
			infinite = infinite || math.IsInf(t.Bound(int(i)), +1)
			b.count(s, b.labels, "_bucket", model.BucketLabel, t.Bound(int(i)), uint64(sample.Value), 0)
		}
	}
	if !isCount(count) {
		return false
	}
	if s.Type == dto.MetricType_HISTOGRAM && !infinite {
		b.infinite(s, b.labels, uint64(count), 0)
	}
	b.line(s, b.labels, "_sum", "", 0, sum)
	b.count(s, b.labels, "_count", "", 0, uint64(count), 0)
	return true
}

// isCount reports whether everybody reads a number as the same count.
func isCount(v float64) bool { return v >= 0 && v == math.Trunc(v) && v < 1<<53 }

// sanitized takes out of labels those that the group overwrites, and sorts the others.
func (b *builder) sanitized(ls []labels.Label) []labels.Label {
	ls = slices.DeleteFunc(ls, func(l labels.Label) bool {
		_, overwritten := b.key.Get(l.Name)
		return overwritten
	})
	slices.SortFunc(ls, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return ls
}

func (b *builder) hash(ls []labels.Label) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	for _, l := range ls {
		_, _ = h.WriteString(l.Name)
		_ = h.WriteByte(0xff)
		_, _ = h.WriteString(l.Value)
		_ = h.WriteByte(0xff)
	}
	return h.Sum64()
}
