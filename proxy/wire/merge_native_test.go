package wire

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	prom "github.com/prometheus/prometheus/model/histogram"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

func TestMergeNative(t *testing.T) {
	for _, test := range []struct {
		name    string
		metrics []string
		want    string
	}{{
		name: "buckets add, at gaps and overlaps",
		metrics: []string{
			`sample_count:4 sample_sum:1 schema:3 zero_threshold:0.001 zero_count:1 positive_span{offset:-2 length:2} positive_delta:1 positive_delta:1`,
			`sample_count:7 sample_sum:2 schema:3 zero_threshold:0.001 zero_count:2 positive_span{offset:-1 length:1} positive_span{offset:3 length:1} positive_delta:3 positive_delta:-1`,
		},
		want: `sample_count:11 sample_sum:3 schema:3 zero_threshold:0.001 zero_count:3 positive_span{offset:-2 length:2} positive_span{offset:3 length:1} positive_delta:1 positive_delta:4 positive_delta:-3`,
	}, {
		name: "the finer schema gives way",
		metrics: []string{
			`sample_count:3 sample_sum:1 schema:1 negative_span{offset:1 length:2} negative_delta:1 negative_delta:1`,
			`sample_count:1 sample_sum:1 schema:0 negative_span{offset:1 length:1} negative_delta:1`,
		},
		want: `sample_count:4 sample_sum:2 schema:0 zero_threshold:0 zero_count:0 negative_span{offset:1 length:1} negative_delta:4`,
	}, {
		name: "the smaller zero bucket gives way",
		metrics: []string{
			`sample_count:3 sample_sum:1 schema:0 zero_threshold:0.5 zero_count:1 positive_span{offset:0 length:2} positive_delta:1 positive_delta:0`,
			`sample_count:1 sample_sum:1 schema:0 zero_threshold:1 zero_count:1`,
		},
		want: `sample_count:4 sample_sum:2 schema:0 zero_threshold:1 zero_count:3 positive_span{offset:1 length:1} positive_delta:1`,
	}, {
		name: "schema and zero bucket both give way, and nothing counts twice",
		metrics: []string{
			`sample_count:1 sample_sum:1 schema:0 zero_threshold:1.414213562373095 zero_count:1`,
			`sample_count:3 sample_sum:1 schema:1 positive_span{offset:1 length:2} positive_delta:1 positive_delta:1`,
		},
		want: `sample_count:4 sample_sum:2 schema:0 zero_threshold:2 zero_count:4`,
	}, {
		name: "a bucket within the zero bucket is counted there",
		metrics: []string{
			`sample_count:2 sample_sum:1 schema:0 zero_threshold:2 zero_count:1 positive_span{offset:1 length:1} positive_delta:1`,
			`sample_count:6 sample_sum:1 schema:0 zero_threshold:2 zero_count:1 positive_span{offset:0 length:3} positive_delta:1 positive_delta:0 positive_delta:0 negative_span{offset:1 length:2} negative_delta:1 negative_delta:0`,
		},
		want: `sample_count:8 sample_sum:2 schema:0 zero_threshold:2 zero_count:6 positive_span{offset:2 length:1} positive_delta:1 negative_span{offset:2 length:1} negative_delta:1`,
	}, {
		name: "one float makes all float",
		metrics: []string{
			`sample_count_float:1.5 sample_sum:1 schema:0 positive_span{offset:0 length:1} positive_count:1.5`,
			`sample_count:1 sample_sum:1 schema:0 positive_span{offset:0 length:1} positive_delta:1`,
		},
		want: `sample_count_float:2.5 sample_sum:2 schema:0 zero_threshold:0 zero_count_float:0 positive_span{offset:0 length:1} positive_count:2.5`,
	}, {
		name: "without observations it stays native",
		metrics: []string{
			`sample_count:0 sample_sum:0 schema:3 positive_span{offset:0 length:0}`,
			`sample_count:0 sample_sum:0 schema:3 positive_span{offset:0 length:0}`,
		},
		want: `sample_count:0 sample_sum:0 schema:3 zero_threshold:0 zero_count:0 positive_span{offset:0 length:0}`,
	}, {
		name: "an empty span and one at its place",
		metrics: []string{
			`sample_count:0 sample_sum:0 schema:3 positive_span{offset:0 length:0}`,
			`sample_count:1 sample_sum:1 schema:3 positive_span{offset:0 length:1} positive_delta:1`,
		},
		want: `sample_count:1 sample_sum:1 schema:3 zero_threshold:0 zero_count:0 positive_span{offset:0 length:1} positive_delta:1`,
	}, {
		name: "classic and native parts both add",
		metrics: []string{
			`sample_count:1 sample_sum:1 bucket{cumulative_count:1 upper_bound:2} schema:0 positive_span{offset:0 length:1} positive_delta:1`,
			`sample_count:1 sample_sum:1 bucket{cumulative_count:1 upper_bound:2} schema:0 positive_span{offset:0 length:1} positive_delta:1`,
		},
		want: `sample_count:2 sample_sum:2 bucket{cumulative_count:2 upper_bound:2} bucket{cumulative_count:2 upper_bound:inf} schema:0 zero_threshold:0 zero_count:0 positive_span{offset:0 length:1} positive_delta:2`,
	}, {
		name: "the smallest and the largest floats have buckets",
		metrics: []string{
			`sample_count:1 sample_sum:1 schema:8 positive_span{offset:-274944 length:1} positive_delta:1`,
			`sample_count:1 sample_sum:1 schema:8 positive_span{offset:262145 length:1} positive_delta:1`,
		},
		want: `sample_count:2 sample_sum:2 schema:8 zero_threshold:0 zero_count:0 positive_span{offset:-274944 length:1} positive_span{offset:537088 length:1} positive_delta:1 positive_delta:0`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			for i, m := range test.metrics {
				test.metrics[i] = "histogram{" + m + "}"
			}
			metrics := parse(t, test.metrics...)
			got, err := mergeMetrics(histogramType, JoinLast, metrics)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parse(t, test.metrics...), metrics, protocmp.Transform()); diff != "" {
				t.Errorf("the metrics merged were changed:\n%s", diff)
			}
			if diff := cmp.Diff(parse(t, "histogram{"+test.want+"}")[0], got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// nativeSeeds are native histograms that the library would choke on, or that
// are at an edge.
var nativeSeeds = []string{
	`histogram{schema:0 positive_span{offset:0 length:4294967295}}`,
	`histogram{schema:0 positive_span{offset:0 length:4294967295} positive_span{offset:2147483647 length:4294967295}}`,
	`histogram{schema:0 positive_span{offset:2147483647 length:1} positive_delta:1 sample_count:1}`,
	`histogram{schema:0 positive_span{offset:-2147483648 length:1} positive_delta:1 sample_count:1}`,
	`histogram{schema:0 zero_threshold:nan zero_count:1 sample_count:1}`,
	`histogram{schema:8 zero_threshold:1e300 zero_count:1 sample_count:2 positive_span{offset:262145 length:1} positive_delta:1}`,
	`histogram{schema:-4 sample_count_float:nan positive_span{offset:1 length:1} positive_count:nan}`,
	`histogram{schema:-53 positive_span{offset:0 length:1} positive_delta:1 sample_count:1}`,
}

func TestMergeNativeRefuses(t *testing.T) {
	const (
		plain = `sample_count:1 schema:0 positive_span{offset:0 length:1} positive_delta:1`
		quad  = "4611686018427387904" // 2^62
	)
	for _, test := range []struct{ name, metric, want string }{
		{"a classic histogram", `sample_count:1`, "a native histogram and one that is not"},
		{"classic buckets beside it", plain + ` bucket{cumulative_count:1 upper_bound:2}`, "unlike bucket bounds none and 2,+Inf"},
		{"custom buckets", strings.Replace(plain, "schema:0", "schema:-53", 1), "native histogram with custom buckets: a push cannot carry their bounds"},
		{"a schema too fine", strings.Replace(plain, "schema:0", "schema:9", 1), "native histogram of unknown schema 9"},
		{"a schema too coarse", strings.Replace(plain, "schema:0", "schema:-5", 1), "native histogram of unknown schema -5"},
		{"a zero threshold that is no number", plain + ` zero_threshold:nan`, "native histogram with zero threshold NaN"},
		{"a negative zero threshold", plain + ` zero_threshold:-1`, "native histogram with zero threshold -1"},
		{"an infinite zero threshold", plain + ` zero_threshold:inf`, "native histogram with zero threshold +Inf"},
		{
			"a span without buckets", `schema:0 positive_span{offset:0 length:2147483647}`,
			"native histogram: positive side: spans need 2147483647 buckets, have 0 buckets: histogram spans specify different number of buckets than provided",
		},
		{
			"a span beyond all indexes", `schema:0 positive_span{offset:0 length:4294967295}`,
			"native histogram: positive side: span number 1 ends at bucket index 4294967294: histogram has a span whose bucket index is out of range",
		},
		{
			"buckets without a span", plain + ` negative_delta:1`,
			"native histogram: negative side: spans need 0 buckets, have 1 buckets: histogram spans specify different number of buckets than provided",
		},
		{
			"a negative bucket", `schema:0 positive_span{offset:0 length:1} positive_delta:-1`,
			"native histogram: positive side: bucket number 1 has observation count of -1: histogram has a bucket whose observation count is negative",
		},
		{
			"spans that overlap", `sample_count:2 schema:0 positive_span{offset:0 length:1} positive_span{offset:-1 length:1} positive_delta:1 positive_delta:0`,
			"native histogram: positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
		},
		{
			"a count unlike its buckets", strings.Replace(plain, "sample_count:1", "sample_count:2", 1),
			"native histogram: 1 observations found in buckets, but the Count field is 2: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)",
		},
		{
			"deltas of a float histogram", strings.Replace(plain, "sample_count:1", "sample_count_float:1", 1),
			"native histogram: positive side: spans need 1 buckets, have 0 buckets: histogram spans specify different number of buckets than provided",
		},
		{"a bucket below every float", strings.Replace(plain, "offset:0", "offset:-1075", 1), "native histogram with a bucket beyond the range of float64"},
		{"a bucket above every float", strings.Replace(plain, "offset:0", "offset:1026", 1), "native histogram with a bucket beyond the range of float64"},
		{
			"more observations than a float holds", `sample_count:9007199254740994 schema:0 positive_span{offset:0 length:1} positive_delta:9007199254740994`,
			"native histogram of 9.007199254740994e+15 observations, limit: 9007199254740992",
		},
		{
			"more observations together", `sample_count:9007199254740992 schema:0 positive_span{offset:0 length:1} positive_delta:9007199254740992`,
			"native histograms of 9007199254740993 observations, limit: 9007199254740992",
		},
		{
			"buckets whose sum wraps to the count", `sample_count:0 schema:0 positive_span{offset:0 length:4} positive_delta:` + quad + ` positive_delta:0 positive_delta:0 positive_delta:0`,
			"native histogram of 1.8446744073709552e+19 observations, limit: 9007199254740992",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuses(t, histogramType, parse(t, "histogram{"+plain+"}", "histogram{"+test.metric+"}"), test.want)
		})
	}
}

func TestMergeNativeBucketLimit(t *testing.T) {
	// every other bucket, so that two of them interleave
	comb := func(first int32, buckets int) *dto.Metric {
		h := &dto.Histogram{Schema: proto.Int32(8), SampleCount: proto.Uint64(uint64(buckets))}
		for i := range buckets {
			h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(1), Length: proto.Uint32(1)})
			h.PositiveDelta = append(h.PositiveDelta, 0)
			if i == 0 {
				h.PositiveSpan[0].Offset, h.PositiveDelta[0] = proto.Int32(first), 1
			}
		}
		return &dto.Metric{Histogram: h}
	}
	for _, test := range []struct {
		name    string
		metrics []*dto.Metric
		want    string
	}{
		{"at the limit", []*dto.Metric{comb(0, maxNativeBuckets/2), comb(1, maxNativeBuckets/2)}, ""},
		{"over the limit together", []*dto.Metric{comb(0, maxNativeBuckets/2), comb(1, maxNativeBuckets/2+1)}, "native histograms of more than 10000 buckets together"},
		{"over the limit alone", []*dto.Metric{comb(0, 1), comb(1, maxNativeBuckets+1)}, "native histogram of 10001 buckets, limit: 10000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.want != "" {
				refuses(t, histogramType, test.metrics, test.want)
				return
			}
			got, err := mergeMetrics(histogramType, JoinLast, test.metrics)
			if err != nil || len(got.Histogram.PositiveDelta) != maxNativeBuckets {
				t.Errorf("%d buckets, %v", len(got.GetHistogram().GetPositiveDelta()), err)
			}
		})
	}
}

