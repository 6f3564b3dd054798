package proxy

import (
	"context"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/rules/finding"
)

// account writes down what became of a push.
func (g *Guard) account(ctx context.Context, v *passage, e *epoch, a Answer) {
	outcome := v.outcome(a)
	took := g.cfg.Now().Sub(v.started)
	g.cfg.Metrics.pushed(v, outcome, took, g.audited(v, e, a, outcome))
	if !v.turnedAway { // who may not push as a job does not write its findings
		g.found.note(v.job, v.findings.All())
		g.outlooks.note(v, e.policy.Digest(), outcome)
	}
	g.tellEvents(ctx, v, e, a, outcome)
	g.keep(v, e, a, outcome)
	if v.trace != nil {
		v.traced(g, e, a, outcome)
		g.cfg.Trace(*v.trace)
	}
}

// audited writes a push into the audit log, if it is to stand there, and returns by which
// name the record is found where the push came to nothing, or the newest one of a push
// like it: an exemplar for whoever asks why.
func (g *Guard) audited(v *passage, e *epoch, a Answer, outcome Outcome) (record string) {
	if !g.cfg.AuditAll && outcome == Passed && v.said() == Passed {
		return ""
	}
	r := g.record(v, e, a, outcome)
	if told := g.cfg.Audit.Write(r); !told.IsZero() && (outcome == Refused || outcome == Failed) {
		return told.UTC().Format(time.RFC3339Nano)
	}
	return ""
}

func (g *Guard) record(v *passage, e *epoch, a Answer, outcome Outcome) audit.Record {
	r := audit.Record{
		Time: v.started, Method: v.request.Method, Client: v.request.Client, User: v.user,
		Policy: e.policy.Digest(), Outcome: outcome.String(),
		Status: a.Status, UpstreamStatus: v.upstreamStatus,
		Findings: v.findings.All(), MoreFindings: v.findings.More(),
		Samples: v.push.Expanded, Bytes: int64(len(v.decoded)),
		MS: float64(g.cfg.Now().Sub(v.started).Microseconds()) / 1000,
	}
	if v.shed != "" {
		r.Reason = "shed: " + v.shed
	}
	if v.entry == nil {
		return r
	}
	r.Job, r.Governed, r.Entry, r.Owner, r.Mode = v.raw.Job(), v.job, v.entry.Name, v.entry.Owner, string(v.entry.Mode)
	r.Group = v.raw.String()
	if v.enforced() {
		r.Group = v.group.String()
	} else if v.entry.Mode == policy.Report {
		r.Would = v.would(outcome).String()
	}
	return r
}

// noteSharedFamilies says that families of this push were another run's.
func (v *passage) noteSharedFamilies(shared []string) {
	if len(shared) == 0 {
		return
	}
	v.findings.Add(finding.Finding{
		ID: finding.SharedFamily, Metric: shared[0], Label: v.foldedLabel(), Count: len(shared),
		Fix: "runs that the policy folds into one group overwrite one another; give each its own metrics, or a bounded label",
	})
}
