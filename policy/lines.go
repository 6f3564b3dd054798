package policy

import "github.com/pushguard/pushguard/rules/finding"

// LineOf returns the line of the file that stands behind a finding, given the
// finding's id: the line of the rule, the allowlist or the limit. What the entry
// inherits stands in default. 0 is an id that no line of the file is behind.
func (e *Entry) LineOf(id string) int {
	w := &e.written
	switch id {
	case finding.Allowlist:
		return w.labels.line
	case finding.Relabel:
		return w.relabel.line
	case finding.BodySizeLimit:
		return w.limits.bodySize.line
	case finding.SampleLimit:
		return w.limits.samples.line
	case finding.LabelLimit:
		return w.limits.labels.line
	case finding.LabelNameLengthLimit:
		return w.limits.nameLength.line
	case finding.LabelValueLengthLimit:
		return w.limits.valueLength.line
	}
	for i := range w.rules.list {
		if r := &w.rules.list[i]; r.id.text == id {
			return r.line
		}
	}
	return 0
}

// FamilyLine returns the line of the family of counters that decided about a
// metric family, given rules.Classified.Rule; 0 for the built-in table.
func (e *Entry) FamilyLine(rule int) int {
	if rule < 1 || rule > len(e.written.counters.families.list) {
		return 0
	}
	return e.written.counters.families.list[rule-1].line
}
