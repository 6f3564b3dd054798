package wire

import (
	"bytes"
	"hash/maphash"
	"math"
	"slices"
	"strings"
)

// Shape is what of a text body does not change from push to push: every byte but the
// values. A job pushes the same shape again and again, and what was found out about
// its bytes needs no second look. It is immutable and safe for concurrent use.
type Shape struct {
	body []byte
	// values are where the values of the samples stand in the body, in its order.
	values []Span
	// ahead is, for each family, how many values stand before its help.
	ahead []int32

	families    []Family
	metrics     []Metric
	samples     []Sample
	bounds      []bound
	parts       []part
	expanded    int
	emptyValues bool
}

// Shapeable reports whether a push that was parsed can be a Shape: one of plain text,
// without timestamps, whose families are helped in their order.
func (p *Push) Shapeable() bool {
	if p.Encoding != Text || len(p.Samples()) == 0 {
		return false
	}
	last := uint32(0)
	for i := range p.Families {
		at := p.Families[i].Help.Start
		if at != 0 && at < last {
			return false
		}
		last = max(last, at)
	}
	return len(p.timestamps) == 0
}

// SkeletonHash is a hash of the body without its values. The push must be shapeable.
func (p *Push) SkeletonHash(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	at := uint32(0)
	for i := range p.samples {
		v := p.valueOf(i)
		_, _ = h.Write(p.Body[at:v.Start])
		at = v.End
	}
	_, _ = h.Write(p.Body[at:])
	return h.Sum64()
}

// valueOf is where the value of a sample stands: between the blanks behind its labels
// and the end of the line.
func (p *Push) valueOf(sample int) Span {
	s := &p.samples[sample]
	start := s.Block.End
	for isBlank(p.Body[start]) {
		start++
	}
	if s.width > 0 {
		return Span{start, start + uint32(s.width)}
	}
	return Span{start, p.lineEnd(s) - 1}
}

// NewShape returns the shape of a push that is shapeable. It keeps nothing of the
// push.
func NewShape(p *Push) *Shape {
	s := &Shape{
		body: bytes.Clone(p.Body), expanded: p.Expanded, emptyValues: p.emptyValues,
		families: slices.Clone(p.Families), metrics: slices.Clone(p.metrics), samples: slices.Clone(p.samples),
		bounds: slices.Clone(p.bounds), parts: slices.Clone(p.parts),
		values: make([]Span, len(p.samples)), ahead: make([]int32, len(p.Families)),
	}
	for i := range p.samples {
		s.values[i] = p.valueOf(i)
	}
	for i := range s.families {
		f := &s.families[i]
		f.Name = string(append([]byte(nil), f.Name...))
		for s.ahead[i] < int32(len(s.values)) && s.values[s.ahead[i]].Start < f.Help.Start {
			s.ahead[i]++
		}
	}
	for i := range s.metrics {
		s.metrics[i].Identity = strings.Clone(s.metrics[i].Identity)
	}
	return s
}

// Size is how many bytes of memory the shape takes, about.
func (s *Shape) Size() int {
	n := len(s.body) + 8*len(s.values) + 96*len(s.families) + 41*len(s.metrics) + 32*len(s.samples) + 16*len(s.bounds)
	for i := range s.metrics {
		n += len(s.metrics[i].Identity)
	}
	return n
}

// Parse fills p as p.Parse does, if the body has this shape. It reports whether it
// has; if not, or if a value is not what a plain line has, p must be parsed. The
// error is of a body of this shape that cannot go to this group. Names and identities
// that p gets are the shape's.
func (s *Shape) Parse(p *Push, body []byte, key Key, opts Options) (ok bool, err error) {
	if len(body) > len(s.body)+32*len(s.values) || opts.Samples > 0 && s.expanded > opts.Samples {
		return false, nil
	}
	p.Reset()
	p.samples, p.bounds = append(p.samples, s.samples...), append(p.bounds, s.bounds...)
	p.parts = append(p.parts, s.parts...)
	p.Families = append(p.Families, s.families...)
	if !s.match(p, body) {
		p.Reset()
		return false, nil
	}
	p.Body, p.Encoding, p.Expanded = body, Text, s.expanded
	p.metrics = append(p.metrics, s.metrics...)
	p.limits, p.utf8Names, p.emptyValues = opts.Limits, opts.UTF8Names, s.emptyValues
	return true, p.check(key)
}

// match compares everything but the values, and moves what p points into the body to
// where it stands in this one.
func (s *Shape) match(p *Push, body []byte) bool {
	at, from := uint32(0), uint32(0) // in body, in s.body
	family := 0
	for i, v := range s.values {
		n := v.Start - from
		if uint32(len(body))-at < n+1 || !bytes.Equal(body[at:at+n], s.body[from:v.Start]) {
			return false
		}
		for family < len(s.ahead) && s.ahead[family] <= int32(i) {
			p.Families[family].Help = s.families[family].Help.moved(at - from)
			family++
		}
		moved := at - from
		at += n
		end := bytes.IndexByte(body[at:], '\n')
		if end <= 0 {
			return false
		}
		f, err := parseFloat(body[at : at+uint32(end)])
		sample := &p.samples[i]
		if err != nil || !countable(p.Families[s.metrics[sample.Metric].Family].Type, sample.part, f) {
			return false
		}
		sample.Value, sample.width = f, uint8(min(end, math.MaxUint8+1)) // 256 is 0
		sample.Start += moved
		sample.Block = sample.Block.moved(moved)
		if sample.bound != 0 {
			b := &p.bounds[sample.bound-1]
			b.label = b.label.moved(moved)
		}
		at += uint32(end)
		from = v.End
	}
	for ; family < len(s.ahead); family++ {
		p.Families[family].Help = s.families[family].Help.moved(at - from)
	}
	return bytes.Equal(body[at:], s.body[from:])
}

// moved is the span so many bytes on. One that is empty at the beginning is none.
func (s Span) moved(by uint32) Span {
	if s == (Span{}) {
		return s
	}
	return Span{s.Start + by, s.End + by}
}
