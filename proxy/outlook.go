package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/rules/finding"
)

// outlookKept is how long a job is not pushed to before its outlook may make room for
// another's: so long that a job of every day, late for once, is not begun anew.
const outlookKept = 48 * time.Hour

// outlooks are what enforcement would have made of the pushes of each job in report:
// of maxJobs by name, and of all others together. Safe for concurrent use.
type outlooks struct {
	kept time.Duration

	mu   sync.Mutex
	jobs map[string]*outlook
	full time.Time // until when none of them is old
}

// outlook is that of one job.
type outlook struct {
	policy string         // the digest of the policy that judged them
	all    audit.Forecast // since that policy is in force
	fresh  audit.Forecast // since the last record of it
	last   time.Time      // when the last of them came
}

// newOutlooks keeps each for outlookKept at least, and until a record that is written so
// often has been, a tenth later than that at times.
func newOutlooks(recorded time.Duration) *outlooks {
	return &outlooks{kept: max(outlookKept, 2*recorded), jobs: map[string]*outlook{otherJobs: {}}}
}

// note counts a push that was handed on, and what was said of it.
func (o *outlooks) note(v *passage, digest string, outcome Outcome) {
	if v.entry == nil || v.entry.Mode != policy.Report || v.request.Method == http.MethodDelete || outcome != Passed && outcome != Changed {
		return
	}
	one := audit.Forecast{Since: v.started, Pushes: 1}
	switch v.said() {
	case Refused:
		one.Refused = 1
	case Changed:
		one.Changed = 1
	default:
		one.Passed = 1
	}
	for _, f := range v.findings.All() {
		one.Found(strings.Clone(f.ID), 1, goingLabel(f))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	job := o.job(v.job, digest, v.started)
	job.last = v.started
	job.all.Add(one)
	job.fresh.Add(one)
}

// goingLabel is the label that a finding says would go: those of rules, and of the
// allowlist.
func goingLabel(f finding.Finding) string {
	if finding.IsOwn(f.ID) && f.ID != finding.Allowlist || len(f.Label) > maxJobName {
		return ""
	}
	return strings.Clone(f.Label)
}

// job is the outlook of a job, anew if the policy is another. Those without room share
// one.
func (o *outlooks) job(name, digest string, now time.Time) *outlook {
	job := o.jobs[name]
	switch {
	case job != nil:
	case len(name) > maxJobName || !o.room(now):
		job = o.jobs[otherJobs]
	default:
		job = &outlook{}
		o.jobs[strings.Clone(name)] = job
	}
	if job.policy != digest {
		job.policy, job.all = digest, audit.Forecast{}
	}
	return job
}

// room reports whether there is room for one more by name, once those that are old are
// forgotten. It looks for them only where there may be one: jobs without room push often.
func (o *outlooks) room(now time.Time) bool {
	if len(o.jobs) <= maxJobs { // and otherJobs
		return true
	}
	if now.Before(o.full) {
		return false
	}
	o.full = now.Add(o.kept)
	for name, job := range o.jobs {
		switch old := job.last.Add(o.kept); {
		case name == otherJobs:
		case !now.Before(old):
			delete(o.jobs, name)
		case old.Before(o.full):
			o.full = old
		}
	}
	return len(o.jobs) <= maxJobs
}

// of is what is known of a job, nil if nothing is.
func (o *outlooks) of(name string) *audit.Forecast {
	o.mu.Lock()
	defer o.mu.Unlock()
	job := o.jobs[name]
	if job == nil || job.all.Pushes == 0 {
		return nil
	}
	all := job.all.Clone()
	return &all
}

// fresh takes what came since the last call, by job, with the digest of its policy.
func (o *outlooks) fresh() map[string]outlook {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]outlook{}
	for name, job := range o.jobs {
		if job.fresh.Pushes > 0 {
			out[name] = outlook{policy: job.policy, fresh: job.fresh}
			job.fresh = audit.Forecast{}
		}
	}
	return out
}

// recordForecasts writes a record for each job in report that was pushed to since the
// last: without it nobody could tell a job that only passes from one that is gone.
func (g *Guard) recordForecasts(context.Context) {
	e := g.epoch.Load()
	for name, job := range g.outlooks.fresh() {
		entry := e.policy.Entry(name)
		f := job.fresh
		f.Since = f.Since.UTC()
		f.Series, f.Enforced = g.book.Held(name), g.shadow.Held(name)
		g.cfg.Audit.Write(audit.Record{
			Time: g.cfg.Now(), Job: name, Governed: name, Entry: entry.Name, Owner: entry.Owner,
			Mode: string(policy.Report), Policy: job.policy, Outcome: audit.OutcomeForecast, Forecast: &f,
		})
	}
}

// OutlookView is what the API says of a job in report.
type OutlookView struct {
	audit.Forecast
	// Safe is whether every push would have passed unchanged.
	Safe bool `json:"safe"`
}

// outlook is what the API says of a job; nil if it is not in report or nothing came.
func (g *Guard) outlook(name string, held, shadow int) *OutlookView {
	f := g.outlooks.of(name)
	if f == nil {
		return nil
	}
	f.Since = f.Since.UTC()
	f.Series, f.Enforced = held, shadow
	return &OutlookView{*f, f.Safe()}
}
