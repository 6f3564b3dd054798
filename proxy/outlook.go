package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/rules/finding"
)

// outlooks are what enforcement would have made of the pushes of each job in report.
// Safe for concurrent use.
type outlooks struct {
	mu   sync.Mutex
	jobs map[string]*outlook
}

// outlook is that of one job.
type outlook struct {
	policy string         // the digest of the policy that judged them
	all    audit.Forecast // since that policy is in force
	fresh  audit.Forecast // since the last record of it
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
	job := o.job(v.job, digest)
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

// job is the outlook of a job, anew if the policy is another. Those beyond maxJobs
// share one.
func (o *outlooks) job(name, digest string) *outlook {
	job := o.jobs[name]
	if job == nil && (len(o.jobs) >= maxJobs || len(name) > maxJobName) {
		name = otherJobs
		job = o.jobs[name]
	}
	if job == nil {
		job = &outlook{policy: digest}
		o.jobs[strings.Clone(name)] = job
	}
	if job.policy != digest {
		job.policy, job.all = digest, audit.Forecast{}
	}
	return job
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
