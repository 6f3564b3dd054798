package store

import (
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// builder makes the shape and the values of one family at a time.
type builder struct {
	key    wire.Key
	text   []byte
	first  int // where the first line ends in it
	lines  []line
	starts []uint32
	values []byte
	names  []string
	sets   [][]string // of names, of the family at hand
	plain  bool       // all of them are of the legacy charset
	recent recent
	labels []labels.Label // of the metric at hand
	seen   map[uint64]*dto.Metric
	more   []*dto.Metric // whose hash another has
	hashes []uint64
	bound  []byte
	seed   maphash.Seed
	tables tables
	push   wire.Push
	// large and piece are largeText and pieceOfText, but in tests.
	large, piece int
}

func newBuilder() *builder {
	return &builder{seen: map[uint64]*dto.Metric{}, seed: maphash.MakeSeed(), large: largeText, piece: pieceOfText}
}

// families makes those of a push, in the order of their names. What has to be written
// anew for what becomes of its metrics is read again.
func (b *builder) families(r gateway.Request, now int64) ([]*family, error) {
	defer b.forget()
	b.key = r.Key
	if len(r.Fates) == 0 && r.Push.Encoding == wire.Text && len(r.Push.Body) >= b.large {
		if families, ok := b.fromPieces(r.Push, now); ok {
			return families, nil
		}
	}
	if families, ok := b.fromTables(r.Push, r.Fates, now); ok {
		return families, nil
	}
	body := r.Push.Body
	if slices.ContainsFunc(r.Fates, func(f wire.Fate) bool { return f.Act != wire.Pass }) {
		body = wire.Render(nil, r.Push, r.Fates)
		if r.Push.Encoding == wire.Text && b.push.Parse(body, wire.Text, r.Key, wire.Options{}) == nil {
			if families, ok := b.fromTables(&b.push, nil, now); ok {
				return families, nil
			}
		}
	}
	parsed, err := parse(body, r.Push.Encoding)
	if err != nil {
		return nil, err
	}
	families := make([]*family, len(parsed))
	for i, mf := range parsed {
		if families[i], err = b.build(mf, now); err != nil {
			return nil, err
		}
	}
	return families, nil
}

// forget lets go of what is of one push.
func (b *builder) forget() {
	b.tables.Push = nil
	b.push.Reset()
	clear(b.labels[:cap(b.labels)])
	clear(b.names[:cap(b.names)])
	clear(b.sets[:cap(b.sets)])
	b.recent.rows = [len(b.recent.rows)]*rows{}
	clear(b.seen)
	clear(b.more[:cap(b.more)])
}

// begin makes ready for a family, and end has its shape be what was built.
func (b *builder) begin() {
	b.text, b.lines, b.starts, b.values, b.sets = b.text[:0], b.lines[:0], b.starts[:0], b.values[:0], b.sets[:0]
	b.plain = true
}

func (b *builder) end(s *shape) {
	s.nameLines()
	starts := b.starts
	if len(starts) == len(b.lines) {
		starts = nil
	}
	s.rows = b.recent.find(b.text, b.lines, starts)
	if s.rows == nil {
		s.rows = &rows{text: string(b.text), lines: slices.Clone(b.lines), starts: slices.Clone(starts), labels: slices.Clone(b.sets), plain: b.plain}
		b.recent.add(s.rows)
	}
	s.plain = b.plain && model.LegacyValidation.IsValidMetricName(s.Name)
}

// nameLines finds what the lines of a shape begin with, in which its name, that may be a
// view so far, has its memory unless it is quoted.
func (s *shape) nameLines() {
	s.heads = string(s.appendHeads(nil))
	if s.head == uint32(len(s.Name)+len("{")) {
		s.Name = s.heads[:len(s.Name)]
	} else {
		s.Name = strings.Clone(s.Name)
	}
}

func newShape(name string, typ dto.MetricType, help string) *shape {
	return &shape{Family: Family{name, typ}, help: help}
}

// infinite adds the bucket for +Inf that was not pushed.
func (b *builder) infinite(s *shape, ls []labels.Label, n uint64, f float64) {
	b.count(s, ls, "_bucket", model.BucketLabel, math.Inf(+1), n, f)
	b.lines[len(b.lines)-1].made = true
}

// note keeps which label names there are, and whether all are plain.
func (b *builder) note(ls []labels.Label) {
	b.names = b.names[:0]
	for _, l := range ls {
		if l.Value != "" {
			b.names = append(b.names, l.Name)
		}
		b.plain = b.plain && model.LegacyValidation.IsValidLabelName(l.Name)
	}
	for _, names := range b.sets {
		if slices.Equal(names, b.names) {
			return
		}
	}
	b.sets = append(b.sets, b.recent.set(b.names))
}

func (b *builder) count(s *shape, ls []labels.Label, suffix, bound string, at float64, n uint64, f float64) {
	b.place(s, ls, suffix, bound, at)
	if f > 0 || math.IsNaN(f) {
		b.value(func(dst []byte) []byte { return appendFloat(dst, f) })
		return
	}
	b.value(func(dst []byte) []byte { return strconv.AppendUint(dst, n, 10) })
}

func (b *builder) line(s *shape, ls []labels.Label, suffix, bound string, at, value float64) {
	b.place(s, ls, suffix, bound, at)
	b.value(func(dst []byte) []byte { return appendFloat(dst, value) })
}

// place adds a line without its value.
func (b *builder) place(s *shape, ls []labels.Label, suffix, bound string, le float64) {
	at := len(b.text)
	l := line{own: uint32(at), part: uint8(slices.Index(parts[:], suffix)), anonymous: !slices.ContainsFunc(ls, func(l labels.Label) bool { return l.Name == model.InstanceLabel })}
	if _, ok := b.key.Get(model.InstanceLabel); ok {
		l.anonymous = false
	}
	for _, l := range ls {
		b.text = append(b.text, ',')
		b.text = appendLabel(b.text, l.Name, l.Value)
	}
	if bound != "" {
		b.text = append(b.text, ',')
		b.bound = appendFloat(b.bound[:0], le)
		b.text = append(append(append(append(b.text, bound...), '=', '"'), b.bound...), '"')
	}
	b.text = append(b.text, "} "...)
	if len(b.lines) == 0 {
		b.first = len(b.text)
	} else {
		b.text, l.same = fronted(b.text, b.text[:b.first], at)
	}
	b.lines = append(b.lines, l)
}

// fronted takes out of what stands in a text from a place on what it begins with like
// the first, and returns how much that was. Lines mostly differ in their last labels.
func fronted(text, first []byte, at int) (out []byte, same uint32) {
	n := 0
	for own := text[at:]; n < len(first) && n < len(own) && own[n] == first[n]; {
		n++
	}
	return append(text[:at], text[at+n:]...), uint32(n)
}

// hasParts reports whether lines may begin with a part of the family.
func (s *shape) hasParts() bool {
	return s.Type == dto.MetricType_HISTOGRAM || s.Type == dto.MetricType_SUMMARY
}

// appendHeads appends what the lines of a shape begin with.
func (s *shape) appendHeads(dst []byte) []byte {
	before := len(dst)
	dst = appendHead(dst, s.Name, "")
	s.head = uint32(len(dst) - before)
	if s.hasParts() {
		for _, part := range parts[1:] {
			dst = appendHead(dst, s.Name, part)
		}
	}
	return dst
}

// appendHead appends what a line begins with, up to its first label.
func appendHead(dst []byte, name, suffix string) []byte {
	if model.LegacyValidation.IsValidMetricName(name) {
		return append(append(append(dst, name...), suffix...), '{')
	}
	return append(appendQuoted(append(dst, '{'), name+suffix), ',')
}

func (b *builder) value(add func([]byte) []byte) {
	at := len(b.values)
	b.values = add(append(b.values, 0))
	b.values[at] = byte(len(b.values) - at - 1)
}

// appendFloat appends a number as the text format has it.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case f == 0 && !math.Signbit(f):
		return append(dst, '0')
	case math.IsInf(f, +1):
		return append(dst, "+Inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendTime is appendFloat for a time of these decades in seconds, which a float64 has to
// 22 binary places: every page has two of them for each group.
func appendTime(dst []byte, seconds float64) []byte {
	if !(seconds >= 1<<30 && seconds < 1<<31) {
		return appendFloat(dst, seconds)
	}
	whole := uint64(seconds)
	fraction := uint64((seconds - float64(whole)) * (1 << 22))
	// The shortest decimal that is nearer to this float64 than to any other has seven
	// places, or six where one of six is as near as half a binary place.
	digits, off := nearest(fraction, 1e6)
	if off < 1e6/2 {
		digits *= 10
	} else if digits, off = nearest(fraction, 1e7); off == 1<<21 {
		return appendFloat(dst, seconds) // two are equally near
	}
	digits += whole * 1e7
	for digits%10 == 0 {
		digits /= 10
	}
	first := len(dst)
	dst = strconv.AppendUint(append(dst, 0), digits, 10)
	dst[first] = dst[first+1]
	if len(dst) > first+2 {
		dst[first+1] = '.'
	} else {
		dst = dst[:first+1]
	}
	return append(dst, "e+09"...)
}

// nearest is how many units of a fraction of 2^22, each one part of so many, are nearest
// to it, and how far off they are, in parts of 2^22 of a unit.
func nearest(fraction, parts uint64) (units, off uint64) {
	exact := fraction * parts
	units = (exact + 1<<21) >> 22
	near := units << 22
	return units, max(near, exact) - min(near, exact)
}

func appendLabel(dst []byte, name, value string) []byte {
	if model.LegacyValidation.IsValidLabelName(name) {
		dst = append(dst, name...)
	} else {
		dst = appendQuoted(dst, name)
	}
	return appendQuoted(append(dst, '='), value)
}

// appendQuoted escapes as the text format does, which is less than Go does.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if strings.ContainsAny(s, "\\\n\"") {
		s = valueEscaper.Replace(s)
	}
	return append(append(dst, s...), '"')
}

var valueEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// appendGroup appends the labels of a group as they stand in each of its lines.
func appendGroup(dst []byte, key wire.Key) []byte {
	for i, l := range key.Labels() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendLabel(dst, l.Name, l.Value)
	}
	return dst
}
