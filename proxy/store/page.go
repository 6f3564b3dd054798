package store

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
)

// Page is what all groups held at one time, as a scrape reads it. Every group is on
// it as some push left it. It is for one goroutine.
type Page struct {
	groups  []pinned
	members map[string][][]member // by family
	names   []string              // of the families, sorted
	plain   bool                  // of all groups all names are of the legacy charset
	making  *sync.Mutex           // held while messages are made, of all pages of the store
	looked  int                   // so that no compiler leaves out what looks ahead
}

// The families that every group has, in the words of a Pushgateway.
const (
	pushTime        = "push_time_seconds"
	pushTimeHelp    = "Last Unix time when changing this group in the Pushgateway succeeded."
	pushFailure     = "push_failure_time_seconds"
	pushFailureHelp = "Last Unix time when changing this group in the Pushgateway failed."
)

// Pin returns the page as of now. Nothing is copied but pointers.
func (s *Store) Pin() *Page {
	p := &Page{members: map[string][][]member{}, groups: make([]pinned, 0, s.size()), making: &s.making}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		for name, all := range sh.members {
			p.members[name] = append(p.members[name], slices.Clone(all))
		}
		p.groups = sh.appendGroups(p.groups)
		sh.mu.RUnlock()
	}
	p.plain = !s.shapes.strange.Load()
	for name, shards := range p.members {
		if slices.ContainsFunc(shards, func(all []member) bool {
			return slices.ContainsFunc(all, func(m member) bool { return len(m.family.shape.lines) > 0 })
		}) {
			p.names = append(p.names, name)
		}
	}
	if len(p.groups) > 0 {
		p.names = append(p.names, pushTime, pushFailure)
	}
	slices.Sort(p.names)
	return p
}

// size is about how many groups there are.
func (s *Store) size() int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		n += len(sh.groups)
		sh.mu.RUnlock()
	}
	return n
}

// Families are the names of the families on the page, in its order.
func (p *Page) Families() []string { return p.names }

