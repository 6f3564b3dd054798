package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
)

// reason is why the guard deletes a group by itself.
type reason string

const (
	staleGroup   reason = "stale"   // nobody has pushed to it within stale_after
	evictedGroup reason = "evicted" // a newer group of its job took its place
)

// result is what became of that.
type result string

const (
	groupDeleted result = "deleted"
	groupKept    result = "kept"   // it was pushed to meanwhile, is pinned or gone
	groupFailed  result = "failed" // the upstream did not do it, or did not say so
	groupUnsure  result = "unsure" // the upstream did not answer; only its listing tells
)

const (
	// sweepBatch is how many stale groups are looked up at once.
	sweepBatch = 1000
	// defaultSweepRate is how many groups a sweep deletes a second: a Pushgateway
	// takes deletes and pushes through one queue.
	defaultSweepRate = 200
	// firstCheck is how soon the upstream is listed again if it still shows groups
	// that were swept, since it takes deletes in its own time; each further wait is
	// three times as long, up to lastCheck.
	firstCheck, lastCheck = 100 * time.Millisecond, 3 * time.Second
	// lastLook is how long the end of a guard waits to see that what it swept is
	// gone.
	lastLook = 5 * time.Second
	// sweepSilence is how many deletes in a row may go without an answer before a
	// sweep gives up: what holds for them holds for the next.
	sweepSilence = 3
	// clockSlack bounds by how much the upstream's clock may date a push later than
	// the guard did.
	clockSlack = 3 * time.Second
)

// removal is what became of a group that the guard was to delete by itself.
type removal struct {
	ledger.StaleGroup // of an eviction, the key and the job alone
	why               reason
	done              result
	status            int  // of the upstream's answer
	spooled           bool // it is kept for an upstream that is away
	started           time.Time
	took              time.Duration
}

// Sweep makes one pass: it deletes every group that is stale, and reads back
// whether they are gone. Run does so every Rhythm.Sweep. Until the guard knows
// what the upstream holds, it does nothing.
func (g *Guard) Sweep(ctx context.Context) {
	if !g.known() {
		return
	}
	g.sweepShadow(ctx)
	if !g.cfg.Fleet.Leads() {
		return // one of the fleet does
	}
	e := g.epoch.Load()
	g.cfg.Totals.Expire(func(job string) time.Duration { return g.idleTotals(e.policy.Entry(job), job) })
	begun := g.cfg.Now()
	sent, done := g.deleteStale(ctx)
	if !g.verify(ctx, sent) || !done {
		return
	}
	g.cfg.Metrics.swept.SetToCurrentTime()
	if len(sent) > 0 {
		g.logger.Info("Stale groups were deleted", "groups", len(sent), "seconds", g.cfg.Now().Sub(begun).Seconds())
	}
}

// leftBehind is how long a total stays to which, by the policy in force, nobody adds any
// more: other guards of a fleet may have the policy from before for a while.
const leftBehind = 5 * time.Minute

// idleTotals is how long the totals of a job stay to which nothing is added; 0 is for
// ever. Those of a job that is enforced no more, or whose increments go elsewhere now,
// would stand for ever before what it pushes.
func (g *Guard) idleTotals(entry *policy.Entry, job string) time.Duration {
	adds := entry.Mode == policy.Enforce && g.route(entry) == toTotals
	if adds || job == wire.Other || entry.StaleAfter > 0 && entry.StaleAfter < leftBehind {
		return entry.StaleAfter
	}
	return leftBehind
}

// deleteStale deletes the groups that are stale, oldest first, each once. It
// returns those that the upstream says it deletes, and whether it did with every
// one that could be.
func (g *Guard) deleteStale(ctx context.Context) (sent []removal, done bool) {
	done = true
	var pace gateway.Pace
	silent := 0
	tried, kept := map[string]bool{}, 0 // kept are those of them that the book still has
	for fresh := true; fresh; {
		fresh = false
		for _, s := range g.book.Stale(g.cfg.Now(), sweepBatch+kept) {
			if tried[s.Key.ID()] {
				continue
			}
			tried[s.Key.ID()], fresh = true, true
			if !pace.Wait(ctx, g.sweepRate()) {
				return sent, false
			}
			claim := ledger.Claim{Group: s.Key, Raw: s.Key, Method: http.MethodDelete, Sweep: true, IfOlder: s.Pushed}
			r := g.removeGroup(ctx, claim, s, staleGroup)
			if r.done != groupDeleted {
				kept++
			}
			switch {
			case r.spooled:
				g.tell(r)
			case r.done == groupDeleted, r.done == groupUnsure:
				sent = append(sent, r)
			case r.done == groupFailed:
				done = false
				g.tell(r)
			case r.done == groupKept:
				continue
			}
			if silent++; r.status != 0 {
				silent = 0
			}
			if silent == sweepSilence {
				g.logger.Warn("The sweep was given up: the Pushgateway does not answer")
				return sent, false
			}
		}
	}
	return sent, done
}

// sweepRate is how many groups a sweep deletes a second.
func (g *Guard) sweepRate() int {
	if rate := g.cfg.Rhythm.SweepRate; rate > 0 {
		return rate
	}
	return defaultSweepRate
}

