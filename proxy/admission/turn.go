package admission

import (
	"runtime"
	"sync/atomic"
	"time"
)

// slice is for how long a push works, or twice that, before others that wait do so
// beside it.
const slice = 50 * time.Millisecond

func (g *Gate) run(p *Place) {
	g.running++
	g.served++
	p.running = true
	p.line.running++
	p.line.served = g.served
	g.lines.sort(p.line)
	g.work(p)
}

// work has p be one of those that work.
func (g *Gate) work(p *Place) {
	if p.working == 0 {
		g.working = append(g.working, p)
		p.working, p.sliced = len(g.working), false
	}
}

// rest takes p out of those that work.
func (g *Gate) rest(p *Place) {
	if p.working == 0 {
		return
	}
	end := len(g.working) - 1
	last := g.working[end]
	g.working[p.working-1], last.working = last, p.working
	g.working[end], g.working = nil, g.working[:end]
	p.working = 0
}

// advance gives turns to those that wait, while there are any.
func (g *Gate) advance() {
	for g.waiting > 0 && g.free() {
		now := time.Now()
		next := g.lines.next()
		if next.idle == 0 || now.Sub(next.since) <= g.cfg.Wait/promptly {
			g.prompt = now
		}
		if g.late(next, now) {
			continue
		}
		var p *Place
		if g.pace.orderly(g.waiting, now, g.soon()) {
			p = next.oldest()
		} else {
			p = next.newest()
		}
		g.waiting--
		g.run(p)
		p.turn <- 0
	}
}

// watch has a slice begin, unless one has, while somebody waits.
func (g *Gate) watch() {
	if !g.slicing {
		g.slicing = true
		time.AfterFunc(slice, g.sliced)
	}
}

// sliced lets others go on beside those that have worked all through a slice.
func (g *Gate) sliced() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.working) - 1; i >= 0; i-- {
		if p := g.working[i]; p.sliced {
			g.rest(p)
		} else {
			p.sliced = true
		}
	}
	g.advance()
	g.slicing = false
	if g.waiting > 0 {
		g.watch()
	}
}

// others are the goroutines of pushes that have not asked for their turns yet, and of
// answers. Go's scheduler hands a processor from one that ends to the one it wakes, and to
// those that wait beside it, and looks after the network once in 61 times: where each of
// them works for long, who comes later is not even heard, and cannot be preferred.
type others struct{ last atomic.Int64 }

// let lets others go first, if none did in the last millisecond, by whatever clock: one
// that was set back would have none go for as long as that.
func (o *others) let() {
	now, last := time.Now().UnixNano(), o.last.Load()
	if time.Duration(now-last).Abs() >= time.Millisecond && o.last.CompareAndSwap(last, now) {
		runtime.Gosched()
	}
}