// each tells of the groups that hold a family.
func (p *Page) each(name string) iter.Seq[member] {
	return func(yield func(member) bool) {
		for _, all := range p.members[name] {
			for _, m := range all {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// head is the type and the help of a family: the first help there is.
func (p *Page) head(name string) (typ dto.MetricType, help string, plain bool) {
	plain = true
	for m := range p.each(name) {
		if help != "" && p.plain {
			break
		}
		typ = m.family.shape.Type
		if help == "" {
			help = m.family.shape.help
		}
		plain = plain && m.family.shape.plain && m.group.plain
	}
	return typ, help, plain
}

// writeText writes a family in the text format to a buffered writer. A name outside
// the legacy charset stands as the format says, its escaping as it wants.
func (p *Page) writeText(ctx context.Context, w *bufio.Writer, name string, format expfmt.Format) error {
	escapes := format.ToEscapingScheme() != model.NoEscaping
	own := name == pushTime || name == pushFailure
	typ, help, plain := p.head(name)
	if own {
		plain = p.plain || !slices.ContainsFunc(p.groups, func(g pinned) bool { return !g.plain })
	}
	switch {
	case !plain && escapes:
		return p.WriteLines(ctx, w, name, func(w io.Writer) expfmt.Encoder { return expfmt.NewEncoder(w, format) })
	case own:
		return p.writeOwn(w, name)
	}
	_, err := w.Write((&shape{Family: Family{name, typ}}).appendHead(w.AvailableBuffer(), help))
	for _, all := range p.members[name] {
		for batch := range slices.Chunk(all, ahead) {
			p.fetchMembers(batch)
			for _, m := range batch {
				if err != nil {
					return err
				}
				_, err = w.Write(m.family.appendText(w.AvailableBuffer(), m.group.text))
			}
		}
	}
	return err
}

// ahead is how many groups are looked at before the first of them is written. What a page
// needs of a group is in a few places that no cache has: one after the other, a scrape
// would wait for each of them, while a processor waits for those of a batch at once.
const ahead = 32

// fetchMembers looks at what the lines of families are made of.
func (p *Page) fetchMembers(batch []member) {
	n := 0
	for _, m := range batch {
		n += len(m.group.text) + len(m.family.values)
	}
	for _, m := range batch {
		n += at(m.group.text) + at(m.family.values)
	}
	p.looked += n
}

// fetchGroups looks at what the lines are made of that every group has.
func (p *Page) fetchGroups(batch []pinned) {
	n := 0
	for _, g := range batch {
		n += len(g.text) + int(g.pushed)
		if g.named {
			n++
		}
	}
	for _, g := range batch {
		n += at(g.text)
	}
	p.looked += n
}

func at(text string) int {
	if text == "" {
		return 0
	}
	return int(text[0])
}

// writeOwn writes one of the families that every group has.
func (p *Page) writeOwn(w *bufio.Writer, name string) error {
	help := pushTimeHelp
	if name == pushFailure {
		help = pushFailureHelp
	}
	_, err := w.Write((&shape{Family: Family{name, dto.MetricType_GAUGE}}).appendHead(w.AvailableBuffer(), help))
	for batch := range slices.Chunk(p.groups, ahead) {
		p.fetchGroups(batch)
		for _, g := range batch {
			if err != nil {
				return err
			}
			b := append(append(w.AvailableBuffer(), name...), '{')
			if !g.named {
				b = append(b, noInstance...)
			}
			b = append(append(b, g.text...), "} "...)
			_, err = w.Write(append(appendTime(b, g.own(name)), '\n'))
		}
	}
	return err
}

// own is the time that a group has under that name, in seconds.
func (p pinned) own(name string) float64 {
	if name == pushTime {
		return float64(p.pushed) / 1e9
	}
	return float64(p.failed) / 1e9
}

// Message returns a family as a message, with the labels of its groups.
func (p *Page) Message(name string) *dto.MetricFamily {
	mf := p.bare(name)
	for metrics := range p.made(name) {
		mf.Metric = append(mf.Metric, metrics()...)
	}
	return mf
}

// bare is a family as a message without its metrics.
func (p *Page) bare(name string) *dto.MetricFamily {
	typ, help, _ := p.head(name)
	switch name {
	case pushTime:
		typ, help = dto.MetricType_GAUGE, pushTimeHelp
	case pushFailure:
		typ, help = dto.MetricType_GAUGE, pushFailureHelp
	}
	mf := &dto.MetricFamily{Name: proto.String(name), Type: typ.Enum()}
	if help != "" {
		mf.Help = proto.String(help)
	}
	return mf
}

// ownMetrics are those that some groups have in a family that every group has.
func ownMetrics(groups []pinned, name string) []*dto.Metric {
	out := make([]*dto.Metric, 0, len(groups))
	for _, g := range groups {
		m := &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(g.own(name))}}
		m.Label = groupPairs(g.key, m)
		sortPairs(m)
		out = append(out, m)
	}
	return out
}

func sortPairs(m *dto.Metric) {
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
}

// metrics are those of a family in its group, as messages.
func (f *family) metrics(g *group) []*dto.Metric {
	if f.whole != "" {
		mf := &dto.MetricFamily{}
		if proto.Unmarshal([]byte(f.whole), mf) == nil {
			for _, m := range mf.Metric {
				m.Label = append(m.Label, groupPairs(g.key, m)...)
				sortPairs(m)
			}
			return mf.Metric
		}
	}
	text := f.appendText(f.shape.appendHead(nil, f.shape.help), g.text)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil || families[f.shape.Name] == nil {
		return nil // cannot be: the text is our own
	}
	out := families[f.shape.Name].Metric
	for i, m := range out {
		sortPairs(m)
		if f.shape.made(i) {
			m.Histogram.Bucket = slices.DeleteFunc(m.Histogram.Bucket, func(b *dto.Bucket) bool { return math.IsInf(b.GetUpperBound(), +1) })
		}
	}
	return out
}

// made reports whether a line of a metric was not pushed.
func (s *shape) made(metric int) bool {
	if s.Type != dto.MetricType_HISTOGRAM || metric >= len(s.starts) {
		return false
	}
	end := len(s.lines)
	if metric+1 < len(s.starts) {
		end = int(s.starts[metric+1])
	}
	return slices.ContainsFunc(s.lines[s.starts[metric]:end], func(l line) bool { return l.made })
}
