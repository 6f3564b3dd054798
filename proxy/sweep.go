package proxy

import (
	"context"
	"math/rand/v2"
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
)

const (
	// sweepBatch is how many stale groups are looked up at once.
	sweepBatch = 1000
	// defaultSweepRate is how many groups a sweep deletes a second: a Pushgateway
	// takes deletes and pushes through one queue.
	defaultSweepRate = 200
	// sweepChecks is how often the upstream is listed, at most, until it shows
	// that swept groups are gone: it takes deletes in its own time.
	sweepChecks = 4
)

// sweepAll makes one pass: it deletes every group that is stale, and reads back
// whether they are gone.
func (g *Guard) sweepAll(ctx context.Context) {
	if !g.known() {
		return
	}
	g.sweepShadow(ctx)
	e := g.epoch.Load()
	g.cfg.Totals.Expire(func(job string) time.Duration { return e.policy.Entry(job).StaleAfter })
	begun, failed := time.Now(), false
	var swept []ledger.StaleGroup
	tried := map[string]bool{}
	for {
		fresh := 0
		for _, s := range g.book.Stale(time.Now(), sweepBatch) {
			if tried[s.Key.ID()] {
				continue
			}
			tried[s.Key.ID()] = true
			fresh++
			if !g.pause(ctx) {
				return
			}
			claim := ledger.Claim{Group: s.Key, Raw: s.Key, Method: http.MethodDelete, Sweep: true, IfOlder: s.Pushed}
			switch g.removeGroup(ctx, claim, s.Job, staleGroup) {
			case groupDeleted:
				swept = append(swept, s)
			case groupFailed:
				failed = true
			case groupKept:
			}
		}
		if fresh == 0 {
			break
		}
	}
	if len(swept) > 0 && !g.areGone(ctx, swept) {
		failed = true
	}
	if !failed {
		g.cfg.Metrics.swept.SetToCurrentTime()
	}
	if len(swept) > 0 {
		g.logger.Info("Stale groups were deleted", "groups", len(swept), "seconds", time.Since(begun).Seconds())
	}
}

// pause keeps to the rate of a sweep, and reports whether it goes on.
func (g *Guard) pause(ctx context.Context) bool {
	rate := g.cfg.Rhythm.SweepRate
	if rate <= 0 {
		rate = defaultSweepRate
	}
	between := float64(time.Second) / float64(rate)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(between * (0.5 + rand.Float64()))):
		return true
	}
}

// removeGroup deletes a group under the lock that pushes to it take, if the
// claim still holds then, and writes down that it did. What is added up for the
// group stays: a source that pushes on after a pause must not count twice.
func (g *Guard) removeGroup(ctx context.Context, claim ledger.Claim, job string, why reason) result {
	started, key := time.Now(), claim.Group
	grant, err := g.book.Admit(ctx, claim)
	if err != nil {
		return groupKept // it is being pushed to
	}
	if grant.Skip {
		grant.Settle(ledger.Untouched)
		return groupKept
	}
	answer, err := g.cfg.Upstream.Do(ctx, gateway.Request{Method: http.MethodDelete, Key: key})
	outcome := settlement(answer, err)
	grant.Settle(outcome)
	done := groupDeleted
	if outcome != ledger.Applied {
		done = groupFailed
		if outcome == ledger.Unknown {
			g.doubtAfter(resyncEvery)
		}
		g.logger.Warn("A group was not deleted", "group", key.String(), "reason", string(why), "status", answer.Status, "err", err)
	}
	e := g.epoch.Load()
	g.cfg.Metrics.removed(job, why, done)
	g.cfg.Audit.Write(g.removalRecord(e, key, job, why, done, answer.Status, started))
	return done
}

func (g *Guard) removalRecord(e *epoch, key wire.Key, job string, why reason, done result, status int, started time.Time) audit.Record {
	entry := e.policy.Entry(job)
	r := audit.Record{
		Time: started, Job: key.Job(), Governed: job, Entry: entry.Name, Group: key.String(), Owner: entry.Owner,
		Method: http.MethodDelete, Mode: string(entry.Mode), Policy: e.policy.Digest(), Reason: string(why),
		Outcome: Removed.String(), UpstreamStatus: status, MS: float64(time.Since(started).Microseconds()) / 1000,
	}
	if done == groupFailed {
		r.Outcome = Failed.String()
	}
	return r
}

// areGone reads the upstream's groups back until none of those deleted is among
// them, or was pushed to again. One that stays is known to the book again, and
// the next sweep's.
func (g *Guard) areGone(ctx context.Context, swept []ledger.StaleGroup) bool {
	for wait := 100 * time.Millisecond; ; wait *= 3 {
		if err := g.readNow(ctx, time.Now()); err != nil {
			g.logger.Warn("Whether stale groups are gone could not be read back", "err", err)
			return false
		}
		swept = g.remaining(swept)
		if len(swept) == 0 {
			return true
		}
		if wait > 100*time.Millisecond*sweepChecks*sweepChecks {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
	for _, s := range swept {
		g.cfg.Metrics.removed(s.Job, staleGroup, groupFailed)
	}
	g.logger.Error("The Pushgateway has said that it deleted groups which it still lists", "groups", len(swept), "first", swept[0].Key.String())
	return false
}

// remaining are those groups that exist and were not pushed to since they were
// found stale.
func (g *Guard) remaining(swept []ledger.StaleGroup) []ledger.StaleGroup {
	var left []ledger.StaleGroup
	for _, s := range swept {
		if now, ok := g.book.Group(s.Key); ok && !now.Pushed.After(s.Pushed) {
			left = append(left, s)
		}
	}
	return left
}

// sweepShadow takes out of the forecast what enforcement would have swept, and
// says so.
func (g *Guard) sweepShadow(ctx context.Context) {
	e := g.epoch.Load()
	for _, s := range g.shadow.Stale(time.Now(), sweepBatch) {
		grant, err := g.shadow.Admit(ctx, ledger.Claim{Group: s.Key, Raw: s.Key, Method: http.MethodDelete, Sweep: true, IfOlder: s.Pushed})
		if err != nil {
			continue
		}
		skip := grant.Skip
		grant.Settle(ledger.Applied)
		if entry := e.policy.Entry(s.Job); !skip && entry.Mode == policy.Report {
			r := g.removalRecord(e, s.Key, s.Job, staleGroup, groupDeleted, 0, time.Now())
			r.Outcome, r.Would = Passed.String(), Removed.String()
			g.cfg.Audit.Write(r)
		}
	}
}

// evict deletes the groups that a push which succeeded takes the place of.
func (g *Guard) evict(ctx context.Context, job string, victims []wire.Key) {
	for _, key := range victims {
		claim := ledger.Claim{Group: key, Raw: key, Method: http.MethodDelete, Evict: true}
		if g.removeGroup(context.WithoutCancel(ctx), claim, job, evictedGroup) == groupFailed {
			g.doubtAfter(resyncEvery)
		}
	}
}