// removeGroup deletes a group under the lock that pushes to it take, if the
// claim still holds then. What is added up for the group stays: a source that
// pushes on after a pause must not count twice.
func (g *Guard) removeGroup(ctx context.Context, claim ledger.Claim, s ledger.StaleGroup, why reason) removal {
	r := removal{StaleGroup: s, why: why, done: groupKept, started: g.cfg.Now()}
	grant, err := g.book.Admit(ctx, claim)
	if err != nil {
		return r // it is being pushed to
	}
	if grant.Skip {
		grant.Settle(ledger.Untouched)
		return r
	}
	ctx, cancel := lingering(ctx, lastLook) // what was begun is to have an end
	defer cancel()
	answer, err := g.cfg.Upstream.Do(ctx, gateway.Request{Method: http.MethodDelete, Key: s.Key})
	outcome := settlement(answer, err)
	grant.Settle(outcome)
	r.spooled = answer.Spooled
	r.status, r.took, r.done = answer.Status, g.cfg.Now().Sub(r.started), groupDeleted
	if outcome != ledger.Applied {
		if r.done = groupFailed; outcome == ledger.Unknown {
			r.done = groupUnsure
		}
		g.logger.Warn("A group was not deleted", "group", s.Key.String(), "reason", string(why), "status", answer.Status, "err", err)
	}
	return r
}

// lingering returns a context that ends a while after ctx does.
func lingering(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return out, func() {
		stop()
		cancel()
	}
}

// tell writes down what became of a group.
func (g *Guard) tell(r removal) {
	g.cfg.Metrics.removed(r.Job, r.why, r.done)
	e := g.epoch.Load()
	g.cfg.Audit.Write(g.removalRecord(e, r))
	g.tellRemoval(e, r)
}

func (g *Guard) removalRecord(e *epoch, r removal) audit.Record {
	entry := e.policy.Entry(r.Job)
	outcome := Removed
	if r.done == groupFailed {
		outcome = Failed
	}
	return audit.Record{
		Time: r.started, Job: r.Key.Job(), Governed: r.Job, Entry: entry.Name, Group: r.Key.String(), Owner: entry.Owner,
		Method: http.MethodDelete, Mode: string(entry.Mode), Policy: e.policy.Digest(), Reason: string(r.why),
		Outcome: outcome.String(), UpstreamStatus: r.status, MS: float64(r.took.Microseconds()) / 1000,
	}
}

// verify lists the upstream's groups until none of those that it said it deleted
// is among them, and tells of each what became of it. One that stays is known to
// the book again, and the next sweep's.
func (g *Guard) verify(ctx context.Context, sent []removal) bool {
	var err error
	for wait := firstCheck; len(sent) > 0; wait *= 3 {
		if err = g.look(ctx); err != nil {
			g.logger.Warn("Whether stale groups are gone could not be read back", "groups", len(sent), "err", err)
			break
		}
		if sent = g.remaining(sent); len(sent) == 0 || wait > lastCheck || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	for _, r := range sent {
		r.done = groupFailed
		g.tell(r)
	}
	if len(sent) > 0 && err == nil {
		g.logger.Error("The Pushgateway has said that it deleted groups which it still lists", "groups", len(sent), "first", sent[0].Key.String())
	}
	return len(sent) == 0
}

// look lists the groups now. At the guard's end it does so once more, not for
// long.
func (g *Guard) look(ctx context.Context) error {
	err := g.readNow(ctx, g.cfg.Now())
	if ctx.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	return g.readNow(ctx, g.cfg.Now())
}

// remaining tells of the groups that are gone, or were pushed to since they were
// found stale, and returns the others.
func (g *Guard) remaining(sent []removal) []removal {
	var left []removal
	for _, r := range sent {
		// What was pushed since is younger by StaleAfter at the least.
		as := r.Pushed.Add(min(r.StaleAfter, clockSlack))
		if now, ok := g.book.Group(r.Key); ok && now.Pushed.Before(as) {
			left = append(left, r)
			continue
		}
		r.done = groupDeleted
		g.tell(r)
	}
	return left
}

// sweepShadow takes out of the forecast what enforcement would have swept, and
// says so.
func (g *Guard) sweepShadow(ctx context.Context) {
	e := g.epoch.Load()
	for swept := sweepBatch; swept == sweepBatch; {
		swept = 0
		for _, s := range g.shadow.Stale(g.cfg.Now(), sweepBatch) {
			if g.foretellSweep(ctx, e, s) {
				swept++
			}
		}
	}
}

// foretellSweep reports whether the shadow has the group no more.
func (g *Guard) foretellSweep(ctx context.Context, e *epoch, s ledger.StaleGroup) bool {
	grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: s.Key, Raw: s.Key, Method: http.MethodDelete, Sweep: true, IfOlder: s.Pushed})
	if err != nil {
		return false
	}
	skip := grant.Skip
	grant.Settle(ledger.Applied)
	if entry := e.policy.Entry(s.Job); skip || entry.Mode != policy.Report {
		return !skip
	}
	g.recordForecast(e, s, staleGroup)
	return true
}

// recordForecast writes down that enforcement would have deleted a group.
func (g *Guard) recordForecast(e *epoch, s ledger.StaleGroup, why reason) {
	r := g.removalRecord(e, removal{StaleGroup: s, why: why, done: groupDeleted, started: g.cfg.Now()})
	r.Outcome, r.Would = Passed.String(), Removed.String()
	g.cfg.Audit.Write(r)
}

// evict deletes the groups that a push which succeeded takes the place of.
func (g *Guard) evict(ctx context.Context, job string, victims []wire.Key) {
	for _, key := range victims {
		claim := ledger.Claim{Group: key, Raw: key, Method: http.MethodDelete, Evict: true}
		r := g.removeGroup(context.WithoutCancel(ctx), claim, ledger.StaleGroup{Key: key, Job: job}, evictedGroup)
		switch r.done {
		case groupKept:
			continue
		case groupUnsure, groupFailed:
			r.done = groupFailed
			g.doubtAfter(resyncEvery)
		case groupDeleted:
		}
		g.tell(r)
	}
}
