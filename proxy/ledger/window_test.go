package ledger

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var spans = map[string]span{"minute": minute, "hour": hour, "day": day}

// TestAWindowNeverOverAdmits admits what fits, at random times, and looks at every
// interval as long as the window.
func TestAWindowNeverOverAdmits(t *testing.T) {
	for name, s := range spans {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { checkWindow(t, s) }) })
	}
}

func checkWindow(t *rapid.T, s span) {
	type event struct {
		at int64
		n  int
	}
	var w window
	var all []event
	limit, at := rapid.IntRange(1, 20).Draw(t, "limit"), rapid.Int64Range(1e9, 2e9).Draw(t, "start")
	gap := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 3), rapid.Int64Range(0, int64(s)/20), rapid.Int64Range(0, 2*int64(s)))
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		at += gap.Draw(t, "gap")
		n := rapid.IntRange(1, 6).Draw(t, "n")
		if w.sum(s, at)+n > limit {
			if wait := w.wait(s, at, limit-n); n <= limit && wait <= 0 {
				t.Fatalf("%d do not fit, and there is nothing to wait for", n)
			}
			continue
		}
		w.add(s, at, n)
		all = append(all, event{at, n})
		if rapid.IntRange(0, 9).Draw(t, "give back") == 0 {
			w.take(s, at, n)
			all = all[:len(all)-1]
		}
	}
	for _, end := range all {
		n := 0
		for _, e := range all {
			if e.at <= end.at && e.at > end.at-int64(s) {
				n += e.n
			}
		}
		if n > limit {
			t.Fatalf("%d in the window that ends at %d, limit %d", n, end.at, limit)
		}
	}
	if len(w.ticks) > steps+1 {
		t.Fatalf("%d steps are kept", len(w.ticks))
	}
}

func TestAWindowForgetsAtItsEnd(t *testing.T) {
	for name, s := range spans {
		step := int64(s) / steps
		start := int64(1_800_000_000) / step * step
		for offset, want := range map[int64]int{0: 5, int64(s) - 1: 5, int64(s): 5, int64(s) + step - 1: 5, int64(s) + step: 0} {
			var w window
			w.add(s, start, 5)
			if got := w.sum(s, start+offset); got != want {
				t.Errorf("%s: %d count %d s later, want %d", name, got, offset, want)
			}
		}
	}
}

// TestNoRefillAtTheTopOfTheHour spends a window just before a full hour, where
// one that is reset on the hour would be as new.
func TestNoRefillAtTheTopOfTheHour(t *testing.T) {
	top := int64(1_800_000_000) / 86400 * 86400
	for name, s := range spans {
		var w window
		w.add(s, top-1, 100)
		for _, later := range []int64{0, 1, int64(s) - 2} {
			if got := w.sum(s, top+later); got != 100 {
				t.Errorf("%s: %d of 100 count %d s after midnight", name, got, later)
			}
		}
	}
}

func TestWaitIsWhenThereIsRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		at := int64(1_800_000_000)
		for range rapid.IntRange(1, 10).Draw(t, "pushes") {
			at += rapid.Int64Range(0, 30).Draw(t, "gap")
			w.add(minute, at, 1)
		}
		n := rapid.IntRange(0, 10).Draw(t, "n")
		wait := int64(w.wait(minute, at, n) / time.Second)
		if w.sum(minute, at) <= n {
			if wait != 0 {
				t.Fatalf("wait %d s for what is so already", wait)
			}
			return
		}
		before := window{ticks: append([]tick(nil), w.ticks...)}
		if before.sum(minute, at+wait-1) <= n || w.sum(minute, at+wait) > n {
			t.Fatalf("%d s is not when no more than %d count", wait, n)
		}
	})
}

func TestWindowCountsDoNotWrap(t *testing.T) {
	var w window
	for range 3 {
		w.add(day, 1e9, 1<<32-2)
	}
	if got := w.sum(day, 1e9); got != 1<<32-1 {
		t.Errorf("%d", got)
	}
}

func TestClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 500e6)
	c := rolling{now: func() time.Time { return now }}
	for _, step := range []struct {
		name string
		by   time.Duration
		want int64 // seconds since the first reading
	}{
		{"first", 0, 0},
		{"half a second", 500 * time.Millisecond, 1},
		{"back an hour", -time.Hour, 1},
		{"and on", 1500 * time.Millisecond, 2},
		{"and on a little", 500 * time.Millisecond, 3},
		{"ahead a year", 365 * 24 * time.Hour, 3 + 365*86400},
		{"back a year", -365 * 24 * time.Hour, 3 + 365*86400},
		{"and on", time.Minute, 63 + 365*86400},
	} {
		now = now.Add(step.by)
		c.read()
		if got := c.at - 1_800_000_000; got != step.want {
			t.Errorf("%s: %d s, want %d", step.name, got, step.want)
		}
	}
}

func TestSecondsRoundUp(t *testing.T) {
	at := time.Unix(1_800_000_000, 1)
	s := toSecond(at)
	if s != 1_800_000_001 || s.after(at.Add(time.Second)) || !s.after(at) || toSecond(time.Unix(-5, 0)) != 1 || toSecond(time.Unix(1<<40, 0)) != 1<<32-1 {
		t.Errorf("%d", s)
	}
	if orNever(time.Time{}) != 0 || !second(0).time().IsZero() || !s.time().Equal(time.Unix(1_800_000_001, 0)) {
		t.Error("the zero time is a time")
	}
}
