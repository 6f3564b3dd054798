package proxy

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/wire"
)

// unit is a histogram whose parts were pushed as families without a type.
type unit struct {
	first   int32
	labels  []labels.Label // after the rules, without le
	source  []labels.Label // as pushed, without le
	run     bool
	value   wire.Reading
	samples int32
}

// readUnits makes readings of the histograms that came in parts.
func (g *Guard) readUnits(v *passage, e *epoch, process int64, run bool) {
	n := &v.counts
	type at struct {
		name  string
		print uint64
	}
	units := map[at]*unit(nil)
	var order []*unit
	metrics := v.push.Metrics()
	for i := range metrics {
		family := metrics[i].Family
		name := n.classes[family].Unit
		if n.ways[i] != counted || name == "" {
			continue
		}
		source, le := cutLe(v.verdict(i).pushed.labels)
		if units == nil {
			units = map[at]*unit{}
		}
		k := at{name, wire.Fingerprint(e.verdicts.secret, source)}
		u := units[k]
		if u == nil {
			out, _ := cutLe(v.verdict(i).fate.Labels)
			u = &unit{first: int32(i), labels: out, source: source, run: v.namesRun(source)}
			units[k] = u
			order = append(order, u)
		}
		u.take(v.push.Families[family].Name[len(name):], le, n.values.All[i].Value)
		u.samples++
	}
	for _, u := range order {
		g.readUnit(v, e, u, counter.Evidence{Process: process, Run: run || u.run})
	}
}

// take adds the value of one part.
func (u *unit) take(suffix, le string, value float64) {
	switch suffix {
	case "_sum":
		u.value.Sum = value
	case "_count":
		u.value.Count = value
	default:
		if bound, err := strconv.ParseFloat(le, 64); err == nil && !math.IsInf(bound, 1) {
			u.value.Buckets = append(u.value.Buckets, wire.Bucket{Bound: bound, Count: value})
		}
	}
}

func (g *Guard) readUnit(v *passage, e *epoch, u *unit, evidence counter.Evidence) {
	n := &v.counts
	family := v.push.Metrics()[u.first].Family
	name := n.classes[family].Unit
	slices.SortFunc(u.value.Buckets, func(a, b wire.Bucket) int { return cmp.Compare(a.Bound, b.Bound) })
	raw, output := g.hasher.Metric(name, u.source), g.hasher.Metric(name, u.labels)
	r := counter.Reading{Identity: n.raw.Of(&raw), Semantics: semantics(n.classes[family].Semantics)}
	r.Source, r.Began = evidence.Source(v.started)
	r.Output = g.outputsOf(v).series(n.output.Of(&output), func() *counter.Series {
		s := &counter.Series{Name: v.nameOf(family)[:len(name)], Kind: counter.Histogram, Labels: v.outputLabels(u.labels)}
		for _, b := range u.value.Buckets {
			s.Bounds = append(s.Bounds, b.Bound)
		}
		return s
	}, shape{counter.Histogram, u.value.Buckets})
	n.fill(&r, &u.value)
	fingerprint, values := wire.Print(e.verdicts.secret, v.group, u.labels, nil)
	at := familySeries{-1 - n.claim.family(name), fingerprint} // a unit is no one family of the push
	claim, ok := n.claimed[at]
	if !ok {
		claim = n.claimSeries(at, name, values, u.samples, u.first)
	}
	n.add(r, u.first, claim)
}

// cutLe returns the labels without le, and its value.
func cutLe(ls []labels.Label) ([]labels.Label, string) {
	i := slices.IndexFunc(ls, isLe)
	if i < 0 {
		return ls, ""
	}
	out := make([]labels.Label, 0, len(ls)-1)
	return append(append(out, ls[:i]...), ls[i+1:]...), ls[i].Value
}
