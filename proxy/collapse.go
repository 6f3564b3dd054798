package proxy

import (
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// others tells the ledger what every label of the claimed metrics would be with
// the one value for which there is always room.
func (v *passage) others(c *claim, e *epoch) map[uint64]uint64 {
	out := map[uint64]uint64{}
	for i := range c.Metrics {
		p := &v.verdict(int(c.Metrics[i].Metric)).output
		for i, value := range p.values {
			if _, ok := out[value.Label]; !ok {
				out[value.Label] = wire.PrintOther(e.verdicts.secret, p.printed(i).Name).Value
			}
		}
	}
	return out
}

// slot is a metric as it goes on: the metrics of a push that share one are
// merged.
type slot struct {
	family int32
	output uint64
}

func (v *passage) slot(metric int32, e *epoch) slot {
	fate := &v.verdict(int(metric)).fate
	output := fate.Output
	if standing := wire.Standing(v.group, fate.Labels); len(standing) < len(fate.Labels) {
		output = wire.Fingerprint(e.verdicts.secret, standing)
	}
	return slot{v.push.Metrics()[metric].Family, output}
}

// collapse gives the metrics that have no room by themselves the labels for which
// there is some, leaves out what has none at all, and merges the push once more:
// from the beginning, since a metric that stands for several has been merged
// before it was held to the budget.
func (v *passage) collapse(c *claim, r ledger.Ruling, e *epoch) error {
	said := make(map[slot][]labels.Label, len(r.Collapsed)+len(r.Trimmed))
	for _, i := range r.Trimmed {
		said[v.slot(c.Metrics[i].Metric, e)] = nil
	}
	collapsed := map[string]int{}
	for _, x := range r.Collapsed {
		metric := c.Metrics[x.Metric].Metric
		ls := slices.Clone(v.verdict(int(metric)).fate.Labels)
		for _, i := range x.Values {
			name := v.labelNamed(c, x.Metric, i).Name
			collapsed[name]++
			for j := range ls {
				if ls[j].Name == name {
					ls[j].Value = wire.Other
				}
			}
		}
		said[v.slot(metric, e)] = ls
	}
	v.unfold()
	for i, verdict := range v.verdicts {
		if verdict == nil || v.apart(i) || verdict.fate.Act == wire.LeaveOut {
			continue
		}
		ls, over := said[v.slot(int32(i), e)]
		switch {
		case !over:
			v.fates[i] = verdict.fate
		case ls == nil:
			v.fates[i] = wire.Fate{Act: wire.LeaveOut}
		default:
			v.fates[i] = wire.Fate{
				Act: wire.Relabel, Labels: ls, Block: wire.AppendLabels(nil, v.push.Encoding, ls),
				Output: wire.Fingerprint(e.verdicts.secret, ls), Gauges: wire.JoinSum,
			}
		}
	}
	v.changed = true
	v.noteCollapsed(collapsed)
	return wire.Merge(&v.push, v.fates, v.group)
}

// noteCollapsed says which labels lost values, and in how many metrics.
func (v *passage) noteCollapsed(metrics map[string]int) {
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		v.note([]finding.Finding{{
			ID: finding.Collapsed, Label: name, Count: metrics[name],
			Fix: "values for which the budget has no room became " + wire.Other + ": give the label fewer, or have the budget raised",
		}}, false)
	}
}