func TestMergeNativeExemplars(t *testing.T) {
	metric := func(seconds ...int64) *dto.Metric {
		h := &dto.Histogram{Schema: proto.Int32(0), ZeroThreshold: proto.Float64(1)}
		for _, s := range seconds {
			h.Exemplars = append(h.Exemplars, &dto.Exemplar{Timestamp: &timestamppb.Timestamp{Seconds: s}})
		}
		return &dto.Metric{Histogram: h}
	}
	got, err := mergeMetrics(histogramType, JoinLast, []*dto.Metric{metric(5, 3, 1, 20, 21, 22, 23), metric(4, 2, 6, 7)})
	if err != nil {
		t.Fatal(err)
	}
	var seconds []int64
	for _, e := range got.Histogram.Exemplars {
		seconds = append(seconds, e.GetTimestamp().GetSeconds())
	}
	if want := []int64{2, 3, 4, 5, 6, 7, 20, 21, 22, 23}; !slices.Equal(seconds, want) {
		t.Errorf("exemplars of %v, want the newest ten, %v", seconds, want)
	}
}

// nativeModel is a native histogram as a map from bucket index to count.
type nativeModel struct {
	schema    int32
	threshold float64
	zero, sum int64
	pos, neg  map[int]int64
}

func drawNative(t *rapid.T, name string, schema int32, threshold float64) nativeModel {
	buckets := rapid.MapOfN(rapid.IntRange(-20, 20), rapid.Int64Range(0, 1<<40), 0, 8)
	return nativeModel{
		schema, threshold,
		rapid.Int64Range(0, 1<<40).Draw(t, name+" zero"), whole.Draw(t, name+" sum"),
		buckets.Draw(t, name+" positive"), buckets.Draw(t, name+" negative"),
	}
}

