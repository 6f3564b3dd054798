package proxy

import (
	"context"
	"net/http"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
)

// forecast books in the shadow what enforcement would hold, so that a report
// says exactly what it would do. What the upstream did not take is asked about
// only.
func (g *Guard) forecast(ctx context.Context, v *passage, e *epoch, applied bool) {
	if v.entry.Mode != policy.Report || v.refused() {
		return
	}
	c := g.enforcedClaim(v, e)
	ruling, err := g.foretell(ctx, v, c.Claim, applied)
	if err != nil {
		v.noteOverBudget(c, err)
		return
	}
	v.noteSharedFamilies(ruling.Shared)
	if err := v.noteRuling(c, ruling, e); err != nil {
		v.noteUnmergeable(err)
		return
	}
	if !applied {
		return
	}
	if !v.foresees() {
		for _, victim := range ruling.Evict {
			g.foretellEviction(ctx, v, e, victim)
		}
	}
	if len(v.counts.readings) == 0 {
		return
	}
	counters, err := g.admitCounters(ctx, v, e, g.shadow)
	if err != nil {
		v.noteOverBudget(&v.counts.claim, err)
		return
	}
	counters.Settle(ledger.Applied)
}

// foretell asks the shadow about a claim, and books it if it was applied.
func (g *Guard) foretell(ctx context.Context, v *passage, c ledger.Claim, applied bool) (ledger.Ruling, error) {
	if !applied {
		return g.shadow.Peek(c)
	}
	grant, err := v.admit(ctx, g.shadow, c)
	if err != nil {
		return ledger.Ruling{}, err
	}
	grant.Settle(ledger.Applied)
	return grant.Ruling, nil
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
