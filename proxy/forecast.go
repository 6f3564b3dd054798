package proxy

import (
	"context"
	"net/http"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
)

// forecast books in the shadow what enforcement would hold, so that a report
// says exactly what it would do: nothing of a push that it would refuse for the sake of
// its counters alone. What the upstream did not take is asked about only.
func (g *Guard) forecast(ctx context.Context, v *passage, e *epoch, applied bool) {
	if v.entry.Mode != policy.Report || v.refused() {
		return
	}
	c := g.enforcedClaim(v, e)
	if !applied {
		ruling, err := g.shadow.Peek(c.Claim)
		v.foretold(c, ruling, e, err)
		return
	}
	grant, err := v.admit(ctx, g.shadow, c.Claim)
	if err != nil {
		v.foretold(c, ledger.Ruling{}, e, err)
		return
	}
	defer grant.Settle(ledger.Untouched)
	if !v.foretold(c, grant.Ruling, e, nil) {
		return
	}
	counters, err := g.admitCounters(ctx, v, e, g.shadow)
	if err != nil {
		v.noteOverBudget(&v.counts.claim, err)
		return
	}
	if counters != nil {
		counters.Settle(ledger.Applied)
	}
	grant.Settle(ledger.Applied)
	if v.foresees() {
		return
	}
	for _, victim := range grant.Evict {
		g.foretellEviction(ctx, v, e, victim)
	}
}

// foretold says what the shadow ruled, and reports whether the push would go on.
func (v *passage) foretold(c *claim, ruling ledger.Ruling, e *epoch, err error) bool {
	if err != nil {
		v.noteOverBudget(c, err)
		return false
	}
	v.noteSharedFamilies(ruling.Shared)
	if err := v.noteRuling(c, ruling, e); err != nil {
		v.noteUnmergeable(err)
		return false
	}
	return true
}

// foretellEviction takes out of the shadow a group that would make room for the
// push, and says so.
func (g *Guard) foretellEviction(ctx context.Context, v *passage, e *epoch, victim wire.Key) {
	grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: victim, Raw: victim, Method: http.MethodDelete, Evict: true})
	if err != nil {
		return
	}
	skip := grant.Skip
	grant.Settle(ledger.Applied)
	if !skip {
		g.recordForecast(e, ledger.StaleGroup{Key: victim, Job: v.job}, evictedGroup)
	}
}

// forecastRemoval takes out of the shadow what a DELETE would under enforcement, which
// may be nothing.
func (g *Guard) forecastRemoval(ctx context.Context, v *passage, e *epoch) {
	grant, err := v.admit(ctx, g.shadow, ledger.Claim{Group: v.group, Raw: v.raw, Method: http.MethodDelete, Folds: e.folds(v)})
	if err != nil {
		return
	}
	if v.spared = grant.Skip; v.spared {
		grant.Settle(ledger.Untouched)
		return
	}
	grant.Settle(ledger.Applied)
}
