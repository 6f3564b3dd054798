package wire

import (
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/histogram"
	"google.golang.org/protobuf/proto"
)

const (
	// maxNativeBuckets bounds the buckets and spans of each native histogram
	// that is merged, and of the merged one: inserting a bucket costs as much
	// as there are buckets. Prometheus counts a few hundred as many.
	maxNativeBuckets = 10_000

	// maxNativeCount is the number of observations up to which float64, in
	// which the library adds, holds every integer.
	maxNativeCount = 1 << 53

	// maxNativeExemplars is what client_golang keeps of a native histogram.
	maxNativeExemplars = 10
)

// isNative reports whether Prometheus takes h for a native histogram: without a
// span, even an empty one, a histogram of no observations and no zero bucket
// is a classic one.
func isNative(h *dto.Histogram) bool {
	return len(h.GetPositiveSpan()) > 0 || len(h.GetNegativeSpan()) > 0 ||
		h.GetZeroThreshold() != 0 || h.GetZeroCount() != 0 || h.GetZeroCountFloat() != 0
}

// addNative puts the added native parts into sum, whose count is already set.
func addNative(sum *dto.Histogram, parts []*dto.Histogram, asFloat bool) error {
	natives := make([]*histogram.FloatHistogram, len(parts))
	schema := histogram.ExponentialSchemaMax
	for i, h := range parts {
		fh, err := nativePart(h)
		if err != nil {
			return err
		}
		natives[i] = fh
		schema = min(schema, fh.Schema)
		sum.Exemplars = append(sum.Exemplars, h.GetExemplars()...)
	}
	if !asFloat && sum.GetSampleCount() > maxNativeCount {
		return unmergeable("native histograms of %d observations, limit: %d", sum.GetSampleCount(), uint64(maxNativeCount))
	}
	sum.Exemplars = newestExemplars(sum.Exemplars)
	for _, fh := range natives {
		if err := coarsen(fh, schema); err != nil {
			return err
		}
	}
	// In pairs, so that many small histograms do not each walk a large one.
	for n := len(natives); n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			if err := addPair(natives[i], natives[n-1-i]); err != nil {
				return err
			}
		}
	}
	setNative(sum, natives[0], asFloat)
	return nil
}

// coarsen reduces the resolution of fh to a schema. Add would do so itself, but
// only after it has widened the zero bucket: a bucket that went into the zero
// bucket would count once more as part of its wider successor.
func coarsen(fh *histogram.FloatHistogram, schema int32) error {
	if fh.Schema == schema {
		return nil
	}
	if err := fh.ReduceResolution(schema); err != nil {
		return unmergeable("native histogram: %v", err)
	}
	return nil
}

// addPair adds other, of the same schema, to fh.
func addPair(fh, other *histogram.FloatHistogram) error {
	if _, _, _, err := fh.Add(other); err != nil {
		return unmergeable("native histogram: %v", err)
	}
	if len(fh.PositiveBuckets)+len(fh.NegativeBuckets) > maxNativeBuckets {
		return unmergeable("native histograms of more than %d buckets together", maxNativeBuckets)
	}
	return nil
}

// nativePart reads the native part of h, checked and compacted, for the library
// relies on more than it checks: Add loops for ever on a zero threshold that is
// NaN, drops a bucket below the range of float64, and reads past the end of the
// buckets where spans promise more or the first span is empty.
func nativePart(h *dto.Histogram) (*histogram.FloatHistogram, error) {
	schema, threshold := h.GetSchema(), h.GetZeroThreshold()
	size := max(len(h.GetPositiveSpan()), len(h.GetPositiveDelta()), len(h.GetPositiveCount())) +
		max(len(h.GetNegativeSpan()), len(h.GetNegativeDelta()), len(h.GetNegativeCount()))
	switch {
	case schema == histogram.CustomBucketsSchema:
		return nil, unmergeable("native histogram with custom buckets: a push cannot carry their bounds")
	case !histogram.IsExponentialSchema(schema):
		return nil, unmergeable("native histogram of unknown schema %d", schema)
	case !(threshold >= 0) || math.IsInf(threshold, 0):
		return nil, unmergeable("native histogram with zero threshold %g", threshold)
	case size > maxNativeBuckets:
		return nil, unmergeable("native histogram of %d buckets, limit: %d", size, maxNativeBuckets)
	}
	read := nativeIntegers
	if isFloat(h) {
		read = nativeFloats
	}
	fh, err := read(h)
	if err != nil {
		return nil, err
	}
	if !indexesInRange(schema, fh.PositiveSpans) || !indexesInRange(schema, fh.NegativeSpans) {
		return nil, unmergeable("native histogram with a bucket beyond the range of float64")
	}
	fh.Compact(0)
	absorb(fh)
	return fh, nil
}

// absorb has the zero bucket count what lies in buckets within it, which nothing forbids:
// Add would leave out those of the other histogram.
func absorb(fh *histogram.FloatHistogram) {
	into := func(it histogram.BucketIterator[float64], counts []float64) {
		for n := 0; it.Next(); n++ {
			b := it.At()
			if max(-b.Lower, b.Upper) > fh.ZeroThreshold {
				return
			}
			fh.ZeroCount += b.Count
			counts[n] = 0
		}
	}
	into(fh.PositiveBucketIterator(), fh.PositiveBuckets)
	into(fh.NegativeBucketIterator(), fh.NegativeBuckets)
}

