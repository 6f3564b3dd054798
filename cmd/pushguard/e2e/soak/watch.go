package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

const (
	// spare is how many goroutines and descriptors more there may be between faults than
	// at the first time: a connection that is kept is three and one.
	spare = 3*workers + 10
	// growth and slack are what the memory of the last fifth may be more than in the
	// second: times, and bytes, which a heap of some MiB takes at a whim of its collector.
	growth = 1.25
	slack  = 8 << 20
)

// watch is what the guard of a stage uses. It is safe for concurrent use.
type watch struct {
	mu      sync.Mutex
	samples []sample
	first   open
	last    open
}

// sample is the memory of one process at one time.
type sample struct {
	at      time.Time
	process *server.Process
	memory  int64
}

// open is what a process has open while no job pushes.
type open struct {
	process                 *server.Process
	goroutines, descriptors int
}

func (o open) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors", o.goroutines, o.descriptors)
}

// run looks at the memory of the guard once a second.
func (w *watch) run(ctx context.Context, s *stage) {
	for ; ctx.Err() == nil; wait(ctx, time.Second) {
		p := s.alive.Load()
		if p == nil {
			continue
		}
		if memory, err := p.Memory(); err == nil {
			w.mu.Lock()
			w.samples = append(w.samples, sample{time.Now(), p, memory})
			w.mu.Unlock()
		}
	}
}

// quiet waits until a guard that has nothing to do has no more open than the first time.
func (w *watch) quiet(ctx context.Context, s *stage) error {
	for deadline := time.Now().Add(settling); ; wait(ctx, again) {
		now, err := read(ctx, s.guard)
		if err != nil {
			return err
		}
		if w.first.process != s.guard {
			w.first = now
		}
		w.last = now
		if now.goroutines <= w.first.goroutines+spare && now.descriptors <= w.first.descriptors+spare {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("the guard does not let go: %v, and at first %v", now, w.first)
		}
	}
}

func read(ctx context.Context, p *server.Process) (open, error) {
	own, err := readPage(ctx, p.URL+"/guard/metrics")
	if err != nil {
		return open{}, err
	}
	files, err := p.Descriptors()
	return open{p, int(own[seriesID("go_goroutines")]), files}, err
}

// memory is the median of the guard in the second and in the last fifth of a soak, both
// of the one process that lived through that time.
func (w *watch) memory(begun time.Time, took time.Duration) (second, last int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fifth := func(n int, of *server.Process) (those []int64, p *server.Process) {
		for _, s := range w.samples {
			if at := s.at.Sub(begun); at*5/took == time.Duration(n) && (of == nil || of == s.process) {
				those, p = append(those, s.memory), s.process
			}
		}
		slices.Sort(those)
		return those, p
	}
	_, lived := fifth(1, nil)
	early, _ := fifth(1, lived)
	late, _ := fifth(4, lived)
	if len(early) == 0 || len(late) == 0 {
		return 0, 0, fmt.Errorf("no process lived from the second to the last fifth: %d and %d samples", len(early), len(late))
	}
	return early[len(early)/2], late[len(late)/2], nil
}

// flat says whether memory stayed what it was.
func flat(second, last int64) error {
	if most := int64(growth*float64(second)) + slack; last > most {
		return fmt.Errorf("memory is not flat: %d MiB in the second fifth, %d in the last, want at most %d", second>>20, last>>20, most>>20)
	}
	return nil
}
