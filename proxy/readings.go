package proxy

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

func kindOf(t dto.MetricType) counter.Kind {
	switch t {
	case dto.MetricType_HISTOGRAM:
		return counter.Histogram
	case dto.MetricType_SUMMARY:
		return counter.Summary
	default:
		return counter.Counter
	}
}

// read makes the readings of the push, and claims their output series.
func (g *Guard) read(v *passage, e *epoch) {
	n := &v.counts
	g.hasher.Group(&n.raw, v.raw.Labels())
	g.hasher.Group(&n.output, v.group.Labels())
	n.claim.reset(v, v.group)
	n.claim.Totals, n.claim.Method = true, http.MethodPost
	process, run := v.began(), v.namesRun(v.raw.Labels())
	metrics := v.push.Metrics()
	for i := range metrics {
		family := metrics[i].Family
		if n.ways[i] != counted || n.classes[family].Unit != "" {
			continue
		}
		said := v.verdict(i)
		h := said.hashes(g.hasher, v.entry.Counters.RunLabels)
		value := &n.values.All[i]
		evidence := counter.Evidence{Created: value.Created, Process: process, Run: run || h.namesRun}
		if evidence.Created == 0 && len(n.created) > 0 {
			evidence.Created = n.created[familySeries{family, said.pushed.fingerprint}]
		}
		r := counter.Reading{Identity: n.raw.Of(&h.raw), Semantics: semantics(n.classes[family].Semantics)}
		r.Source, r.Began = evidence.Source(v.started)
		r.Output = g.outputsOf(v).series(n.output.Of(&h.output), func() *counter.Series { return v.series(i, said.fate.Labels) }, v.shape(i, value))
		n.fill(&r, value)
		n.add(r, int32(i), v.claimOutput(e, i, family))
	}
	g.readUnits(v, e, process, run)
	n.push = counter.Push{
		Group: n.raw.Identity(), Method: v.request.Method, Client: host(v.request.Client), Body: v.decoded,
		IdempotencyKey: v.request.Header.Get("Idempotency-Key"),
		IgnoreUnknown:  v.entry.Counters.UnknownFirst == policy.IgnoreFirst,
	}
}

func (n *counting) add(r counter.Reading, metric, claim int32) {
	n.readings = append(n.readings, r)
	n.metrics = append(n.metrics, metric)
	n.claims = append(n.claims, claim)
}

// fill takes the values of a metric; its buckets in the order of their bounds.
func (n *counting) fill(r *counter.Reading, value *wire.Reading) {
	r.Value, r.Count, r.Sum = value.Value, value.Count, value.Sum
	if r.Output.Kind != counter.Histogram {
		return
	}
	start := len(n.buckets)
	for _, b := range value.Buckets {
		n.buckets = append(n.buckets, b.Count)
	}
	r.Buckets = n.buckets[start:len(n.buckets):len(n.buckets)]
}

// shape sorts the buckets of a metric and returns what a series that takes it
// must be like.
func (v *passage) shape(i int, value *wire.Reading) shape {
	f := &v.push.Families[v.push.Metrics()[i].Family]
	slices.SortFunc(value.Buckets, func(a, b wire.Bucket) int { return cmp.Compare(a.Bound, b.Bound) })
	value.Buckets = slices.CompactFunc(value.Buckets, func(a, b wire.Bucket) bool { return a.Bound == b.Bound })
	return shape{kindOf(f.Type), value.Buckets}
}

// series makes the output series of a metric with these labels.
func (v *passage) series(metric int, ls []labels.Label) *counter.Series {
	family := v.push.Metrics()[metric].Family
	s := &counter.Series{
		Name: v.nameOf(family), Kind: kindOf(v.push.Families[family].Type),
		Help: v.helpOf(family), Labels: v.outputLabels(ls),
	}
	for _, b := range v.counts.values.All[metric].Buckets {
		s.Bounds = append(s.Bounds, b.Bound)
	}
	return s
}

// longestHelp is how much of a help text is kept of what is added up, in bytes.
const longestHelp = 1 << 10

