package wire

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"
)

// MergeError is a set of metrics that a rule made equal and that cannot be added.
type MergeError struct {
	Family string
	Labels []labels.Label
	Err    error
}

// Error names the metric and the reason.
func (e *MergeError) Error() string {
	return fmt.Sprintf("metric %.100q: %v", e.Family, e.Err)
}

// Unwrap returns the reason.
func (e *MergeError) Unwrap() error { return e.Err }

// Merge joins the metrics that relabelling made equal: the first of them stands
// for all, the others' fates become LeaveOut. Metrics that were equal as pushed
// are left for the upstream to refuse. Both is told as in the group to which the push
// goes on, whose labels take the place of a metric's own. The error is a *MergeError.
func Merge(p *Push, fates []Fate, group Key) error {
	if !slices.ContainsFunc(fates, func(f Fate) bool { return f.Act == Relabel }) {
		return nil
	}
	untyped := p.untyped()
	sets := p.collisions(fates, group)
	if len(sets) == 0 {
		return p.checkFragments(fates, untyped, group)
	}
	values, err := p.values(sets)
	if err != nil {
		return err
	}
	for _, set := range sets {
		if err := p.join(set, fates, values, untyped); err != nil {
			return err
		}
	}
	return p.checkFragments(fates, untyped, group)
}

// Distinct reports whether no fates of these labels can make metrics of the push
// equal, whichever of the metrics are left out, in a group that has none of their
// labels.
func Distinct(p *Push, fates []Fate) bool {
	for name := range p.untyped() {
		if strings.HasSuffix(name, "_bucket") {
			return false // of a histogram pushed without a TYPE
		}
	}
	return len(p.collisions(fates, Key{})) == 0
}

// Standing are the labels of a metric that say what it is in a group: without those
// that the group has, in place of which a Pushgateway puts the group's. It may be ls
// itself.
func Standing(group Key, ls []labels.Label) []labels.Label {
	overwritten := func(l labels.Label) bool { _, ok := group.Get(l.Name); return ok }
	if !slices.ContainsFunc(ls, overwritten) {
		return ls
	}
	return slices.DeleteFunc(slices.Clone(ls), overwritten)
}

// outputs are fingerprints of what the metrics are in a group; nil where those of their
// fates are.
func (p *Push) outputs(fates []Fate, group Key) []uint64 {
	overwritten := func(f Fate) bool { return len(Standing(group, f.Labels)) < len(f.Labels) }
	if !slices.ContainsFunc(fates, overwritten) {
		return nil
	}
	seed, out := rand.Uint64(), make([]uint64, len(fates))
	for i := range fates {
		out[i] = Fingerprint(seed, Standing(group, fates[i].Labels))
	}
	return out
}

// collisions returns the sets of metrics of one family with equal output labels.
func (p *Push) collisions(fates []Fate, group Key) [][]int32 {
	type slot struct {
		family int32
		output uint64
	}
	first := make(map[slot]int32, len(fates))
	at := map[int32]int{}
	outputs := p.outputs(fates, group)
	var sets [][]int32
	for i := range fates {
		if fates[i].Act == LeaveOut {
			continue
		}
		k := slot{p.Metrics()[i].Family, fates[i].Output}
		if outputs != nil {
			k.output = outputs[i]
		}
		m := int32(i)
		f, taken := first[k]
		if !taken {
			first[k] = m
			continue
		}
		if !sameLabels(Standing(group, fates[f].Labels), Standing(group, fates[m].Labels)) {
			continue // two fingerprints met; the upstream sees two series
		}
		if n, ok := at[f]; ok {
			sets[n] = append(sets[n], m)
			continue
		}
		at[f] = len(sets)
		sets = append(sets, []int32{f, m})
	}
	return slices.DeleteFunc(sets, func(set []int32) bool { return p.equalAsPushed(set, group) })
}

func isEmpty(l labels.Label) bool { return l.Value == "" }

// sameLabels reports whether Prometheus takes a and b, each without a repeated
// name, for the same labels.
func sameLabels(a, b []labels.Label) bool { return holds(a, b) && holds(b, a) }

