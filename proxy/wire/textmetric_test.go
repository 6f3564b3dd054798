package wire

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func TestAppendTextMetric(t *testing.T) {
	for _, test := range []struct {
		name, family, block string
		typ                 dto.MetricType
		metric, want        string
	}{
		{"no labels, no braces", "up", ``, gaugeType, `gauge{value:1}`, "up 1\n"},
		{"labels as given", "up", `a="x",b="y"`, counterType, `counter{value:1.5e300}`, "up{a=\"x\",b=\"y\"} 1.5e+300\n"},
		{"the metric's own labels are not looked at", "up", `a="x"`, untypedType, `label{name:"z" value:"z"} untyped{value:-inf}`, "up{a=\"x\"} -Inf\n"},
		{"a timestamp", "up", ``, gaugeType, `gauge{value:nan} timestamp_ms:0`, "up NaN 0\n"},
		{"a name beyond the legacy pattern", `a "b"`, `c="d"`, gaugeType, `gauge{value:2}`, "{\"a \\\"b\\\"\",c=\"d\"} 2\n"},
		{"such a name alone", "a.b", ``, gaugeType, `gauge{value:2}`, "{\"a.b\"} 2\n"},
		{"a summary without quantiles", "s", ``, summaryType, `summary{sample_count:3 sample_sum:2}`, "s_sum 2\ns_count 3\n"},
		{
			"quantiles", "s", `a="x"`, summaryType, `summary{quantile{quantile:0.5 value:nan}} timestamp_ms:7`,
			"s{a=\"x\",quantile=\"0.5\"} NaN 7\ns_sum{a=\"x\"} 0 7\ns_count{a=\"x\"} 0 7\n",
		},
		{
			"+Inf where it is missing", "h", `a="x"`, histogramType, `histogram{sample_count:2 sample_sum:1 bucket{cumulative_count:1 upper_bound:0.5}}`,
			"h_bucket{a=\"x\",le=\"0.5\"} 1\nh_bucket{a=\"x\",le=\"+Inf\"} 2\nh_sum{a=\"x\"} 1\nh_count{a=\"x\"} 2\n",
		},
		{
			"bounds in order", "h", ``, histogramType, `histogram{sample_count:3 bucket{cumulative_count:3 upper_bound:inf} bucket{cumulative_count:2 upper_bound:1} bucket{cumulative_count_float:1.5 upper_bound:-1}}`,
			"h_bucket{le=\"-1\"} 1.5\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 0\nh_count 3\n",
		},
		{
			"a name beyond the legacy pattern with a suffix", "h.x", ``, histogramType, `histogram{}`,
			"{\"h.x_bucket\",le=\"+Inf\"} 0\n{\"h.x_sum\"} 0\n{\"h.x_count\"} 0\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := parse(t, test.metric)[0]
			got := string(appendTextMetric([]byte("# before\n"), test.family, []byte(test.block), test.typ, m))
			if got != "# before\n"+test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// TestAppendTextMetricWritesWhatExpfmtWrites compares byte by byte.
func TestAppendTextMetricWritesWhatExpfmtWrites(t *testing.T) {
	types := []dto.MetricType{counterType, gaugeType, untypedType, summaryType, histogramType, dto.MetricType_GAUGE_HISTOGRAM}
	names := rapid.OneOf(rapid.StringMatching(`[a-zA-Z_:][a-zA-Z0-9_:]{0,9}`), rapid.StringN(1, 10, 20))
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(types).Draw(t, "type")
		family := names.Draw(t, "family")
		m := drawMetric(t)
		mf := &dto.MetricFamily{Name: &family, Type: &typ, Metric: []*dto.Metric{m}}
		var want bytes.Buffer
		if _, err := expfmt.MetricFamilyToText(&want, mf); err != nil {
			t.Fatal(err)
		}
		block := renderedLabels(t, m.Label)
		got := append(typeLine(t, mf), appendTextMetric(nil, family, block, typ, m)...)
		if string(got) != want.String() {
			t.Errorf("got\n%s, want\n%s", got, want.String())
		}
	})
}

// drawMetric draws a metric that has a value for every type, its buckets sorted.
func drawMetric(t *rapid.T) *dto.Metric {
	number := rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int64Range(-9, 1<<62), func(i int64) float64 { return float64(i) }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e21, 1e-7, 123456789}))
	float := func() *float64 { return proto.Float64(number.Draw(t, "number")) }
	whole := func() *uint64 { return proto.Uint64(rapid.Uint64().Draw(t, "count")) }
	m := &dto.Metric{
		Counter:   &dto.Counter{Value: float()},
		Gauge:     &dto.Gauge{Value: float()},
		Untyped:   &dto.Untyped{Value: float()},
		Summary:   &dto.Summary{SampleCount: whole(), SampleSum: float()},
		Histogram: &dto.Histogram{SampleCount: whole(), SampleSum: float()},
	}
	if rapid.Bool().Draw(t, "float histogram") {
		m.Histogram.SampleCountFloat = float()
	}
	bounds := rapid.SliceOfDistinct(rapid.Float64(), func(f float64) float64 { return f + 0 }).Draw(t, "bounds")
	slices.Sort(bounds)
	for _, bound := range bounds {
		m.Summary.Quantile = append(m.Summary.Quantile, &dto.Quantile{Quantile: &bound, Value: float()})
		b := &dto.Bucket{UpperBound: &bound, CumulativeCount: whole()}
		if m.Histogram.SampleCountFloat != nil {
			b.CumulativeCountFloat = float()
		}
		m.Histogram.Bucket = append(m.Histogram.Bucket, b)
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z_]{1,5}`), 0, 3, rapid.ID).Draw(t, "labels") {
		m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: proto.String(rapid.String().Draw(t, "value"))})
	}
	if rapid.Bool().Draw(t, "timestamped") {
		m.TimestampMs = proto.Int64(rapid.Int64().Draw(t, "timestamp"))
	}
	return m
}

// renderedLabels has expfmt render the inside of the braces.
func renderedLabels(t *rapid.T, labels []*dto.LabelPair) []byte {
	if len(labels) == 0 {
		return nil
	}
	mf := &dto.MetricFamily{
		Name: proto.String("x"), Type: untypedType.Enum(),
		Metric: []*dto.Metric{{Label: labels, Untyped: &dto.Untyped{Value: proto.Float64(0)}}},
	}
	var b bytes.Buffer
	if _, err := expfmt.MetricFamilyToText(&b, mf); err != nil {
		t.Fatal(err)
	}
	line := strings.TrimPrefix(b.String(), "# TYPE x untyped\nx{")
	return []byte(strings.TrimSuffix(line, "} 0\n"))
}

// typeLine is the line that expfmt writes above the samples.
func typeLine(t *rapid.T, mf *dto.MetricFamily) []byte {
	mf = &dto.MetricFamily{Name: mf.Name, Type: mf.Type, Metric: []*dto.Metric{{
		Counter: &dto.Counter{}, Gauge: &dto.Gauge{}, Untyped: &dto.Untyped{}, Summary: &dto.Summary{}, Histogram: &dto.Histogram{},
	}}}
	var b bytes.Buffer
	if _, err := expfmt.MetricFamilyToText(&b, mf); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(b.Bytes(), []byte("\n"))
	i := slices.IndexFunc(lines, func(l []byte) bool { return bytes.HasPrefix(l, []byte("# TYPE ")) })
	return bytes.Join(lines[:i+1], nil)
}
