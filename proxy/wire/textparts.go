package wire

import (
	"math"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

func boundName(t dto.MetricType) string {
	switch t {
	case dto.MetricType_HISTOGRAM:
		return model.BucketLabel
	case dto.MetricType_SUMMARY:
		return model.QuantileLabel
	default:
		return ""
	}
}

// file finds or makes the metric of a sample.
func (w *textWalk) file(s *Sample, t dto.MetricType, p part) error {
	if t != dto.MetricType_HISTOGRAM && t != dto.MetricType_SUMMARY {
		s.Metric = w.addMetric(w.block.inner)
		return w.count(s.Metric, 1)
	}
	if err := w.bound(s, t, p); err != nil {
		return err
	}
	m, err := w.metricOf()
	if err != nil {
		return err
	}
	s.Metric = m
	return w.addPart(s, t)
}

// bound checks that a sample of a histogram or summary is what expfmt makes of
// it without dropping or bending anything, and reads its bound.
func (w *textWalk) bound(s *Sample, t dto.MetricType, p part) error {
	bounded := p == partBound || (t == dto.MetricType_SUMMARY && p == 0)
	if bounded != w.block.hasBound || (t == dto.MetricType_HISTOGRAM && p == 0) {
		return errDoubt
	}
	s.part = p
	if bounded {
		s.part = partBound
		v, err := parseFloat(w.block.boundValue)
		if err != nil || math.IsNaN(v) {
			return errDoubt
		}
		base := s.Block.Start
		w.bounds = append(w.bounds, bound{v, Span{base + w.block.boundStart, base + w.block.boundEnd}})
		s.bound = uint32(len(w.bounds))
	}
	if !countable(t, s.part, s.Value) {
		return errDoubt
	}
	return nil
}

// countable reports whether a value is one that a part of a family of this type can
// have.
func countable(t dto.MetricType, p part, v float64) bool {
	switch {
	case t == dto.MetricType_HISTOGRAM && p != partSum:
		return v >= 0 && v < 1<<63
	case p == partCount:
		return v >= 0 && v < 1<<63 && v == math.Trunc(v)
	default:
		return true
	}
}

// metricOf finds the metric that the labels at hand belong to. Lines of one
// metric mostly follow each other; where they do not, or write the same labels
// in another way, the sum of the hashes of the pairs finds it.
func (w *textWalk) metricOf() (int32, error) {
	mark := len(w.scratch)
	w.scratch = w.block.appendIdentity(w.scratch)
	id := w.scratch[mark:]
	if last := int32(len(w.metrics)) - 1; last >= 0 && w.metrics[last].Family == w.family && w.metrics[last].Identity == string(id) {
		w.scratch = w.scratch[:mark]
		return last, nil
	}
	h := w.block.pairHash(w.seed) + uint64(w.family)*0x9E3779B97F4A7C15
	if m, ok := w.bySeries[h]; ok {
		same := w.metrics[m].Family == w.family && w.metrics[m].Identity == string(id)
		w.scratch = w.scratch[:mark]
		if !same {
			return 0, errDoubt
		}
		return m, nil
	}
	m := w.addMetric(id)
	w.bySeries[h] = m
	return m, nil
}

// addPart counts the sample as a part of its metric: what the exposition adds
// (+Inf bucket, sum, count) is billed with the first.
func (w *textWalk) addPart(s *Sample, t dto.MetricType) error {
	m := &w.metrics[s.Metric]
	n := 0
	if m.Samples == 0 {
		n = 2
		if t == dto.MetricType_HISTOGRAM {
			n = 3
		}
	}
	switch {
	case s.part == partBound && t == dto.MetricType_HISTOGRAM && math.IsInf(w.boundOf(s).value, 1):
		if !w.addTo(s.Metric, partInf) {
			return errDoubt
		}
	case s.part == partBound:
		n++
	default:
		if !w.addTo(s.Metric, s.part) {
			return errDoubt
		}
	}
	return w.count(s.Metric, n)
}

// addTo notes that a metric has a part, and reports whether it had none such before.
func (w *textWalk) addTo(metric int32, one part) bool {
	if more := len(w.metrics) - len(w.parts); more > 0 {
		w.parts = append(w.parts, make([]part, more)...)
	}
	had := w.parts[metric]
	w.parts[metric] |= one
	return had&one == 0
}

// hasPart reports whether a metric of a text push has a part.
func (p *Push) hasPart(metric int32, one part) bool {
	return int(metric) < len(p.parts) && p.parts[metric]&one != 0
}
