package wire

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"
)

const (
	counterType   = dto.MetricType_COUNTER
	gaugeType     = dto.MetricType_GAUGE
	untypedType   = dto.MetricType_UNTYPED
	summaryType   = dto.MetricType_SUMMARY
	histogramType = dto.MetricType_HISTOGRAM
)

// parse reads metrics in protobuf's text form.
func parse(t *testing.T, texts ...string) []*dto.Metric {
	t.Helper()
	metrics := make([]*dto.Metric, len(texts))
	for i, text := range texts {
		metrics[i] = new(dto.Metric)
		if err := prototext.Unmarshal([]byte(text), metrics[i]); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return metrics
}

func TestMerge(t *testing.T) {
	for _, test := range []struct {
		name    string
		typ     dto.MetricType
		how     Joining
		metrics []string
		want    string
	}{{
		name: "one metric is left as it is", typ: summaryType,
		metrics: []string{`label{name:"a" value:"1"} summary{sample_count:1 quantile{quantile:0.5 value:3}}`},
		want:    `label{name:"a" value:"1"} summary{sample_count:1 quantile{quantile:0.5 value:3}}`,
	}, {
		name: "counters add, under the labels of the first", typ: counterType,
		metrics: []string{`label{name:"a" value:"1"} counter{value:1}`, `label{name:"a" value:"2"} counter{value:2}`, `counter{value:4.5}`},
		want:    `label{name:"a" value:"1"} counter{value:7.5}`,
	}, {
		name: "a sum with NaN is NaN", typ: counterType,
		metrics: []string{`counter{value:1}`, `counter{value:nan}`},
		want:    `counter{value:nan}`,
	}, {
		name: "the latest exemplar stands, the earliest creation", typ: counterType,
		metrics: []string{
			`counter{value:1 exemplar{value:1 timestamp{seconds:5}} created_timestamp{seconds:9}}`,
			`counter{value:1 exemplar{value:2 timestamp{seconds:7}} created_timestamp{seconds:8 nanos:6}}`,
			`counter{value:1 exemplar{value:3 timestamp{seconds:6}} created_timestamp{seconds:8 nanos:5}}`,
			`counter{value:1 exemplar{value:4}}`,
			`counter{value:1}`,
		},
		want: `counter{value:5 exemplar{value:2 timestamp{seconds:7}} created_timestamp{seconds:8 nanos:5}}`,
	}, {
		name: "of exemplars without timestamps the last stands", typ: counterType,
		metrics: []string{`counter{value:1 exemplar{value:1}}`, `counter{value:1 exemplar{value:2}}`, `counter{value:1}`},
		want:    `counter{value:3 exemplar{value:2}}`,
	}, {
		name: "of gauges the last stands, even if it is NaN", typ: gaugeType,
		metrics: []string{`label{name:"a" value:"1"} gauge{value:1}`, `label{name:"a" value:"2"} gauge{value:nan}`},
		want:    `label{name:"a" value:"1"} gauge{value:nan}`,
	}, {
		name: "of gauges the largest, by the rule's word", typ: gaugeType, how: JoinMax,
		metrics: []string{`gauge{value:1}`, `gauge{value:3}`, `gauge{value:2}`},
		want:    `gauge{value:3}`,
	}, {
		name: "of gauges the smallest, by the rule's word", typ: gaugeType, how: JoinMin,
		metrics: []string{`gauge{value:2}`, `gauge{value:1}`, `gauge{value:3}`},
		want:    `gauge{value:1}`,
	}, {
		name: "gauges add, by the rule's word", typ: gaugeType, how: JoinSum,
		metrics: []string{`gauge{value:2}`, `gauge{value:1}`, `gauge{value:3}`},
		want:    `gauge{value:6}`,
	}, {
		name: "a NaN is not outdone", typ: gaugeType, how: JoinMax,
		metrics: []string{`gauge{value:2}`, `gauge{value:nan}`, `gauge{value:3}`},
		want:    `gauge{value:nan}`,
	}, {
		name: "of untyped metrics the last stands", typ: untypedType,
		metrics: []string{`untyped{value:1}`, `untyped{value:2}`},
		want:    `untyped{value:2}`,
	}, {
		name: "untyped metrics that are counters in all but name add", typ: untypedType, how: JoinSum,
		metrics: []string{`untyped{value:1}`, `untyped{value:2}`},
		want:    `untyped{value:3}`,
	}, {
		name: "summaries add and lose their quantiles", typ: summaryType,
		metrics: []string{
			`summary{sample_count:1 sample_sum:2 quantile{quantile:0.5 value:2} created_timestamp{seconds:2}}`,
			`summary{sample_count:3 sample_sum:0.5 created_timestamp{seconds:1}}`,
		},
		want: `summary{sample_count:4 sample_sum:2.5 created_timestamp{seconds:1}}`,
	}, {
		name: "histograms add, in whatever order and with or without +Inf", typ: histogramType,
		metrics: []string{
			`histogram{sample_count:3 sample_sum:1.5 bucket{cumulative_count:1 upper_bound:0.5} bucket{cumulative_count:2 upper_bound:1}}`,
			`histogram{sample_count:5 sample_sum:2 bucket{cumulative_count:5 upper_bound:inf} bucket{cumulative_count:4 upper_bound:1} bucket{cumulative_count:3 upper_bound:0.5}}`,
		},
		want: `histogram{sample_count:8 sample_sum:3.5 bucket{cumulative_count:4 upper_bound:0.5} bucket{cumulative_count:6 upper_bound:1} bucket{cumulative_count:8 upper_bound:inf}}`,
	}, {
		name: "histograms without buckets have one, +Inf", typ: histogramType,
		metrics: []string{`histogram{sample_count:3 sample_sum:1}`, `histogram{sample_count:2 sample_sum:nan}`},
		want:    `histogram{sample_count:5 sample_sum:nan bucket{cumulative_count:5 upper_bound:inf}}`,
	}, {
		name: "one float count makes all float", typ: histogramType,
		metrics: []string{
			`histogram{sample_count:3 sample_sum:1 bucket{cumulative_count:2 upper_bound:1}}`,
			`histogram{sample_count_float:1.5 sample_sum:1 bucket{cumulative_count_float:0.5 upper_bound:1}}`,
		},
		want: `histogram{sample_count_float:4.5 sample_sum:2 bucket{cumulative_count_float:2.5 upper_bound:1} bucket{cumulative_count_float:4.5 upper_bound:inf}}`,
	}, {
		name: "of the exemplars of each bucket the latest stands", typ: histogramType,
		metrics: []string{
			`histogram{sample_count:2 sample_sum:1 bucket{cumulative_count:1 upper_bound:1 exemplar{value:1 timestamp{seconds:2}}} bucket{cumulative_count:2 upper_bound:inf exemplar{value:3 timestamp{seconds:2}}}}`,
			`histogram{sample_count:2 sample_sum:1 bucket{cumulative_count:1 upper_bound:1 exemplar{value:2 timestamp{seconds:1}}} bucket{cumulative_count:2 upper_bound:inf exemplar{value:4 timestamp{seconds:3}}}}`,
		},
		want: `histogram{sample_count:4 sample_sum:2 bucket{cumulative_count:2 upper_bound:1 exemplar{value:1 timestamp{seconds:2}}} bucket{cumulative_count:4 upper_bound:inf exemplar{value:4 timestamp{seconds:3}}}}`,
	}, {
		name: "a timestamp is kept, even zero", typ: counterType,
		metrics: []string{`counter{value:1}`, `counter{value:1} timestamp_ms:0`, `counter{value:1}`},
		want:    `counter{value:3} timestamp_ms:0`,
	}} {
		t.Run(test.name, func(t *testing.T) {
			metrics := parse(t, test.metrics...)
			got, err := mergeMetrics(test.typ, test.how, metrics)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(parse(t, test.metrics...), metrics, protocmp.Transform(), equalNaNs); diff != "" {
				t.Errorf("the metrics merged were changed:\n%s", diff)
			}
			if diff := cmp.Diff(parse(t, test.want)[0], got, protocmp.Transform(), equalNaNs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

var equalNaNs = cmp.Comparer(func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })

func TestMergeRefuses(t *testing.T) {
	const huge = "18446744073709551615"
	for _, test := range []struct {
		name    string
		typ     dto.MetricType
		metrics []string
		want    string
	}{
		{"nothing", counterType, nil, "no metrics"},
		{"a gauge histogram", dto.MetricType_GAUGE_HISTOGRAM, []string{`histogram{}`, `histogram{}`}, "no rule to add metrics of type GAUGE_HISTOGRAM"},
		{"an unknown type", 77, []string{`gauge{}`, `gauge{}`}, "no rule to add metrics of type 77"},
		{"a counter that is a gauge", counterType, []string{`counter{value:1}`, `gauge{value:1}`}, "a counter without a value"},
		{"a summary that is a gauge", summaryType, []string{`gauge{value:1}`, `gauge{value:1}`}, "a summary without a value"},
		{"a histogram that is a gauge", histogramType, []string{`histogram{}`, `gauge{value:1}`}, "a histogram without a value"},
		{
			"a summary's count over 64 bits", summaryType,
			[]string{`summary{sample_count:` + huge + `}`, `summary{sample_count:1}`},
			"the counts 18446744073709551615 and 1 together exceed 64 bits",
		},
		{
			"a histogram's count over 64 bits", histogramType,
			[]string{`histogram{sample_count:` + huge + `}`, `histogram{sample_count:1}`},
			"the counts 18446744073709551615 and 1 together exceed 64 bits",
		},
		{
			"a bucket's count over 64 bits", histogramType,
			[]string{`histogram{bucket{cumulative_count:` + huge + ` upper_bound:1}}`, `histogram{bucket{cumulative_count:1 upper_bound:1}}`},
			"the counts 18446744073709551615 and 1 together exceed 64 bits",
		},
		{
			"unlike bounds", histogramType,
			[]string{`histogram{bucket{upper_bound:0.1} bucket{upper_bound:1}}`, `histogram{bucket{upper_bound:1} bucket{upper_bound:0.5}}`},
			"unlike bucket bounds 0.1,1,+Inf and 0.5,1,+Inf",
		},
		{
			"a bound more", histogramType,
			[]string{`histogram{bucket{upper_bound:1}}`, `histogram{bucket{upper_bound:1} bucket{upper_bound:2}}`},
			"unlike bucket bounds 1,+Inf and 1,2,+Inf",
		},
		{
			"many bounds", histogramType,
			[]string{`histogram{` + bucketsUpTo(20) + `}`, `histogram{bucket{upper_bound:0.5}` + bucketsUpTo(20) + `}`},
			"unlike bucket bounds 1,2,3,4,5,6,7,8,… and 0.5,1,2,3,4,5,6,7,…",
		},
		{
			"many like bounds before", histogramType,
			[]string{`histogram{` + bucketsUpTo(20) + `}`, `histogram{` + bucketsUpTo(21) + `}`},
			"unlike bucket bounds …,18,19,20,+Inf and …,18,19,20,21,+Inf",
		},
		{
			"a bound twice", histogramType,
			[]string{`histogram{bucket{upper_bound:1} bucket{upper_bound:1}}`, `histogram{bucket{upper_bound:1} bucket{upper_bound:1}}`},
			"bucket bound 1 given twice",
		},
		{
			"a bound that is no number", histogramType,
			[]string{`histogram{bucket{upper_bound:nan}}`, `histogram{bucket{upper_bound:nan}}`},
			"bucket bound NaN",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			refuses(t, test.typ, parse(t, test.metrics...), test.want)
		})
	}
}

// bucketsUpTo has the bounds 1, 2, 3 … n.
func bucketsUpTo(n int) string {
	var b strings.Builder
	for bound := range n {
		fmt.Fprintf(&b, "bucket{upper_bound:%d} ", bound+1)
	}
	return b.String()
}

func refuses(t *testing.T, typ dto.MetricType, metrics []*dto.Metric, want string) {
	t.Helper()
	got, err := mergeMetrics(typ, JoinSum, metrics)
	var unmergeable *UnmergeableError
	if !errors.As(err, &unmergeable) {
		t.Fatalf("got %v, %v, want an UnmergeableError", got, err)
	}
	if unmergeable.Reason != want {
		t.Errorf("reason\n%s, want\n%s", unmergeable.Reason, want)
	}
}

// drawParts splits metrics, in a random order, into random runs.
func drawParts(t *rapid.T, metrics []*dto.Metric) [][]*dto.Metric {
	rest := rapid.Permutation(metrics).Draw(t, "order")
	var parts [][]*dto.Metric
	for len(rest) > 0 {
		n := rapid.IntRange(1, len(rest)).Draw(t, "run")
		parts, rest = append(parts, rest[:n]), rest[n:]
	}
	return parts
}

// mergeParts merges each part and then what came of them, and holds that the
// metrics themselves are left alone.
func mergeParts(t *rapid.T, typ dto.MetricType, parts [][]*dto.Metric) *dto.Metric {
	var merged []*dto.Metric
	for _, part := range parts {
		before := make([]*dto.Metric, len(part))
		for i, m := range part {
			before[i] = proto.CloneOf(m)
		}
		m, err := mergeMetrics(typ, JoinSum, part)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(before, part, func(a, b *dto.Metric) bool { return proto.Equal(a, b) }) {
			t.Fatal("the metrics merged were changed")
		}
		merged = append(merged, m)
	}
	m, err := mergeMetrics(typ, JoinSum, merged)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// whole draws integers so small that float64 adds them exactly in any order.
var whole = rapid.Int64Range(-1<<40, 1<<40)

func TestMergedCountersHaveTheSumOfTheParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(whole, 1, 12).Draw(t, "values")
		var metrics []*dto.Metric
		var want int64
		for _, v := range values {
			metrics = append(metrics, &dto.Metric{Counter: &dto.Counter{Value: proto.Float64(float64(v))}})
			want += v
		}
		got := mergeParts(t, counterType, drawParts(t, metrics))
		if got.GetCounter().GetValue() != float64(want) {
			t.Errorf("sum %g, want %d", got.GetCounter().GetValue(), want)
		}
	})
}

func TestMergedHistogramsHaveTheSumOfTheParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Float64Range(-1e6, 1e6), 0, 6, func(f float64) float64 { return f + 0 }).Draw(t, "bounds")
		var (
			metrics     []*dto.Metric
			wantSum     int64
			wantCount   uint64
			wantBuckets = map[float64]uint64{}
		)
		for range rapid.IntRange(2, 8).Draw(t, "metrics") {
			h := &dto.Histogram{SampleCount: proto.Uint64(rapid.Uint64Range(0, 1<<60).Draw(t, "count"))}
			sum := whole.Draw(t, "sum")
			h.SampleSum = proto.Float64(float64(sum))
			wantSum += sum
			wantCount += *h.SampleCount
			for _, bound := range rapid.Permutation(bounds).Draw(t, "bucket order") {
				n := rapid.Uint64Range(0, 1<<60).Draw(t, "bucket")
				h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(n)})
				wantBuckets[bound] += n
			}
			if rapid.Bool().Draw(t, "explicit +Inf") {
				h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: h.SampleCount})
			}
			wantBuckets[math.Inf(1)] += *h.SampleCount
			metrics = append(metrics, &dto.Metric{Histogram: h})
		}
		got := mergeParts(t, histogramType, drawParts(t, metrics)).GetHistogram()
		if got.GetSampleCount() != wantCount || got.GetSampleSum() != float64(wantSum) {
			t.Errorf("count %d and sum %g, want %d and %d", got.GetSampleCount(), got.GetSampleSum(), wantCount, wantSum)
		}
		if len(got.GetBucket()) != len(wantBuckets) {
			t.Errorf("%d buckets, want %d", len(got.GetBucket()), len(wantBuckets))
		}
		for _, b := range got.GetBucket() {
			if b.GetCumulativeCount() != wantBuckets[b.GetUpperBound()] {
				t.Errorf("bucket %g holds %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), wantBuckets[b.GetUpperBound()])
			}
		}
	})
}

func TestMergingIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *dto.Metric {
			return &dto.Metric{Histogram: drawNative(t, name, 3, 0.001).dto()}
		}
		a, b, c := draw("a"), draw("b"), draw("c")
		left := mergeParts(t, histogramType, [][]*dto.Metric{{a, b}, {c}})
		right := mergeParts(t, histogramType, [][]*dto.Metric{{a}, {b, c}})
		flat := mergeParts(t, histogramType, [][]*dto.Metric{{a, b, c}})
		if diff := cmp.Diff(left, right, protocmp.Transform()); diff != "" {
			t.Errorf("(a+b)+c and a+(b+c) differ:\n%s", diff)
		}
		if diff := cmp.Diff(left, flat, protocmp.Transform()); diff != "" {
			t.Errorf("(a+b)+c and a+b+c differ:\n%s", diff)
		}
	})
}

// FuzzMerge holds that no two metrics, however malformed, make merging panic,
// loop, change its input, or bring forth what cannot be merged again.
func FuzzMerge(f *testing.F) {
	seed := func(typ dto.MetricType, texts ...string) {
		var raw [2][]byte
		for i, text := range texts {
			m := new(dto.Metric)
			if err := prototext.Unmarshal([]byte(text), m); err != nil {
				f.Fatal(err)
			}
			raw[i], _ = proto.Marshal(m)
		}
		f.Add(int32(typ), raw[0], raw[1])
	}
	seed(counterType, `counter{value:1 exemplar{value:1}}`, `counter{value:2 created_timestamp{seconds:1}}`)
	seed(summaryType, `summary{sample_count:1 quantile{quantile:0.5 value:3}}`, `summary{}`)
	seed(histogramType, `histogram{sample_count:1 bucket{upper_bound:1}}`, `histogram{bucket{cumulative_count_float:1 upper_bound:1}}`)
	for _, text := range nativeSeeds {
		seed(histogramType, text, `histogram{sample_count:3 schema:2 zero_threshold:0.01 positive_span{offset:0 length:2} positive_delta:1 positive_delta:1}`)
		seed(histogramType, `histogram{schema:0 positive_span{offset:0 length:0}}`, text)
	}
	f.Fuzz(func(t *testing.T, typ int32, a, b []byte) {
		metrics := []*dto.Metric{new(dto.Metric), new(dto.Metric)}
		if proto.Unmarshal(a, metrics[0]) != nil || proto.Unmarshal(b, metrics[1]) != nil {
			return
		}
		before := []*dto.Metric{proto.CloneOf(metrics[0]), proto.CloneOf(metrics[1])}
		merged, err := mergeMetrics(dto.MetricType(typ), JoinSum, metrics)
		for i := range metrics {
			if !cmp.Equal(before[i], metrics[i], protocmp.Transform(), equalNaNs) {
				t.Fatalf("input %d was changed", i)
			}
		}
		if err != nil {
			return
		}
		_, err = mergeMetrics(dto.MetricType(typ), JoinSum, []*dto.Metric{merged, merged})
		tooMuch := err != nil && (strings.Contains(err.Error(), "64 bits") || strings.Contains(err.Error(), "limit"))
		if err != nil && !tooMuch {
			t.Errorf("a merged metric cannot be merged again: %v\n%v", err, merged)
		}
	})
}
