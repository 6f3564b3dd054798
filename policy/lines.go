package policy

import "github.com/pushguard/pushguard/rules/finding"

// Place is a line of a policy file, counted from 1. The zero Place is none.
type Place struct {
	File string
	Line int
}

func (s spot) public() Place { return Place{s.file, s.line} }

// PlaceOf returns the line that stands behind a finding, given the finding's id:
// that of the rule, the allowlist or the limit. What the entry inherits stands in
// default, which may be in another file. It is zero for an id that no line is
// behind.
func (e *Entry) PlaceOf(id string) Place {
	w := &e.written
	switch id {
	case finding.Allowlist:
		return w.labels.public()
	case finding.Relabel:
		return w.relabel.public()
	case finding.BodySizeLimit:
		return w.limits.bodySize.public()
	case finding.SampleLimit:
		return w.limits.samples.public()
	case finding.LabelLimit:
		return w.limits.labels.public()
	case finding.LabelNameLengthLimit:
		return w.limits.nameLength.public()
	case finding.LabelValueLengthLimit:
		return w.limits.valueLength.public()
	}
	for i := range w.rules.list {
		if r := &w.rules.list[i]; r.id.text == id {
			return r.public()
		}
	}
	return Place{}
}

// FamilyPlace returns the line of the family of counters that decided about a
// metric family, given rules.Classified.Rule; zero for the built-in table.
func (e *Entry) FamilyPlace(rule int) Place {
	if rule < 1 || rule > len(e.written.counters.families.list) {
		return Place{}
	}
	return e.written.counters.families.list[rule-1].public()
}
