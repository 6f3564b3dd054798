package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// heapFloor has Go's collector leave a heap alone that is smaller than that. The collector
// runs when as much again is allocated as was reachable: of a guard that holds little and
// is pushed to a lot that is many times a second, for a few megabytes each time, and the
// pushes wait for it. A heap that grows takes memory that the system has to find first, which
// can cost a small push a tenth of its time: it grows by no more than what is allocated
// between two runs that are far enough apart.
type heapFloor struct {
	most    uint64 // bytes that the heap grows to; 0 leaves all to Go
	use     func() memoryUse
	now     func() time.Time
	percent func(int) (last int) // debug.SetGCPercent

	set       int       // what is in force
	allocated uint64    // when it was adjusted last
	adjusted  time.Time // that time
}

const (
	// usual is by how many percent the heap grows between two runs as Go has it.
	usual = 100
	// leastLive is what is taken for reachable at least, so that the percentage stays sane.
	leastLive = 1 << 20
	// leastFloor is where a heap is no longer small.
	leastFloor = 8 << 20
	// apart is how long after one run the next is to come, if the heap may grow so much.
	apart = time.Second / 2
)

// adjust sets by how much the heap may grow until the next run, which is what was allocated
// since the last in so much time as is to be between two.
func (f *heapFloor) adjust() {
	use, now := f.use(), f.now()
	live := max(use.live, leastLive)
	grows := float64(use.allocated-f.allocated) * float64(apart) / float64(max(now.Sub(f.adjusted), 1))
	f.allocated, f.adjusted = use.allocated, now
	least := min(f.most, max(leastFloor, live+uint64(min(grows, float64(f.most)))))
	percent := usual
	if live < least {
		percent = max(percent, int((least-live)*100/live))
	}
	if percent < f.set-f.set/10 || percent > f.set+f.set/10 {
		f.percent(percent)
		f.set = percent
	}
}

// run adjusts after each run of the collector until ctx ends, and returns its error.
func (f *heapFloor) run(ctx context.Context) error {
	if f.most == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	defer f.percent(usual)
	runs := make(chan struct{}, 1)
	for {
		f.adjust()
		afterCollection(runs)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-runs:
		}
	}
}

// afterCollection tells of the next run of the collector.
func afterCollection(told chan<- struct{}) {
	// Of 16 bytes and a pointer, so that it is in no block with others.
	runtime.AddCleanup(&struct {
		_ [2]uint64
		_ *int
	}{}, func(c chan<- struct{}) { c <- struct{}{} }, told)
}

// floorShare is the part of the memory limit that the floor is at the most, as its inverse.
const floorShare = 4

// floor is the lifecycle of a heapFloor. Who sets GOGC has decided.
func (f *memoryFlags) floor(ctx context.Context) (execute func() error, interrupt func(error)) {
	h := heapFloor{set: usual, use: readMemoryUse, now: time.Now, percent: debug.SetGCPercent}
	if os.Getenv("GOGC") == "" {
		h.most = min(uint64(f.collectFrom), uint64(debug.SetMemoryLimit(-1))/floorShare)
	}
	return inContext(ctx, h.run)
}
