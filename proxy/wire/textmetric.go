package wire

import (
	"math"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

// appendTextMetric appends the lines of one metric in the text format 0.0.4, as
// expfmt writes them. block is the inside of the label braces, rendered, without
// le and quantile, and may be empty; the labels of m are not looked at. Buckets
// are sorted and end with +Inf; what the format has no words for (exemplars,
// native histograms, created timestamps) is left out. A type the format does not
// know is written as untyped.
func appendTextMetric(dst []byte, family string, block []byte, typ dto.MetricType, m *dto.Metric) []byte {
	l := textLine{
		family:    family,
		quoted:    !model.LegacyValidation.IsValidMetricName(family),
		block:     block,
		timestamp: m.TimestampMs,
	}
	switch typ {
	case dto.MetricType_COUNTER:
		return l.append(dst, "", m.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		return l.append(dst, "", m.GetGauge().GetValue())
	case dto.MetricType_SUMMARY:
		return l.appendSummary(dst, m.GetSummary())
	case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
		return l.appendHistogram(dst, m.GetHistogram())
	default:
		return l.append(dst, "", m.GetUntyped().GetValue())
	}
}

// textLine is what the lines of one metric have in common.
type textLine struct {
	family    string
	quoted    bool // the name is no legacy name and stands quoted within the braces
	block     []byte
	timestamp *int64
}

func (l textLine) appendSummary(dst []byte, s *dto.Summary) []byte {
	for _, q := range s.GetQuantile() {
		dst = l.appendPart(dst, "", model.QuantileLabel, q.GetQuantile(), q.GetValue())
	}
	dst = l.append(dst, "_sum", s.GetSampleSum())
	return l.append(dst, "_count", float64(s.GetSampleCount()))
}

func (l textLine) appendHistogram(dst []byte, h *dto.Histogram) []byte {
	buckets := h.GetBucket()
	if !slices.IsSortedFunc(buckets, byBound) {
		buckets = slices.Clone(buckets)
		slices.SortStableFunc(buckets, byBound)
	}
	for _, b := range buckets {
		count := floatCount(b.GetCumulativeCount(), b.GetCumulativeCountFloat())
		dst = l.appendPart(dst, "_bucket", model.BucketLabel, b.GetUpperBound(), count)
	}
	count := floatCount(h.GetSampleCount(), h.GetSampleCountFloat())
	if n := len(buckets); n == 0 || !math.IsInf(buckets[n-1].GetUpperBound(), +1) {
		dst = l.appendPart(dst, "_bucket", model.BucketLabel, math.Inf(+1), count)
	}
	dst = l.append(dst, "_sum", h.GetSampleSum())
	return l.append(dst, "_count", count)
}

// append appends a line without le or quantile.
func (l textLine) append(dst []byte, suffix string, value float64) []byte {
	return l.appendPart(dst, suffix, "", 0, value)
}

// appendPart appends a line whose last label is le or quantile, or which has no
// such label if label is empty.
func (l textLine) appendPart(dst []byte, suffix, label string, bound, value float64) []byte {
	separator := byte('{')
	if l.quoted {
		dst = append(dst, separator, '"')
		dst = appendEscaped(dst, l.family)
		dst = append(dst, suffix...)
		dst = append(dst, '"')
		separator = ','
	} else {
		dst = append(dst, l.family...)
		dst = append(dst, suffix...)
	}
	if len(l.block) > 0 {
		dst = append(dst, separator)
		dst = append(dst, l.block...)
		separator = ','
	}
	if label != "" {
		dst = append(dst, separator)
		dst = append(dst, label...)
		dst = append(dst, '=', '"')
		dst = appendTextFloat(dst, bound)
		dst = append(dst, '"')
		separator = ','
	}
	if separator == ',' {
		dst = append(dst, '}')
	}
	dst = append(dst, ' ')
	dst = appendTextFloat(dst, value)
	if l.timestamp != nil {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, *l.timestamp, 10)
	}
	return append(dst, '\n')
}

// appendTextFloat appends the shortest digits that read back as f. A negative
// zero loses its sign, as in expfmt.
func appendTextFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}
