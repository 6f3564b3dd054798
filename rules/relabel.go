package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/pushguard/pushguard/rules/finding"
)

// nameScheme makes the names that configs write legal for every Pushgateway,
// with UTF-8 names or without.
const nameScheme = model.LegacyValidation

// relabelConfigs compiles the field relabel_configs.
func (c *compiler) relabelConfigs(configs []*relabel.Config) []*relabel.Config {
	valid := make([]*relabel.Config, 0, len(configs))
	for i, config := range configs {
		own := *config // Validate fills in the scheme
		err := own.Validate(nameScheme)
		switch {
		case err == nil && own.Regex.Regexp == nil:
			err = errors.New("regex is missing")
		case err == nil:
			err = untouchable(&own)
		}
		if err != nil {
			c.fault("relabel_configs", i, "%w", err)
		}
		valid = append(valid, &own)
	}
	return valid
}

// untouchable refuses a config that would change a label that always stays,
// whatever is pushed. Where that depends on the push, the change is undone.
func untouchable(c *relabel.Config) error {
	switch c.Action {
	case relabel.Drop, relabel.Keep, relabel.DropEqual, relabel.KeepEqual:
	case relabel.Replace, relabel.Lowercase, relabel.Uppercase, relabel.HashMod:
		if isProtected(c.TargetLabel) {
			return fmt.Errorf("target_label %s cannot be written: job, le, quantile and __name__ always stay", c.TargetLabel)
		}
	case relabel.LabelMap:
		if isProtected(c.Replacement) {
			return fmt.Errorf("replacement %s cannot be written: job, le, quantile and __name__ always stay", c.Replacement)
		}
	case relabel.LabelDrop:
		if c.Regex.MatchString(model.MetricNameLabel) {
			return fmt.Errorf("regex %s matches __name__, which always stays: narrow it", clipped(c.Regex.String()))
		}
	case relabel.LabelKeep:
		if !c.Regex.MatchString(model.MetricNameLabel) {
			return fmt.Errorf("regex %s does not match __name__, which always stays: put __name__| before it", clipped(c.Regex.String()))
		}
	default: // Validate lets it through, and relabelling panics
		return fmt.Errorf("unknown action %s", clipped(string(c.Action)))
	}
	return nil
}

// ReadsKey reports whether Judge's verdict about a metric depends on the
// grouping key.
func (s *Set) ReadsKey() bool { return len(s.relabel) > 0 }

// relabelsKeys reports whether relabel_configs can change a grouping key.
func (s *Set) relabelsKeys() bool {
	return slices.ContainsFunc(s.relabel, func(c *relabel.Config) bool {
		switch c.Action {
		case relabel.Drop, relabel.Keep, relabel.DropEqual, relabel.KeepEqual:
			return false
		case relabel.LabelMap, relabel.LabelDrop, relabel.LabelKeep:
			return true
		}
		return len(c.SourceLabels) > 0 && !slices.Contains(c.SourceLabels, model.MetricNameLabel)
	})
}

// concernsKey reports whether a config is applied to the grouping key at work: it
// reads labels, and the key has them all, as it came or by a config before. The
// others wait for the metrics, where they see the key as well.
func (r *relabeling) concernsKey(c *relabel.Config) bool {
	known := func(name string) bool { return has(r.own, name) || r.builder.Get(name) != "" }
	switch c.Action {
	case relabel.LabelMap, relabel.LabelDrop, relabel.LabelKeep:
		return true
	case relabel.DropEqual, relabel.KeepEqual:
		if !known(c.TargetLabel) {
			return false
		}
	}
	return len(c.SourceLabels) > 0 && !slices.ContainsFunc(c.SourceLabels, func(name model.LabelName) bool {
		return !known(string(name))
	})
}

func has(ls []labels.Label, name string) bool {
	return slices.ContainsFunc(ls, func(l labels.Label) bool { return l.Name == name })
}

// relabelKey applies relabel_configs to a grouping key.
func (s *Set) relabelKey(key []labels.Label) Verdict {
	if len(s.relabel) == 0 {
		return Verdict{Outcome: Permitted, Labels: key}
	}
	r := relabeling{own: key}
	r.start("")
	for _, c := range s.relabel {
		if r.concernsKey(c) && !r.apply(c) {
			return Verdict{Outcome: Rejected, Findings: []finding.Finding{{
				ID: finding.Relabel, Count: 1,
				Fix: "push under another grouping key: the policy's relabel_configs drop this one",
			}}}
		}
	}
	return r.verdict("")
}

