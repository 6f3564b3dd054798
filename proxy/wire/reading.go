package wire

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// Reading is what a metric counted, as it was pushed.
type Reading struct {
	// Value is that of a counter, a gauge or an untyped metric.
	Value float64
	// Count and Sum are those of a histogram or a summary.
	Count, Sum float64
	// Buckets are the classic buckets of a histogram as they were pushed, +Inf left
	// out. They are valid until the next Read.
	Buckets []Bucket
	// Created is when the metric was created, in nanoseconds since 1970; 0 if it
	// does not say. Text does not.
	Created int64
	// Native is set for a histogram that has native buckets.
	Native bool
}

// Bucket is a cumulative bucket of a histogram.
type Bucket struct{ Bound, Count float64 }

// Readings reads what the metrics of a push counted. The zero value is ready; it
// is reused by reading again. Not safe for concurrent use.
type Readings struct {
	// All has one for each metric of the push; those nobody wanted are zero.
	All []Reading

	buckets []Bucket
	starts  []int32 // where the buckets of a metric begin
}

// Read reads the metrics of p that are wanted, by their indices.
func (r *Readings) Read(p *Push, wanted func(metric int) bool) {
	r.All = append(r.All[:0], make([]Reading, len(p.Metrics()))...)
	r.buckets = r.buckets[:0]
	if p.Encoding == Protobuf {
		r.starts = r.starts[:0]
		for i := range p.Metrics() {
			r.starts = append(r.starts, int32(len(r.buckets)))
			if wanted(i) {
				r.message(&r.All[i], p.bytes(p.messages[i]))
			}
		}
		r.starts = append(r.starts, int32(len(r.buckets)))
		for i := range r.All {
			r.All[i].Buckets = r.buckets[r.starts[i]:r.starts[i+1]:r.starts[i+1]]
		}
		return
	}
	r.lines(p, wanted)
}

// lines reads samples, of which those of one metric need not stand together.
func (r *Readings) lines(p *Push, wanted func(metric int) bool) {
	r.starts = append(r.starts[:0], make([]int32, len(p.Metrics())+1)...)
	samples := p.Samples()
	for i := range samples {
		if s := &samples[i]; isBucket(p, s) && wanted(int(s.Metric)) {
			r.starts[s.Metric+1]++
		}
	}
	for i := 1; i < len(r.starts); i++ {
		r.starts[i] += r.starts[i-1]
	}
	n := int(r.starts[len(r.starts)-1])
	r.buckets = slices.Grow(r.buckets, n)[:n]
	for i := range r.All {
		r.All[i].Buckets = r.buckets[r.starts[i]:r.starts[i]:r.starts[i+1]]
	}
	for i := range samples {
		s := &samples[i]
		if !wanted(int(s.Metric)) {
			continue
		}
		m := &r.All[s.Metric]
		t := p.Families[p.Metrics()[s.Metric].Family].Type
		switch {
		case t != dto.MetricType_HISTOGRAM && t != dto.MetricType_SUMMARY:
			m.Value = s.Value
		case s.part == partCount:
			m.Count = s.Value
		case s.part == partSum:
			m.Sum = s.Value
		case isBucket(p, s):
			m.Buckets = append(m.Buckets, Bucket{p.Bound(i), s.Value})
		case t == dto.MetricType_HISTOGRAM && !p.hasPart(s.Metric, partCount):
			m.Count = s.Value // +Inf of a histogram without a count, which the exposition gives it
		}
	}
}

func isBucket(p *Push, s *Sample) bool {
	return s.part == partBound && !math.IsInf(p.boundOf(s).value, 1) &&
		p.Families[p.Metrics()[s.Metric].Family].Type == dto.MetricType_HISTOGRAM
}

// message reads a Metric message, which the walk has found well-formed.
func (r *Readings) message(m *Reading, msg []byte) {
	_ = fields(msg, func(f field) error {
		switch {
		case f.is(metricCounter):
			return fields(f.value, func(f field) error {
				m.scalar(f, 1, &m.Value)
				m.created(f, 3)
				return nil
			})
		case f.is(metricGauge), f.is(metricUntyped):
			return fields(f.value, func(f field) error { m.scalar(f, 1, &m.Value); return nil })
		case f.is(metricSummary):
			return fields(f.value, func(f field) error {
				m.scalar(f, 1, &m.Count)
				m.scalar(f, 2, &m.Sum)
				m.created(f, 4)
				return nil
			})
		case f.is(metricHistogram):
			return fields(f.value, func(f field) error { r.histogram(m, f); return nil })
		}
		return nil
	})
}

func (r *Readings) histogram(m *Reading, f field) {
	m.scalar(f, 1, &m.Count)
	m.scalar(f, 2, &m.Sum)
	m.created(f, 15)
	switch {
	case f.num == 4 && f.typ == protowire.Fixed64Type:
		if v := double(f); v > 0 {
			m.Count = v // of a float histogram, which has no whole count
		}
	case f.is(histogramBucket):
		b, whole, part := Bucket{}, 0.0, 0.0
		_ = fields(f.value, func(f field) error {
			m.scalar(f, 1, &whole)
			m.scalar(f, bucketBound, &b.Bound)
			m.scalar(f, 4, &part)
			return nil
		})
		b.Count = max(whole, part)
		if math.IsInf(b.Bound, 1) {
			m.Count = max(m.Count, b.Count)
			return
		}
		r.buckets = append(r.buckets, b)
	case f.num >= histogramSchema && f.num <= histogramCounts:
		m.Native = true
	}
}

// scalar takes the number in a field of the given number.
func (m *Reading) scalar(f field, num protowire.Number, to *float64) {
	if f.num != num {
		return
	}
	switch f.typ {
	case protowire.Fixed64Type:
		*to = double(f)
	case protowire.VarintType:
		*to = float64(f.varint())
	}
}

func double(f field) float64 {
	v, _ := protowire.ConsumeFixed64(f.value)
	return math.Float64frombits(v)
}

// created takes a Timestamp. One that no clock shows is none.
func (m *Reading) created(f field, num protowire.Number) {
	if !f.is(num) {
		return
	}
	seconds, nanos := int64(0), int64(0)
	_ = fields(f.value, func(f field) error {
		switch {
		case f.typ != protowire.VarintType:
		case f.num == 1:
			seconds = int64(f.varint())
		case f.num == 2:
			nanos = int64(f.varint())
		}
		return nil
	})
	if seconds >= 0 && seconds < math.MaxInt64/int64(time.Second) && nanos >= 0 && nanos < 1e9 {
		m.Created = seconds*int64(time.Second) + nanos
	}
}

// Help returns a family's help text, empty if it has none.
func (p *Push) Help(family int) string {
	help := p.bytes(p.Families[family].Help)
	if p.Encoding == Text && bytes.IndexByte(help, '\\') >= 0 {
		return unescapeHelp.Replace(string(help))
	}
	return string(help)
}

// expfmt takes an escaped quote in a help text, too.
var unescapeHelp = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\"`, `"`)
