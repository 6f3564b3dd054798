package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Rhythm is how often a guard that runs looks after itself. A zero duration is
// never.
type Rhythm struct {
	// Watch is how often the upstream is asked when it started: one that
	// restarted has forgotten what it did not keep, and is listed anew.
	Watch time.Duration
	// Resync is how often the upstream's groups are listed to find what others
	// wrote to it. A listing costs the upstream as much as a scrape.
	Resync time.Duration
	// Sweep is how often stale groups are looked for, and SweepRate how many are
	// deleted a second; 0 is 200.
	Sweep     time.Duration
	SweepRate int
	// Forecast is how often the audit log is told what enforcement would have made of
	// the pushes to each job in report.
	Forecast time.Duration
}

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Run keeps the guard in step with the upstream until ctx ends: it lists the
// upstream's groups at the start, when the upstream has restarted and every
// Rhythm.Resync, it deletes what is stale and moves what is not where it belongs. It returns ctx's error, once all of
// that has ended. Pushes do not need it: they list the groups themselves, if
// nobody has.
func (g *Guard) Run(ctx context.Context) error {
	g.start(ctx)
	var beats sync.WaitGroup
	// A sweep of many groups takes its time: what others do to the upstream is
	// noticed meanwhile.
	beats.Go(func() { every(ctx, g.cfg.Rhythm.Watch, g.watchUpstream) })
	beats.Go(func() {
		every(ctx, g.cfg.Rhythm.Resync, func(ctx context.Context) {
			if g.cfg.Fleet.Leads() {
				g.readAgain(ctx, "on schedule")
			}
		})
	})
	beats.Go(func() { every(ctx, g.cfg.Rhythm.Sweep, g.Sweep) })
	beats.Go(func() { every(ctx, g.cfg.Rhythm.Forecast, g.recordForecasts) })
	if g.cfg.Mover != nil {
		beats.Go(func() { g.keepMoving(ctx) })
	}
	<-ctx.Done()
	beats.Wait()
	if g.cfg.Rhythm.Forecast > 0 {
		g.recordForecasts(ctx)
	}
	return ctx.Err()
}

// every calls do again and again until ctx ends, so long after it has returned, a
// tenth more or less, that many guards do not come all at once. No duration is
// never.
func every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	if pause <= 0 {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + time.Duration((rand.Float64()-0.5)*float64(pause)/5)):
			do(ctx)
		}
	}
}

// start lists the groups of the upstream, however long it takes to come up. When
// the upstream started is asked first: it may restart while it lists.
func (g *Guard) start(ctx context.Context) {
	begun := g.cfg.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		g.watchUpstream(ctx)
		err := g.readNow(ctx, begun)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		g.logger.Warn("The Pushgateway's groups could not be listed yet", "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
	g.logger.Info("The groups are known", "groups", g.book.Len(), "series", g.book.Series())
}

// watchUpstream lists the groups again if the upstream has restarted since they
// were listed for that last, or if a listing is due and no write comes by to begin it.
// One that does not answer is asked again next time.
func (g *Guard) watchUpstream(ctx context.Context) {
	if g.known() {
		g.readBack(ctx)
	}
	started, err := g.cfg.Upstream.Started(ctx)
	if err != nil {
		g.logger.Debug("The Pushgateway does not say when it started", "err", err)
		return
	}
	before := g.upstreamStarted
	if !before.IsZero() && !before.Equal(started) {
		g.logger.Warn("The Pushgateway has restarted", "started", started)
		if !g.readAgain(ctx, "it restarted") {
			return
		}
	}
	g.upstreamStarted = started
}

// readAgain reports whether the groups were listed.
func (g *Guard) readAgain(ctx context.Context, why string) bool {
	groups := g.book.Len()
	if err := g.readNow(ctx, g.cfg.Now()); err != nil {
		if ctx.Err() == nil {
			g.logger.Warn("The Pushgateway's groups were not listed again", "why", why, "err", err)
			g.doubtAfter(resyncEvery)
		}
		return false
	}
	if now := g.book.Len(); now != groups {
		g.logger.Info("The Pushgateway's groups were listed again", "why", why, "groups", now, "before", groups)
	}
	return true
}

// readNow reads the groups unless that was done since, and waits its turn.
func (g *Guard) readNow(ctx context.Context, since time.Time) error {
	select {
	case g.syncing <- struct{}{}:
		defer func() { <-g.syncing }()
		return g.readGroups(ctx, since)
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNotReady = errors.New("pushguard: the Pushgateway behind has not said yet which groups it holds")

// serveReady answers 503 until the guard knows what the upstream holds, and then
// what the upstream itself says. Its header tells a client that it speaks to a
// guard.
func (g *Guard) serveReady(upstream http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", g.cfg.Product)
		if !g.known() {
			w.Header().Set("Retry-After", "1")
			http.Error(w, errNotReady.Error(), http.StatusServiceUnavailable)
			return
		}
		upstream.ServeHTTP(w, r)
	})
}
