package fleet

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// reads are those of all upstreams that are under way. Who deletes the old copy of a
// group waits for those that began before the new one was there: each of them sees the
// one or the other.
type reads struct {
	mu   sync.Mutex
	open map[chan struct{}]struct{}
}

func (r *reads) begin() (end func()) {
	done := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[chan struct{}]struct{}{}
	}
	r.open[done] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, done)
		close(done)
	}
}

// wait returns once those that have begun are done, or the context's error.
func (r *reads) wait(ctx context.Context) error {
	r.mu.Lock()
	begun := slices.Collect(maps.Keys(r.open))
	r.mu.Unlock()
	for _, done := range begun {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
