package proxy_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// How a generated push is written down for the wire.

// path writes the grouping key in any order.
func (p aPush) path(t *rapid.T, job string) string {
	path := "/metrics/job/" + job
	for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(p.key))).Draw(t, "order of the key") {
		if v := p.key[name]; v == "" || rapid.Bool().Draw(t, "base64") {
			path += component(name, v)
		} else {
			path += "/" + name + "/" + url.PathEscape(v)
		}
	}
	return path
}

var escaper = strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`)

// text writes the push down, labels in any order and the families' lines mixed
// if so drawn.
func (p aPush) text(t *rapid.T) string {
	var head strings.Builder
	lines := make([][]string, len(p.families))
	for i, f := range p.families {
		if f.typ != "untyped" && f.typ != "bare" {
			fmt.Fprintf(&head, "# HELP %s Help.\n# TYPE %s %s\n", f.name, f.name, f.typ)
		}
		for _, m := range f.metrics {
			order := rapid.Permutation(slices.Sorted(maps.Keys(m.labels))).Draw(t, "order of labels")
			lines[i] = append(lines[i], m.text(f, order)...)
		}
	}
	mixed := rapid.Bool().Draw(t, "mixed")
	for n := 0; len(lines) > 0; n++ {
		i := 0
		if mixed {
			i = n % len(lines)
		}
		if len(lines[i]) == 0 {
			lines = slices.Delete(lines, i, i+1)
			continue
		}
		head.WriteString(lines[i][0])
		lines[i] = lines[i][1:]
	}
	return head.String()
}

func (m aMetric) text(f aFamily, order []string) (lines []string) {
	line := func(suffix, bound string, value float64) {
		var pairs []string
		for _, name := range order {
			pairs = append(pairs, name+`="`+escaper.Replace(m.labels[name])+`"`)
		}
		if bound != "" {
			pairs = slices.Insert(pairs, len(pairs)/2, bound)
		}
		block := ""
		if len(pairs) > 0 {
			block = "{" + strings.Join(pairs, ",") + "}"
		}
		lines = append(lines, f.name+suffix+block+" "+strconv.FormatFloat(value, 'g', -1, 64)+"\n")
	}
	for i, le := range m.les {
		line("_bucket", fmt.Sprintf(`le="%g"`, le), m.buckets[i])
	}
	for q, v := range m.quantiles {
		line("", `quantile="`+q+`"`, v)
	}
	switch f.typ {
	case "histogram", "bare":
		line("_bucket", `le="+Inf"`, m.count)
		fallthrough
	case "summary":
		line("_sum", "", m.value)
		line("_count", "", m.count)
	default:
		line("", "", m.value)
	}
	return lines
}

// protobuf writes the push down as client_golang does.
func (p aPush) protobuf(t *rapid.T) string {
	var b bytes.Buffer
	for _, f := range p.parts() {
		mf := &dto.MetricFamily{Name: proto.String(f.name), Type: dto.MetricType(dto.MetricType_value[strings.ToUpper(f.typ)]).Enum()}
		for _, m := range f.metrics {
			out := m.protobuf(f.typ)
			for _, name := range rapid.Permutation(slices.Sorted(maps.Keys(m.labels))).Draw(t, "order of labels") {
				out.Label = append(out.Label, &dto.LabelPair{Name: proto.String(name), Value: proto.String(m.labels[name])})
			}
			mf.Metric = append(mf.Metric, out)
		}
		if _, err := protodelim.MarshalTo(&b, mf); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// parts are the families with the bare histograms taken apart, as they are in
// protobuf.
func (p aPush) parts() []aFamily {
	var out []aFamily
	for _, f := range p.families {
		if f.typ != "bare" {
			out = append(out, f)
			continue
		}
		buckets := aFamily{name: f.name + "_bucket", typ: "untyped"}
		sum, count := aFamily{name: f.name + "_sum", typ: "untyped"}, aFamily{name: f.name + "_count", typ: "untyped"}
		for _, m := range f.metrics {
			sum.metrics = append(sum.metrics, aMetric{labels: m.labels, value: m.value})
			count.metrics = append(count.metrics, aMetric{labels: m.labels, value: m.count})
			for i, le := range append(slices.Clone(m.les), math.Inf(1)) {
				labels := maps.Clone(m.labels)
				labels["le"] = fmt.Sprintf("%g", le)
				buckets.metrics = append(buckets.metrics, aMetric{labels: labels, value: append(slices.Clone(m.buckets), m.count)[i]})
			}
		}
		out = append(out, buckets, sum, count)
	}
	return out
}

func (m aMetric) protobuf(typ string) *dto.Metric {
	v := proto.Float64(m.value)
	switch typ {
	case "counter":
		return &dto.Metric{Counter: &dto.Counter{Value: v}}
	case "gauge":
		return &dto.Metric{Gauge: &dto.Gauge{Value: v}}
	case "summary":
		s := &dto.Summary{SampleSum: v, SampleCount: proto.Uint64(uint64(m.count))}
		for q, value := range m.quantiles {
			at, _ := strconv.ParseFloat(q, 64)
			s.Quantile = append(s.Quantile, &dto.Quantile{Quantile: proto.Float64(at), Value: proto.Float64(value)})
		}
		return &dto.Metric{Summary: s}
	case "histogram":
		h := &dto.Histogram{SampleSum: v, SampleCount: proto.Uint64(uint64(m.count))}
		for i, le := range m.les {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: proto.Float64(le), CumulativeCount: proto.Uint64(uint64(m.buckets[i]))})
		}
		return &dto.Metric{Histogram: h}
	default:
		return &dto.Metric{Untyped: &dto.Untyped{Value: v}}
	}
}