func (n nativeModel) count() int64 {
	total := n.zero
	for _, side := range []map[int]int64{n.pos, n.neg} {
		for _, c := range side {
			total += c
		}
	}
	return total
}

// add adds what the message says, expanded.
func (n *nativeModel) add(h *dto.Histogram) {
	n.zero += int64(h.GetZeroCount())
	n.sum += int64(h.GetSampleSum())
	expand(n.pos, h.GetPositiveSpan(), h.GetPositiveDelta())
	expand(n.neg, h.GetNegativeSpan(), h.GetNegativeDelta())
}

func expand(into map[int]int64, spans []*dto.BucketSpan, deltas []int64) {
	index, count := 0, int64(0)
	for _, s := range spans {
		index += int(s.GetOffset())
		for range s.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			if count != 0 {
				into[index] += count
			}
			index++
		}
	}
}

func (n nativeModel) dto() *dto.Histogram {
	h := &dto.Histogram{
		SampleCount:   proto.Uint64(uint64(n.count())),
		SampleSum:     proto.Float64(float64(n.sum)),
		Schema:        proto.Int32(n.schema),
		ZeroThreshold: proto.Float64(n.threshold),
		ZeroCount:     proto.Uint64(uint64(n.zero)),
	}
	h.PositiveSpan, h.PositiveDelta = encode(n.pos)
	h.NegativeSpan, h.NegativeDelta = encode(n.neg)
	return h
}

