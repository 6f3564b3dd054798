package wire

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"
)

// Act is what becomes of a metric. The zero value is none: a metric nobody
// decided about is not forwarded.
type Act uint8

// The acts.
const (
	Pass     Act = iota + 1 // goes on as it came
	Relabel                 // goes on with Fate.Labels
	LeaveOut                // does not go on
)

// Fate is what was decided about one metric of a push.
type Fate struct {
	// Labels are the labels the metric goes on with, le and quantile left out
	// where they make samples. Set for Pass too: metrics are compared by it.
	Labels []labels.Label
	// Block is Labels as AppendLabels renders them in the encoding of the push;
	// needed for Relabel only.
	Block []byte
	// Fields are, of a text push, the labels the metric goes on with as the label fields
	// of a Metric message: for Pass as they were pushed. Transcode makes them itself
	// where they are nil.
	Fields []byte
	// Output is the Fingerprint of Labels.
	Output uint64
	Act    Act
	// Gauges is how Merge joins this metric with others, if it is a gauge.
	Gauges Joining

	// merged is the metric that this one and others were merged into, rendered;
	// sum is the same of a text push, its labels left out.
	merged []byte
	sum    *dto.Metric
}

// Merged reports whether the metric is one that Merge made of several.
func (f *Fate) Merged() bool { return f.merged != nil || f.sum != nil }

// AppendLabels renders labels as the inside of a text line's braces, or as the
// label fields of a Metric message.
func AppendLabels(dst []byte, enc Encoding, ls []labels.Label) []byte {
	for i, l := range ls {
		if enc == Protobuf {
			dst = appendPair(dst, l)
			continue
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, l.Name...)
		dst = append(dst, '=', '"')
		dst = appendEscaped(dst, l.Value)
		dst = append(dst, '"')
	}
	return dst
}

func appendPair(dst []byte, l labels.Label) []byte {
	size := protowire.SizeTag(labelName) + protowire.SizeBytes(len(l.Name)) +
		protowire.SizeTag(labelValue) + protowire.SizeBytes(len(l.Value))
	dst = protowire.AppendTag(dst, metricLabel, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, labelName, protowire.BytesType)
	dst = protowire.AppendString(dst, l.Name)
	dst = protowire.AppendTag(dst, labelValue, protowire.BytesType)
	return protowire.AppendString(dst, l.Value)
}

func appendEscaped(dst []byte, value string) []byte {
	for {
		i := strings.IndexAny(value, "\\\"\n")
		if i < 0 {
			return append(dst, value...)
		}
		dst = append(dst, value[:i]...)
		c := value[i]
		if c == '\n' {
			c = 'n'
		}
		dst = append(dst, '\\', c)
		value = value[i+1:]
	}
}

// Render appends the push as its fates have it, one fate a metric, in the
// encoding of the push. Every byte that no fate concerns is copied. If a fate
// relabels, Merge must have seen the fates before.
func Render(dst []byte, p *Push, fates []Fate) []byte {
	dst = slices.Grow(dst, len(p.Body))
	if p.Encoding == Protobuf {
		return renderProtobuf(dst, p, fates)
	}
	return renderText(dst, p, fates)
}

func renderText(dst []byte, p *Push, fates []Fate) []byte {
	copied := uint32(0)
	latest := int32(-1) // the merged metric written last
	samples := p.Samples()
	for i := range samples {
		s := &samples[i]
		fate := &fates[s.Metric]
		switch {
		case fate.Act == Pass:
			continue
		case fate.Act == Relabel && fate.merged == nil:
			dst = append(dst, p.Body[copied:s.Block.Start]...)
			before := len(dst)
			dst = appendBlock(dst, fate.Block, p.bytes(p.boundOf(s).label))
			if copied = s.Block.End; len(dst) == before && !isBlank(p.Body[copied]) {
				dst = append(dst, ' ') // the block kept the name and the value apart
			}
		default:
			dst = append(dst, p.Body[copied:s.Start]...)
			if fate.Act == Relabel && latest < s.Metric {
				dst = append(dst, fate.merged...)
				latest = s.Metric
			}
			copied = p.lineEnd(s)
		}
	}
	return append(dst, p.Body[copied:]...)
}

func appendBlock(dst, block, bound []byte) []byte {
	if len(block) == 0 && len(bound) == 0 {
		return dst
	}
	dst = append(dst, '{')
	dst = append(dst, block...)
	if len(block) > 0 && len(bound) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, bound...)
	return append(dst, '}')
}

func renderProtobuf(dst []byte, p *Push, fates []Fate) []byte {
	var scratch []byte
	metric := 0
	for i := range p.Families {
		f := &p.Families[i]
		mine := fates[metric : metric+int(f.Metrics)]
		metrics := p.Metrics()[metric : metric+int(f.Metrics)]
		metric += int(f.Metrics)
		msg := p.bytes(f.Message)
		if slices.ContainsFunc(mine, func(f Fate) bool { return f.Act != Pass }) {
			scratch = appendFamily(scratch[:0], msg, metrics, mine)
			msg = scratch
		}
		if len(mine) > 0 && !slices.ContainsFunc(mine, func(f Fate) bool { return f.Act != LeaveOut }) {
			continue
		}
		dst = protowire.AppendVarint(dst, uint64(len(msg)))
		dst = append(dst, msg...)
	}
	return dst
}

// appendFamily writes a MetricFamily again with its metrics as their fates have
// them; every other field is copied.
func appendFamily(dst, msg []byte, metrics []Metric, fates []Fate) []byte {
	next := 0
	for len(msg) > 0 {
		f, err := nextField(msg)
		if err != nil {
			return dst // cannot be: the walk has read it
		}
		msg = msg[len(f.raw):]
		if !f.is(familyMetric) {
			dst = append(dst, f.raw...)
			continue
		}
		fate := &fates[next]
		switch {
		case fate.Act == Pass:
			dst = append(dst, f.raw...)
		case fate.Act == Relabel && fate.merged != nil:
			dst = protowire.AppendTag(dst, familyMetric, protowire.BytesType)
			dst = protowire.AppendBytes(dst, fate.merged)
		case fate.Act == Relabel:
			dst = appendRelabelled(dst, f.value, len(metrics[next].Identity), fate.Block)
		}
		next++
	}
	return dst
}

// appendRelabelled writes a Metric with other labels and its other fields as
// they are; labelled is the size of the label fields that go.
func appendRelabelled(dst, msg []byte, labelled int, block []byte) []byte {
	dst = protowire.AppendTag(dst, familyMetric, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(msg)-labelled+len(block)))
	dst = append(dst, block...)
	for len(msg) > 0 {
		f, err := nextField(msg)
		if err != nil {
			return dst // cannot be: the walk has read it
		}
		if !f.is(metricLabel) {
			dst = append(dst, f.raw...)
		}
		msg = msg[len(f.raw):]
	}
	return dst
}
