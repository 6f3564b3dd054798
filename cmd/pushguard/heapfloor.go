package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
)

// heapFloor has Go's collector leave a heap alone that is smaller than that. The collector
// runs when as much again is allocated as was reachable: of a guard that holds little and
// is pushed to a lot that is many times a second, for a few megabytes each time, and the
// pushes wait for it.
type heapFloor struct {
	least   uint64               // bytes; 0 leaves all to Go
	live    func() uint64        // bytes that were reachable in the last run
	percent func(int) (last int) // debug.SetGCPercent

	set int // what is in force
}

// usual is by how many percent the heap grows between two runs as Go has it.
const usual = 100

// leastLive is what is taken for reachable at least, so that the percentage stays sane.
const leastLive = 1 << 20

// adjust sets by how much the heap may grow until the next run.
func (f *heapFloor) adjust() {
	percent := usual
	if live := max(f.live(), leastLive); live < f.least {
		percent = max(percent, int((f.least-live)*100/live))
	}
	if percent < f.set-f.set/10 || percent > f.set+f.set/10 {
		f.percent(percent)
		f.set = percent
	}
}

// run adjusts after each run of the collector until ctx ends, and returns its error.
func (f *heapFloor) run(ctx context.Context) error {
	if f.least == 0 {
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
	h := heapFloor{set: usual, live: func() uint64 { return readMemoryUse().live }, percent: debug.SetGCPercent}
	if os.Getenv("GOGC") == "" {
		h.least = min(uint64(f.collectFrom), uint64(debug.SetMemoryLimit(-1))/floorShare)
	}
	return inContext(ctx, h.run)
}
