// Package clock notices that the clock of the host was set, so that what is young does
// not look old.
//
// What a guard keeps across restarts, and what it compares with times of others, is kept
// as the clock showed it. Where somebody sets the clock forward by a day, all of that
// looks a day older than it is, though nobody had a day to refresh it. Go's times know
// better while the process lives: besides what the clock showed they have a reading that
// nobody sets.
package clock

import (
	"sync"
	"time"
)

const (
	// step is the least that counts as setting a clock; what is less is gathered.
	step = time.Second
	// most is how many settings are told apart. With more, the oldest count together.
	most = 16
)

// Watch watches a clock. It is safe for concurrent use.
type Watch struct {
	now   func() time.Time
	first time.Time

	mu     sync.Mutex
	offset time.Duration // of what the clock shows from what it would, had nobody set it
	jumps  []jump        // forward, oldest first
}

// jump is that the clock was set forward, at or before a time.
type jump struct {
	at time.Time
	by time.Duration
}

// New watches a clock, which is time.Now or something that a test or another clock gives.
// One whose times have no reading that nobody sets is never seen to be set.
func New(now func() time.Time) *Watch { return &Watch{now: now, first: now()} }

// Ahead returns by how much the clock was set forward within the last d: what it showed at
// that time, or seemed to, is older than now by d and that much. Where the clock was set
// back is no matter, since nothing looks older by that.
func (w *Watch) Ahead(d time.Duration) time.Duration {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(now)
	var ahead time.Duration
	for _, j := range w.jumps {
		if now.Sub(j.at) < d {
			ahead += j.by
		}
	}
	return ahead
}

func (w *Watch) look(now time.Time) {
	offset := now.Round(0).Sub(w.first.Round(0)) - now.Sub(w.first)
	by := offset - w.offset
	if by.Abs() < step {
		return
	}
	w.offset = offset
	if by < 0 {
		return
	}
	w.jumps = append(w.jumps, jump{now, by})
	if len(w.jumps) > most {
		w.jumps[1].by += w.jumps[0].by
		w.jumps = w.jumps[1:]
	}
}
