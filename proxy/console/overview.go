package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"

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

// health is how something around the guard does.
type health struct {
	Name, State, Text string // the state is good, bad, or off where there is none
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
	o.Health = c.health(s.counts)
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
	slices.SortStableFunc(out, func(a, b proxy.JobView) int {
		return cmp.Compare(share(b.Held, b.Granted), share(a.Held, a.Granted))
	})
	return out[:min(n, len(out))]
}

// health tells how what is around the guard does, by its metrics.
func (c *Console) health(m counts) []health {
	out := []health{c.upstream(m), statsd(m)}
	if m.has("pushguard_events_up") {
		out = append(out, events(m))
	}
	if m.has("pushguard_shared_up") {
		out = append(out, fleet(m))
	}
	if m.has("pushguard_state_written") {
		h := health{"State", "good", "what changes is written to the state directory"}
		if !m.every("pushguard_state_written") {
			h.State, h.Text = "bad", "the disk takes nothing: changes are in memory alone"
		}
		out = append(out, h)
	}
	if m.has("pushguard_spool_written") {
		h := health{"Spool", "good", plural(m.sum("pushguard_spool_groups", nil), "group waits", "groups wait") + " for the Pushgateway"}
		if !m.every("pushguard_spool_written") {
			h.State, h.Text = "bad", h.Text+"; the disk takes no more"
		}
		out = append(out, h)
	}
	return append(out, written(m)...)
}

// written tells of the files that pushes are written down in, once one of them lost some.
func written(m counts) []health {
	var out []health
	for _, f := range []struct{ name, lost, written, what string }{
		{"Audit log", "pushguard_audit_lost_total", "pushguard_audit_written", " records could not be written"},
		{"Recorded pushes", "pushguard_record_lost_total", "pushguard_record_written", " could not be written"},
	} {
		if lost := m.sum(f.lost, nil); lost > 0 && m.every(f.written) {
			out = append(out, health{f.name, "good", "is written again; " + number(lost) + f.what})
		} else if lost > 0 {
			out = append(out, health{f.name, "bad", number(lost) + f.what})
		}
	}
	return out
}

// fleet tells whether the Redis answers in which guards share what they know, and
// whether they understand one another.
func fleet(m counts) health {
	switch {
	case m.sum("pushguard_shared_alone", nil) > 0:
		return health{"Fleet", "bad", "the Redis does not answer: this guard goes on by itself, within its share of each budget"}
	case m.sum("pushguard_shared_up", nil) == 0:
		return health{"Fleet", "bad", "the Redis does not answer: pushes are answered 503"}
	}
	h := health{"Fleet", "good", plural(m.sum("pushguard_shared_guards", nil), "guard shares", "guards share") + " what they know"}
	if n := m.sum("pushguard_shared_versions", nil); n > 1 {
		h.Text += ", and are of " + number(n) + " versions"
	}
	unread := func(reason string) float64 {
		return m.sum("pushguard_shared_unreadable_total", func(m *dto.Metric) bool { return label(m, "reason") == reason })
	}
	if n := unread("damaged"); n > 0 {
		h.Text += "; the Redis had " + plural(n, "batch", "batches") + " of commands otherwise than written"
	}
	if n := unread("unknown"); n > 0 {
		h.State, h.Text = "bad", h.Text+"; "+plural(n, "command", "commands")+" that no guard could read"
	}
	return h
}

func events(m counts) health {
	h := health{"Event log", "good", plural(m.sum("pushguard_events_queued", nil), "record waits", "records wait")}
	if !m.every("pushguard_events_up") {
		h.State = "bad"
	}
	if !m.every("pushguard_events_spool_written") {
		h.State, h.Text = "bad", h.Text+" in memory alone: the disk takes nothing"
	}
	if lost := m.sum("pushguard_events_dropped_total", nil); lost > 0 {
		h.State, h.Text = "bad", h.Text+", "+number(lost)+" dropped"
	}
	return h
}

// upstream is how the Pushgateway behind answers; 0 is the code of no answer.
func (c *Console) upstream(m counts) health {
	const name = "pushguard_upstream_request_duration_seconds"
	if c.cfg.Behind == "" {
		return health{"Pushgateway", "off", "embedded: the guard keeps the snapshots itself"}
	}
	all := m.sum(name, nil)
	bad := m.sum(name, func(m *dto.Metric) bool {
		code, _ := strconv.Atoi(label(m, "code"))
		return code == 0 || code >= 500
	})
	h := health{"Pushgateway", "good", plural(all, "request", "requests") + ", none failed"}
	if bad > 0 {
		h.Text = plural(all, "request", "requests") + ", " + number(bad) + " without an answer or failed"
	}
	switch {
	case m.sum("pushguard_upstream_breaker_open", nil) > 0:
		h.State, h.Text = "bad", "does not answer, and is left alone for a while; "+h.Text
	case all > 0 && bad == all:
		h.State = "bad"
	}
	return h
}

func statsd(m counts) health {
	if !m.has("pushguard_statsd_up") {
		return health{"StatsD", "off", "no StatsD server: the guard keeps the totals itself"}
	}
	h := health{"StatsD", "good", plural(m.sum("pushguard_statsd_lines_total", nil), "line sent", "lines sent")}
	if m.sum("pushguard_statsd_up", nil) == 0 {
		h.State = "bad"
	}
	if dropped := m.sum("pushguard_statsd_dropped_total", nil); dropped > 0 {
		h.Text += ", " + plural(dropped, "increment not taken", "increments not taken")
	}
	return h
}

// changes tells what changed lately, the newest first: policies, jobs that are new, and
// what was refused, failed or deleted.
func (c *Console) changes(p proxy.PolicyView) []change {
	out := policyChanges(p)
	out = append(out, births(c.history.newJobs(maxFollowed))...)
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

// births tells of new jobs, those of one minute together.
func births(all []born) []change {
	var out []change
	for i := 0; i < len(all); {
		n := i + 1
		for n < len(all) && all[n].Time.Equal(all[i].Time) {
			n++
		}
		one := change{all[i].Time, "new", "job " + cut(all[i].Job) + " is new", "job" + query("name", all[i].Job), 1}
		if n > i+1 {
			one.Text, one.Link = number(n-i)+" jobs are new, "+cut(all[i].Job)+" among them", "jobs?sort=last"
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

// told says in a line what a record is about.
func told(r *audit.Record) string {
	text := cut(jobOf(r)) + ": "
	switch {
	case r.Reason != "":
		text += "a group was deleted, " + r.Reason
	case len(r.Findings) > 0:
		text += findingText(&r.Findings[0])
	default:
		text += r.Method + " " + r.Outcome
	}
	return text
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
