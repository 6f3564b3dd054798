package learn

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pushguard/pushguard/rules/finding"
)

// maxDraft keeps a draft below the 1 MiB that a policy file may have.
const maxDraft = 900 << 10

// Draft writes the policy, of which every entry has the mode. The same pages make the
// same bytes. Left out, and returned, are the smallest jobs beyond those that a policy
// file has room for: default governs them. The error is that of w.
func (s *Summary) Draft(w io.Writer, mode string) (leftOut int, err error) {
	var entries bytes.Buffer
	series, groups := headroom(s.beyond), 0
	names := s.largestFirst()
	for i, name := range names {
		at := entries.Len()
		b := s.entry(&entries, name)
		if entries.Len() > maxDraft {
			entries.Truncate(at)
			leftOut = len(names) - i
			for _, rest := range names[i:] {
				series += headroom(s.jobs[rest].series)
				groups += headroom(s.jobs[rest].groups)
			}
			break
		}
		series, groups = series+b.series, groups+b.groups
	}
	var top bytes.Buffer
	s.top(&top, mode, series, groups, leftOut)
	if entries.Len() > 0 {
		top.WriteString("\n# The largest jobs first.\njobs:\n")
	}
	if _, err = w.Write(top.Bytes()); err == nil {
		_, err = w.Write(entries.Bytes())
	}
	return leftOut, err
}

func (s *Summary) came() string {
	if s.pushes == 1 {
		return "1 push"
	}
	return fmt.Sprintf("%d pushes", s.pushes)
}

func (s *Summary) largestFirst() []string {
	names := slices.Collect(maps.Keys(s.jobs))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(s.jobs[b].series-s.jobs[a].series, strings.Compare(a, b))
	})
	return names
}

func (s *Summary) top(w *bytes.Buffer, mode string, series, groups, leftOut int) {
	fmt.Fprintf(w, "# A draft, made by pushguard learn of %s of %s.\n", count(s.series, "series"), count(len(s.jobs), "job"))
	if s.pushes > 0 {
		fmt.Fprintf(w, "# They came by %s. Labels of metrics are known as far as there were findings: no\n# allowlist is drafted, and no bound of their values.\n", s.came())
	}
	if !s.newest.IsZero() {
		fmt.Fprintf(w, "# The last push was at %s.\n", s.newest.Format(time.RFC3339))
	}
	if left := s.beyond; left > 0 {
		fmt.Fprintf(w, "# There are more jobs than can be told apart: %s of others were only counted.\n", count(left, "series"))
	}
	if leftOut > 0 {
		fmt.Fprintf(w, "# There is no room for entries of the %s with the fewest series: default governs them.\n", count(leftOut, "job"))
	}
	w.WriteString("# Read it, name owners, and see in report what it would do before it is enforced.\nversion: v1\n\n")
	w.WriteString("# What the jobs below may hold together, and what is left to others.\n")
	fmt.Fprintf(w, "budget:\n  series: %d  # seen: %d\n", series+headroom(0), s.series)
	if groups > 0 {
		fmt.Fprintf(w, "  groups: %d\n", groups+headroom(0))
	}
	s.folds(w)
	fmt.Fprintf(w, "\n# Governs every job that no entry names; each entry inherits from it.\ndefault:\n  mode: %s\n", mode)
	w.WriteString("  # Counters stay what they were to a Pushgateway, the last value. Without this they\n  # are added up.\n  counters: {route: snapshot}\n")
}

// folds writes fold_jobs if there is a name that it changes.
func (s *Summary) folds(w *bytes.Buffer) {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s.jobs)) {
		if t := &s.jobs[name].names; s.jobs[name].folded {
			lines = append(lines, fmt.Sprintf("# - %q is %s: %s\n", finding.Redact(name), t.count("name"), t.quoted()))
		}
	}
	if len(lines) == 0 {
		return
	}
	const most = 10
	w.WriteString("\n# Jobs that carry the names of their runs are one job for every run:\n")
	w.WriteString(strings.Join(lines[:min(most, len(lines))], ""))
	if len(lines) > most {
		fmt.Fprintf(w, "# - and %d more\n", len(lines)-most)
	}
	w.WriteString("fold_jobs:\n")
	for _, shape := range s.advice.foldNames {
		fmt.Fprintf(w, "- %s\n", shape)
	}
}

// room is what an entry grants.
type room struct{ series, groups int }

