package wire

import (
	"encoding/binary"
	"math"
	"slices"
)

// Mould is what Transcode writes of a push whose metrics are of one line each, but for
// the values: what it writes of all pushes of the shape, as long as their fates are the
// same. It is immutable.
type Mould struct {
	body []byte
	// values are, by sample, where its value stands in the body; 0 is nowhere.
	values []uint32
}

// NewMould returns the mould of a push and its fates. It is nil where Transcode writes
// nothing, and where more of what it writes than eight bytes a sample comes of the values.
func NewMould(p *Push, fates []Fate) *Mould {
	if p.Encoding != Text || !p.Single() {
		return nil
	}
	for i := range fates {
		if fates[i].Merged() {
			return nil
		}
	}
	// Where the values stand is where two pushes differ whose values do in every byte.
	samples := p.Samples()
	were := p.Values(nil)
	write := func(bits uint64) ([]byte, bool) {
		for i := range samples {
			samples[i].Value = math.Float64frombits(bits)
		}
		return Transcode(nil, p, fates)
	}
	ones, _ := write(math.MaxUint64)
	body, ok := write(0)
	for i := range samples {
		samples[i].Value = were[i]
	}
	if !ok {
		return nil
	}
	m := &Mould{body: slices.Clone(body), values: make([]uint32, len(samples))}
	at := 0
	for i := range samples {
		if len(fates) > 0 && fates[samples[i].Metric].Act == LeaveOut {
			continue
		}
		for body[at] == ones[at] {
			at++
		}
		m.values[i] = uint32(at)
		at += 8
	}
	return m
}

// Size is how many bytes of memory the mould takes, about.
func (m *Mould) Size() int {
	if m == nil {
		return 0
	}
	return len(m.body) + 4*len(m.values)
}

// Fill appends to dst what Transcode writes of a push of the shape.
func (m *Mould) Fill(dst []byte, p *Push) []byte {
	start := len(dst)
	dst = append(dst, m.body...)
	body := dst[start:]
	for i, at := range m.values {
		if at > 0 {
			binary.LittleEndian.PutUint64(body[at:], math.Float64bits(p.samples[i].Value))
		}
	}
	return dst
}