// encode gives every bucket a span of its own, after an empty one.
func encode(buckets map[int]int64) (spans []*dto.BucketSpan, deltas []int64) {
	next, last := 0, int64(0)
	spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(0), Length: proto.Uint32(0)})
	for i, index := range slices.Sorted(maps.Keys(buckets)) {
		if i == 0 {
			spans[0].Offset = proto.Int32(int32(index))
			next = index
		}
		spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(int32(index - next)), Length: proto.Uint32(1)})
		deltas = append(deltas, buckets[index]-last)
		next, last = index+1, buckets[index]
	}
	return spans, deltas
}

func TestMergedNativeHistogramsHaveTheSumOfTheParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := nativeModel{pos: map[int]int64{}, neg: map[int]int64{}}
		var metrics []*dto.Metric
		for i := range rapid.IntRange(2, 6).Draw(t, "metrics") {
			h := drawNative(t, fmt.Sprint(i), 0, 1e-9).dto()
			want.add(h)
			metrics = append(metrics, &dto.Metric{Histogram: h})
		}
		merged := mergeParts(t, histogramType, drawParts(t, metrics)).GetHistogram()
		got := nativeModel{pos: map[int]int64{}, neg: map[int]int64{}}
		got.add(merged)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(nativeModel{})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if merged.GetSampleCount() != uint64(want.count()) {
			t.Errorf("count %d, want %d", merged.GetSampleCount(), want.count())
		}
	})
}