func (s *Summary) entry(w *bytes.Buffer, name string) room {
	j := s.jobs[name]
	fmt.Fprintf(w, "\n- job: %s\n", pattern(name))
	if j.names.many || len(j.names.seen) > 1 {
		fmt.Fprintf(w, "  # %s: %s\n", j.names.count("name"), j.names.quoted())
	}
	if s.pushes == 0 {
		s.allowlist(w, j)
	}
	s.rules(w, j)
	if len(j.counters.seen) > 0 {
		fmt.Fprintf(w, "  # %s, by type or name: %s\n", j.counters.count("counter"), j.counters.quoted())
	}
	b := j.budget(w)
	j.lifetime(w, s.newest)
	return b
}

func (s *Summary) allowlist(w *bytes.Buffer, j *job) {
	if j.crowded {
		fmt.Fprintf(w, "  # More than %d labels: too many to list.\n", maxNames)
		return
	}
	if len(j.labels) == 0 {
		w.WriteString("  labels: []  # none was seen but job\n")
		return
	}
	w.WriteString("  labels:\n")
	for _, name := range slices.Sorted(maps.Keys(j.labels)) {
		t := &j.labels[name].values
		fmt.Fprintf(w, "  - %s  # %s: %s\n", pattern(name), t.count("value"), t.quoted())
	}
}

// budget writes what the job may hold. What a
// guard has not seen yet is new to it, so that an hour brings everything at once.
func (j *job) budget(w *bytes.Buffer) room {
	b := room{headroom(j.series), headroom(j.groups)}
	fmt.Fprintf(w, "  budget:\n    series: %d  # seen: %d\n", b.series, j.series)
	if j.groups > 0 {
		fmt.Fprintf(w, "    groups: %d  # seen: %d\n", b.groups, j.groups)
	} else {
		b.groups = 0
	}
	if j.mostInMinute > 0 {
		fmt.Fprintf(w, "    pushes_per_minute: %d  # seen: %d\n", headroom(j.mostInMinute), j.mostInMinute)
	} else if values, of, ok := j.mostValues(); ok {
		fmt.Fprintf(w, "    label_values: %d  # the most are left of %q: %d\n", headroom(values), finding.Redact(of), values)
	}
	if !j.newest.IsZero() {
		fmt.Fprintf(w, "    new_series_per_hour: %d  # to a guard that begins all are new\n    new_series_per_day: %d\n", b.series, b.series)
	}
	return b
}

// mostValues is the label of which most values are left, none if there are more than
// were counted.
func (j *job) mostValues() (values int, of string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(j.labels)) {
		t := &j.labels[name].left
		if t.many {
			return 0, "", false
		}
		if n := len(t.seen); n > values {
			values, of = n, name
		}
	}
	return values, of, values > 0 && !j.crowded
}

// lifetime writes stale_after: no group that is there is stale at the time of the last
// push to any.
func (j *job) lifetime(w *bytes.Buffer, newest time.Time) {
	if j.oldest.IsZero() {
		return
	}
	const day = 24 * time.Hour
	age, note := newest.Sub(j.oldest), ""
	if j.mostInMinute > 0 {
		age = max(j.gap, newest.Sub(j.newest))
		note = fmt.Sprintf(", %s apart at most", j.gap.Truncate(time.Second))
	}
	const most = 50 * 365 * day // twice that is still a time
	age = min(age, most)
	days := max(7, int((2*age+day-1)/day))
	fmt.Fprintf(w, "  stale_after: %dd  # pushed from %s to %s%s\n", days, j.oldest.Format(time.RFC3339), j.newest.Format(time.RFC3339), note)
	w.WriteString("  keep_last_success: true\n")
}

// headroom is twice as much, rounded up to 1, 2 or 5 and noughts, and 100 at least.
func headroom(n int) int {
	for unit := 100; ; unit *= 10 {
		for _, f := range []int{1, 2, 5} {
			if f*unit >= 2*n {
				return f * unit
			}
		}
	}
}

// pattern is a YAML scalar that matches a name and nothing else.
func pattern(name string) string {
	var b strings.Builder
	for _, r := range regexp.QuoteMeta(name) {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else { // which a policy file does not take as it is
			fmt.Fprintf(&b, `\x{%x}`, r)
		}
	}
	quoted := b.String()
	if plain.MatchString(quoted) && !word.MatchString(quoted) {
		return quoted
	}
	return strconv.Quote(quoted)
}

var (
	plain = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`)
	word  = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null|nan|inf)$`) // which YAML reads as something else
)

func count(n int, noun string) string {
	if n != 1 && noun != "series" {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func (t *tally) count(noun string) string {
	if t.many {
		return fmt.Sprintf("more than %d %ss", len(t.seen), noun)
	}
	return count(len(t.seen), noun)
}

// quoted are a few of the values.
func (t *tally) quoted() string {
	var out []string
	for _, e := range t.examples {
		out = append(out, strconv.Quote(e))
	}
	if t.many || len(t.seen) > len(out) {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}
