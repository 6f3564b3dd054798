package policy

import (
	"fmt"
	"time"
)

// Budget is what one job may hold. The zero value only measures.
type Budget struct {
	Series      int // series; 0 only measures
	LabelValues int // distinct values of each label; 0 only measures
	// Until is the last day on which the budget holds, at its beginning in UTC.
	// Zero is no end.
	Until time.Time
}

// ended reports whether the budget's last day is over.
func (b Budget) ended(now time.Time) bool {
	return !b.Until.IsZero() && !now.Before(b.Until.AddDate(0, 0, 1))
}

// Budget returns what each job of this entry may hold at a time. After the end
// of the entry's own budget that is the default entry's, and expired is true.
func (e *Entry) Budget(now time.Time) (b Budget, expired bool) {
	if e.own.ended(now) {
		return e.fallback, true
	}
	return e.own, false
}

// Guaranteed returns how many series the policy sets aside for the jobs of this
// entry, whatever others hold: the budget of the one job that a plain name
// governs (before its end or after, whichever is more), or the entry_budget of
// a pattern and of default. A pattern without one guarantees nothing: its jobs
// draw on what is left.
func (e *Entry) Guaranteed() int {
	if !e.literal {
		return e.EntryBudget
	}
	series := max(e.own.Series, e.fallback.Series)
	if e.own.Until.IsZero() {
		series = e.own.Series
	}
	if e.EntryBudget > 0 && (series == 0 || e.EntryBudget < series) {
		return e.EntryBudget
	}
	return series
}

// dated is an entry whose budget ends, and the place where that is said.
type dated struct {
	entry *Entry
	place Fault
}

// warnAhead is how many days before its end a budget is warned about.
const warnAhead = 14

// Warnings returns what is no fault but wants to be seen to, in file order:
// budgets that have ended, and those that end within 14 days.
func (p *Policy) Warnings(now time.Time) []Fault {
	var warnings []Fault
	for _, d := range p.dated {
		until := d.entry.own.Until
		day := until.Format(time.DateOnly)
		switch f := d.place; {
		case d.entry.own.ended(now):
			f.Msg += fmt.Sprintf("the budget ended with %s: default's holds", day)
			warnings = append(warnings, f)
		case !now.Before(until.AddDate(0, 0, -warnAhead)):
			f.Msg += fmt.Sprintf("the budget ends with %s: default's holds from then on", day)
			warnings = append(warnings, f)
		}
	}
	return warnings
}

// budgets fills in what the running entry and its jobs may hold.
func (c *compiler) budgets(running *Entry, e, fallback *entry) {
	own, theirs := e.budget, fallback.budget
	running.EntryBudget = int(e.entryBudget.value)
	running.fallback = Budget{Series: int(theirs.series.value), LabelValues: int(theirs.labelValues.value)}
	running.own = Budget{
		Series:      int(first(own.series, theirs.series).value),
		LabelValues: int(first(own.labelValues, theirs.labelValues).value),
		Until:       own.until.day,
	}
	where := prefix(e.where, "budget: until")
	switch {
	case !own.until.written():
	case e == fallback:
		c.fault(own.until.spot, where, "default's budget has no end: it holds where others have ended")
	case !own.series.written() && !own.labelValues.written():
		c.fault(own.until.spot, where, "nothing ends: want series or label_values beside it")
	default:
		place := Fault{File: c.source, Line: own.until.line, Column: own.until.column, Msg: where + ": "}
		c.policy.dated = append(c.policy.dated, dated{running, place})
	}
}

// guarantees refuses to promise more series than the guard may hold.
func (c *compiler) guarantees(limit number) {
	c.policy.series = int(limit.value)
	if limit.value == 0 {
		return
	}
	sum := int64(0)
	for _, e := range c.policy.entries {
		sum += int64(e.Guaranteed())
	}
	if sum > limit.value {
		c.fault(limit.spot, "budget: series", "the entries guarantee %d series together, more than the guard's %d: lower their budgets or raise this one", sum, limit.value)
	}
}
