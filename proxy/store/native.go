package store

import (
	"fmt"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	native "github.com/prometheus/prometheus/model/histogram"

	"github.com/pushguard/pushguard/proxy/wire"
)

// hasSpans reports whether a histogram has native buckets.
func hasSpans(h *dto.Histogram) bool { return len(h.GetPositiveSpan())+len(h.GetNegativeSpan()) > 0 }

// nativeBuckets are the native buckets of a histogram in which there is something, in
// their order, as /api/v1/metrics has them: which of its bounds belong to it, the bounds
// and the count. What was pushed had its spans checked.
func nativeBuckets(h *dto.Histogram) [][]any {
	fh, count := nativeIntegers(h).ToFloat(nil), func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	if h.GetSampleCountFloat() > 0 || h.GetZeroCountFloat() > 0 {
		fh, count = nativeFloats(h), func(n float64) string { return fmt.Sprint(n) }
	}
	out := [][]any{}
	for it := fh.AllBucketIterator(); it.Next(); {
		if b := it.At(); b.Count != 0 {
			out = append(out, []any{closedEnds(b), fmt.Sprint(b.Lower), fmt.Sprint(b.Upper), count(b.Count)})
		}
	}
	return out
}

// closedEnds is Prometheus' number for which bounds belong to a bucket.
func closedEnds(b native.Bucket[float64]) int {
	switch {
	case b.LowerInclusive && b.UpperInclusive:
		return 3
	case b.LowerInclusive:
		return 1
	case b.UpperInclusive:
		return 0
	default:
		return 2
	}
}

func nativeIntegers(h *dto.Histogram) *native.Histogram {
	return &native.Histogram{
		Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCount(),
		PositiveSpans: wire.ReadSpans(h.GetPositiveSpan()), PositiveBuckets: h.GetPositiveDelta(),
		NegativeSpans: wire.ReadSpans(h.GetNegativeSpan()), NegativeBuckets: h.GetNegativeDelta(),
	}
}

func nativeFloats(h *dto.Histogram) *native.FloatHistogram {
	return &native.FloatHistogram{
		Schema: h.GetSchema(), ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCountFloat(),
		PositiveSpans: wire.ReadSpans(h.GetPositiveSpan()), PositiveBuckets: h.GetPositiveCount(),
		NegativeSpans: wire.ReadSpans(h.GetNegativeSpan()), NegativeBuckets: h.GetNegativeCount(),
	}
}