func holds(all, some []labels.Label) bool {
	return !slices.ContainsFunc(some, func(l labels.Label) bool { return !isEmpty(l) && !slices.Contains(all, l) })
}

// equalAsPushed reports whether some of the metrics were equal before any rule.
func (p *Push) equalAsPushed(set []int32, group Key) bool {
	seed, seen := rand.Uint64(), make(map[uint64]struct{}, len(set))
	for _, m := range set {
		fp := Fingerprint(seed, Standing(group, p.Labels(nil, int(m))))
		if _, ok := seen[fp]; ok {
			return true
		}
		seen[fp] = struct{}{}
	}
	return false
}

// join merges one set into its first metric.
func (p *Push) join(set []int32, fates []Fate, values map[int32]*dto.Metric, untyped map[string]bool) error {
	family := &p.Families[p.Metrics()[set[0]].Family]
	fate := &fates[set[0]]
	metrics := make([]*dto.Metric, len(set))
	for i, m := range set {
		metrics[i] = values[m]
		fates[m].Act = LeaveOut
		fates[m].Labels, fates[m].Output = fate.Labels, fate.Output // of what it is told with
	}
	merged, err := mergeMetrics(family.Type, p.joining(family, set, fates, untyped), metrics)
	if err != nil {
		return &MergeError{Family: strings.Clone(family.Name), Labels: fate.Labels, Err: err}
	}
	fate.Act, fate.Fields = Relabel, nil
	if p.Encoding == Text {
		merged.Label = nil
		fate.sum = merged
		fate.merged = appendTextMetric(nil, family.Name, AppendLabels(nil, Text, fate.Labels), family.Type, merged)
		return nil
	}
	merged.Label = nil
	rest, err := proto.Marshal(merged)
	if err != nil {
		return &MergeError{Family: strings.Clone(family.Name), Labels: fate.Labels, Err: err}
	}
	fate.merged = append(AppendLabels(nil, Protobuf, fate.Labels), rest...)
	return nil
}

// joining is how the gauges of a set are joined: as the first rule that has a
// word for it says. Untyped samples that are parts of a sum add.
func (p *Push) joining(f *Family, set []int32, fates []Fate, untyped map[string]bool) Joining {
	if f.Type == dto.MetricType_UNTYPED && p.additive(f, untyped) {
		return JoinSum
	}
	for _, m := range set {
		if how := fates[m].Gauges; how != JoinLast {
			return how
		}
	}
	return JoinLast
}

// additive reports whether the samples of an untyped family are parts of a sum:
// its name says counter, or it is a part of a histogram pushed without a TYPE.
func (p *Push) additive(f *Family, untyped map[string]bool) bool {
	if strings.HasSuffix(f.Name, "_total") {
		return true
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(f.Name, suffix); ok && isHistogram(base, untyped) {
			return true
		}
	}
	return false
}

// untyped are the names of the families without a type.
func (p *Push) untyped() map[string]bool {
	var names map[string]bool
	for i := range p.Families {
		if f := &p.Families[i]; f.Type == dto.MetricType_UNTYPED && f.Metrics > 0 {
			if names == nil {
				names = map[string]bool{}
			}
			names[f.Name] = true
		}
	}
	return names
}

// isHistogram reports whether untyped families are the parts of a histogram.
func isHistogram(base string, untyped map[string]bool) bool {
	return untyped[base+"_bucket"] && untyped[base+"_sum"] && untyped[base+"_count"]
}

// bucketSet is one histogram pushed without a TYPE, after the rules.
type bucketSet struct {
	bounds  map[string]int  // how often each was pushed
	sources map[uint64]bool // the histograms that became this one
}