// helpOf is the help text of a family, cut, for all its series, as nameOf is its name.
func (v *passage) helpOf(family int32) string {
	n := &v.counts
	if len(n.helps) == 0 {
		n.helps = append(n.helps, make([]string, len(v.push.Families))...)
	}
	if n.helps[family] == "" {
		n.helps[family] = cutHelp(v.push.Help(int(family)))
	}
	return n.helps[family]
}

// cutHelp cuts a help text at the end of a character.
func cutHelp(text string) string {
	if len(text) <= longestHelp {
		return text
	}
	return strings.Clone(finding.Head(text, longestHelp))
}

// outputLabels are the labels of a metric in its group, in memory of their own.
func (v *passage) outputLabels(ls []labels.Label) []labels.Label {
	var out []labels.Label
	for _, l := range v.group.Labels() {
		if l.Value != "" {
			out = append(out, labels.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		}
	}
	for _, l := range ls {
		if _, taken := v.group.Get(l.Name); !taken && l.Value != "" {
			out = append(out, labels.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
		}
	}
	slices.SortFunc(out, func(a, b labels.Label) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// claimOutput claims the output series of a metric, once for all metrics that
// have the same.
func (v *passage) claimOutput(e *epoch, metric int, family int32) int32 {
	n := &v.counts
	fingerprint, values := v.verdict(metric).output.in(v.group, e.verdicts.secret)
	at := familySeries{family, fingerprint}
	if i, ok := n.claimed[at]; ok {
		return i
	}
	samples := v.push.Metrics()[metric].Samples
	if v.push.Families[family].Type == dto.MetricType_SUMMARY {
		samples = 2 // its quantiles stay behind
	}
	return n.claimSeries(at, v.push.Families[family].Name, values, samples, int32(metric))
}

func (n *counting) claimSeries(at familySeries, family string, values []wire.LabelValue, samples, metric int32) int32 {
	i := int32(len(n.claim.Metrics))
	c := &n.claim
	c.Metrics = append(c.Metrics, ledger.MetricClaim{
		Fingerprint: at.print, Values: c.AddValues(values), Family: c.family(family), Samples: samples, Metric: metric,
	})
	if n.claimed == nil {
		n.claimed = map[familySeries]int32{}
	}
	n.claimed[at] = i
	return i
}

// began is when the process of the push started, in nanoseconds; 0 if it does not
// say. It gathers what _created says of its siblings, too.
func (v *passage) began() int64 {
	n := &v.counts
	process := int64(0)
	metrics := v.push.Metrics()
	for i := range metrics {
		family := metrics[i].Family
		if n.classes[family].Class != rules.ClassEvidence {
			continue
		}
		at := counter.Nanoseconds(n.values.All[i].Value)
		base, isCreated := strings.CutSuffix(v.push.Families[family].Name, "_created")
		switch {
		case !isCreated:
			process = at
		case v.verdict(i) != nil:
			v.noteCreated(base, v.verdict(i).pushed.fingerprint, at)
		}
	}
	return process
}

func (v *passage) noteCreated(base string, fingerprint uint64, at int64) {
	n := &v.counts
	if n.created == nil {
		n.created, n.byName = map[familySeries]int64{}, map[string]int32{}
	}
	if len(n.byName) == 0 {
		for i := range v.push.Families {
			n.byName[v.push.Families[i].Name] = int32(i)
		}
	}
	for _, name := range [...]string{base, base + "_total"} {
		if family, ok := n.byName[name]; ok {
			n.created[familySeries{family, fingerprint}] = at
		}
	}
}

func (v *passage) namesRun(ls []labels.Label) bool { return namesRun(v.entry.Counters.RunLabels, ls) }

// namesRun reports whether some label names one run; names are sorted.
func namesRun(names []string, ls []labels.Label) bool {
	return slices.ContainsFunc(ls, func(l labels.Label) bool {
		_, ok := slices.BinarySearch(names, l.Name)
		return ok && l.Value != ""
	})
}

func semantics(s rules.Semantics) counter.Semantics {
	switch s {
	case rules.Cumulative:
		return counter.Cumulative
	case rules.Delta:
		return counter.Delta
	default:
		return counter.Auto
	}
}

// host is an address without its port.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
