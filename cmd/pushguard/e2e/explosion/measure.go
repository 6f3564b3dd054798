package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// row is the state of a run at one moment.
type row struct {
	pushes  int // answered
	at      time.Duration
	series  int   // on the /metrics that Prometheus scrapes, the gateway's own too
	gateway int64 // resident bytes
	guard   int64 // 0 without one

	neighbourPushes int
	neighbourWait   time.Duration // the longest since the row before
}

// result is one attack on one side.
type result struct {
	attack  attack
	guarded bool
	rows    []row // the first from before the attack, the last from after it
	pushes  int   // answered
	took    time.Duration
	stopped bool        // the bound came first
	answers map[int]int // pushes by the status of their answer, 0 for none
	fate    fate
}

func (r result) side() string { return side(r.guarded) }

func side(guarded bool) string {
	if guarded {
		return "guarded"
	}
	return "bare"
}

func (r result) first() row { return r.rows[0] }
func (r result) last() row  { return r.rows[len(r.rows)-1] }

// measure runs one attack on a stage of its own. A server that ends meanwhile is
// an error.
func measure(ctx context.Context, o options, a attack, guarded bool) (result, error) {
	s, err := raise(ctx, o, guarded)
	if err != nil {
		return result{}, err
	}
	defer s.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.watch(ctx, cancel)
	r, err := play(ctx, o, a, s)
	r.guarded = guarded
	if cause := context.Cause(ctx); cause != nil {
		err = cause // of whatever failed then
	}
	return r, err
}

// play has the neighbour push and the witness read for as long as the attack
// lasts, and the witness read once before and once after.
func play(ctx context.Context, o options, a attack, s stage) (result, error) {
	n := &neighbour{url: s.door(), every: o.every}
	w := &witness{stage: s, neighbour: n, client: newClient(), step: max(1, o.pushes/100)}
	defer w.client.CloseIdleConnections()
	hush := background(func(stop <-chan struct{}) { n.run(ctx, stop) })
	defer hush()
	if err := w.begin(ctx); err != nil {
		return result{}, err
	}
	leave := background(func(stop <-chan struct{}) { w.watch(ctx, stop) })
	defer leave()
	r := result{attack: a}
	r.answers, r.stopped = assault(ctx, o, a, s.door(), &w.pushes)
	leave()
	hush()
	err := w.end(ctx)
	r.rows, r.pushes, r.took, r.fate = w.rows, int(w.pushes.Load()), w.rows[len(w.rows)-1].at, n.fate()
	r.fate.readings, r.fate.behind, r.fate.lost = w.readings, w.behind, w.lost
	return r, err
}

// background starts do and returns what stops it and waits for its end.
func background(do func(stop <-chan struct{})) func() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		do(stop)
	}()
	return sync.OnceFunc(func() {
		close(stop)
		<-done
	})
}

// assault pushes until every push has been answered or the bound is reached, and
// tells the answers by status, and whether it was the bound.
func assault(ctx context.Context, o options, a attack, url string, progress *atomic.Int64) (map[int]int, bool) {
	deadline := time.Now().Add(o.bound)
	var mu sync.Mutex
	answers := map[int]int{}
	var pushers sync.WaitGroup
	for p := range o.pushers {
		pushers.Go(func() {
			mine := map[int]int{}
			next := a.begin(p)
			client := newClient()
			defer client.CloseIdleConnections()
			for i := p; i < o.pushes && ctx.Err() == nil && time.Now().Before(deadline); i += o.pushers {
				mine[post(ctx, client, http.MethodPost, url, next(i))]++
				progress.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			for status, n := range mine {
				answers[status] += n
			}
		})
	}
	pushers.Wait()
	return answers, progress.Load() < int64(o.pushes)
}
