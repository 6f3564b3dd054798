package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// resyncEvery bounds how often a collision of groups, or a write that nobody
	// knows the end of, makes the guard read the upstream's groups again.
	resyncEvery = time.Second
	// listingTime bounds how long reading them may take.
	listingTime = 5 * time.Minute
	// partialShare is the part of the time, one in so many, that is spent on listings
	// that say nothing of some groups: they are repeated until one tells all.
	partialShare = 50
	// leastWait is how long a push waits for them, however short its patience.
	leastWait = time.Second
)

// sync reads which groups the upstream holds, once. Until that has succeeded no
// push is forwarded, since one that collides with a group nobody knows of would
// break every scrape.
// What the first listing said nothing of waits for one that tells all.
func (g *Guard) sync(ctx context.Context, key wire.Key) error {
	if g.known() {
		g.readBack(ctx)
	} else if err := g.resync(ctx, time.Time{}); err != nil {
		return err
	}
	if untold := g.untold.Load(); untold != nil && (*untold)(key) {
		return errUntold
	}
	return nil
}

// known reports whether the guard knows what the upstream holds.
func (g *Guard) known() bool { return g.synced.Load() != nil }

// doubtAfter has the groups read again by the first write after d.
func (g *Guard) doubtAfter(d time.Duration) {
	due := g.cfg.Now().Add(d)
	g.doubt.CompareAndSwap(nil, &due)
}

// readBack looks, after writes without an answer, at what became of them. Until
// then the book holds what they brought and what they may have replaced. The
// write that comes by does not wait for it.
func (g *Guard) readBack(ctx context.Context) {
	due := g.doubt.Load()
	if due == nil || g.cfg.Now().Before(*due) {
		return
	}
	select {
	case g.syncing <- struct{}{}:
	default:
		return // a listing is under way, and a later write looks again
	}
	go func() {
		defer func() { <-g.syncing }()
		if !g.doubt.CompareAndSwap(due, nil) {
			return
		}
		if err := g.readGroups(context.WithoutCancel(ctx), g.cfg.Now()); err != nil {
			g.logger.Warn("The Pushgateway's groups were not read back", "err", err)
			g.doubtAfter(resyncEvery)
		}
	}()
}

// resync reads the upstream's groups unless that was done since. The listing of a
// full upstream may take longer than a push should wait: the push then gives up,
// and the listing goes on for those that follow.
func (g *Guard) resync(ctx context.Context, since time.Time) error {
	timer := time.NewTimer(max(g.cfg.GroupWait, leastWait))
	defer timer.Stop()
	done := make(chan error, 1)
	select {
	case g.syncing <- struct{}{}:
		go func() {
			defer func() { <-g.syncing }()
			done <- g.readGroups(context.WithoutCancel(ctx), since)
		}()
	case <-timer.C:
		return errNoListing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errNoListing
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readGroups has the book hold what the upstream lists, unless a listing began since then.
// One that is partial leaves the groups it says nothing of as they were, and is due again.
func (g *Guard) readGroups(ctx context.Context, since time.Time) error {
	// As times, which tell what came first though the clock was set in between.
	if at := g.synced.Load(); at != nil && !at.Before(since) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listingTime)
	defer cancel()
	begun := g.cfg.Now() // what comes later may be missing in the listing
	var unlisted func(wire.Key) bool
	err := g.book.Load(func() ([]ledger.Group, func(wire.Key) bool, error) {
		listed, err := g.cfg.Upstream.Groups(ctx, g.seed)
		if partial := new(gateway.Partial); errors.As(err, &partial) {
			unlisted, err = partial.Unknown, nil
		}
		// The book's times are of seconds: what is of the same comes in its order.
		slices.SortStableFunc(listed, func(x, y gateway.Group) int { return x.Pushed.Compare(y.Pushed) })
		e, now := g.epoch.Load(), g.cfg.Now()
		groups := make([]ledger.Group, len(listed))
		for i, l := range listed {
			job := e.policy.FoldJob(l.Key.Job())
			entry := e.policy.Entry(job)
			groups[i] = ledger.Group{
				Key: l.Key, Job: job, Entry: payer(entry), Budget: e.terms(entry, now), Families: l.Families,
				Pushed: l.Pushed, Failed: l.Failed, Success: l.Success,
			}
		}
		return groups, unlisted, err
	})
	if errors.Is(err, shared.ErrAway) {
		return err
	}
	if err != nil {
		g.cfg.Metrics.unsynced.Inc()
		return fmt.Errorf("%w: reading its groups: %w", errUpstream, err)
	}
	if unlisted == nil {
		g.untold.Store(nil)
	} else if !g.known() {
		g.untold.Store(&unlisted)
	}
	g.synced.Store(&begun)
	if unlisted != nil {
		g.doubtAfter(resyncEvery + partialShare*g.cfg.Now().Sub(begun))
	}
	return nil
}

// syncedAt tells since when the guard knows what the upstream holds.
func syncedAt(g *Guard) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pushguard_sync_last_success_timestamp_seconds",
		Help: "When the last whole listing of the groups of the Pushgateway behind began; 0 is never since the start.",
	}, func() float64 {
		if at := g.synced.Load(); at != nil {
			return float64(max(0, at.Unix()))
		}
		return 0
	})
}
