package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/wire"
)

var errTimestamps = errors.New("pushed metrics must not have timestamps")

// parse reads a push as a Pushgateway does. The families are in the order of their
// names.
func parse(body []byte, enc wire.Encoding) ([]*dto.MetricFamily, error) {
	byName := map[string]*dto.MetricFamily{}
	if enc == wire.Protobuf {
		for r := bytes.NewReader(body); ; {
			mf := &dto.MetricFamily{}
			err := protodelim.UnmarshalOptions{MaxSize: -1}.UnmarshalFrom(r, mf)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			byName[mf.GetName()] = mf // the last of a name stands
		}
	} else {
		parser := expfmt.NewTextParser(model.UTF8Validation) // who called has held names to what is permitted
		var err error
		if byName, err = parser.TextToMetricFamilies(bytes.NewReader(body)); err != nil {
			return nil, err
		}
	}
	out := make([]*dto.MetricFamily, 0, len(byName))
	for name, mf := range byName {
		if !wire.Reserved(name) {
			out = append(out, mf)
		}
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out, nil
}

// build returns the family in a group with this key. The error is a Pushgateway's:
// that two of its series are one, or that one has a timestamp.
func (b *builder) build(mf *dto.MetricFamily, pushed int64) (*family, error) {
	b.begin()
	clear(b.seen)
	b.more = b.more[:0]
	s := newShape(mf.GetName(), mf.GetType(), mf.GetHelp())
	whole := false
	for _, m := range mf.Metric {
		if m.TimestampMs != nil {
			return nil, errTimestamps
		}
		b.sanitize(m)
		b.labels = appendPairs(b.labels[:0], m.Label)
		if err := b.once(mf, m); err != nil {
			return nil, err
		}
		b.metric(s, m)
		whole = whole || hasMore(m)
	}
	b.end(s)
	f := &family{shape: s, values: string(b.values), pushed: pushed}
	if whole {
		message, err := proto.Marshal(mf)
		if err != nil {
			return nil, err
		}
		f.whole = string(message)
	}
	return f, nil
}

// sanitize takes out of a metric the labels that the group overwrites, and sorts
// the others.
func (b *builder) sanitize(m *dto.Metric) {
	m.Label = slices.DeleteFunc(m.Label, func(l *dto.LabelPair) bool {
		_, overwritten := b.key.Get(l.GetName())
		return overwritten
	})
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
}

// once holds a metric to being the only one of its labels.
func (b *builder) once(mf *dto.MetricFamily, m *dto.Metric) error {
	h := b.hash(b.labels)
	first, ok := b.seen[h]
	if !ok {
		b.seen[h] = m
		return nil
	}
	for _, o := range append(b.more, first) {
		if slices.EqualFunc(o.Label, m.Label, samePair) {
			return fmt.Errorf("collected metric %q { %s} was collected before with the same name and label values", mf.GetName(), b.words(m))
		}
	}
	b.more = append(b.more, m)
	return nil
}

func appendPairs(dst []labels.Label, pairs []*dto.LabelPair) []labels.Label {
	for _, l := range pairs {
		dst = append(dst, labels.Label{Name: l.GetName(), Value: l.GetValue()})
	}
	return dst
}

func samePair(a, b *dto.LabelPair) bool {
	return a.GetName() == b.GetName() && a.GetValue() == b.GetValue()
}

// words is a metric with the labels of its group, as a Pushgateway's error has it.
func (b *builder) words(m *dto.Metric) string {
	full := proto.CloneOf(m)
	full.Label = append(full.Label, groupPairs(b.key, m)...)
	slices.SortFunc(full.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	// The library varies the spaces of its text, so that nobody relies on it.
	return strings.Join(strings.Fields(full.String()), " ")
}

// groupPairs are the labels that a metric has from its group.
func groupPairs(key wire.Key, m *dto.Metric) []*dto.LabelPair {
	out := make([]*dto.LabelPair, 0, len(key.Labels())+1)
	for _, l := range key.Labels() {
		out = append(out, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
	}
	_, has := key.Get(model.InstanceLabel)
	if !has && !slices.ContainsFunc(m.Label, isInstance) {
		out = append(out, &dto.LabelPair{Name: proto.String(model.InstanceLabel), Value: proto.String("")})
	}
	return out
}

func isInstance(l *dto.LabelPair) bool { return l.GetName() == model.InstanceLabel }

// hasMore reports whether text cannot say all of a metric.
func hasMore(m *dto.Metric) bool {
	h := m.GetHistogram()
	switch {
	case m.GetCounter().GetExemplar() != nil, m.GetCounter().GetCreatedTimestamp() != nil, m.GetSummary().GetCreatedTimestamp() != nil:
		return true
	case h == nil:
		return false
	case h.Schema != nil || h.ZeroThreshold != nil || len(h.PositiveSpan) > 0 || len(h.NegativeSpan) > 0 ||
		h.GetCreatedTimestamp() != nil || len(h.Exemplars) > 0:
		return true
	}
	return slices.ContainsFunc(h.Bucket, func(b *dto.Bucket) bool { return b.Exemplar != nil })
}

// metric adds the lines of a metric.
func (b *builder) metric(s *shape, m *dto.Metric) {
	b.starts = append(b.starts, uint32(len(b.lines)))
	b.note(b.labels)
	switch s.Type {
	case dto.MetricType_COUNTER:
		b.line(s, b.labels, "", "", 0, m.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		b.line(s, b.labels, "", "", 0, m.GetGauge().GetValue())
	case dto.MetricType_SUMMARY:
		for _, q := range m.GetSummary().GetQuantile() {
			b.line(s, b.labels, "", model.QuantileLabel, q.GetQuantile(), q.GetValue())
		}
		b.line(s, b.labels, "_sum", "", 0, m.GetSummary().GetSampleSum())
		b.count(s, b.labels, "_count", "", 0, m.GetSummary().GetSampleCount(), 0)
	case dto.MetricType_HISTOGRAM:
		b.histogram(s, m, m.GetHistogram())
	default:
		b.line(s, b.labels, "", "", 0, m.GetUntyped().GetValue())
	}
}

func (b *builder) histogram(s *shape, m *dto.Metric, h *dto.Histogram) {
	infinite := false
	for _, k := range h.GetBucket() {
		infinite = infinite || math.IsInf(k.GetUpperBound(), +1)
		b.count(s, b.labels, "_bucket", model.BucketLabel, k.GetUpperBound(), k.GetCumulativeCount(), k.GetCumulativeCountFloat())
	}
	if !infinite {
		b.infinite(s, b.labels, h.GetSampleCount(), h.GetSampleCountFloat())
	}
	b.line(s, b.labels, "_sum", "", 0, h.GetSampleSum())
	b.count(s, b.labels, "_count", "", 0, h.GetSampleCount(), h.GetSampleCountFloat())
}
