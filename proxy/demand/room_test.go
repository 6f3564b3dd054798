package demand

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLimits holds each limit at, under and over: what is over is untracked and
// counted as such, once however often it is sent, and what is known goes on.
func TestLimits(t *testing.T) {
	const name = "label_1" // all jobs and labels of this test are that long
	room := func(jobs, labels int) int { return jobs*jobCost(name) + labels*labelCost(name) }
	for _, tc := range []struct {
		name         string
		cfg          Config
		jobs, labels int // sent, labels of each job
		tracked      int
	}{
		{"sketches under", Config{MaxSketches: 7}, 2, 3, 6},
		{"sketches at", Config{MaxSketches: 6}, 2, 3, 6},
		{"sketches over", Config{MaxSketches: 5}, 2, 3, 5},
		{"labels of a job under", Config{MaxLabels: 4}, 2, 3, 6},
		{"labels of a job at", Config{MaxLabels: 3}, 2, 3, 6},
		{"labels of a job over", Config{MaxLabels: 2}, 2, 3, 4},
		{"bytes under", Config{MaxBytes: room(2, 6) + 1}, 2, 3, 6},
		{"bytes at", Config{MaxBytes: room(2, 6)}, 2, 3, 6},
		{"bytes over", Config{MaxBytes: room(2, 6) - 1}, 2, 3, 5},
		{"no bytes for a job without labels", Config{MaxBytes: jobCost(name)}, 2, 3, 0},
		{"nothing is let in", Config{MaxSketches: -1}, 2, 3, 0},
		{"the defaults at", Config{}, 50, 200, 10_000},
		{"the defaults over", Config{}, 51, 200, 10_000},
		{"the labels of a job by default", Config{}, 1, 201, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := New(tc.cfg)
			for round := range 3 {
				for j := range tc.jobs {
					for l := range tc.labels {
						e.Add(fmt.Sprintf("job_%03d", j), []Value{value(fmt.Sprintf("lab_%03d", l), fmt.Sprint(round))})
					}
				}
			}
			s := e.Stats()
			over := float64(tc.jobs*tc.labels - tc.tracked)
			if s.Tracked != tc.tracked || float64(s.Untracked) < 0.95*over || float64(s.Untracked) > 1.05*over {
				t.Errorf("%d labels tracked, %d not, of %d sent; want %d tracked", s.Tracked, s.Untracked, tc.jobs*tc.labels, tc.tracked)
			}
			found := 0
			for j := range tc.jobs {
				for _, u := range e.Job(fmt.Sprintf("job_%03d", j), 1000) {
					if found++; u.Values != 3 {
						t.Fatalf("%s of job %d: counted %d of 3 values", u.Label, j, u.Values)
					}
				}
			}
			if found != tc.tracked {
				t.Errorf("%d labels are listed, %d tracked", found, tc.tracked)
			}
		})
	}
}

// TestLimitsHoldAtOnce lets many take the last room.
func TestLimitsHoldAtOnce(t *testing.T) {
	e := New(Config{MaxSketches: 20})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 5 {
				e.Add(fmt.Sprint(w), numbered(fmt.Sprint(i), 0, 1))
			}
		})
	}
	wg.Wait()
	if s := e.Stats(); s.Tracked != 20 || s.Untracked != 20 {
		t.Errorf("%+v, want 20 of 40 tracked", s)
	}
}

// TestMemoryIsBounded fills an Estimator with as much as it takes, in both
// generations, and compares the heap with what it says and was granted.
func TestMemoryIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name         string
		jobs, labels int
		width        int // of names
		values       int // of each label
	}{
		{"large sketches", 10, 100, 8, 100},
		{"a label a job", 1000, 1, 8, 100},
		{"long names", 1000, 1, maxName, 40},
		{"few values", 10_000, 1, 8, 1},
		{"few values of many labels", 50, 200, 8, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const limit = 4 << 20
			fill := func(cfg Config) (*Estimator, int) {
				c, before := new(clock), heap()
				cfg.Now, cfg.Shape = c.Now, func(_, v string) string { return strings.Repeat("s", len(v)) + v[len(v)-1:] }
				e := New(cfg)
				for g := range time.Duration(2) {
					c.advance(g * generation)
					for j := range tc.jobs {
						job := fmt.Sprintf("%0*d", tc.width, j)
						for l := range tc.labels {
							e.Add(job, numbered(fmt.Sprintf("%0*d", tc.width, l), 0, tc.values))
						}
					}
				}
				return e, heap() - before
			}
			none, fixed := fill(Config{MaxSketches: -1}) // the locks, and the hashes of what is untracked
			e, grown := fill(Config{MaxBytes: limit})
			runtime.KeepAlive(none)
			s := e.Stats()
			if s.Bytes > limit || s.Bytes < limit*9/10 || s.Untracked == 0 {
				t.Errorf("%d of %d bytes set aside, %d untracked: the test does not fill it", s.Bytes, limit, s.Untracked)
			}
			if grown-fixed > s.Bytes {
				t.Errorf("labels take %d bytes, %d are set aside", grown-fixed, s.Bytes)
			}
		})
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
