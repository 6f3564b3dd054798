package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
)

// recordWriter writes records for people or, as they are, for programs.
type recordWriter struct {
	out   io.Writer
	json  bool
	begun bool
}

const recordColumns = "%-20s  %-8s  %-8s  %-24s  %-12s  %-15s  %s\n"

func (w *recordWriter) write(line *audit.Line) error {
	if w.json {
		_, err := fmt.Fprintf(w.out, "%s\n", line.Text)
		return err
	}
	if !w.begun {
		w.begun = true
		if _, err := fmt.Fprintf(w.out, recordColumns, "TIME", "OUTCOME", "WOULD BE", "JOB", "OWNER", "CLIENT", "WHY"); err != nil {
			return err
		}
	}
	r := &line.Record
	_, err := fmt.Fprintf(w.out, recordColumns, r.Time.UTC().Format(time.RFC3339), r.Outcome, orDash(r.Would),
		orDash(printable(cmp.Or(r.Governed, r.Job))), orDash(printable(r.Owner)), orDash(printable(r.Client)), why(r))
	return err
}

// printable is a text from outside, on one line and without what a terminal obeys.
func printable(s string) string {
	quoted := fmt.Sprintf("%q", s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func orDash(s string) string { return cmp.Or(s, "-") }

// why is what was found, with which status a push failed or was refused that nothing was
// found in, and how often a record came.
func why(r *audit.Record) string {
	var parts []string
	if r.Reason != "" {
		parts = append(parts, printable(r.Reason)+" "+printable(r.Group))
	}
	for _, f := range r.Findings {
		text := printable(f.ID)
		if f.Label != "" {
			text += "(" + printable(f.Label) + ")"
		}
		if f.Limit > 0 {
			text += fmt.Sprintf(" %d, limit %d", f.Count, f.Limit)
		}
		parts = append(parts, text)
	}
	if f := r.Forecast; f != nil {
		parts = append(parts, fmt.Sprintf("%s: %d would pass, %d change, %d be refused", plural(f.Pushes, "push"), f.Passed, f.Changed, f.Refused))
	}
	status := cmp.Or(r.Status, r.UpstreamStatus)
	if r.Outcome == proxy.Failed.String() && status > 0 || len(parts) == 0 && status >= 400 {
		parts = append(parts, fmt.Sprintf("status %d", status))
	}
	out := cmp.Or(strings.Join(parts, ", "), "-")
	if r.Count > 0 && r.First != nil {
		out += fmt.Sprintf(" ×%d since %s", r.Count, r.First.UTC().Format(time.RFC3339))
	}
	return out
}

// tellOutlooks says of each job what enforcement would have made of it.
func tellOutlooks(stdout io.Writer, jobs []audit.Outlook) error {
	if len(jobs) == 0 {
		_, err := fmt.Fprintln(stdout, "no forecast in these logs: no job in report was pushed to, or serve had --audit.forecast-interval=0s")
		return err
	}
	safe := 0
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OWNER\tJOB\tPUSHES\tPASS\tCHANGE\tREFUSE\tSERIES\tENFORCED\tSINCE\tENFORCE TODAY")
	for _, j := range jobs {
		if j.Safe {
			safe++
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", orDash(printable(j.Owner)), printable(j.Job), j.Pushes, j.Passed, j.Changed,
			j.Refused, j.Series, j.Enforced, j.Since.UTC().Format(time.RFC3339), verdictOf(j))
	}
	fmt.Fprintf(w, "%d of %d jobs are safe to enforce: every push would have passed unchanged\n\n", safe, len(jobs))
	if err := w.Flush(); err != nil {
		return err
	}
	return tellOwners(stdout, audit.ByOwner(jobs))
}

// tellOwners says the same of all jobs of each owner.
func tellOwners(stdout io.Writer, owners []audit.OwnerOutlook) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OWNER\tJOBS\tSAFE\tPUSHES\tPASS\tCHANGE\tREFUSE\tSERIES\tENFORCED\tSINCE")
	for _, o := range owners {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", orDash(printable(o.Owner)), o.Jobs, o.SafeJobs, o.Pushes, o.Passed,
			o.Changed, o.Refused, o.Series, o.Enforced, o.Since.UTC().Format(time.RFC3339))
	}
	return w.Flush()
}

// verdictOf says whether a job is safe to enforce, and else why it is not.
func verdictOf(j audit.Outlook) string {
	if j.Safe {
		return "safe"
	}
	var parts []string
	if len(j.Labels) > 0 {
		parts = append(parts, "loses "+printable(strings.Join(j.Labels, ", ")))
	}
	ids := slices.Sorted(maps.Keys(j.Findings))
	slices.SortStableFunc(ids, func(a, b string) int { return j.Findings[b] - j.Findings[a] })
	for _, id := range ids {
		parts = append(parts, fmt.Sprintf("%s in %d", printable(id), j.Findings[id]))
	}
	return "no: " + cmp.Or(strings.Join(parts, "; "), "see its records")
}
