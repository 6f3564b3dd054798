package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/wire"
)

// keep gives a push to the recorder, if there is one and it wants it. Who may not push
// as a job, and what is no path of a group, is not recorded.
func (g *Guard) keep(v *passage, e *epoch, a Answer, outcome Outcome) {
	if g.cfg.Record == nil || v.entry == nil || v.turnedAway || !g.cfg.Record.Wants(len(v.decoded)) {
		return
	}
	p := &record.Push{
		Time: v.started, Method: v.request.Method, Key: v.raw, Body: bytes.Clone(v.decoded),
		ContentType: v.request.Header.Get("Content-Type"), IdempotencyKey: v.request.Header.Get("Idempotency-Key"),
		Happened: record.Happened{
			Entry: v.entry.Name, Mode: string(v.entry.Mode), Policy: e.policy.Digest(),
			Outcome: outcome.String(), Status: a.Status, Findings: v.findingIDs(),
		},
	}
	for _, f := range v.push.Families {
		p.Families = append(p.Families, strings.Clone(f.Name))
	}
	if would := v.would(outcome); !v.enforced() && would != outcome {
		p.Happened.Would = would.String()
	}
	// A body that was too large, or none, was never seen.
	p.Unread = len(v.decoded) == 0 && outcome == Refused && !v.refused() && v.request.Method != http.MethodDelete
	if (outcome == Passed || outcome == Changed) && v.request.Method != http.MethodDelete {
		v.keepSent(p)
	}
	g.cfg.Record.Keep(p)
}

// keepSent notes what went on, and what was added to.
func (v *passage) keepSent(p *record.Push) {
	fates, key := v.safety, v.raw
	if v.enforced() {
		fates, key = v.fates, v.group
	}
	if slices.ContainsFunc(fates, func(f wire.Fate) bool { return f.Act != wire.Pass }) {
		p.Sent, p.SentKey = wire.Render(make([]byte, 0, len(v.decoded)), &v.push, fates), key
	} else if !key.Equal(v.raw) {
		p.SentKey = key
	}
	if v.counts.committed && v.enforced() {
		for _, inc := range v.counts.added.All() {
			if inc.Value > 0 || inc.Count > 0 {
				p.Added = append(p.Added, inc.Series)
			}
		}
	}
	p.Happened.AsPushed = p.Sent == nil && p.SentKey.Job() == "" && len(p.Added) == 0
}

// findingIDs are the ids of what was noticed, sorted, each once.
func (v *passage) findingIDs() []string {
	var out []string
	for _, f := range v.findings.All() {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
