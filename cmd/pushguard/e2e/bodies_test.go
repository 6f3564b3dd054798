package e2e

import (
	"bytes"
	"encoding/base64"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

var protobufType = [2]string{
	"Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
}

// encoded is a value as a component after @base64.
func encoded(value string) string {
	if value == "" {
		return "="
	}
	return base64.RawURLEncoding.EncodeToString([]byte(value))
}

// delimited renders families as clients of the protobuf format do.
func delimited(families ...*dto.MetricFamily) string {
	var b bytes.Buffer
	for _, f := range families {
		if _, err := protodelim.MarshalTo(&b, f); err != nil {
			panic(err) // a test made a family that is none
		}
	}
	return b.String()
}

func pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: &name, Value: &value}
}

func gauge(name string, value float64, labels ...*dto.LabelPair) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name:   &name,
		Type:   dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Label: labels, Gauge: &dto.Gauge{Value: &value}}},
	}
}

func histogram(name string, labels ...*dto.LabelPair) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name: &name,
		Type: dto.MetricType_HISTOGRAM.Enum(),
		Metric: []*dto.Metric{{Label: labels, Histogram: &dto.Histogram{
			SampleCount: proto.Uint64(3),
			SampleSum:   proto.Float64(4.5),
			Bucket: []*dto.Bucket{
				{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)},
				{UpperBound: proto.Float64(10), CumulativeCount: proto.Uint64(3)},
			},
		}}},
	}
}

func summary(name string, labels ...*dto.LabelPair) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name: &name,
		Type: dto.MetricType_SUMMARY.Enum(),
		Metric: []*dto.Metric{{Label: labels, Summary: &dto.Summary{
			SampleCount: proto.Uint64(3),
			SampleSum:   proto.Float64(4.5),
			Quantile:    []*dto.Quantile{{Quantile: proto.Float64(0.5), Value: proto.Float64(1)}},
		}}},
	}
}
