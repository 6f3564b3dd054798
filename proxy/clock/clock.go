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
	read   func() (shows time.Time, passed time.Duration)
	first  time.Time
	before time.Duration // what had passed when it showed that

	mu     sync.Mutex
	offset time.Duration // of what the clock shows from what it would, had nobody set it
	jumps  []jump        // forward, oldest first
}

// jump is that the clock was set forward, by when so much had passed.
type jump struct {
	at, by time.Duration
}

// New watches a clock, which is time.Now or something that a test or another clock gives.
// One whose times have no reading that nobody sets is never seen to be set.
func New(now func() time.Time) *Watch {
	first := now()
	return Beside(func() (time.Time, time.Duration) {
		t := now()
		return t, t.Sub(first)
	})
}

// Beside watches a clock of elsewhere, given how much time has passed here.
func Beside(read func() (shows time.Time, passed time.Duration)) *Watch {
	first, before := read()
	return &Watch{read: read, first: first, before: before}
}

// Ahead returns by how much the clock was set forward within the last d: what it showed at
// that time, or seemed to, is older than now by d and that much. Where the clock was set
// back is no matter, since nothing looks older by that.
func (w *Watch) Ahead(d time.Duration) time.Duration {
	shows, passed := w.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(shows, passed)
	var ahead time.Duration
	for _, j := range w.jumps {
		if passed-j.at < d {
			ahead += j.by
		}
	}
	return ahead
}

func (w *Watch) look(shows time.Time, passed time.Duration) {
	offset := shows.Round(0).Sub(w.first.Round(0)) - (passed - w.before)
	by := offset - w.offset
	if by.Abs() < step {
		return
	}
	w.offset = offset
	if by < 0 {
		return
	}
	w.jumps = append(w.jumps, jump{passed, by})
	if len(w.jumps) > most {
		w.jumps[1].by += w.jumps[0].by
		w.jumps = w.jumps[1:]
	}
}