func nativeFloats(h *dto.Histogram) (*histogram.FloatHistogram, error) {
	fh := &histogram.FloatHistogram{
		Schema:          h.GetSchema(),
		ZeroThreshold:   h.GetZeroThreshold(),
		ZeroCount:       floatCount(h.GetZeroCount(), h.GetZeroCountFloat()),
		Count:           floatCount(h.GetSampleCount(), h.GetSampleCountFloat()),
		Sum:             h.GetSampleSum(),
		PositiveSpans:   ReadSpans(h.GetPositiveSpan()),
		NegativeSpans:   ReadSpans(h.GetNegativeSpan()),
		PositiveBuckets: slices.Clone(h.GetPositiveCount()),
		NegativeBuckets: slices.Clone(h.GetNegativeCount()),
	}
	if err := fh.Validate(); err != nil {
		return nil, unmergeable("native histogram: %v", err)
	}
	return fh, nil
}

func nativeIntegers(h *dto.Histogram) (*histogram.FloatHistogram, error) {
	ih := &histogram.Histogram{
		Schema:          h.GetSchema(),
		ZeroThreshold:   h.GetZeroThreshold(),
		ZeroCount:       h.GetZeroCount(),
		Count:           h.GetSampleCount(),
		Sum:             h.GetSampleSum(),
		PositiveSpans:   ReadSpans(h.GetPositiveSpan()),
		NegativeSpans:   ReadSpans(h.GetNegativeSpan()),
		PositiveBuckets: h.GetPositiveDelta(),
		NegativeBuckets: h.GetNegativeDelta(),
	}
	if err := ih.Validate(); err != nil {
		return nil, unmergeable("native histogram: %v", err)
	}
	fh := ih.ToFloat(nil)
	// Validate adds in 64 bits and does not notice a sum that wraps.
	if n := max(fh.Count, observations(fh)); n > maxNativeCount {
		return nil, unmergeable("native histogram of %g observations, limit: %d", n, uint64(maxNativeCount))
	}
	return fh, nil
}

func observations(fh *histogram.FloatHistogram) float64 {
	n := fh.ZeroCount
	for _, c := range fh.PositiveBuckets {
		n += c
	}
	for _, c := range fh.NegativeBuckets {
		n += c
	}
	return n
}

// indexesInRange reports whether a float64 can fall into every bucket of spans.
// At the finest schema the smallest float64 is in bucket -1074*256, the largest
// in 1024*256 and an infinite one in the next.
func indexesInRange(schema int32, spans []histogram.Span) bool {
	coarser := histogram.ExponentialSchemaMax - schema
	lowest := int64((-1074*256-1)>>coarser) + 1
	highest := int64((1024*256)>>coarser) + 1
	var next int64
	for _, s := range spans {
		next += int64(s.Offset)
		if s.Length > 0 && (next < lowest || next+int64(s.Length)-1 > highest) {
			return false
		}
		next += int64(s.Length)
	}
	return true
}

// setNative writes the added histogram into the fields of sum that are native.
func setNative(sum *dto.Histogram, total *histogram.FloatHistogram, asFloat bool) {
	total.Compact(0)
	sum.Schema = proto.Int32(total.Schema)
	sum.ZeroThreshold = proto.Float64(total.ZeroThreshold)
	sum.PositiveSpan = writeSpans(total.PositiveSpans)
	sum.NegativeSpan = writeSpans(total.NegativeSpans)
	if asFloat {
		sum.ZeroCountFloat = proto.Float64(total.ZeroCount)
		sum.PositiveCount = total.PositiveBuckets
		sum.NegativeCount = total.NegativeBuckets
	} else {
		sum.ZeroCount = proto.Uint64(uint64(total.ZeroCount))
		sum.PositiveDelta = deltas(total.PositiveBuckets)
		sum.NegativeDelta = deltas(total.NegativeBuckets)
	}
	if !isNative(sum) {
		sum.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
}

// ReadSpans are the spans of a native histogram as Prometheus has them; none is an empty list.
func ReadSpans(spans []*dto.BucketSpan) []histogram.Span {
	out := make([]histogram.Span, len(spans))
	for i, s := range spans {
		out[i] = histogram.Span{Offset: s.GetOffset(), Length: s.GetLength()}
	}
	return out
}

func writeSpans(spans []histogram.Span) []*dto.BucketSpan {
	out := make([]*dto.BucketSpan, len(spans))
	for i, s := range spans {
		out[i] = &dto.BucketSpan{Offset: proto.Int32(s.Offset), Length: proto.Uint32(s.Length)}
	}
	return out
}

// deltas encodes whole counts as the integer encoding wants them: each as its
// difference from the one before.
func deltas(counts []float64) []int64 {
	out := make([]int64, len(counts))
	var last int64
	for i, c := range counts {
		out[i] = int64(c) - last
		last = int64(c)
	}
	return out
}

// newestExemplars returns the newest exemplars of a native histogram, oldest
// first.
func newestExemplars(all []*dto.Exemplar) []*dto.Exemplar {
	slices.SortStableFunc(all, func(a, b *dto.Exemplar) int {
		return compareTimes(a.GetTimestamp(), b.GetTimestamp())
	})
	return all[max(0, len(all)-maxNativeExemplars):]
}
