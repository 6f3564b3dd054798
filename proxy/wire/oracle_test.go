package wire

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// readAsGateway reads a body as a Pushgateway does: by expfmt or protodelim.
func readAsGateway(body []byte, enc Encoding) ([]*dto.MetricFamily, error) {
	if enc == Text {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		byName, err := parser.TextToMetricFamilies(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return slices.SortedFunc(maps.Values(byName), func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }), nil
	}
	var out []*dto.MetricFamily
	r := bufio.NewReader(bytes.NewReader(body))
	opts := protodelim.UnmarshalOptions{MaxSize: int64(len(body))}
	for {
		mf := &dto.MetricFamily{}
		err := opts.UnmarshalFrom(r, mf)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, mf)
	}
}

// series lists what a family holds in one line a value, sorted, so that two
// readings of a push can be compared.
func series(families []*dto.MetricFamily) []string {
	var out []string
	for _, mf := range families {
		for _, m := range mf.GetMetric() {
			var ls []string
			for _, lp := range m.GetLabel() {
				ls = append(ls, fmt.Sprintf("%q=%q", lp.GetName(), lp.GetValue()))
			}
			slices.Sort(ls)
			rest := proto.CloneOf(m)
			rest.Label = nil
			if rest.Histogram != nil {
				asFloats(rest.Histogram)
				slices.SortFunc(rest.Histogram.Bucket, func(a, b *dto.Bucket) int { return cmp.Compare(a.GetUpperBound(), b.GetUpperBound()) })
			}
			raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(rest)
			out = append(out, fmt.Sprintf("%q %s {%s} %x", mf.GetName(), mf.GetType(), strings.Join(ls, ","), raw))
		}
	}
	slices.Sort(out)
	return out
}

// asFloats writes the counts of a histogram in one way: expfmt makes all of them
// floats where one is, and gives a count that was not pushed.
func asFloats(h *dto.Histogram) {
	h.SampleCountFloat, h.SampleCount = proto.Float64(max(h.GetSampleCountFloat(), float64(h.GetSampleCount()))), nil
	for _, b := range h.Bucket {
		b.CumulativeCountFloat, b.CumulativeCount = proto.Float64(max(b.GetCumulativeCountFloat(), float64(b.GetCumulativeCount()))), nil
	}
}

// tables turns the tables of a parsed push back into messages.
func tables(t *testing.T, p *Push) []*dto.MetricFamily {
	t.Helper()
	set := make([]int32, len(p.Metrics()))
	for i := range set {
		set[i] = int32(i)
	}
	values, err := p.values([][]int32{set})
	if err != nil {
		t.Fatalf("values: %v", err)
	}
	out := make([]*dto.MetricFamily, len(p.Families))
	for i, f := range p.Families {
		out[i] = &dto.MetricFamily{Name: proto.String(f.Name), Type: f.Type.Enum()}
	}
	for i, m := range p.Metrics() {
		v := values[int32(i)]
		v.Label = nil
		for _, l := range p.Labels(nil, i) {
			v.Label = append(v.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
		}
		out[m.Family].Metric = append(out[m.Family].Metric, v)
	}
	return out
}

// breaks says why a push that a Pushgateway accepts would break its scrape, from
// the messages alone.
func breaks(families []*dto.MetricFamily) string {
	empty, twice := false, false
	for _, mf := range families {
		switch {
		case !model.LegacyValidation.IsValidMetricName(mf.GetName()):
			return "metric name"
		case mf.GetType() < 0 || mf.GetType() > dto.MetricType_HISTOGRAM:
			return "type"
		case !utf8.ValidString(mf.GetHelp()) || !utf8.ValidString(mf.GetUnit()):
			return "help"
		case len(mf.GetMetric()) == 0:
			return "type, which no metric shows"
		}
		seen := map[string]bool{}
		for _, m := range mf.GetMetric() {
			has := map[dto.MetricType]bool{
				dto.MetricType_COUNTER: m.Counter != nil, dto.MetricType_GAUGE: m.Gauge != nil, dto.MetricType_SUMMARY: m.Summary != nil,
				dto.MetricType_HISTOGRAM: m.Histogram != nil, dto.MetricType_UNTYPED: m.Untyped != nil,
			}
			if !has[mf.GetType()] {
				return "value"
			}
			if h := m.GetHistogram(); h != nil {
				if isNative(h) {
					if _, err := nativePart(h); err != nil {
						return "native histogram"
					}
				}
			}
			names, canonical := map[string]bool{}, []string{}
			for _, lp := range m.GetLabel() {
				if lp.GetValue() != "" {
					canonical = append(canonical, lp.GetName()+"\xff"+lp.GetValue())
				} else {
					empty = true
				}
				switch name := lp.GetName(); {
				case names[name], !model.LegacyValidation.IsValidLabelName(name), strings.HasPrefix(name, "__"), !utf8.ValidString(lp.GetValue()):
					return "label"
				case name == "le" && mf.GetType() == dto.MetricType_HISTOGRAM, name == "quantile" && mf.GetType() == dto.MetricType_SUMMARY:
					return "bound"
				default:
					names[name] = true
				}
			}
			slices.Sort(canonical)
			id := strings.Join(canonical, "\xfe")
			twice = twice || seen[id]
			seen[id] = true
		}
	}
	if empty && twice {
		return "empty label"
	}
	return ""
}
