package record

import (
	"maps"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Series are those of a decoded body that a Pushgateway takes for a group, without
// empty labels, histograms and summaries expanded. Their order is of no meaning.
func Series(body []byte, contentType string, key wire.Key) []model.Metric {
	return seriesOf(gateway.Families(body, contentType), key)
}

// seriesOf changes the families.
func seriesOf(pushed []*dto.MetricFamily, key wire.Key) []model.Metric {
	for _, f := range pushed {
		for _, m := range f.Metric {
			m.Label = gateway.Grouped(m.Label, key)
		}
	}
	var out []model.Metric
	// A type that has no samples has no series, either.
	samples, _ := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, pushed...)
	for _, s := range samples {
		// To Prometheus an empty label is none, as to a total.
		maps.DeleteFunc(s.Metric, func(_ model.LabelName, v model.LabelValue) bool { return v == "" })
		out = append(out, s.Metric)
	}
	return out
}

// Added are the series of an exposition that an increment of s adds to.
func Added(s *counter.Series) []model.Metric {
	with := func(suffix, le string) model.Metric {
		m := model.Metric{model.MetricNameLabel: model.LabelValue(s.Name + suffix)}
		for _, l := range s.Labels {
			m[model.LabelName(l.Name)] = model.LabelValue(l.Value)
		}
		if le != "" {
			m[model.BucketLabel] = model.LabelValue(le)
		}
		return m
	}
	if s.Kind == counter.Counter {
		return []model.Metric{with("", "")}
	}
	out := []model.Metric{with("_count", ""), with("_sum", "")}
	if s.Kind == counter.Histogram {
		for _, bound := range s.Bounds {
			out = append(out, with("_bucket", strconv.FormatFloat(bound, 'g', -1, 64)))
		}
		out = append(out, with("_bucket", "+Inf"))
	}
	return out
}
