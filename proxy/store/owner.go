package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/wire"
)

// shapeMetric is a metric of a shape: its labels without those of the group and
// without le and quantile, and how many lines it has from which on.
type shapeMetric struct {
	labels       []labels.Label
	first, lines int
}

// metrics is how many metrics there are.
func (r *rows) metrics() int {
	if r.starts == nil {
		return len(r.lines)
	}
	return len(r.starts)
}

// metric is one of the metrics. Its labels are appended to dst.
func (r *rows) metric(i int, dst []labels.Label) shapeMetric {
	m := shapeMetric{first: i, lines: 1}
	if r.starts != nil {
		end := len(r.lines)
		if i+1 < len(r.starts) {
			end = int(r.starts[i+1])
		}
		m.first, m.lines = int(r.starts[i]), end-int(r.starts[i])
	}
	// The last line is a count, or the only one: it has no bound.
	m.labels = parseLabels(dst, r.tail(m.first+m.lines-1))
	return m
}

// each tells of the metrics. The labels are valid until it returns.
func (r *rows) each(tell func(shapeMetric)) {
	var scratch []labels.Label
	for i := range r.metrics() {
		m := r.metric(i, scratch[:0])
		scratch = m.labels
		tell(m)
	}
}

// place is where rows have a metric, by the hash of its labels with a value.
type place struct {
	hash   uint64
	metric uint32
}

func (p place) compare(hash uint64) int { return cmp.Compare(p.hash, hash) }

// has reports whether there is a metric of these labels, which are sorted and
// have values. What it needs for that is made once: who pushes beside a large group
// does not pay for its size. Store.owners is held to write.
func (r *rows) has(seed maphash.Seed, ls []labels.Label) bool {
	if r.places == nil {
		r.places = r.placesOf(seed)
	}
	hash := hashOf(seed, ls)
	i, _ := slices.BinarySearchFunc(r.places, hash, place.compare)
	for ; i < len(r.places) && r.places[i].hash == hash; i++ {
		if slices.Equal(withoutEmpty(r.metric(int(r.places[i].metric), nil).labels), ls) {
			return true
		}
	}
	return false
}

func (r *rows) placesOf(seed maphash.Seed) []place {
	out := make([]place, 0, r.metrics())
	r.each(func(m shapeMetric) {
		out = append(out, place{hashOf(seed, withoutEmpty(m.labels)), uint32(len(out))})
	})
	slices.SortFunc(out, func(a, b place) int { return a.compare(b.hash) })
	return out
}

