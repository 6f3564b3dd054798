package wire

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// UnmergeableError is returned for metrics that a rule made equal and whose
// values cannot become one without being falsified.
type UnmergeableError struct {
	// Reason says what differs or does not fit. It is short, and holds types,
	// bucket bounds and counts, never names or values of labels.
	Reason string
}

// Error says that metrics cannot be merged, and why.
func (e *UnmergeableError) Error() string { return "cannot merge: " + e.Reason }

func unmergeable(format string, args ...any) error {
	return &UnmergeableError{Reason: fmt.Sprintf(format, args...)}
}

// Joining is how gauges that a rule made equal become one. The zero value is
// JoinLast.
type Joining uint8

// The ways to join gauges.
const (
	JoinLast Joining = iota // the last in the push stays
	JoinMax
	JoinMin
	JoinSum
)

// mergeMetrics returns one metric for several of the same family that a rule
// made equal. What a Prometheus sum() over the metrics would have been is
// conserved: counters, summaries and histograms add. Gauges, and untyped metrics
// like them, are joined as how says. Quantiles cannot be merged and are left out.
// A single metric is returned as it is.
//
// The result carries the labels of the first metric, for the caller to replace,
// and shares label pairs and exemplars with the metrics given, which are not
// changed. A timestamp is kept, not dropped: what a timestamp in a push
// means is for others to say. Every error is an *UnmergeableError.
func mergeMetrics(typ dto.MetricType, how Joining, metrics []*dto.Metric) (*dto.Metric, error) {
	switch len(metrics) {
	case 0:
		return nil, unmergeable("no metrics")
	case 1:
		return proto.CloneOf(metrics[0]), nil
	}
	merged, err := mergeValues(typ, how, metrics)
	if err != nil {
		return nil, err
	}
	merged.Label = slices.Clone(metrics[0].GetLabel())
	for _, m := range metrics {
		if m.TimestampMs != nil {
			merged.TimestampMs = proto.Int64(*m.TimestampMs)
		}
	}
	return merged, nil
}

func mergeValues(typ dto.MetricType, how Joining, metrics []*dto.Metric) (*dto.Metric, error) {
	switch typ {
	case dto.MetricType_COUNTER:
		return mergeCounters(metrics)
	case dto.MetricType_GAUGE:
		v := how.join(metrics, func(m *dto.Metric) float64 { return m.GetGauge().GetValue() })
		return &dto.Metric{Gauge: &dto.Gauge{Value: &v}}, nil
	case dto.MetricType_UNTYPED:
		v := how.join(metrics, func(m *dto.Metric) float64 { return m.GetUntyped().GetValue() })
		return &dto.Metric{Untyped: &dto.Untyped{Value: &v}}, nil
	case dto.MetricType_SUMMARY:
		return mergeSummaries(metrics)
	case dto.MetricType_HISTOGRAM:
		return mergeHistograms(metrics)
	default:
		return nil, unmergeable("no rule to add metrics of type %s", typ)
	}
}

func mergeCounters(metrics []*dto.Metric) (*dto.Metric, error) {
	sum := &dto.Counter{Value: new(float64)}
	for _, m := range metrics {
		c := m.GetCounter()
		if c == nil {
			return nil, unmergeable("a counter without a value")
		}
		*sum.Value += c.GetValue()
		sum.Exemplar = latestExemplar(sum.Exemplar, c.GetExemplar())
		sum.CreatedTimestamp = earliest(sum.CreatedTimestamp, c.GetCreatedTimestamp())
	}
	return &dto.Metric{Counter: sum}, nil
}

// join makes one value of those of several metrics. A NaN stays one, whatever it
// is joined with, but for JoinLast.
func (how Joining) join(metrics []*dto.Metric, value func(*dto.Metric) float64) float64 {
	joined := value(metrics[0])
	for _, m := range metrics[1:] {
		switch v := value(m); how {
		case JoinMax:
			joined = math.Max(joined, v)
		case JoinMin:
			joined = math.Min(joined, v)
		case JoinSum:
			joined += v
		default:
			joined = v
		}
	}
	return joined
}

