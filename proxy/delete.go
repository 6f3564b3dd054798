package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// remove sends a DELETE on. Where the policy folds keys it acts only for the run
// that pushed last, or for a group that stands upstream under the very key the
// client names, where that is another than the folded one: it is from before the
// policy.
func (g *Guard) remove(ctx context.Context, v *passage, e *epoch) (Answer, error) {
	if !v.foresees() {
		if err := g.sync(ctx, v.raw); err != nil {
			return Answer{}, err
		}
	}
	if since, err := http.ParseTime(v.request.Header.Get("If-Unmodified-Since")); err == nil {
		return g.removeUnless(ctx, v, since)
	}
	claim := ledger.Claim{Group: v.raw, Raw: v.raw, Method: http.MethodDelete}
	before := !v.raw.Equal(v.group) && g.book.Has(v.raw)
	if v.enforced() && !v.refused() && !before {
		claim.Group, claim.Folds = v.group, e.folds(v)
	}
	v.refusals.Reset() // there is nothing in a DELETE to refuse
	grant, err := g.admit(ctx, v, claim)
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown)
	v.traceGrant(claim, grant)
	if grant.Skip {
		g.forgetCounters(ctx, v)
		grant.Settle(ledger.Untouched)
		return Answer{Status: http.StatusAccepted, outcome: Skipped}, nil
	}
	out := gateway.Request{Method: http.MethodDelete, Key: claim.Group, Header: v.request.Header, RemoteAddr: v.request.Peer}
	v.counts.forgets = true
	answer, outcome, err := g.send(ctx, v, grant, nil, out)
	if outcome == ledger.Applied && v.entry.Mode == policy.Report {
		g.forecastRemoval(ctx, v, e)
	}
	return answer, err
}

// forgetCounters has the counters of a group that its client deletes count in
// full from then on, as for a client that starts anew.
func (g *Guard) forgetCounters(ctx context.Context, v *passage) {
	if v.foresees() {
		return
	}
	g.hasher.Group(&v.counts.raw, v.raw.Labels())
	if err := g.cfg.Counters.Forget(context.WithoutCancel(ctx), v.counts.raw.Identity()); err != nil {
		g.warn.unforgotten.Log(g.logger, "That a client deleted its group may not survive the end of the process", "job", v.raw.Job(), "err", err)
	}
}

// removeUnless is a DELETE on the condition that the group was not pushed to
// since: that of a sweep from outside, which addresses the group as the upstream
// lists it, and must not destroy what came after the listing.
func (g *Guard) removeUnless(ctx context.Context, v *passage, since time.Time) (Answer, error) {
	v.refusals.Reset() // there is nothing in a DELETE to refuse
	claim := ledger.Claim{Group: v.raw, Raw: v.raw, Method: http.MethodDelete, Sweep: true, IfOlder: since}
	grant, err := g.admit(ctx, v, claim)
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown)
	v.traceGrant(claim, grant)
	if grant.Skip {
		grant.Settle(ledger.Untouched)
		switch grant.Reason {
		case ledger.Fresh:
			return preconditionFailed("the group was pushed to since"), nil
		case ledger.Pinned:
			return preconditionFailed("the policy keeps the group: it tells of the job's last success"), nil
		default:
			return Answer{Status: http.StatusAccepted, outcome: Skipped}, nil
		}
	}
	out := gateway.Request{Method: http.MethodDelete, Key: v.raw, Header: v.request.Header, RemoteAddr: v.request.Peer}
	answer, outcome, err := g.send(ctx, v, grant, nil, out)
	if outcome == ledger.Applied && v.entry.Mode == policy.Report {
		g.forecastRemoval(ctx, v, g.epoch.Load())
	}
	return answer, err
}

func preconditionFailed(why string) Answer {
	a := textAnswer(http.StatusPreconditionFailed, "pushguard: "+why)
	a.outcome = Skipped
	return a
}
