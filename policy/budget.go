package policy

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"
)

// Budget is what one job may hold. The zero value only measures.
type Budget struct {
	Series int // series; 0 only measures
	// Borrow is how many series beyond Series it may hold while the guard's budget
	// has room that no entry is guaranteed; 0 is none.
	Borrow           int
	Groups           int // groups; 0 only measures
	NewSeriesPerHour int // series that their group did not hold; 0 only measures
	NewSeriesPerDay  int // the same; 0 only measures
	LabelValues      int // distinct values of each label; 0 only measures
	PushesPerMinute  int // pushes; 0 only measures
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
	own := inheritBudget(&e.budget, &fallback.budget)
	running.own, running.fallback = own.running(), fallback.budget.running()
	l := &running.lines
	l.own, l.fallback, l.entry, l.guard = own, fallback.budget, e.entryBudget, c.guard
	running.EntryBudget = int(e.entryBudget.series.value)
	running.EntryJobs = int(e.entryBudget.jobs.value)
	running.EntryNewJobsPerDay = int(e.entryBudget.newJobsPerDay.value)
	c.contradictions(running, e, fallback)
	where := prefix(e.where, "budget: until")
	switch {
	case !own.until.written():
	case e == fallback:
		c.fault(own.until.spot, where, "default's budget has no end: it holds where others have ended")
	case !e.budget.says():
		c.fault(own.until.spot, where, "nothing ends: want series or another budget beside it")
	default:
		place := Fault{File: own.until.file, Line: own.until.line, Column: own.until.column, Msg: where + ": "}
		c.policy.dated = append(c.policy.dated, dated{running, place})
	}
}

// inheritBudget fills in what e does not say itself. An end is its own.
func inheritBudget(e, fallback *budget) budget {
	return budget{
		series:           first(e.series, fallback.series),
		borrow:           first(e.borrow, fallback.borrow),
		groups:           first(e.groups, fallback.groups),
		newSeriesPerHour: first(e.newSeriesPerHour, fallback.newSeriesPerHour),
		newSeriesPerDay:  first(e.newSeriesPerDay, fallback.newSeriesPerDay),
		labelValues:      first(e.labelValues, fallback.labelValues),
		pushesPerMinute:  first(e.pushesPerMinute, fallback.pushesPerMinute),
		until:            e.until,
	}
}

func (b *budget) running() Budget {
	run := Budget{
		Series:           int(b.series.value),
		Borrow:           int(b.borrow.value),
		Groups:           int(b.groups.value),
		NewSeriesPerHour: int(b.newSeriesPerHour.value),
		NewSeriesPerDay:  int(b.newSeriesPerDay.value),
		LabelValues:      int(b.labelValues.value),
		PushesPerMinute:  int(b.pushesPerMinute.value),
		Until:            b.until.day,
	}
	if run.Series == 0 {
		run.Borrow = 0 // there is nothing to go beyond
	}
	return run
}

// says reports whether b holds more than an end, and be it something that could not be
// read.
func (b *budget) says() bool {
	for _, faulty := range b.faulty {
		if faulty {
			return true
		}
	}
	for _, n := range []number{b.series, b.borrow, b.groups, b.newSeriesPerHour, b.newSeriesPerDay, b.labelValues, b.pushesPerMinute} {
		if n.written() {
			return true
		}
	}
	return false
}

// contradictions refuses what an entry writes and what cannot be meant beside the
// rest of its budget, as far as that could be read.
func (c *compiler) contradictions(running *Entry, e, fallback *entry) {
	own, where := running.own, prefix(e.where, "budget")
	unread := func(key string) bool { return e.budget.faulty[key] || fallback.budget.faulty[key] }
	switch borrow := e.budget.borrow; {
	case borrow.value == 0 || unread("series"):
	case own.Series == 0:
		c.fault(borrow.spot, prefix(where, "borrow"), "nothing to go beyond: want series beside it")
	case c.guard.series.value == 0 && !c.guard.faulty["series"]:
		c.fault(borrow.spot, prefix(where, "borrow"), "nothing to borrow of: want series in the top level's budget")
	}
	hour, day := e.budget.newSeriesPerHour, e.budget.newSeriesPerDay
	if (hour.written() && !unread("new_series_per_day") || day.written() && !unread("new_series_per_hour")) && own.NewSeriesPerDay > 0 && own.NewSeriesPerHour > own.NewSeriesPerDay {
		c.fault(first(day, hour).spot, where, "new_series_per_hour is %d, more than new_series_per_day, %d: no hour can bring more than its day",
			own.NewSeriesPerHour, own.NewSeriesPerDay)
	}
	if e.onOverBudget.text == string(EvictOldest) && own.Series == 0 && own.Groups == 0 && !unread("series") && !unread("groups") {
		c.fault(e.onOverBudget.spot, prefix(e.where, "on_over_budget"), "nothing to evict for: evict_oldest wants groups or series in the budget")
	}
}

// guarantees refuses to promise more series than the guard may hold.
func (c *compiler) guarantees() {
	limit := c.guard.series
	c.policy.series, c.policy.groups = int(limit.value), int(c.guard.groups.value)
	for _, e := range c.policy.entries {
		c.policy.reserved += e.Guaranteed()
	}
	if sum := c.policy.reserved; limit.value > 0 && int64(sum) > limit.value {
		c.fault(limit.spot, "budget: series", "the entries guarantee %d series together, more than the guard's %d: lower their budgets or raise this one", sum, limit.value)
	}
}

// guardBudget reads what all jobs share.
func (d *decoder) guardBudget(n *yaml.Node, where string) guardBudget {
	b := guardBudget{spot: d.at(target(n)), faulty: make(map[string]bool)}
	d.noted(n, where, []field{
		{"series", "", func(n *yaml.Node, where string) { b.series = d.number(n, where) }},
		{"groups", "", func(n *yaml.Node, where string) { b.groups = d.number(n, where) }},
	}, b.faulty)
	return b
}

func (d *decoder) budget(n *yaml.Node, where string) budget {
	b := budget{faulty: make(map[string]bool)}
	d.noted(n, where, []field{
		{"series", "", func(n *yaml.Node, where string) { b.series = d.number(n, where) }},
		{"borrow", "", func(n *yaml.Node, where string) { b.borrow = d.number(n, where) }},
		{"groups", "", func(n *yaml.Node, where string) { b.groups = d.number(n, where) }},
		{"new_series_per_hour", "", func(n *yaml.Node, where string) { b.newSeriesPerHour = d.number(n, where) }},
		{"new_series_per_day", "", func(n *yaml.Node, where string) { b.newSeriesPerDay = d.number(n, where) }},
		{"label_values", "", func(n *yaml.Node, where string) { b.labelValues = d.number(n, where) }},
		{"pushes_per_minute", "", func(n *yaml.Node, where string) { b.pushesPerMinute = d.number(n, where) }},
		{"until", "", func(n *yaml.Node, where string) { b.until = d.date(n, where) }},
	}, b.faulty)
	return b
}

// entryBudget reads what the jobs of one entry share.
func (d *decoder) entryBudget(n *yaml.Node, where string) entryBudget {
	var b entryBudget
	d.mapping(n, where, []field{
		{"series", "", func(n *yaml.Node, where string) { b.series = d.number(n, where) }},
		{"jobs", "", func(n *yaml.Node, where string) { b.jobs = d.number(n, where) }},
		{"new_jobs_per_day", "", func(n *yaml.Node, where string) { b.newJobsPerDay = d.number(n, where) }},
	})
	return b
}
