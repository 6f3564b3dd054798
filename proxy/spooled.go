package proxy

import (
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/spool"
)

// spooler is an upstream that answers writes before the Pushgateway behind has taken
// them.
type spooler interface{ OnRefusal(func(spool.Refusal)) }

// refusedLate is what the audit log calls the reason of a record.
const refusedLate = "spooled"

// learnRefusals has the guard know of writes that it took for done and that the
// Pushgateway refused in the end: they are written down, and what the group holds is
// asked for.
func (g *Guard) learnRefusals() {
	s, ok := g.cfg.Upstream.(spooler)
	if !ok {
		return
	}
	s.OnRefusal(func(r spool.Refusal) {
		g.doubtAfter(resyncEvery)
		e, now := g.epoch.Load(), g.cfg.Now()
		job := e.policy.FoldJob(r.Key.Job())
		entry := e.policy.Entry(job)
		g.cfg.Audit.Write(audit.Record{
			Time: now, Job: r.Key.Job(), Governed: job, Entry: entry.Name, Group: r.Key.String(), Owner: entry.Owner,
			Method: r.Method, Mode: string(entry.Mode), Policy: e.policy.Digest(), Outcome: Failed.String(), Reason: refusedLate,
			UpstreamStatus: r.Status, Bytes: int64(r.Bytes), MS: float64(now.Sub(r.Came) / time.Millisecond),
		})
	})
}