// TestMergedNativeHistogramsCountEveryObservation lets client_golang observe
// values in histograms of unlike schemas and zero buckets, and counts which of
// them fall between the bounds that Prometheus gives to the merged buckets.
func TestMergedNativeHistogramsCountEveryObservation(t *testing.T) {
	magnitude := rapid.Custom(func(t *rapid.T) float64 {
		v := math.Exp2(rapid.Float64Range(-12, 12).Draw(t, "exponent"))
		return rapid.SampledFrom([]float64{v, -v, 0, math.Exp2(math.Round(math.Log2(v)))}).Draw(t, "value")
	})
	rapid.Check(t, func(t *rapid.T) {
		var all []float64
		var metrics []*dto.Metric
		for range rapid.IntRange(2, 4).Draw(t, "metrics") {
			h := prometheus.NewHistogram(prometheus.HistogramOpts{
				Name:                         "h",
				NativeHistogramBucketFactor:  rapid.SampledFrom([]float64{1.01, 1.1, 1.5, 2, 5, 70000}).Draw(t, "factor"),
				NativeHistogramZeroThreshold: rapid.SampledFrom([]float64{-1, 1e-9, 0.01, 0.25, math.Sqrt2, 3}).Draw(t, "threshold"),
			})
			for _, v := range rapid.SliceOfN(magnitude, 0, 20).Draw(t, "observations") {
				h.Observe(v)
				all = append(all, v)
			}
			m := new(dto.Metric)
			if err := h.Write(m); err != nil {
				t.Fatal(err)
			}
			metrics = append(metrics, m)
		}
		merged := mergeParts(t, histogramType, drawParts(t, metrics)).GetHistogram()
		checkObservations(t, merged, all)
	})
}

func checkObservations(t *rapid.T, h *dto.Histogram, all []float64) {
	spans := func(in []*dto.BucketSpan) (out []prom.Span) {
		for _, s := range in {
			out = append(out, prom.Span{Offset: s.GetOffset(), Length: s.GetLength()})
		}
		return out
	}
	ph := prom.Histogram{
		Schema: h.GetSchema(), Count: h.GetSampleCount(), Sum: h.GetSampleSum(),
		ZeroThreshold: h.GetZeroThreshold(), ZeroCount: h.GetZeroCount(),
		PositiveSpans: spans(h.GetPositiveSpan()), PositiveBuckets: h.GetPositiveDelta(),
		NegativeSpans: spans(h.GetNegativeSpan()), NegativeBuckets: h.GetNegativeDelta(),
	}
	if err := ph.Validate(); err != nil {
		t.Fatalf("not a histogram: %v\n%v", err, h)
	}
	if h.GetSampleCount() != uint64(len(all)) {
		t.Errorf("count %d, want %d", h.GetSampleCount(), len(all))
	}
	for b := range allBuckets(ph) {
		var want uint64
		for _, v := range all {
			inZero := math.Abs(v) <= ph.ZeroThreshold
			if b.Lower == -ph.ZeroThreshold && b.Upper == ph.ZeroThreshold && inZero ||
				!inZero && v > 0 && b.Lower < v && v <= b.Upper && b.Upper > ph.ZeroThreshold ||
				!inZero && v < 0 && b.Lower <= v && v < b.Upper && b.Lower < -ph.ZeroThreshold {
				want++
			}
		}
		if b.Count != want {
			t.Errorf("bucket %v, want %d", b, want)
		}
	}
}

func allBuckets(h prom.Histogram) func(func(prom.Bucket[uint64]) bool) {
	return func(yield func(prom.Bucket[uint64]) bool) {
		yield(h.ZeroBucket())
		for it := h.PositiveBucketIterator(); it.Next(); {
			yield(it.At())
		}
		for it := h.NegativeBucketIterator(); it.Next(); {
			yield(it.At())
		}
	}
}