func mergeSummaries(metrics []*dto.Metric) (*dto.Metric, error) {
	sum := &dto.Summary{SampleSum: new(float64)}
	var count tally
	for _, m := range metrics {
		s := m.GetSummary()
		if s == nil {
			return nil, unmergeable("a summary without a value")
		}
		if err := count.add(s.GetSampleCount(), 0); err != nil {
			return nil, err
		}
		*sum.SampleSum += s.GetSampleSum()
		sum.CreatedTimestamp = earliest(sum.CreatedTimestamp, s.GetCreatedTimestamp())
	}
	sum.SampleCount, _ = count.fields()
	return &dto.Metric{Summary: sum}, nil
}

func mergeHistograms(metrics []*dto.Metric) (*dto.Metric, error) {
	parts := make([]*dto.Histogram, len(metrics))
	for i, m := range metrics {
		if parts[i] = m.GetHistogram(); parts[i] == nil {
			return nil, unmergeable("a histogram without a value")
		}
		if isNative(parts[i]) != isNative(parts[0]) {
			return nil, unmergeable("a native histogram and one that is not")
		}
	}
	asFloat := slices.ContainsFunc(parts, isFloat)
	sum := &dto.Histogram{SampleSum: new(float64)}
	count := tally{asFloat: asFloat}
	for _, h := range parts {
		if err := count.add(h.GetSampleCount(), h.GetSampleCountFloat()); err != nil {
			return nil, err
		}
		*sum.SampleSum += h.GetSampleSum()
		sum.CreatedTimestamp = earliest(sum.CreatedTimestamp, h.GetCreatedTimestamp())
	}
	sum.SampleCount, sum.SampleCountFloat = count.fields()
	if err := addBuckets(sum, parts, asFloat); err != nil {
		return nil, err
	}
	if isNative(parts[0]) {
		if err := addNative(sum, parts, asFloat); err != nil {
			return nil, err
		}
	}
	return &dto.Metric{Histogram: sum}, nil
}

// isFloat reports whether any count of h is given as a float. A float of 0 is
// no count, as in expfmt: the integer beside it stands.
func isFloat(h *dto.Histogram) bool {
	return h.GetSampleCountFloat() != 0 || h.GetZeroCountFloat() != 0 ||
		len(h.GetPositiveCount()) > 0 || len(h.GetNegativeCount()) > 0 ||
		slices.ContainsFunc(h.GetBucket(), func(b *dto.Bucket) bool { return b.GetCumulativeCountFloat() != 0 })
}

// addBuckets puts the added classic buckets of all parts into sum, sorted, +Inf
// among them. It needs like bounds: cumulative counts of unlike bounds have no
// sum.
func addBuckets(sum *dto.Histogram, parts []*dto.Histogram, asFloat bool) error {
	var tallies []tally
	for i, h := range parts {
		buckets, err := normalBuckets(h)
		if err != nil {
			return err
		}
		if i == 0 {
			tallies = make([]tally, len(buckets))
			for _, b := range buckets {
				sum.Bucket = append(sum.Bucket, &dto.Bucket{UpperBound: b.UpperBound})
			}
		}
		if !slices.EqualFunc(sum.Bucket, buckets, sameBound) {
			return unmergeable("unlike bucket bounds %s and %s", boundList(sum.Bucket, buckets), boundList(buckets, sum.Bucket))
		}
		for j, b := range buckets {
			tallies[j].asFloat = asFloat
			if err := tallies[j].add(b.GetCumulativeCount(), b.GetCumulativeCountFloat()); err != nil {
				return err
			}
			sum.Bucket[j].Exemplar = latestExemplar(sum.Bucket[j].Exemplar, b.GetExemplar())
		}
	}
	for j, t := range tallies {
		sum.Bucket[j].CumulativeCount, sum.Bucket[j].CumulativeCountFloat = t.fields()
	}
	return nil
}

