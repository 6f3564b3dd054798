package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// replayReport is what a replay tells. Its JSON is part of the interface: fields are
// added, never renamed.
type replayReport struct {
	Pushes    int         `json:"pushes"`
	Differing int         `json:"differing"` // pushes
	Stopped   bool        `json:"stopped"`   // before the end
	Jobs      []jobReport `json:"jobs"`      // those in which something differs
	// LeftOut is what was not compared.
	LeftOut *leftOut `json:"left_out,omitempty"`
	// Unread are the queries that nobody could parse, and so did not look at.
	Unread []unread `json:"unread,omitempty"`
}

type jobReport struct {
	Job       string          `json:"job"`
	Pushes    int             `json:"pushes"`
	Differing int             `json:"differing"`
	Outcomes  []outcomeChange `json:"outcomes,omitempty"`
	Before    int             `json:"series_before"` // different ones, of all pushes
	After     int             `json:"series_after"`
	Lost      int             `json:"series_lost"`
	Gained    int             `json:"series_gained"`
	Gone      []gone          `json:"gone,omitempty"`
	// Refused and LetIn count the pushes that are refused only after, and only
	// before, by their findings.
	Refused map[string]int `json:"refused,omitempty"`
	LetIn   map[string]int `json:"let_in,omitempty"`
	// Noticed and Quiet count the pushes that have a finding only after, and only
	// before.
	Noticed map[string]int `json:"noticed,omitempty"`
	Quiet   map[string]int `json:"quiet,omitempty"`
	Budgets []budgetChange `json:"budgets,omitempty"`
	Breaks  []broken       `json:"breaks,omitempty"`
}

type outcomeChange struct {
	Before string `json:"before"`
	After  string `json:"after"`
	Pushes int    `json:"pushes"`
}

// budgetChange counts the pushes that pass a limit.
type budgetChange struct {
	Budget string `json:"budget"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

func (d *difference) report(q queries, stopped bool) replayReport {
	out := replayReport{Pushes: d.pushes, Differing: d.differing, Stopped: stopped, Unread: q.unread, Jobs: []jobReport{}}
	if d.left != (leftOut{}) {
		out.LeftOut = &d.left
	}
	for _, job := range slices.Sorted(maps.Keys(d.jobs)) {
		if j := d.jobs[job]; j.differing > 0 {
			out.Jobs = append(out.Jobs, j.report(job, q))
		}
	}
	return out
}

func (j *jobDifference) report(job string, q queries) jobReport {
	out := jobReport{
		Job: job, Pushes: j.pushes, Differing: j.differing,
		Before: len(j.before.series), After: len(j.after.series),
		Lost: j.before.less(&j.after), Gained: j.after.less(&j.before),
		Gone: j.goneFrom(job), Refused: j.refused, LetIn: j.let, Noticed: j.noticed, Quiet: j.quiet, Budgets: j.budgets(),
	}
	for change, n := range j.outcomes {
		if change[0] != change[1] {
			out.Outcomes = append(out.Outcomes, outcomeChange{change[0], change[1], n})
		}
	}
	slices.SortFunc(out.Outcomes, func(a, b outcomeChange) int { return strings.Compare(a.Before+"\x00"+a.After, b.Before+"\x00"+b.After) })
	out.Breaks = q.using(out.Gone)
	return out
}

func (j *jobDifference) budgets() []budgetChange {
	var out []budgetChange
	all := maps.Clone(j.before.budgets)
	maps.Copy(all, j.after.budgets)
	for _, b := range slices.Sorted(maps.Keys(all)) {
		if was, is := j.before.budgets[b], j.after.budgets[b]; was != is {
			out = append(out, budgetChange{b, was, is})
		}
	}
	return out
}

func (r replayReport) write(w io.Writer, output string) error {
	if output == "json" {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	var b strings.Builder
	for _, j := range r.Jobs {
		j.text(&b)
	}
	for _, u := range r.Unread {
		fmt.Fprintf(&b, "unread  %s: %s\n", u.Place, u.Fault)
	}
	if r.LeftOut != nil {
		fmt.Fprintf(&b, "left out: %s\n", r.LeftOut)
	}
	switch {
	case r.Differing == 0:
		fmt.Fprintf(&b, "%s: no difference\n", plural(r.Pushes, "push"))
	default:
		fmt.Fprintf(&b, "%s: %s, of %s\n", plural(r.Pushes, "push"), differ(r.Differing), plural(len(r.Jobs), "job"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// differ says how many of them do.
func differ(pushes int) string {
	if pushes == 1 {
		return "1 differs"
	}
	return fmt.Sprintf("%d differ", pushes)
}

func (j *jobReport) text(b *strings.Builder) {
	name := fmt.Sprintf("job %q", j.Job)
	if j.Job == "" {
		name = "no job"
	}
	fmt.Fprintf(b, "%s: %s, %s\n", name, plural(j.Pushes, "push"), differ(j.Differing))
	line := func(what, format string, args ...any) {
		fmt.Fprintf(b, "  %-8s %s\n", what, fmt.Sprintf(format, args...))
	}
	for _, c := range j.Outcomes {
		line("outcome", "%s %s, was %s", plural(c.Pushes, "push"), c.After, c.Before)
	}
	if j.Lost+j.Gained > 0 {
		line("series", "%d, was %d: %d lost, %d gained", j.After, j.Before, j.Lost, j.Gained)
	}
	for _, g := range j.Gone {
		line("gone", "%s", g)
	}
	for _, found := range slices.Sorted(maps.Keys(j.Refused)) {
		line("refused", "%s: %s", plural(j.Refused[found], "push"), found)
	}
	for _, found := range slices.Sorted(maps.Keys(j.LetIn)) {
		line("let in", "%s, refused before: %s", plural(j.LetIn[found], "push"), found)
	}
	for _, id := range slices.Sorted(maps.Keys(j.Noticed)) {
		line("noticed", "%s in %s, not before", id, plural(j.Noticed[id], "push"))
	}
	for _, id := range slices.Sorted(maps.Keys(j.Quiet)) {
		line("quiet", "%s in %s before, not now", id, plural(j.Quiet[id], "push"))
	}
	for _, c := range j.Budgets {
		line("budget", "%s passed by %s, was %d", c.Budget, plural(c.After, "push"), c.Before)
	}
	for _, u := range j.Breaks {
		line("breaks", "%s: %s", u.Place, u.Gone)
	}
}