func hashOf(seed maphash.Seed, ls []labels.Label) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, l := range ls {
		_, _ = h.WriteString(l.Name)
		_ = h.WriteByte(0)
		_, _ = h.WriteString(l.Value)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// parseLabels reads what stands behind the labels of the group.
func parseLabels(dst []labels.Label, text string) []labels.Label {
	for strings.HasPrefix(text, ",") {
		text = text[1:]
		var l labels.Label
		if strings.HasPrefix(text, `"`) {
			l.Name, text = unquote(text)
		} else {
			l.Name, text, _ = strings.Cut(text, "=")
			text = "=" + text
		}
		l.Value, text = unquote(text[1:])
		dst = append(dst, l)
	}
	return dst
}

// unquote reads the quoted text that s begins with, and returns what is behind it.
func unquote(s string) (text, rest string) {
	end := 1
	for s[end] != '"' {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	text, rest = s[1:end], s[end+1:]
	if strings.IndexByte(text, '\\') >= 0 {
		text = valueUnescaper.Replace(text)
	}
	return text, rest
}

var valueUnescaper = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\"`, `"`)

// own makes sure that no other group has one of the series that a group is to hold.
// The function it returns ends that.
func (s *Store) own(g *group, families []*family) (unlock func(), err error) {
	s.owners.RLock()
	if !s.shared(g, families) {
		return s.owners.RUnlock, nil
	}
	s.owners.RUnlock()
	s.owners.Lock()
	for _, f := range families {
		if err := s.ownFamily(g, f); err != nil {
			s.owners.Unlock()
			return nil, err
		}
	}
	return s.owners.Unlock, nil
}

// shared reports whether another group may have one of the series, or the group is
// new to those of its job.
func (s *Store) shared(g *group, families []*family) bool {
	if !s.index.Mixed(g.key.Job()) {
		return false
	}
	if g.content.pushed == 0 {
		return true
	}
	for _, f := range families {
		for _, names := range f.shape.labels {
			if s.index.Others(g.key.Job(), g.names, union(g.names, names)) != nil {
				return true
			}
		}
	}
	return false
}

// union is the names of both, which are sorted.
func union(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// ownFamily looks for each series of a family in the groups that could have it.
func (s *Store) ownFamily(g *group, f *family) error {
	var names, before []string
	var others [][]string
	for i := range f.shape.metrics() {
		m := f.shape.metric(i, nil)
		full := withoutEmpty(append(slices.Clone(m.labels), g.key.Labels()...))
		names = namesIn(names[:0], full)
		if i == 0 || !slices.Equal(names, before) { // mostly all have the same
			others = s.index.Others(g.key.Job(), g.names, names)
			before = append(before[:0], names...)
		}
		for _, set := range others {
			if s.holds(g, set, f.shape.Name, full) {
				return fmt.Errorf("collected metric %q { %s} was collected before with the same name and label values",
					f.shape.Name, pairsText(g.key, m.labels))
			}
		}
	}
	return nil
}

// namesIn appends the names of labels but for job.
func namesIn(dst []string, ls []labels.Label) []string {
	for _, l := range ls {
		if l.Name != model.JobLabel {
			dst = append(dst, l.Name)
		}
	}
	return dst
}

// withoutEmpty sorts labels and leaves out those without a value.
func withoutEmpty(ls []labels.Label) []labels.Label {
	ls = slices.DeleteFunc(ls, func(l labels.Label) bool { return l.Value == "" })
	slices.SortFunc(ls, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return ls
}

// holds reports whether a group of these label names, their values being those of
// the series, has the series.
func (s *Store) holds(but *group, names []string, family string, series []labels.Label) bool {
	key := []labels.Label{{Name: model.JobLabel, Value: but.key.Job()}}
	var rest []labels.Label // what the metric has beside the labels of that group
	for _, l := range series {
		switch {
		case l.Name == model.JobLabel:
		case slices.Contains(names, l.Name):
			key = append(key, l)
		default:
			rest = append(rest, l)
		}
	}
	id := wire.NewKey(key...).ID()
	for _, id := range append(s.padded.of(id), id) {
		if f := s.find(but, id, family); f != nil && f.shape.has(s.shapes.seed, rest) {
			return true
		}
	}
	return false
}

// find returns a family of a group by the ID of its key, unless that is the one not asked
// for. What a group holds may change meanwhile: a refused push is noted by who does
// not hold owners.
func (s *Store) find(but *group, id, family string) *family {
	sh := s.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	g := sh.groups[id]
	if g == nil || g == but {
		return nil
	}
	return g.content.find(family)
}

// pairsText is the labels of a metric as a Pushgateway's error has them.
func pairsText(key wire.Key, ls []labels.Label) string {
	m := &dto.Metric{}
	for _, l := range ls {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
	}
	return (&builder{key: key}).words(m)
}

// clash says in a Pushgateway's words which metric stands in the way of what is
// stored.
func clash(err error, families []*family, key wire.Key) error {
	var c *Clash
	if !errors.As(err, &c) || c.Family.Name != c.Other.Name {
		return err
	}
	for _, f := range families {
		if f.shape.Name != c.Family.Name {
			continue
		}
		err = nil
		f.shape.each(func(m shapeMetric) {
			if err == nil {
				err = fmt.Errorf("collected metric %q { %s} is not a %s", c.Family.Name, pairsText(key, m.labels), c.Other.Type)
			}
		})
	}
	if err == nil {
		return c
	}
	return err
}
