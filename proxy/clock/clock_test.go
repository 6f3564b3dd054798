package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/clock/clocktest"
)

func TestAhead(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for name, c := range map[string]struct {
		events []time.Duration // in turn that pass, and by which the clock is set
		d      time.Duration
		want   time.Duration
	}{
		"nobody sets it":              {[]time.Duration{day}, hour, 0},
		"forward, just now":           {[]time.Duration{hour, day}, hour, day},
		"forward, almost so long ago": {[]time.Duration{0, day, hour - 1}, hour, day},
		"forward, so long ago":        {[]time.Duration{0, day, hour}, hour, 0},
		"back":                        {[]time.Duration{hour, -day}, hour, 0},
		"forward and back":            {[]time.Duration{hour, day, hour / 2, -day, 0}, hour, day},
		"twice":                       {[]time.Duration{hour, day, hour / 2, hour, 0}, hour, day + hour},
		"a little, many times":        {[]time.Duration{0, 300 * time.Millisecond, 1, 300 * time.Millisecond, 1, 500 * time.Millisecond}, hour, 1100 * time.Millisecond},
		"too little":                  {[]time.Duration{0, 999 * time.Millisecond}, hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := clocktest.New(time.Date(2031, 5, 5, 0, 0, 0, 0, time.UTC))
			w := New(h.Now)
			for i, d := range c.events {
				if i%2 == 0 {
					h.Pass(d)
				} else {
					h.Set(d)
				}
				w.Ahead(0)
			}
			if got := w.Ahead(c.d); got != c.want {
				t.Errorf("ahead by %v, want %v", got, c.want)
			}
		})
	}
}

// TestNothingLooksOld: whatever is done to the clock, what it showed when something
// happened looks no older than it is once Ahead is taken off; and nobody is taken for
// young for ever.
func TestNothingLooksOld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := clocktest.New(time.Date(2031, 5, 5, 0, 0, 0, 0, time.UTC))
		w := New(h.Now)
		life := time.Duration(rapid.IntRange(1, 100).Draw(t, "life")) * time.Minute
		happened := h.Now()
		shown, jumped := happened.UnixNano(), false
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			if rapid.Bool().Draw(t, "set") {
				h.Set(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "minutes")) * time.Minute)
				jumped = true
			} else {
				h.Pass(time.Duration(rapid.IntRange(0, 30).Draw(t, "pass")) * time.Minute)
			}
			now := h.Now()
			age, looks := now.Sub(happened), time.Duration(now.UnixNano()-shown)-w.Ahead(life)
			if age < life && looks >= life {
				t.Fatalf("what is %v old looks %v old", age, looks)
			}
			if !jumped && looks != age {
				t.Fatalf("what is %v old looks %v old, though nobody set the clock", age, looks)
			}
		}
		h.Pass(life)
		w.Ahead(life)
		h.Pass(life)
		if got := w.Ahead(life); got != 0 {
			t.Fatalf("still ahead by %v", got)
		}
	})
}