// relabelMetric applies relabel_configs to a metric of a group.
func (s *Set) relabelMetric(key []labels.Label, metric string, ls []labels.Label) Verdict {
	if len(s.relabel) == 0 {
		return Verdict{Outcome: Permitted, Labels: ls}
	}
	r := relabeling{own: ls, key: key}
	r.start(metric)
	for _, c := range s.relabel {
		if !r.apply(c) {
			return Verdict{Outcome: LeftOut, Findings: []finding.Finding{{
				ID: finding.Relabel, Metric: short(metric), Count: 1,
				Fix: "do not push it: the policy's relabel_configs drop it",
			}}}
		}
	}
	return r.verdict(metric)
}

// relabeling is relabel_configs at work on the labels of one key or metric.
type relabeling struct {
	own     []labels.Label
	key     []labels.Label // of the group a metric is in; nil for a key itself
	fixed   []labels.Label // what always stays, as the configs see it
	builder *labels.Builder
}

func (r *relabeling) start(metric string) {
	// The base stays empty: packing labels bounds their size, adding does not.
	r.builder = labels.NewBuilder(labels.EmptyLabels())
	for _, l := range slices.Concat(r.own, r.key) { // the key's labels win, as in a Pushgateway
		r.builder.Set(l.Name, l.Value)
	}
	r.builder.Set(model.MetricNameLabel, metric)
	r.fixed = slices.Clone(r.key)
	for _, name := range [...]string{model.JobLabel, model.BucketLabel, model.QuantileLabel, model.MetricNameLabel} {
		r.fixed = append(r.fixed, labels.Label{Name: name, Value: r.builder.Get(name)})
	}
}

// apply applies one config and undoes what it may not change, so that no config
// sees such a change either; false if the labels are dropped.
func (r *relabeling) apply(c *relabel.Config) bool {
	if !relabel.ProcessBuilder(r.builder, c) {
		return false
	}
	for _, l := range r.fixed {
		if r.builder.Get(l.Name) != l.Value {
			r.builder.Set(l.Name, l.Value)
		}
	}
	return true
}

// verdict compares what has become of the labels with what they were.
func (r *relabeling) verdict(metric string) Verdict {
	v := Verdict{Outcome: Permitted, Labels: r.own}
	out := make([]labels.Label, 0, len(r.own))
	for _, l := range r.own {
		value := r.builder.Get(l.Name)
		switch {
		case value == l.Value:
			out = append(out, l)
		case has(r.key, l.Name):
			v.Findings = append(v.Findings, relabelled(metric, l, "leave the label out: the grouping key has it, and a Pushgateway takes the key's value"))
		case value == "":
			v.Findings = append(v.Findings, relabelled(metric, l, "leave the label out: the policy's relabel_configs remove it"))
		default:
			v.Findings = append(v.Findings, relabelled(metric, l, fmt.Sprintf("push the value %q", finding.RedactLabel(l.Name, value))))
			out = append(out, labels.Label{Name: l.Name, Value: value})
		}
	}
	r.builder.Range(func(l labels.Label) {
		if has(r.own, l.Name) || has(r.fixed, l.Name) || strings.HasPrefix(l.Name, model.ReservedLabelPrefix) || !nameScheme.IsValidLabelName(l.Name) {
			return
		}
		out = append(out, l)
		v.Findings = append(v.Findings, relabelled(metric, l, "push the label: the policy's relabel_configs add it"))
	})
	if len(v.Findings) > 0 {
		v.Outcome, v.Labels = Rewritten, out
	}
	return v
}

// relabelled is the finding about a label that relabel_configs changed, with
// its value as pushed, or as added.
func relabelled(metric string, l labels.Label, fix string) finding.Finding {
	return finding.Finding{
		ID: finding.Relabel, Metric: short(metric), Label: short(l.Name),
		Sample: finding.RedactLabel(l.Name, l.Value), Count: 1, Fix: fix,
	}
}
