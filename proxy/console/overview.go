package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
)

// changesShown is how much of what changed lately is told.
const changesShown = 12

// overview is the data of the first page.
type overview struct {
	Now     time.Time
	Jobs    proxy.JobsView
	Number  int // of jobs that hold something
	Told    int // series that tell what was found in jobs, which take room from theirs
	Columns []column
	Bars    []bar
	Top     float64
	All     []counted
	Pushes  float64
	Refused float64
	Health  []health
	Changes []change
	Policy  proxy.PolicyView
	Nearest []proxy.JobView
}

func (*overview) stream() url.Values { return url.Values{"of": {"overview"}} }

// counted is a number of pushes by their outcome.
type counted struct {
	Outcome string
	Number  float64
}

// change is something that changed lately.
type change struct {
	Time       time.Time
	Kind, Text string
	Link       string
	Count      int
}

func (c *Console) overview(*http.Request) (any, error) { return c.overviewOf(c.snapshot()), nil }

func (c *Console) overviewOf(s *snapshot) *overview {
	o := &overview{Now: s.at, Jobs: s.jobs, Number: int(s.counts.sum("pushguard_jobs", nil)), Policy: c.guard.Policy()}
	var all tally
	o.Bars, all = c.history.lastHour(s)
	o.Columns, o.Top = columns(o.Bars)
	for i, n := range all {
		o.All = append(o.All, counted{outcomes[i], n})
	}
	o.Pushes, o.Refused = all.sum(), all[refused]
	o.Health = c.health(s)
	o.Told = max(0, int(s.counts.sum("pushguard_series_limit", nil))-s.jobs.SeriesLimit)
	o.Changes = c.changes(o.Policy)
	o.Nearest = nearest(s.jobs.Jobs, 5)
	return o
}

// nearest are the jobs that have used most of what they were granted.
func nearest(all []proxy.JobView, n int) []proxy.JobView {
	var out []proxy.JobView
	for _, j := range all {
		if j.Granted > 0 {
			out = append(out, j)
		}
	}
	slices.SortStableFunc(out, func(a, b proxy.JobView) int { return cmp.Compare(used(&b), used(&a)) })
	return out[:min(n, len(out))]
}

// changes tells what changed lately, the newest first: policies, jobs that are new, and
// what was refused, failed or deleted.
func (c *Console) changes(p proxy.PolicyView) []change {
	out := policyChanges(p)
	out = append(out, births(c.history.newJobs())...)
	seen := map[string]int{}
	recent := c.feed.recent(func(r *audit.Record) bool {
		return r.Outcome != "passed" && r.Outcome != "changed" && r.Forecast == nil
	})
	for i := range recent {
		r := &recent[i]
		text := told(r)
		if at, ok := seen[text]; ok {
			out[at].Count += max(1, r.Count)
			continue
		}
		if len(seen) == changesShown {
			break
		}
		seen[text] = len(out)
		out = append(out, change{r.Time, r.Outcome, text, recordLink(r), max(1, r.Count)})
	}
	slices.SortStableFunc(out, func(a, b change) int { return b.Time.Compare(a.Time) })
	return out[:min(changesShown, len(out))]
}

// births tells of new jobs, those of one minute together. Where not all of them are
// followed there are at least so many.
func births(all []born) []change {
	var out []change
	for i := 0; i < len(all); {
		n, beyond := i, false
		for ; n < len(all) && all[n].Time.Equal(all[i].Time); n++ {
			beyond = beyond || all[n].Beyond
		}
		one := change{all[i].Time, "new", "job " + cut(all[i].Job) + " is new", "job" + query("name", all[i].Job), 1}
		if beyond || n > i+1 {
			many := number(n-i) + " jobs are new"
			if beyond {
				many = "at least " + plural(n-i, "job is new", "jobs are new")
			}
			one.Text, one.Link = many+", "+cut(all[i].Job)+" among them", "jobs?sort=last"
		}
		out, i = append(out, one), n
	}
	return out
}

func policyChanges(p proxy.PolicyView) []change {
	last := p.LastReload
	if !last.Successful {
		return []change{
			{last.Time, "failed", "a policy was refused: " + plural(max(1, len(last.Faults)), "fault", "faults"), "policy", 1},
			{p.Loaded, "policy", "policy " + p.Digest + " was read", "policy", 1},
		}
	}
	text := "policy " + p.Digest + " was read"
	if last.Before != "" {
		text += ", " + plural(len(last.Changes), "change", "changes")
	}
	return []change{{last.Time, "policy", text, "policy", 1}}
}

// jobOf is the job of a record as the policy sees it, or as it was sent.
func jobOf(r *audit.Record) string { return cmp.Or(r.Governed, r.Job, "no job") }

// cut shortens a name.
func cut(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}
