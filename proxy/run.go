package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
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
}

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Run keeps the guard in step with the upstream until ctx ends: it lists the
// upstream's groups at the start, when the upstream has restarted and every
// Rhythm.Resync, and it deletes what is stale. It returns ctx's error. Pushes do
// not need it: they list the groups themselves, if nobody has.
func (g *Guard) Run(ctx context.Context) error {
	g.start(ctx)
	watch, resync, sweep := newBeat(g.cfg.Rhythm.Watch), newBeat(g.cfg.Rhythm.Resync), newBeat(g.cfg.Rhythm.Sweep)
	defer watch.stop()
	defer resync.stop()
	defer sweep.stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.c():
			g.watchUpstream(ctx)
			watch.again()
		case <-resync.c():
			g.readAgain(ctx, "on schedule")
			resync.again()
		case <-sweep.c():
			g.sweepAll(ctx)
			sweep.again()
		}
	}
}

// beat is a timer that comes again and again, a tenth earlier or later, so that
// many guards do not come all at once. One of no duration never comes.
type beat struct {
	every time.Duration
	timer *time.Timer
}

func newBeat(every time.Duration) *beat {
	b := &beat{every: every}
	if every > 0 {
		b.timer = time.NewTimer(b.next())
	}
	return b
}

func (b *beat) next() time.Duration {
	return b.every + time.Duration((rand.Float64()-0.5)*float64(b.every)/5)
}

func (b *beat) c() <-chan time.Time {
	if b.timer == nil {
		return nil
	}
	return b.timer.C
}

func (b *beat) again() { b.timer.Reset(b.next()) }

func (b *beat) stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}

// start lists the groups of the upstream, however long it takes to come up.
func (g *Guard) start(ctx context.Context) {
	begun := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
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
	g.watchUpstream(ctx) // to know when it started
	g.logger.Info("The Pushgateway's groups are known", "groups", g.book.Len(), "series", g.book.Series())
}

// watchUpstream lists the groups again if the upstream has restarted since it was
// asked last. One that does not answer is asked again next time.
func (g *Guard) watchUpstream(ctx context.Context) {
	started, err := g.cfg.Upstream.Started(ctx)
	if err != nil {
		g.logger.Debug("The Pushgateway does not say when it started", "err", err)
		return
	}
	before := g.upstreamStarted
	g.upstreamStarted = started
	if before.IsZero() || before.Equal(started) {
		return
	}
	g.logger.Warn("The Pushgateway has restarted", "started", started)
	g.readAgain(ctx, "it restarted")
}

func (g *Guard) readAgain(ctx context.Context, why string) {
	groups := g.book.Len()
	err := g.readNow(ctx, time.Now())
	switch {
	case err != nil && ctx.Err() == nil:
		g.logger.Warn("The Pushgateway's groups were not listed again", "why", why, "err", err)
		g.doubtAfter(resyncEvery)
	case err == nil && g.book.Len() != groups:
		g.logger.Info("The Pushgateway's groups were listed again", "why", why, "groups", g.book.Len(), "before", groups)
	}
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
