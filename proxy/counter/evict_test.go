package counter

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestTheLongestUnseenMakeRoom(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Baselines: 10})
	push := func(n int) float64 {
		c.advance(time.Second)
		return pushed(t, b, fmt.Sprintf("job=j%d", n), value(fmt.Sprintf("job=j%d", n), Run, 0, 1))
	}
	for n := range 10 {
		push(n)
	}
	if got := b.Stats(); got.Baselines != 10 || got.Evictions != 0 {
		t.Errorf("at the bound: %d baselines, %d evicted", got.Baselines, got.Evictions)
	}
	push(0) // seen again
	push(10)
	if got := b.Stats(); got.Baselines != 10 || got.Evictions != 1 {
		t.Errorf("over it: %d baselines, %d evicted", got.Baselines, got.Evictions)
	}
	if got := push(0); got != 0 {
		t.Errorf("one that was seen again adds %v, want 0", got)
	}
	if got := push(1); got != 1 {
		t.Errorf("the longest unseen adds %v, want 1", got)
	}
}

func TestHistogramsTakeRoomForTheirBuckets(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Baselines: 10})
	r := took(Run, 0, 1, 1)
	bounds := make([]float64, 48)
	for i := range bounds {
		bounds[i] = float64(i)
	}
	r.Output, r.Buckets = &Series{Name: "took_seconds", Kind: Histogram, Bounds: bounds}, make([]float64, 48)
	for n := range 4 {
		r.Identity = identity("job=j", "took_seconds", fmt.Sprintf("n=%d", n))
		pushed(t, b, "job=j", r)
	}
	if got := b.Stats(); got.Baselines != 1 || got.Evictions != 3 {
		t.Errorf("%d baselines, %d evicted, want 1 and 3", got.Baselines, got.Evictions)
	}
	if got, want := b.weight.Load(), int64(6); got != want {
		t.Errorf("weight = %d, want %d", got, want)
	}
}

// What is evicted raises the watermark: what began before may have been counted.
func TestEvictionsAreRemembered(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Baselines: 1})
	began := c.now.UnixNano() + 1
	c.advance(time.Minute)
	p := Push{Group: groupOf("job=j").Identity(), IgnoreUnknown: true}
	if got := pushedAs(t, b, p, value("job=j", Created, began, 5)); got != 5 {
		t.Fatalf("the first adds %v, want 5", got)
	}
	c.advance(time.Minute)
	pushed(t, b, "job=k", value("job=k", Run, 0, 1))
	if got := pushedAs(t, b, p, value("job=j", Created, began, 7)); got != 0 {
		t.Errorf("after its eviction it adds %v, want 0: it may have been counted", got)
	}
	if got := b.Stats().Ambiguous[Created]; got != 1 {
		t.Errorf("ambiguous = %d, want 1", got)
	}
}

// TestOnceADay: a source that is pushed once a day, a little later each time, goes on from
// where it was.
func TestOnceADay(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	began := c.now.UnixNano() + 1
	for day, v := range []float64{100, 200, 250} {
		for range shards { // one shard is looked through with each push
			pushed(t, b, "job=busy", value("job=busy", Anonymous, 0, 1))
		}
		want := []float64{100, 100, 50}[day]
		if got := pushed(t, b, "job=daily", value("job=daily", Process, began, v)); got != want {
			t.Errorf("day %d: %v counts %v, want %v", day, v, got, want)
		}
		c.advance(25 * time.Hour)
	}
}

func TestIdleBaselinesGo(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Idle: time.Hour})
	for n := range 100 {
		group := fmt.Sprintf("job=j%d", n)
		pushed(t, b, group, value(group, Run, 0, 1))
	}
	tick := func() {
		for range shards { // one shard is looked through with each push
			pushed(t, b, "job=busy", value("job=busy", Anonymous, 0, 1))
		}
	}
	c.advance(time.Hour)
	tick()
	if got := b.Stats(); got.Baselines != 100 || got.Expirations != 0 {
		t.Errorf("after an hour %d are kept, %d expired", got.Baselines, got.Expirations)
	}
	c.advance(time.Second)
	tick()
	if got := b.Stats(); got.Baselines != 0 || got.Expirations != 100 || got.Evictions != 0 {
		t.Errorf("after more %d are kept, %d expired, %d evicted", got.Baselines, got.Expirations, got.Evictions)
	}
}

