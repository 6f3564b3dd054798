package proxy_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The model of what enforcement makes of a push, read off the documentation: it
// works on the generated values and on label names, knows no bytes and shares no
// code with the guard.

// aPush, aFamily and aMetric are a push as a test generates it. Beside the types
// of the format there is the bare histogram: one pushed without its TYPE, so that
// its lines are metrics of their own.
type aPush struct {
	key      map[string]string
	families []aFamily
}

type aFamily struct {
	name, typ string
	metrics   []aMetric
}

type aMetric struct {
	labels    map[string]string
	value     float64 // the sum of a histogram or summary
	count     float64
	les       []float64 // finite bounds of a histogram
	buckets   []float64 // cumulative, one a bound
	quantiles map[string]float64
}

// aPolicy is one entry's allowlist, nil for none, and rules.
type aPolicy struct {
	allow []string
	rules []aRule
}

type aRule struct {
	labels              []string
	action, replacement string
}

// normalForms are the values that templates leave, by label: generated values of
// these labels always have the shape, those of others never have one.
var normalForms = map[string]string{"run_id": "<uuid>", "user": "<email>", "day": "<date>", "note": "<text>"}

// judge says what becomes of the labels.
func (p aPolicy) judge(in map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range in {
		if name != "job" && p.allow != nil && !slices.Contains(p.allow, name) {
			continue
		}
		kept := true
		for _, r := range p.rules {
			form, shaped := normalForms[strings.TrimPrefix(name, "key_")]
			if name == "job" || !slices.Contains(r.labels, name) || r.action == "template" && !shaped {
				continue
			}
			switch r.action {
			case "drop":
				kept = false
			case "template":
				value = form
			case "replace":
				value = r.replacement
			}
			break
		}
		if kept {
			out[name] = value
		}
	}
	return out
}

// expect is what a Pushgateway must hold after the push, one line a number; ok is
// false if the push must be refused for unlike bounds.
func (p aPolicy) expect(push aPush) (key map[string]string, lines map[string]float64, ok bool) {
	key, lines = p.judge(push.key), map[string]float64{}
	for _, f := range push.families {
		merged := map[string]aMetric{}
		for _, m := range f.metrics {
			m.labels = p.judge(m.labels)
			id := labelText(m.labels)
			if first, again := merged[id]; again {
				if !slices.Equal(first.les, m.les) {
					return key, nil, false
				}
				m = first.plus(m, f)
			}
			merged[id] = m
		}
		for _, m := range merged {
			m.lines(f, key, lines)
		}
	}
	return key, lines, true
}

func (m aMetric) plus(next aMetric, f aFamily) aMetric {
	if f.typ == "gauge" || f.typ == "untyped" && !strings.HasSuffix(f.name, "_total") {
		return next
	}
	sum := aMetric{labels: m.labels, les: m.les, value: m.value + next.value, count: m.count + next.count}
	for i := range m.buckets {
		sum.buckets = append(sum.buckets, m.buckets[i]+next.buckets[i])
	}
	return sum // quantiles have no sum
}

// lines writes the metric's numbers down under the labels it gets in its group.
func (m aMetric) lines(f aFamily, key map[string]string, into map[string]float64) {
	all := map[string]string{}
	for _, ls := range []map[string]string{m.labels, key} {
		for name, value := range ls {
			all[name] = value
		}
	}
	if f.typ == "bare" {
		m.bareLines(f, all, into)
		return
	}
	at := func(part string) string { return f.typ + " " + f.name + part + labelText(all) }
	into[at("")] = m.value
	if f.typ == "histogram" || f.typ == "summary" {
		into[at(" count ")] = m.count
	}
	for i, le := range m.les {
		into[at(fmt.Sprintf(" le %g ", le))] = m.buckets[i]
	}
	if f.typ == "histogram" {
		into[at(fmt.Sprintf(" le %g ", math.Inf(1)))] = m.count
	}
	for q, v := range m.quantiles {
		into[at(" quantile "+q+" ")] = v
	}
}

func (m aMetric) bareLines(f aFamily, all map[string]string, into map[string]float64) {
	into["untyped "+f.name+"_sum"+labelText(all)] = m.value
	into["untyped "+f.name+"_count"+labelText(all)] = m.count
	for i, le := range append(slices.Clone(m.les), math.Inf(1)) {
		all["le"] = fmt.Sprintf("%g", le)
		into["untyped "+f.name+"_bucket"+labelText(all)] = append(slices.Clone(m.buckets), m.count)[i]
	}
}
