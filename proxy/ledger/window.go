package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// span is the length of a rolling window, in seconds: 60 steps of it.
type span int64

const (
	minute span = 60
	hour   span = 60 * minute
	day    span = 24 * hour

	steps = 60 // of a window
)

// step is the step that a time belongs to.
func (s span) step(at int64) uint32 { return uint32(at / (int64(s) / steps)) }

// window counts what happened within the last span. It rolls on in steps, of
// which the oldest counts in full while any of it is within the span: it never
// counts less than there was in an interval of that length. Only steps in which
// something happened take up memory. The zero value is empty.
type window struct {
	ticks []tick // ascending
}

type tick struct {
	step, n uint32
}

// add counts n at a time that is not before what was counted.
func (w *window) add(s span, at int64, n int) {
	if n <= 0 {
		return
	}
	w.roll(s, at)
	more := uint32(min(n, math.MaxUint32))
	if last := len(w.ticks) - 1; last >= 0 && w.ticks[last].step >= s.step(at) {
		w.ticks[last].n += min(more, math.MaxUint32-w.ticks[last].n)
		return
	}
	w.ticks = append(w.ticks, tick{step: s.step(at), n: more})
}

// take takes back n of what was added at a time, as far as it still counts.
func (w *window) take(s span, at int64, n int) {
	i, ok := w.find(s.step(at))
	if !ok {
		return
	}
	if w.ticks[i].n -= uint32(min(n, int(w.ticks[i].n))); w.ticks[i].n == 0 {
		w.ticks = slices.Delete(w.ticks, i, i+1)
	}
}

// sum returns what counts at a time.
func (w *window) sum(s span, at int64) int {
	w.roll(s, at)
	n := 0
	for _, t := range w.ticks {
		n += int(t.n)
	}
	return n
}

// roll forgets what counts no more.
func (w *window) roll(s span, at int64) {
	now, old := int64(s.step(at)), 0
	for old < len(w.ticks) && int64(w.ticks[old].step)+steps < now {
		old++
	}
	if old == len(w.ticks) {
		w.ticks = w.ticks[:0]
	} else if old > 0 {
		w.ticks = slices.Delete(w.ticks, 0, old)
	}
}

// wait returns how long it takes until no more than n count, if nothing is added.
func (w *window) wait(s span, at int64, n int) time.Duration {
	sum := w.sum(s, at)
	for _, t := range w.ticks {
		if sum <= n {
			break
		}
		if sum -= int(t.n); sum <= n {
			step := int64(s) / steps
			return time.Duration((int64(t.step)+steps+1)*step-at) * time.Second
		}
	}
	return 0
}

// assign makes a step what it was; 0 is none.
func (w *window) assign(t tick) {
	i, ok := w.find(t.step)
	switch {
	case ok && t.n == 0:
		w.ticks = slices.Delete(w.ticks, i, i+1)
	case ok:
		w.ticks[i] = t
	case t.n > 0:
		w.ticks = slices.Insert(w.ticks, i, t)
	}
}

// step returns the step of a time, with 0 if nothing counts in it.
func (w *window) step(s span, at int64) []tick {
	step := s.step(at)
	i, ok := w.find(step)
	if !ok {
		return []tick{{step: step}}
	}
	return w.ticks[i : i+1]
}

func (w *window) find(step uint32) (int, bool) {
	return slices.BinarySearchFunc(w.ticks, step, func(t tick, step uint32) int { return cmp.Compare(t.step, step) })
}

// clone returns a window that counts the same.
func (w *window) clone() window { return window{ticks: slices.Clone(w.ticks)} }
