package main

import (
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

// pressure tells how full the memory is that the process may take. Go's collector keeps a
// process below its limit only while what is reachable leaves it some of that: nearer to
// the limit it runs all the time, and beyond the kernel ends the process. So growth ends
// well before.
type pressure struct {
	limit uint64 // 0 is none
	use   func() uint64
	now   func() time.Time

	due atomic.Pointer[time.Time] // when to look again, whatever the clock is set to; nil: now
	was atomic.Uint32             // a proxy.Pressure
}

const (
	// tightShare is the part of the limit, in hundredths, that may be in use when new
	// series are taken, fullShare when pushes are. Between them is room for what grows
	// without new series, above both for a quarter that pushes in flight may hold, and for
	// what these and scrapes leave to the collector.
	tightShare, fullShare = 60, 75
	// pressureAge is how old a reading may be.
	pressureAge = 20 * time.Millisecond
)

// newPressure returns the pressure under the limit that Go's collector has.
func newPressure() *pressure {
	p := &pressure{use: readInUse, now: time.Now}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		p.limit = uint64(limit)
	}
	return p
}

// look is how full the memory is. It costs next to nothing but 50 times a second.
func (p *pressure) look() proxy.Pressure {
	if p.limit == 0 {
		return proxy.Roomy
	}
	now, due := p.now(), p.due.Load()
	if due == nil || !now.Before(*due) {
		if next := now.Add(pressureAge); p.due.CompareAndSwap(due, &next) {
			p.was.Store(uint32(p.of(p.use())))
		}
	}
	return proxy.Pressure(p.was.Load())
}

func (p *pressure) of(use uint64) proxy.Pressure {
	switch {
	case use >= p.limit/100*fullShare:
		return proxy.Full
	case use >= p.limit/100*tightShare:
		return proxy.Tight
	default:
		return proxy.Roomy
	}
}

// readInUse is what no collector can give back: what was reachable when it ran last, and
// what is no heap, such as stacks.
func readInUse() uint64 {
	read := readBytes("/gc/heap/live:bytes", "/memory/classes/total:bytes",
		"/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes",
		"/memory/classes/heap/free:bytes", "/memory/classes/heap/released:bytes")
	sum := read[0] + read[1]
	for _, heap := range read[2:] {
		sum -= heap
	}
	return sum
}
