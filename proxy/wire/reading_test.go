package wire

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const counted = `# HELP jobs_total Jobs \\ done\nand dusted.
# TYPE jobs_total counter
jobs_total{queue="a"} 3
jobs_total{queue="b"} 4.5
# TYPE rows gauge
rows 7
# TYPE took histogram
took_bucket{queue="a",le="0.5"} 1
took_bucket{queue="b",le="0.5"} 0
took_bucket{queue="a",le="+Inf"} 3
took_sum{queue="a"} 4.25
took_bucket{le="2",queue="a"} 2
took_count{queue="a"} 3
took_bucket{queue="b",le="+Inf"} 2
# TYPE sizes summary
sizes{quantile="0.5"} 9
sizes_sum 20
sizes_count 2
plain 8
`

func countedIn(t *testing.T, body []byte, enc Encoding) (*Push, []Reading) {
	t.Helper()
	p := &Push{}
	if err := p.Parse(body, enc, NewKey(), Options{}); err != nil {
		t.Fatal(err)
	}
	var r Readings
	r.Read(p, func(int) bool { return true })
	return p, r.All
}

func TestReadingsOfText(t *testing.T) {
	p, got := countedIn(t, []byte(counted), Text)
	want := []Reading{
		{Value: 3},
		{Value: 4.5},
		{Value: 7},
		{Count: 3, Sum: 4.25, Buckets: []Bucket{{0.5, 1}, {2, 2}}},
		{Count: 2, Buckets: []Bucket{{0.5, 0}}},
		{Count: 2, Sum: 20},
		{Value: 8},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("readings (-want +got):\n%s", diff)
	}
	if help, want := p.Help(0), "Jobs \\ done\nand dusted."; help != want {
		t.Errorf("help = %q, want %q", help, want)
	}
	if help := p.Help(1); help != "" {
		t.Errorf("help of a family without = %q", help)
	}
}

// What a body counts does not depend on how it is encoded: the oracle is the
// parser inside a Pushgateway.
func TestReadingsOfProtobufAreThoseOfText(t *testing.T) {
	_, text := countedIn(t, []byte(counted), Text)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(counted))
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	for _, name := range []string{"jobs_total", "rows", "took", "sizes", "plain"} {
		if _, err := protodelim.MarshalTo(&body, families[name]); err != nil {
			t.Fatal(err)
		}
	}
	p, got := countedIn(t, body.Bytes(), Protobuf)
	if diff := cmp.Diff(text, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("protobuf against text (-text +protobuf):\n%s", diff)
	}
	if help, want := p.Help(0), "Jobs \\ done\nand dusted."; help != want {
		t.Errorf("help = %q, want %q", help, want)
	}
}

func TestReadingsOfProtobufAlone(t *testing.T) {
	families := []*dto.MetricFamily{
		{Name: proto.String("jobs_total"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{
			{Counter: &dto.Counter{Value: proto.Float64(2), CreatedTimestamp: &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5}}},
		}},
		{Name: proto.String("late"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{
			{Counter: &dto.Counter{Value: proto.Float64(2), CreatedTimestamp: &timestamppb.Timestamp{Seconds: math.MaxInt64}}},
		}},
		{Name: proto.String("took"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{
			{Histogram: &dto.Histogram{
				SampleCountFloat: proto.Float64(2.5), SampleSum: proto.Float64(-1), CreatedTimestamp: &timestamppb.Timestamp{Seconds: 9},
				Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCountFloat: proto.Float64(1.5)}, {UpperBound: proto.Float64(math.Inf(1)), CumulativeCountFloat: proto.Float64(2.5)}},
			}},
			{Label: []*dto.LabelPair{{Name: proto.String("a"), Value: proto.String("b")}}, Histogram: &dto.Histogram{
				SampleCount: proto.Uint64(1), SampleSum: proto.Float64(1), Schema: proto.Int32(0),
				PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(1)}}, PositiveDelta: []int64{1},
			}},
		}},
		{Name: proto.String("sizes"), Type: dto.MetricType_SUMMARY.Enum(), Metric: []*dto.Metric{
			{Summary: &dto.Summary{SampleCount: proto.Uint64(4), SampleSum: proto.Float64(6), CreatedTimestamp: &timestamppb.Timestamp{Seconds: 8}}},
		}},
	}
	var body bytes.Buffer
	for _, mf := range families {
		if _, err := protodelim.MarshalTo(&body, mf); err != nil {
			t.Fatal(err)
		}
	}
	_, got := countedIn(t, body.Bytes(), Protobuf)
	want := []Reading{
		{Value: 2, Created: 1700000000_000000005},
		{Value: 2},
		{Count: 2.5, Sum: -1, Created: 9e9, Buckets: []Bucket{{1, 1.5}}},
		{Count: 1, Sum: 1, Native: true},
		{Count: 4, Sum: 6, Created: 8e9},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("readings (-want +got):\n%s", diff)
	}
}

func TestOnlyWhatIsWantedIsRead(t *testing.T) {
	p := &Push{}
	if err := p.Parse([]byte(counted), Text, NewKey(), Options{}); err != nil {
		t.Fatal(err)
	}
	var r Readings
	r.Read(p, func(metric int) bool { return metric == 3 })
	for i, got := range r.All {
		if read := got.Value != 0 || got.Count != 0 || len(got.Buckets) > 0; read != (i == 3) {
			t.Errorf("metric %d read: %v, %+v", i, read, got)
		}
	}
}

func BenchmarkReadings(b *testing.B) {
	var body strings.Builder
	body.WriteString("# TYPE jobs_total counter\n")
	for i := range 200 {
		body.WriteString(`jobs_total{queue="q` + strings.Repeat("x", i%7) + `",n="` + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "\"} 1\n")
	}
	p := &Push{}
	if err := p.Parse([]byte(body.String()), Text, NewKey(), Options{}); err != nil {
		b.Fatal(err)
	}
	var r Readings
	b.ReportAllocs()
	for b.Loop() {
		r.Read(p, func(int) bool { return true })
	}
}

// A help text is where the walk found it, however its line is spaced.
func TestHelp(t *testing.T) {
	for name, body := range map[string]string{
		"plain":   "# HELP rows Of a table.\nrows 1\n",
		"spaced":  "#  HELP\trows \t Of a table.\nrows 1\n",
		"another": "# HELP rows_read No.\n# HELP rows Of a table.\nrows 1\n",
		"behind":  "rows 1\n# HELP rows Of a table.\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := &Push{}
			if err := p.Parse([]byte(body), Text, Key{}, Options{}); err != nil {
				t.Fatal(err)
			}
			if got := p.Help(len(p.Families) - 1); got != "Of a table." {
				t.Errorf("help = %q", got)
			}
		})
	}
}

// BenchmarkHelp asks each of many families for its help text.
func BenchmarkHelp(b *testing.B) {
	var body bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&body, "# HELP rows_%d_total Of a table.\n# TYPE rows_%d_total counter\nrows_%d_total 1\n", i, i, i)
	}
	p := &Push{}
	if err := p.Parse(body.Bytes(), Text, Key{}, Options{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range p.Families {
			if p.Help(i) == "" {
				b.Fatal(i)
			}
		}
	}
}
