package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/trial"
)

// difference gathers, job by job, what two policies make of the same pushes. Make
// one with newDifference. It keeps eight bytes of each series, not the series.
type difference struct {
	jobs      map[string]*jobDifference
	pushes    int
	differing int
	left      leftOut
}

// leftOut counts what was not compared.
type leftOut struct {
	// Dropped were not recorded, Unread had a body that nobody could read or keep, Failed
	// were not taken by the Pushgateway, and Torn are lines that a crash has torn.
	Dropped uint64 `json:"dropped,omitempty"`
	Unread  int    `json:"unread,omitempty"`
	Failed  int    `json:"failed,omitempty"`
	Torn    int    `json:"torn,omitempty"`
}

// out counts what cannot be compared, and reports whether the line is of that.
func (l *leftOut) out(line *record.Line, withWhatHappened bool) bool {
	l.Dropped += line.Dropped
	failed := withWhatHappened && line.Happened != nil && line.Happened.Outcome == proxy.Failed.String()
	switch {
	case line.Unread:
		l.Unread++
	case failed:
		l.Failed++
	}
	return line.Unread || failed
}

// String is one line for people; empty if nothing was left out.
func (l leftOut) String() string {
	var out []string
	for _, c := range []struct {
		n    int
		what string
	}{
		{int(l.Dropped), "not recorded"},
		{l.Unread, "with a body that nobody could read"},
		{l.Failed, "not taken by the Pushgateway"},
		{l.Torn, "torn by a crash"},
	} {
		if c.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(out, ", ")
}

func newDifference() *difference { return &difference{jobs: map[string]*jobDifference{}} }

type jobDifference struct {
	pushes, differing int
	outcomes          map[[2]string]int
	refused, let      map[string]int // by their findings
	noticed, quiet    map[string]int // by a finding that only after, or only before, there was
	before, after     jobSide
}

// jobSide is what one policy has made of a job.
type jobSide struct {
	series  map[model.Fingerprint]bool
	labels  map[string]map[string]bool // by metric
	budgets map[string]int
}

func newSide() jobSide {
	return jobSide{map[model.Fingerprint]bool{}, map[string]map[string]bool{}, map[string]int{}}
}

func (d *difference) of(job string) *jobDifference {
	if d.jobs[job] == nil {
		d.jobs[job] = &jobDifference{
			outcomes: map[[2]string]int{}, refused: map[string]int{}, let: map[string]int{},
			noticed: map[string]int{}, quiet: map[string]int{}, before: newSide(), after: newSide(),
		}
	}
	return d.jobs[job]
}

// add notes what became of a push before and after.
func (d *difference) add(before, after trial.Replayed) {
	j := d.of(before.Job)
	j.pushes++
	d.pushes++
	if before.Happened {
		after.Budgets = nil
	}
	j.before.add(before)
	j.after.add(after)
	was, is := before.Outcome == proxy.Refused.String(), after.Outcome == proxy.Refused.String()
	switch {
	case is && !was:
		j.refused[strings.Join(after.Findings, ", ")]++
	case was && !is:
		j.let[strings.Join(before.Findings, ", ")]++
	}
	count(j.noticed, after.Findings, before.Findings)
	count(j.quiet, before.Findings, after.Findings)
	j.outcomes[[2]string{before.Outcome, after.Outcome}]++
	if before.Outcome != after.Outcome || !slices.Equal(before.Findings, after.Findings) || !sameSeries(before.Series, after.Series) {
		j.differing++
		d.differing++
	}
}

// count counts the ids that are not among the others.
func count(in map[string]int, ids, others []string) {
	for _, id := range ids {
		if !slices.Contains(others, id) {
			in[id]++
		}
	}
}

func sameSeries(a, b []model.Metric) bool {
	return maps.Equal(printsOf(a), printsOf(b))
}

func printsOf(series []model.Metric) map[model.Fingerprint]bool {
	out := make(map[model.Fingerprint]bool, len(series))
	for _, m := range series {
		out[m.Fingerprint()] = true
	}
	return out
}

func (s *jobSide) add(r trial.Replayed) {
	for _, b := range r.Budgets {
		s.budgets[b]++
	}
	for _, m := range r.Series {
		s.series[m.Fingerprint()] = true
		name := string(m[model.MetricNameLabel])
		if s.labels[name] == nil {
			s.labels[name] = map[string]bool{}
		}
		for l, v := range m {
			if l != model.MetricNameLabel && v != "" {
				s.labels[name][string(l)] = true
			}
		}
	}
}

// less counts the series of s that other has not.
func (s *jobSide) less(other *jobSide) int {
	n := 0
	for print := range s.series {
		if !other.series[print] {
			n++
		}
	}
	return n
}

// gone is a metric of a job that goes, or a label of it.
type gone struct {
	Job    string `json:"-"`
	Metric string `json:"metric"`
	Label  string `json:"label,omitempty"` // empty: all of the metric
}

// String is the words for people.
func (g gone) String() string {
	if g.Label == "" {
		return "metric " + g.Metric
	}
	return "label " + g.Label + " of " + g.Metric
}

// goneFrom returns what the job has before and not after, sorted.
func (j *jobDifference) goneFrom(job string) []gone {
	var out []gone
	for _, metric := range slices.Sorted(maps.Keys(j.before.labels)) {
		left, ok := j.after.labels[metric]
		if !ok {
			out = append(out, gone{Job: job, Metric: metric})
			continue
		}
		for _, l := range slices.Sorted(maps.Keys(j.before.labels[metric])) {
			if !left[l] {
				out = append(out, gone{job, metric, l})
			}
		}
	}
	return out
}
