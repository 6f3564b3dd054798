package admission

import (
	"context"
	"time"
)

// Place is that of one push. Its zero value is none. It is of one goroutine.
type Place struct {
	gate    *Gate
	line    *line
	bytes   int64
	running bool
	working int         // where among those that work, from 1; 0 if it does not
	since   time.Time   // when it came to wait
	sliced  bool        // it has worked for as long as the last slice
	turn    chan Reason // gets 0 for the turn, or why there will be none
}

// Grow counts more bytes of the push. The error is a *ShedError.
func (p *Place) Grow(bytes int64) error {
	g := p.gate
	if g == nil || bytes <= 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.fits(p.line, p.bytes, bytes) {
		return g.refuse(Bytes)
	}
	p.bytes += bytes
	p.line.bytes += bytes
	g.bytes += bytes
	return nil
}

// Start waits for the turn of the push. The error is a *ShedError or that of ctx.
func (p *Place) Start(ctx context.Context) error {
	if p.gate == nil {
		return nil
	}
	wait, err := p.start()
	if err != nil {
		return err
	}
	if wait == 0 {
		p.gate.others.let()
		return nil
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case why := <-p.turn:
		p.gate.others.let()
		return p.told(why)
	case <-ctx.Done():
		return p.giveUp(ctx.Err())
	case <-patience.C:
		return p.giveUp(nil)
	}
}

// start takes a turn, if one is free, or a place in the line, and says for how long.
func (p *Place) start() (wait time.Duration, err error) {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free() {
		g.run(p)
		return 0, nil
	}
	if g.crowded() && !g.makeRoom(p.line) {
		return 0, g.refuse(Full)
	}
	now := time.Now()
	if g.waiting == 0 {
		g.prompt = now
		g.pace.begin(now)
	}
	p.turn = make(chan Reason, 1)
	p.line.join(p, now)
	g.waiting++
	g.lines.sort(p.line)
	g.watch()
	return g.patience(p.line, now), nil
}

func (p *Place) told(why Reason) error {
	if why != 0 {
		return &ShedError{Reason: why, Limit: int64(p.gate.cfg.InFlight)}
	}
	return nil
}

// giveUp leaves the line, unless the turn came at the last moment.
func (p *Place) giveUp(cause error) error {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !p.line.leave(p) {
		return p.told(<-p.turn)
	}
	g.waiting--
	g.lines.sort(p.line)
	if cause != nil {
		return cause
	}
	p.line.hurried = time.Now()
	return g.refuse(Waited)
}

// Rest says that the push now waits for others, such as a disk or a server: another one
// may work meanwhile. It keeps its turn. A push that rests, or has no turn, may.
func (p *Place) Rest() {
	g := p.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rest(p)
	g.advance()
}

// Resume says that the push works again. It waits for nobody, so that what was begun is
// ended before something else begins. It is for a push with a turn, and may be called of
// one that works.
func (p *Place) Resume() {
	g := p.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work(p)
}

// Leave gives up the place, if there is one, and the turn to the next.
func (p *Place) Leave() {
	g := p.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := p.line
	g.bytes -= p.bytes
	l.bytes -= p.bytes
	l.places--
	if p.running {
		g.rest(p)
		g.running--
		l.running--
		g.lines.sort(l)
		g.advance()
	}
	g.lines.tidy(l)
	*p = Place{}
}