// TestOnlyTheIdleGo: with one of a group that nothing shows any more goes none that is shown.
func TestOnlyTheIdleGo(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Idle: time.Hour})
	ended, runs := value("job=j", Run, 0, 1), value("job=j", Run, 0, 1)
	ended.Identity, runs.Identity = identity("job=j", "x_total", "run=1"), identity("job=j", "x_total", "run=2")
	pushed(t, b, "job=j", ended, runs)
	c.advance(40 * time.Minute)
	pushed(t, b, "job=j", runs)
	c.advance(40 * time.Minute)
	for range shards { // one shard is looked through with each push
		pushed(t, b, "job=busy", value("job=busy", Anonymous, 0, 1))
	}
	if got := b.Stats(); got.Baselines != 1 || got.Expirations != 1 {
		t.Errorf("%d are kept, %d expired, want one each", got.Baselines, got.Expirations)
	}
	if got := pushed(t, b, "job=j", runs); got != 0 {
		t.Errorf("the one that was shown adds %v again", got)
	}
}

func TestAClockThatGoesBackKeepsTheOrder(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now, Baselines: 2})
	for n, step := range []time.Duration{0, time.Hour, -2 * time.Hour} {
		c.advance(step)
		group := fmt.Sprintf("job=j%d", n)
		pushed(t, b, group, value(group, Run, 0, 1))
	}
	if got := pushed(t, b, "job=j2", value("job=j2", Run, 0, 1)); got != 0 {
		t.Errorf("the last pushed was evicted, it adds %v", got)
	}
}

func TestPeriodicPushersAreNoticed(t *testing.T) {
	read := func(metric string, v float64) Reading {
		r := value("job=j", Anonymous, 0, v)
		r.Identity = identity("job=j", "x_total", metric)
		return r
	}
	for _, tc := range []struct {
		name   string
		pushes [][]Reading
		want   uint64
	}{
		{"four that grow", [][]Reading{{read("a=1", 5)}, {read("a=1", 15)}, {read("a=1", 25)}, {read("a=1", 30)}}, 1},
		{"three that grow", [][]Reading{{read("a=1", 5)}, {read("a=1", 15)}, {read("a=1", 25)}}, 0},
		{"one of two grows each time", [][]Reading{
			{read("a=1", 1), read("a=2", 1)}, {read("a=1", 2), read("a=2", 1)}, {read("a=1", 2), read("a=2", 2)}, {read("a=1", 2), read("a=2", 3)}, {read("a=1", 3), read("a=2", 3)},
		}, 2},
		{"one falls", [][]Reading{
			{read("a=1", 1), read("a=2", 3)}, {read("a=1", 2), read("a=2", 3)}, {read("a=1", 3), read("a=2", 2)}, {read("a=1", 4), read("a=2", 3)}, {read("a=1", 5), read("a=2", 3)},
		}, 0},
		{"ones", [][]Reading{{read("a=1", 1)}, {read("a=1", 1)}, {read("a=1", 1)}, {read("a=1", 1)}, {read("a=1", 1)}}, 0},
		{"another counter each time", [][]Reading{{read("a=1", 1)}, {read("a=2", 2)}, {read("a=3", 3)}, {read("a=4", 4)}, {read("a=5", 5)}}, 0},
		{"not anonymous", [][]Reading{{value("job=j", Run, 0, 1)}, {value("job=j", Run, 0, 2)}, {value("job=j", Run, 0, 3)}, {value("job=j", Run, 0, 4)}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBook(Config{Now: newClock().Now})
			seen := uint64(0)
			for _, readings := range tc.pushes {
				var i Increments
				if err := b.Difference(&i, readings, Push{Group: groupOf("job=j").Identity()}); err != nil {
					t.Fatal(err)
				}
				i.Foresee()
				foreseen := i.Periodic()
				if err := i.Commit(context.Background(), &summing{}); err != nil {
					t.Fatal(err)
				}
				if i.Periodic() != foreseen {
					t.Errorf("periodic: %t, foreseen %t", i.Periodic(), foreseen)
				}
				if i.Periodic() {
					seen++
				}
			}
			if got := b.Stats().Periodic; got != tc.want || seen != tc.want {
				t.Errorf("periodic pushes: %d, said of %d, want %d", got, seen, tc.want)
			}
		})
	}
}

func TestWhatIsWatchedForPatternsIsBounded(t *testing.T) {
	p := newPatterns()
	var readings []Reading
	for n := range patternWidth + 1 {
		r := value("job=j", Anonymous, 0, float64(n))
		r.Identity = Identity{1, uint64(n)}
		readings = append(readings, r)
	}
	for n := range patternMax + 1 {
		p.observe(uint64(n), readings)
	}
	if got := p.groups.Len(); got != patternMax {
		t.Errorf("%d groups are watched, want %d", got, patternMax)
	}
}