// normalBuckets returns the classic buckets of h sorted by their bounds, with
// the +Inf bucket that a protobuf push may leave out. A histogram that is only
// native has none.
func normalBuckets(h *dto.Histogram) ([]*dto.Bucket, error) {
	if len(h.GetBucket()) == 0 && isNative(h) {
		return nil, nil
	}
	buckets := slices.Clone(h.GetBucket())
	slices.SortStableFunc(buckets, byBound)
	for i, b := range buckets {
		if math.IsNaN(b.GetUpperBound()) {
			return nil, unmergeable("bucket bound NaN")
		}
		if i > 0 && sameBound(buckets[i-1], b) {
			return nil, unmergeable("bucket bound %g given twice", b.GetUpperBound())
		}
	}
	if n := len(buckets); n == 0 || !math.IsInf(buckets[n-1].GetUpperBound(), +1) {
		buckets = append(buckets, infBucket(h))
	}
	return buckets, nil
}

// infBucket is the +Inf bucket that h implies: it counts every observation.
func infBucket(h *dto.Histogram) *dto.Bucket {
	return &dto.Bucket{
		UpperBound:           proto.Float64(math.Inf(+1)),
		CumulativeCount:      h.SampleCount,
		CumulativeCountFloat: h.SampleCountFloat,
	}
}

func byBound(a, b *dto.Bucket) int    { return cmp.Compare(a.GetUpperBound(), b.GetUpperBound()) }
func sameBound(a, b *dto.Bucket) bool { return a.GetUpperBound() == b.GetUpperBound() }

// boundList renders bounds for a message, cut short around the first that
// differs from those of other.
func boundList(buckets, other []*dto.Bucket) string {
	const before, limit = 3, 8
	if len(buckets) == 0 {
		return "none"
	}
	first := 0
	for first < min(len(buckets), len(other)) && sameBound(buckets[first], other[first]) {
		first++
	}
	var words []string
	if first > before {
		words = append(words, "…")
		buckets = buckets[first-before:]
	}
	for i, b := range buckets {
		if i == limit {
			words = append(words, "…")
			break
		}
		words = append(words, strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
	}
	return strings.Join(words, ",")
}

// tally adds counts, exactly while all of them are integers.
type tally struct {
	asFloat bool
	whole   uint64
	float   float64
}

// add takes the two fields in which a protobuf message may hold a count.
func (t *tally) add(whole uint64, float float64) error {
	if t.asFloat {
		t.float += floatCount(whole, float)
		return nil
	}
	total, carry := bits.Add64(t.whole, whole, 0)
	if carry != 0 {
		return unmergeable("the counts %d and %d together exceed 64 bits", t.whole, whole)
	}
	t.whole = total
	return nil
}

// fields returns the total as the two fields of a protobuf message, one of them
// nil.
func (t *tally) fields() (*uint64, *float64) {
	if t.asFloat {
		return nil, proto.Float64(t.float)
	}
	return proto.Uint64(t.whole), nil
}

// floatCount reads the two fields of a count as expfmt does.
func floatCount(whole uint64, float float64) float64 {
	if float != 0 {
		return float
	}
	return float64(whole)
}

// latestExemplar prefers the later timestamp, any timestamp to none, and else
// the one pushed last.
func latestExemplar(a, b *dto.Exemplar) *dto.Exemplar {
	if b == nil || a != nil && compareTimes(a.GetTimestamp(), b.GetTimestamp()) > 0 {
		return a
	}
	return b
}

// earliest ignores what is not there.
func earliest(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b != nil && compareTimes(b, a) < 0 {
		return b
	}
	return a
}

// compareTimes orders timestamps as pushed, valid or not; none comes first.
func compareTimes(a, b *timestamppb.Timestamp) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.GetSeconds(), b.GetSeconds()), cmp.Compare(a.GetNanos(), b.GetNanos()))
}
