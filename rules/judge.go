package rules

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/rules/finding"
)

// Limits returns the limits, for whoever holds a push to those that are not
// judged here.
func (s *Set) Limits() Limits { return s.limits }

// BodySizeLimit returns the largest decoded body in bytes; 0 is no limit.
func (s *Set) BodySizeLimit() int64 { return s.limits.BodySize }

// FoldsKeys reports whether these rules can make two different grouping keys
// equal, whichever keys are pushed.
func (s *Set) FoldsKeys() bool {
	if s.allowlist != nil || s.relabelsKeys() {
		return true
	}
	for i := range s.rules {
		switch s.rules[i].Action {
		case Drop, Template, Bucket, Truncate, Replace, Event:
			return true
		}
	}
	return false
}

// JudgePush returns what is wrong with a push of so many samples, histograms
// and summaries expanded; nil if nothing is.
func (s *Set) JudgePush(samples int) []finding.Finding {
	if limit := s.limits.Samples; limit > 0 && samples > limit {
		return []finding.Finding{{
			ID: finding.SampleLimit, Count: samples, Limit: limit,
			Fix: "push fewer series, or have sample_limit raised",
		}}
	}
	return nil
}

// JudgeKey judges the labels of a grouping key, job among them.
func (s *Set) JudgeKey(key []labels.Label) Verdict { return s.judge("", s.relabelKey(key)) }

// Judge judges the labels of one metric, its name left out, in a group with the
// key that JudgeKey left. Without relabel_configs the key does not matter, and
// the metric's name only goes into the findings.
func (s *Set) Judge(key []labels.Label, metric string, ls []labels.Label) Verdict {
	return s.judge(metric, s.relabelMetric(key, metric, ls))
}

// judge goes on from a verdict of relabelling: it holds each label to the
// allowlist, then to the rules, the first that
// matches deciding; what is left is held to the limits.
func (s *Set) judge(metric string, v Verdict) Verdict {
	if v.Outcome == Rejected || v.Outcome == LeftOut {
		return v
	}
	in, changed := v.Labels, false
	var refused []finding.Finding
	gauges := len(s.rules) // the rule that has the word
	for i, l := range in {
		d := s.decide(l)
		switch d.action {
		case Reject:
			refused = append(refused, d.finding(metric, l))
		case Drop, Replace:
			if !changed {
				changed, v.Outcome = true, Rewritten
				v.Labels = append(make([]labels.Label, 0, len(in)), in[:i]...)
			}
			v.Findings = append(v.Findings, d.finding(metric, l))
			if d.rule != nil && d.rule.Action == Event && !slices.Contains(v.Events, d.rule.ID) {
				v.Events = append(v.Events, d.rule.ID)
			}
			if d.rule != nil && d.rule.Gauges != "" && d.rule.index < gauges {
				gauges, v.Gauges = d.rule.index, d.rule.Gauges
			}
		}
		if changed && d.action != Drop {
			v.Labels = append(v.Labels, labels.Label{Name: l.Name, Value: d.value})
		}
	}
	if len(refused) > 0 {
		return Verdict{Outcome: Rejected, Findings: refused}
	}
	if f, over := s.overLimit(metric, v.Labels); over {
		return Verdict{Outcome: Rejected, Findings: []finding.Finding{f}}
	}
	return v
}

// decision is what happens to one label: Keep, Drop, Reject, or Replace by
// value; and why.
type decision struct {
	action Action
	value  string
	rule   *rule // nil is the allowlist, or no reason
	shape  *shape
}

// decide finds what happens to one label.
func (s *Set) decide(l labels.Label) decision {
	keep := decision{action: Keep, value: l.Value}
	if isProtected(l.Name) {
		return keep
	}
	if s.allowlist != nil && !s.allowlist.match(l.Name) {
		return decision{action: Drop}
	}
	for i := range s.rules {
		r := &s.rules[i]
		if r.names != nil && !r.names.match(l.Name) {
			continue
		}
		d := decision{action: r.Action, value: l.Value, rule: r}
		normal := ""
		if r.shapes != 0 {
			if d.shape, normal = r.shapes.fold(l.Name, l.Value); d.shape == nil {
				continue
			}
		}
		if d.action, d.value = r.apply(l.Value, normal); d.action == Replace && d.value == l.Value {
			return keep
		}
		return d
	}
	return keep
}

