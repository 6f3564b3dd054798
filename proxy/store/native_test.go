package store

import (
	"encoding/json"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// TestNativeBucketsAreListed as Pushgateway 1.11.3 listed these very histograms.
func TestNativeBucketsAreListed(t *testing.T) {
	t.Parallel()
	span := func(offset int32, length uint32) *dto.BucketSpan {
		return &dto.BucketSpan{Offset: &offset, Length: &length}
	}
	for _, c := range []struct {
		name string
		h    *dto.Histogram
		want string
	}{
		{"both sides", &dto.Histogram{
			SampleCount: proto.Uint64(5), Schema: proto.Int32(0), ZeroThreshold: proto.Float64(1e-9), ZeroCount: proto.Uint64(0),
			NegativeSpan: []*dto.BucketSpan{span(-3, 1), span(2, 1)}, NegativeDelta: []int64{1, 0},
			PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveDelta: []int64{1, 1},
		}, `[[1,"-1","-0.5","1"],[1,"-0.125","-0.0625","1"],[0,"0.5","1","1"],[0,"1","2","2"]]`},
		{"floats", &dto.Histogram{
			SampleCountFloat: proto.Float64(3.5), Schema: proto.Int32(0), ZeroThreshold: proto.Float64(1e-9), ZeroCountFloat: proto.Float64(0.5),
			PositiveSpan: []*dto.BucketSpan{span(0, 2)}, PositiveCount: []float64{1, 2},
		}, `[[3,"-1e-09","1e-09","0.5"],[0,"0.5","1","1"],[0,"1","2","2"]]`},
		{"beside classic ones", &dto.Histogram{
			SampleCount: proto.Uint64(3), Schema: proto.Int32(0), ZeroThreshold: proto.Float64(1e-9),
			PositiveSpan: []*dto.BucketSpan{span(0, 1), span(0, 1)}, PositiveDelta: []int64{1, 1},
			Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)}},
		}, `[[0,"0.5","1","1"],[0,"1","2","2"]]`},
		{"nothing", &dto.Histogram{Schema: proto.Int32(0), PositiveSpan: []*dto.BucketSpan{span(0, 0)}}, `[]`},
		{"none", &dto.Histogram{SampleCount: proto.Uint64(3), Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)}}}, `{"1":"1"}`},
	} {
		got, err := json.Marshal(listedMetrics(dto.MetricType_HISTOGRAM, []*dto.Metric{{Histogram: c.h}})[0].(map[string]any)["buckets"])
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}
