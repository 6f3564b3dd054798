package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// readingTime bounds how long a page is read until it shows a push.
const readingTime = 20 * time.Second

// witness reads the /metrics that Prometheus would scrape during a run, and what the servers hold.
//
// It reads as often as it can in a tenth of the time, so that reading a page that
// grows does not become the load itself.
type witness struct {
	stage     stage
	neighbour *neighbour
	client    *http.Client
	step      int          // pushes from one row to the next, at least
	pushes    atomic.Int64 // of the attack, answered

	started  time.Time
	rows     []row
	readings int
	behind   int
	lost     bool
}

const shortestPause = 20 * time.Millisecond

// begin notes the first row, once the neighbour's first push is to be seen.
func (w *witness) begin(ctx context.Context) error {
	p, shown, err := w.await(ctx)
	if err != nil {
		return err
	}
	if !shown {
		return fmt.Errorf("the first push of the well-behaved job is not on %s/metrics", w.stage.door())
	}
	w.started = time.Now()
	return w.note(p, int(w.pushes.Load()))
}

// watch reads until stop is closed. A page that cannot be read shows nothing of
// the neighbour either.
func (w *witness) watch(ctx context.Context, stop <-chan struct{}) {
	due := w.step
	for ctx.Err() == nil {
		before := time.Now()
		pushes := int(w.pushes.Load())
		p, shown, err := w.read(ctx)
		w.readings++
		if !shown {
			w.behind++
		}
		if err == nil && pushes >= due && w.note(p, pushes) == nil {
			due = pushes + w.step
		}
		select {
		case <-stop:
			return
		case <-time.After(max(shortestPause, 9*time.Since(before))):
		}
	}
}

// end notes the last row, when the neighbour has stopped and its last push is to
// be seen, or is lost.
func (w *witness) end(ctx context.Context) error {
	p, shown, err := w.await(ctx)
	if err != nil {
		return err
	}
	w.lost = !shown
	return w.note(p, int(w.pushes.Load()))
}

// read reads the page, and whether it shows what the neighbour had been told was
// accepted when the reading began.
func (w *witness) read(ctx context.Context) (p page, shown bool, err error) {
	low := w.neighbour.acked.Load()
	p, err = readPage(ctx, w.client, w.stage.door())
	return p, err == nil && p.shows(max(1, low), w.neighbour.sent.Load()), err
}

// await reads until the page shows it, as long as a Pushgateway that answers
// before it applies a push may take.
func (w *witness) await(ctx context.Context) (p page, shown bool, err error) {
	for deadline := time.Now().Add(readingTime); ; {
		if p, shown, err = w.read(ctx); err != nil || shown || time.Now().After(deadline) {
			return p, shown, err
		}
		time.Sleep(shortestPause)
	}
}

// note appends a row: a page, and how many pushes had been answered when it was
// asked for.
func (w *witness) note(p page, attacked int) error {
	gateway, err := w.stage.gateway.Memory()
	if err != nil {
		return err
	}
	guard, err := w.stage.guard.Memory()
	if err != nil {
		return err
	}
	since := 0
	if len(w.rows) > 0 {
		since = w.rows[len(w.rows)-1].neighbourPushes
	}
	longest, pushes := w.neighbour.worst(since)
	w.rows = append(w.rows, row{
		pushes: attacked, at: time.Since(w.started), series: p.series,
		gateway: gateway, guard: guard, neighbourPushes: pushes, neighbourWait: longest,
	})
	return nil
}
