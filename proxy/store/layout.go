package store

import (
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// layout is what became of the shape of a push in groups of the same label names: the
// shapes of its families, and from which sample each of their lines has its value. A
// push of a known shape is no more than its values. It is immutable.
type layout struct {
	names    []string // of the group's labels
	fates    []laidFate
	families []laidOut
}

// laidFate is what of the fate of a metric makes its lines: what is collapsed has
// other labels by the same act.
type laidFate struct {
	act    wire.Act
	output uint64
}

type laidOut struct {
	shape *shape
	// samples has, for each line, the sample whose value it shows; negative for 0.
	samples []int32
}

// recall makes the families of a push by what is known of its shape. It reports
// whether that could be.
func (s *Store) recall(r gateway.Request, now int64) ([]*family, bool) {
	if r.Memo == nil || r.Push == nil {
		return nil, false
	}
	l, ok := r.Memo.Load().(*layout)
	if !ok || !l.fits(r) {
		return nil, false
	}
	families := make([]*family, len(l.families))
	own := make([]family, len(l.families))
	var scratch [1024]byte
	var bounds [32]int
	values, ends := scratch[:0], bounds[:0]
	for i := range l.families {
		for _, sample := range l.families[i].samples {
			values = appendValue(values, r.Push, sample)
		}
		ends = append(ends, len(values))
	}
	all, begun := string(values), 0 // one piece of memory for all of them, as own is
	for i, end := range ends {
		own[i] = family{shape: l.families[i].shape, values: all[begun:end], pushed: now, shared: true}
		families[i], begun = &own[i], end
	}
	return families, true
}

// appendValue appends the text of a value behind its length: as it was written, if
// that is what everybody reads alike.
func appendValue(dst []byte, p *wire.Push, sample int32) []byte {
	if sample < 0 {
		return append(dst, 1, '0')
	}
	if text := p.ValueText(int(sample)); isPlainNumber(text) {
		return append(append(dst, byte(len(text))), text...)
	}
	at := len(dst)
	dst = appendFloat(append(dst, 0), p.Samples()[sample].Value)
	dst[at] = byte(len(dst) - at - 1)
	return dst
}

// isPlainNumber reports whether a number is written in digits, with a point at the
// most.
func isPlainNumber(text []byte) bool {
	if len(text) == 0 || len(text) > 24 || text[0] == '.' {
		return false
	}
	for i, c := range text {
		if (c < '0' || c > '9') && c != '.' && (c != '-' || i > 0) {
			return false
		}
	}
	return text[len(text)-1] != '.' && text[len(text)-1] != '-'
}

// fits reports whether the layout is that of a request: all but the values of group
// and samples are the same.
func (l *layout) fits(r gateway.Request) bool {
	if !slices.EqualFunc(l.names, r.Key.Labels(), func(name string, l labels.Label) bool { return name == l.Name }) {
		return false
	}
	if r.Fates == nil {
		return l.fates == nil
	}
	if len(l.fates) != len(r.Fates) {
		return false
	}
	for i := range r.Fates {
		f := &r.Fates[i]
		if l.fates[i] != (laidFate{f.Act, f.Output}) || f.Merged() {
			return false
		}
	}
	return true
}

// learn keeps what became of a push for the next of its shape, if each line can be
// led back to a sample.
func (s *Store) learn(r gateway.Request, families []*family) {
	if r.Memo == nil || r.Push == nil || r.Push.Encoding != wire.Text {
		return
	}
	l := &layout{}
	for _, label := range r.Key.Labels() {
		l.names = append(l.names, strings.Clone(label.Name))
	}
	if r.Fates != nil {
		l.fates = make([]laidFate, len(r.Fates))
		for i := range r.Fates {
			l.fates[i] = laidFate{r.Fates[i].Act, r.Fates[i].Output}
		}
	}
	if !l.fits(r) {
		return // something was merged
	}
	b := s.builders.Get().(*builder)
	defer s.builders.Put(b)
	defer b.forget()
	t := &b.tables
	if t.order(r.Push, r.Fates); len(t.families) != len(families) {
		return
	}
	for i, f := range families {
		lines := t.lines(t.families[i])
		if t.Families[t.families[i]].Name != f.shape.Name || f.whole != "" || len(lines) != len(f.shape.lines) || !sameValues(r.Push, lines, f.values) {
			return
		}
		l.families = append(l.families, laidOut{f.shape, lines})
	}
	r.Memo.Store(l)
}

// inOrder is the order of the lines of one metric: bounds as they came, the bucket of
// +Inf, sum, count.
func inOrder(p *wire.Push, typ dto.MetricType, samples []int32) []int32 {
	if typ != dto.MetricType_HISTOGRAM && typ != dto.MetricType_SUMMARY {
		return samples
	}
	sum, count := int32(-1), int32(-1)
	var out []int32
	infinite := false
	for _, i := range samples {
		switch p.PartOf(int(i)) {
		case wire.Sum:
			sum = i
		case wire.Count:
			count = i
		default:
			out = append(out, i)
			infinite = infinite || math.IsInf(p.Bound(int(i)), +1)
		}
	}
	if typ == dto.MetricType_HISTOGRAM && !infinite {
		out = append(out, count)
	}
	return append(out, sum, count)
}

// sameValues reports whether the samples have the values that were built.
func sameValues(p *wire.Push, samples []int32, values string) bool {
	for _, i := range samples {
		n := 1 + int(values[0])
		want := 0.0
		if i >= 0 {
			want = p.Samples()[i].Value
		}
		if !sameNumber(values[1:n], want) {
			return false
		}
		values = values[n:]
	}
	return values == ""
}

func sameNumber(text string, want float64) bool {
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && (f == want || math.IsNaN(f) && math.IsNaN(want))
}
