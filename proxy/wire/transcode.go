package wire

import (
	"bytes"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The field numbers inside the values of a Metric; one and two are the same in
// buckets and quantiles as far as they are written here.
const (
	scalarValue = 1 // of a counter, gauge or untyped

	sampleCount = 1
	sampleSum   = 2

	bucketCount   = 1
	quantileBound = 1
	quantileValue = 2
)

// Transcode appends a text push to dst as delimited protobuf, as its fates have it,
// one fate a metric, or none if all pass. A Pushgateway makes of that what it makes of the text that
// Render writes, to the order of the metrics, at half the cost.
//
// ok is false, and nothing is appended, where that is not certain: for a push that
// is no text of the plain form, one with timestamps, one with lines of one family or
// histogram that do not stand together, and one without samples; and for what
// Pushgateways of different ages read differently: counts that are no integers, and
// quotes that a help text escapes.
// If a fate relabels, Merge must have seen the fates before.
func Transcode(dst []byte, p *Push, fates []Fate) (out []byte, ok bool) {
	if p.Encoding != Text || len(p.Samples()) == 0 || !p.transcodable() {
		return dst, false
	}
	start := len(dst)
	t := transcoder{Push: p, fates: fates, pass: Fate{Act: Pass}, dst: slices.Grow(dst, len(p.Body))}
	for t.metric < len(p.Metrics()) {
		t.family()
	}
	if t.err != nil {
		return t.dst[:start], false
	}
	return t.dst, true
}

// transcodable reports whether every sample can be written where it stands and
// means the same to every Pushgateway.
func (p *Push) transcodable() bool {
	for i := range p.Families {
		if bytes.Contains(p.bytes(p.Families[i].Help), []byte(`\"`)) {
			return false
		}
	}
	if len(p.timestamps) > 0 {
		return false
	}
	left := int32(0) // metrics that the family at hand must still have
	metrics := p.Metrics()
	for i := range metrics {
		m := &metrics[i]
		switch {
		case left > 0 && m.Family != metrics[i-1].Family:
			return false
		case left == 0:
			left = p.Families[m.Family].Metrics
		}
		left--
	}
	latest := int32(0)
	for i := range p.samples {
		s := &p.samples[i]
		if s.Metric < latest || s.part&(partBound|partCount) != 0 && !p.sureCount(s) {
			return false
		}
		latest = s.Metric
	}
	return true
}

// sureCount reports whether a sample with a bound, or of a count, is a quantile or a
// count without a fraction.
func (p *Push) sureCount(s *Sample) bool {
	isQuantile := s.part == partBound && p.Families[p.Metrics()[s.Metric].Family].Type == dto.MetricType_SUMMARY
	return isQuantile || s.Value == math.Trunc(s.Value)
}

// transcoder writes a push family by family; metric and sample are the next ones.
type transcoder struct {
	*Push
	fates          []Fate
	pass           Fate // of each metric where there are no fates
	dst            []byte
	metric, sample int
	err            error
}

// family writes the family of the metric at hand with those of its metrics that go
// on. One that has none is none, as to a Pushgateway that reads text.
func (t *transcoder) family() {
	f := &t.Families[t.Metrics()[t.metric].Family]
	start := len(t.dst)
	t.dst = protowire.AppendTag(t.dst, familyName, protowire.BytesType)
	t.dst = protowire.AppendString(t.dst, f.Name)
	if f.helped {
		t.dst = protowire.AppendTag(t.dst, familyHelp, protowire.BytesType)
		t.dst = appendUnescaped(t.dst, t.bytes(f.Help))
	}
	t.dst = protowire.AppendTag(t.dst, familyType, protowire.VarintType)
	t.dst = protowire.AppendVarint(t.dst, uint64(f.Type))
	empty := len(t.dst)
	for range f.Metrics {
		if fate := t.fate(); fate.Act == LeaveOut {
			t.skip()
		} else {
			t.metricMessage(f.Type, fate)
		}
		t.metric++
	}
	if len(t.dst) == empty {
		t.dst = t.dst[:start]
		return
	}
	t.dst = prefixLength(t.dst, start)
}

// fate is that of the metric at hand.
func (t *transcoder) fate() *Fate {
	if len(t.fates) == 0 {
		return &t.pass
	}
	return &t.fates[t.metric]
}

func (t *transcoder) skip() {
	for t.sample < len(t.samples) && int(t.samples[t.sample].Metric) == t.metric {
		t.sample++
	}
}

func (t *transcoder) metricMessage(typ dto.MetricType, fate *Fate) {
	t.dst = protowire.AppendTag(t.dst, familyMetric, protowire.BytesType)
	start := len(t.dst)
	switch {
	case fate.Fields != nil:
		t.dst = append(t.dst, fate.Fields...)
	case fate.Act == Pass:
		t.dst = appendTextPairs(t.dst, unview(t.Metrics()[t.metric].Identity))
	default:
		t.dst = AppendLabels(t.dst, Protobuf, fate.Labels)
	}
	switch {
	case fate.Act == Relabel && fate.sum != nil:
		t.skip()
		if t.dst, t.err = (proto.MarshalOptions{}).MarshalAppend(t.dst, fate.sum); t.err != nil {
			return
		}
	case typ == dto.MetricType_HISTOGRAM, typ == dto.MetricType_SUMMARY:
		t.parts(typ)
	default:
		t.dst = protowire.AppendTag(t.dst, valueField(typ), protowire.BytesType)
		t.dst = append(t.dst, scalarSize)
		t.dst = appendDouble(t.dst, scalarValue, t.samples[t.sample].Value)
		t.sample++
	}
	t.dst = prefixLength(t.dst, start)
}

// scalarSize is that of a double field with a small number.
const scalarSize = 9

// parts writes a histogram or a summary with as much of it as was pushed.
func (t *transcoder) parts(typ dto.MetricType) {
	t.dst = protowire.AppendTag(t.dst, valueField(typ), protowire.BytesType)
	start := len(t.dst)
	for ; t.sample < len(t.samples) && int(t.samples[t.sample].Metric) == t.metric; t.sample++ {
		switch s := &t.samples[t.sample]; {
		case s.part == partSum:
			t.dst = appendDouble(t.dst, sampleSum, s.Value)
		case s.part == partCount:
			t.dst = protowire.AppendTag(t.dst, sampleCount, protowire.VarintType)
			t.dst = protowire.AppendVarint(t.dst, uint64(s.Value))
		case typ == dto.MetricType_SUMMARY:
			t.dst = protowire.AppendTag(t.dst, summaryQuantile, protowire.BytesType)
			t.dst = append(t.dst, 2*scalarSize)
			t.dst = appendDouble(t.dst, quantileBound, t.boundOf(s).value)
			t.dst = appendDouble(t.dst, quantileValue, s.Value)
		default:
			count := uint64(s.Value)
			t.dst = protowire.AppendTag(t.dst, histogramBucket, protowire.BytesType)
			t.dst = append(t.dst, byte(1+protowire.SizeVarint(count)+scalarSize))
			t.dst = protowire.AppendTag(t.dst, bucketCount, protowire.VarintType)
			t.dst = protowire.AppendVarint(t.dst, count)
			t.dst = appendDouble(t.dst, bucketBound, t.boundOf(s).value)
		}
	}
	t.dst = prefixLength(t.dst, start)
}

func appendDouble(dst []byte, num protowire.Number, v float64) []byte {
	dst = protowire.AppendTag(dst, num, protowire.Fixed64Type)
	return protowire.AppendFixed64(dst, math.Float64bits(v))
}

// prefixLength puts the length of the message that dst holds from start in front of
// it.
func prefixLength(dst []byte, start int) []byte {
	size := len(dst) - start
	n := protowire.SizeVarint(uint64(size))
	var room [10]byte
	dst = append(dst, room[:n]...)
	copy(dst[start+n:], dst[start:start+size])
	protowire.AppendVarint(dst[:start], uint64(size))
	return dst
}

// appendTextPairs appends the labels of an identity that a textWalk was sure of as
// the label fields of a Metric message.
func appendTextPairs(dst, id []byte) []byte {
	for {
		i := 0
		for i < len(id) && (id[i] == ',' || isBlank(id[i])) {
			i++
		}
		if i == len(id) {
			return dst
		}
		name := id[i:]
		n := 0
		for isLabelChar(name[n]) {
			n++
		}
		value := name[n+bytes.IndexByte(name[n:], '"')+1:]
		end := bytes.IndexByte(value, '"')
		if bytes.IndexByte(value[:end], '\\') >= 0 {
			end = closingQuote(value)
		}
		dst = appendTextPair(dst, name[:n], value[:end])
		id = value[end+1:]
	}
}

func appendTextPair(dst, name, value []byte) []byte {
	size := 4 + len(name) + len(value)
	if size < 0x80 && bytes.IndexByte(value, '\\') < 0 { // nearly all; every length is one byte then
		dst = append(dst, metricLabel<<3|2, byte(size), labelName<<3|2, byte(len(name)))
		dst = append(dst, name...)
		dst = append(dst, labelValue<<3|2, byte(len(value)))
		return append(dst, value...)
	}
	dst = protowire.AppendTag(dst, metricLabel, protowire.BytesType)
	start := len(dst)
	dst = protowire.AppendTag(dst, labelName, protowire.BytesType)
	dst = protowire.AppendBytes(dst, name)
	dst = protowire.AppendTag(dst, labelValue, protowire.BytesType)
	dst = appendUnescaped(dst, value)
	return prefixLength(dst, start)
}

// appendUnescaped appends text whose escapes are known as the content of a string
// field.
func appendUnescaped(dst, text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return protowire.AppendBytes(dst, text)
	}
	start := len(dst)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			if i++; text[i] == 'n' {
				c = '\n'
			} else {
				c = text[i]
			}
		}
		dst = append(dst, c)
	}
	return prefixLength(dst, start)
}