// apply returns what becomes of a value that the rule matches: Keep, Drop,
// Reject, or Replace by another. normal is its normal form.
func (r *rule) apply(value, normal string) (Action, string) {
	switch r.Action {
	case Template:
		return Replace, normal
	case Bucket:
		return Replace, r.bucket(value)
	case Truncate:
		if cut := finding.Head(value, r.Length); cut != "" || value == "" {
			return Replace, cut
		}
		return Drop, ""
	case Replace:
		return Replace, r.Replacement
	case Event:
		return Drop, ""
	}
	return r.Action, value
}

// bucket returns the name of the bucket a value belongs to.
func (r *rule) bucket(value string) string {
	if value == "" {
		return ""
	}
	width := len(strconv.Itoa(r.Buckets - 1))
	if n, err := strconv.Atoi(value[1:]); err == nil && 0 <= n && n < r.Buckets && value == bucketName(n, width) {
		return value
	}
	return bucketName(int(xxhash.Sum64String(value)%uint64(r.Buckets)), width)
}

func bucketName(n, width int) string { return fmt.Sprintf("b%0*d", width, n) }

// finding returns the finding about a label that does not stay as it is.
func (d *decision) finding(metric string, l labels.Label) finding.Finding {
	f := finding.Finding{
		ID: finding.Allowlist, Metric: short(metric), Label: short(l.Name),
		Sample: finding.RedactLabel(l.Name, l.Value), Count: 1, Fix: d.fix(l.Name),
	}
	if d.rule != nil {
		f.ID = d.rule.ID
	}
	return f
}

// fix returns what the author of the job does about the label.
func (d *decision) fix(label string) string {
	if d.rule == nil {
		return "leave the label out, or have it listed in the policy's labels"
	}
	fix := "leave the label out"
	switch d.action {
	case Reject:
		fix = "push without the label"
	case Replace:
		fix = fmt.Sprintf("push the value %q", finding.RedactLabel(label, d.value))
	}
	if d.shape != nil {
		fix += ": values of shape " + d.shape.name + " have no bound"
	}
	return fix
}

// maxName is how much of a name a finding carries, in bytes: findings are kept
// and written down, and a name can be as long as a body.
const maxName = 128

// short returns name, cut if it is longer than a finding carries.
func short(name string) string {
	if len(name) <= maxName {
		return name
	}
	return finding.Head(name, maxName-len("…")) + "…"
}

// overLimit returns the finding about the first limit that labels exceed, in
// the order of Prometheus' own check.
func (s *Set) overLimit(metric string, in []labels.Label) (finding.Finding, bool) {
	if limit := s.limits.Labels; limit > 0 && len(in) > limit {
		return finding.Finding{
			ID: finding.LabelLimit, Metric: short(metric), Count: len(in), Limit: limit,
			Fix: fmt.Sprintf("push at most %d labels", limit),
		}, true
	}
	for _, l := range in {
		if limit := s.limits.LabelNameLength; limit > 0 && len(l.Name) > limit {
			return finding.Finding{
				ID: finding.LabelNameLengthLimit, Metric: short(metric), Label: short(l.Name), Count: len(l.Name), Limit: limit,
				Fix: fmt.Sprintf("shorten the label's name to %d bytes", limit),
			}, true
		}
		if limit := s.limits.LabelValueLength; limit > 0 && len(l.Value) > limit {
			return finding.Finding{
				ID: finding.LabelValueLengthLimit, Metric: short(metric), Label: short(l.Name),
				Sample: finding.RedactLabel(l.Name, l.Value), Count: len(l.Value), Limit: limit,
				Fix: fmt.Sprintf("shorten the value to %d bytes; long text belongs in a log", limit),
			}, true
		}
	}
	return finding.Finding{}, false
}
