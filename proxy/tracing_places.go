package proxy

import (
	"slices"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/rules/finding"
)

// tracePlaces gives the findings and the limits that the push passes their lines.
func (v *passage) tracePlaces(g *Guard, e *epoch) {
	if v.entry == nil {
		return
	}
	for i := range v.trace.Findings {
		f := &v.trace.Findings[i]
		place := v.placeOf(g, e, &f.Finding)
		f.File, f.Line = place.File, place.Line
	}
	if v.trace.Budget == nil {
		return
	}
	for i := range v.trace.Budget.Over {
		o := &v.trace.Budget.Over[i]
		place := v.placeOf(g, e, &finding.Finding{ID: overID(o.Budget)})
		o.File, o.Line = place.File, place.Line
	}
}

// placeOf is the line of the policy that stands behind a finding; zero if none does,
// such as where a flag caps what the policy grants.
func (v *passage) placeOf(g *Guard, e *epoch, f *finding.Finding) policy.Place {
	switch f.ID {
	case finding.GuardBudget:
		if granted := e.policy.SeriesBudget(); v.tight || g.mostSeries(granted) != granted {
			return policy.Place{}
		}
	case finding.EventFamily, finding.DroppedFamily:
		i := slices.IndexFunc(v.trace.Families, func(t TraceFamily) bool { return t.Family == f.Metric })
		if i >= 0 {
			return policy.Place{File: v.trace.Families[i].File, Line: v.trace.Families[i].Line}
		}
	}
	return v.entry.PlaceOf(f.ID, v.started)
}

// overID is the finding of a limit by the limit's name; where it has none of its own,
// the two are one.
func overID(name string) string {
	for limit, said := range overs {
		if limit.String() == name {
			return said.id
		}
	}
	return name
}