// checkFragments holds histograms pushed without a TYPE, whose buckets are
// metrics of their own, to what mergeMetrics asks of typed ones: those that a
// rule adds up must have the same bounds.
func (p *Push) checkFragments(fates []Fate, untyped map[string]bool, group Key) error {
	type key struct {
		family int32
		output uint64
	}
	if len(untyped) == 0 {
		return nil
	}
	seed, sets := rand.Uint64(), map[key]*bucketSet{}
	fragments := make([]bool, len(p.Families))
	for i := range p.Families {
		base, ok := strings.CutSuffix(p.Families[i].Name, "_bucket")
		fragments[i] = ok && untyped[p.Families[i].Name] && isHistogram(base, untyped)
	}
	metrics := p.Metrics()
	for i := range metrics {
		family := metrics[i].Family
		if !fragments[family] {
			continue
		}
		source, _ := cutBound(p.Labels(nil, i))
		out, le := cutBound(slices.Clone(fates[i].Labels))
		k := key{family, Fingerprint(seed, Standing(group, out))}
		if sets[k] == nil {
			sets[k] = &bucketSet{bounds: map[string]int{}, sources: map[uint64]bool{}}
		}
		sets[k].bounds[le]++
		sets[k].sources[Fingerprint(seed, Standing(group, source))] = true
	}
	for k, set := range sets {
		for _, n := range set.bounds {
			if len(set.sources) > 1 && n != len(set.sources) {
				return &MergeError{Family: strings.Clone(p.Families[k.family].Name), Err: unmergeable("unlike bucket bounds")}
			}
		}
	}
	return nil
}

func cutBound(ls []labels.Label) ([]labels.Label, string) {
	i := slices.IndexFunc(ls, func(l labels.Label) bool { return l.Name == model.BucketLabel })
	if i < 0 {
		return ls, ""
	}
	le := ls[i].Value
	return slices.Delete(ls, i, i+1), le
}

// values reads the metrics of the sets as messages.
func (p *Push) values(sets [][]int32) (map[int32]*dto.Metric, error) {
	out := map[int32]*dto.Metric{}
	for _, set := range sets {
		for _, m := range set {
			out[m] = &dto.Metric{}
		}
	}
	if p.Encoding == Text {
		samples := p.Samples()
		for i := range samples {
			if m, ok := out[samples[i].Metric]; ok {
				p.addSample(m, &samples[i])
			}
		}
		return out, nil
	}
	for i, m := range out {
		if err := proto.Unmarshal(p.bytes(p.messages[i]), m); err != nil {
			return nil, errors.Join(errWire, err)
		}
	}
	return out, nil
}

// addSample adds the value of a text line to its metric as expfmt would.
func (p *Push) addSample(m *dto.Metric, s *Sample) {
	if p.Stamped(int(s.Metric)) {
		m.TimestampMs = proto.Int64(p.timestamps[s.Metric])
	}
	v := proto.Float64(s.Value)
	switch p.Families[p.Metrics()[s.Metric].Family].Type {
	case dto.MetricType_COUNTER:
		m.Counter = &dto.Counter{Value: v}
	case dto.MetricType_GAUGE:
		m.Gauge = &dto.Gauge{Value: v}
	case dto.MetricType_SUMMARY:
		addSummarySample(m, s, p.boundOf(s).value)
	case dto.MetricType_HISTOGRAM:
		addHistogramSample(m, s, p.boundOf(s).value)
	default:
		m.Untyped = &dto.Untyped{Value: v}
	}
}

func addSummarySample(m *dto.Metric, s *Sample, quantile float64) {
	if m.Summary == nil {
		m.Summary = &dto.Summary{}
	}
	switch s.part {
	case partCount:
		m.Summary.SampleCount = proto.Uint64(uint64(s.Value))
	case partSum:
		m.Summary.SampleSum = proto.Float64(s.Value)
	default:
		m.Summary.Quantile = append(m.Summary.Quantile, &dto.Quantile{Quantile: proto.Float64(quantile), Value: proto.Float64(s.Value)})
	}
}

func addHistogramSample(m *dto.Metric, s *Sample, bound float64) {
	if m.Histogram == nil {
		m.Histogram = &dto.Histogram{}
	}
	whole := s.Value == math.Trunc(s.Value)
	switch {
	case s.part == partSum:
		m.Histogram.SampleSum = proto.Float64(s.Value)
	case s.part == partCount && whole:
		m.Histogram.SampleCount = proto.Uint64(uint64(s.Value))
	case s.part == partCount:
		m.Histogram.SampleCountFloat = proto.Float64(s.Value)
	case whole:
		m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(uint64(s.Value))})
	default:
		m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCountFloat: proto.Float64(s.Value)})
	}
}
