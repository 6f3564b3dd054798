package policy

import (
	"time"

	"github.com/pushguard/pushguard/rules/finding"
)

// Place is a line of a policy file, counted from 1. The zero Place is none.
type Place struct {
	File string
	Line int
}

func (s spot) public() Place { return Place{s.file, s.line} }

// PlaceOf returns the line that stands behind a finding at a time, given the finding's
// id: that of the rule, the allowlist, the limit or the budget. What the entry inherits
// stands in default, which may be in another file, and so does its budget once its own
// has ended. It is zero for an id that no line is behind.
func (e *Entry) PlaceOf(id string, now time.Time) Place {
	w := &e.written
	for i := range w.rules.list {
		if r := &w.rules.list[i]; r.id.text == id {
			return r.public()
		}
	}
	switch id {
	case finding.Allowlist:
		return w.labels.public()
	case finding.Relabel:
		return w.relabel.public()
	case finding.FoldedJob:
		return e.lines.foldJobs.public()
	case finding.NotPermitted:
		return e.lines.push.public()
	case finding.Collapsed, finding.Evicted:
		return e.lines.onOverBudget.public()
	}
	if place := w.limits.placeOf(id); place != (Place{}) {
		return place
	}
	return e.lines.budgetOf(id, e.own.ended(now))
}

// OverBudgetPlace returns the line that says what happens to a push over a budget; zero
// where it is not written.
func (e *Entry) OverBudgetPlace() Place { return e.lines.onOverBudget.public() }

// lines are where an entry's budgets stand, and what else it does not keep as it was
// written.
type lines struct {
	own, fallback                budget
	entry                        entryBudget
	guard                        guardBudget
	onOverBudget, push, foldJobs spot
}

func (l *limits) placeOf(id string) Place {
	switch id {
	case finding.BodySizeLimit:
		return l.bodySize.public()
	case finding.SampleLimit:
		return l.samples.public()
	case finding.LabelLimit:
		return l.labels.public()
	case finding.LabelNameLengthLimit:
		return l.nameLength.public()
	case finding.LabelValueLengthLimit:
		return l.valueLength.public()
	}
	return Place{}
}

// budgetOf is where a budget stands, in default if the entry's own has ended.
func (l *lines) budgetOf(id string, ended bool) Place {
	switch id {
	case finding.EntryBudget:
		return l.entry.series.public()
	case finding.JobsBudget:
		return l.entry.jobs.public()
	case finding.NewJobsPerDay:
		return l.entry.newJobsPerDay.public()
	case finding.GuardBudget:
		return l.guard.series.public()
	case finding.GuardGroups:
		return l.guard.groups.public()
	case finding.BudgetExpired:
		return l.own.until.public()
	}
	if ended {
		return l.fallback.placeOf(id)
	}
	return l.own.placeOf(id)
}

func (b *budget) placeOf(id string) Place {
	switch id {
	case finding.SeriesBudget, finding.NearBudget:
		return b.series.public()
	case finding.GroupsBudget:
		return b.groups.public()
	case finding.NewSeriesPerHour:
		return b.newSeriesPerHour.public()
	case finding.NewSeriesPerDay:
		return b.newSeriesPerDay.public()
	case finding.LabelValuesBudget:
		return b.labelValues.public()
	case finding.PushesPerMinute:
		return b.pushesPerMinute.public()
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
