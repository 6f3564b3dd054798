// Package admission decides which pushes a guard works on now, which wait, and which it
// sheds: at a load beyond what it can do, those that it takes are answered soon, and no
// job's flood costs another job its turn.
//
// A push has a [Place] from before its body is read to its answer. Its bytes count from
// the start, so that bodies which come slowly hold memory and nothing else; its turn it
// takes once the body is there. A turn that becomes free goes to the job with the fewest
// of its pushes at work, among these to the one that has waited the longest: jobs which
// the guard knows come before those it does not, and all of the latter share one line,
// since their names cost nothing to invent.
//
// A burst may wait: a second is better than an error. Where pushes have waited for all of
// that second there is no burst but more than can be done, and whoever waited as long as
// the others would only be served as late as they: from then on none waits for longer
// than a hundredth of it, until nobody waits. That is the "controlled delay" of Maurer,
// Fail at Scale, ACM Queue 13(8), 2015, after Nichols and Jacobson's CoDel.
package admission

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// Config bounds what is done at once. Zero bounds nothing.
type Config struct {
	// InFlight is how many pushes are worked on at once. 64 times as many may wait, each
	// for Wait at the longest, and a hundredth of that if pushes have waited all along
	// for so long; no Wait is one second.
	InFlight int
	Wait     time.Duration
	// Bytes is how much the bodies of all pushes may hold, of those that are still read,
	// too. One job never holds more than it leaves to the others, but for a single push.
	Bytes int64
}

// Reason is why a push was shed. The zero value is none.
type Reason uint8

// The reasons.
const (
	Full      Reason = iota + 1 // as many wait as may, none of them of a job with more
	Displaced                   // it waited, and had to leave its place to a job with less
	Waited                      // its turn did not come in time
	Bytes                       // the bodies of pushes hold what they may
	reasons
)

// String is the reason's word in metrics.
func (r Reason) String() string {
	switch r {
	case Full:
		return "full"
	case Displaced:
		return "displaced"
	case Waited:
		return "waited"
	case Bytes:
		return "bytes"
	default:
		return "unknown"
	}
}

const (
	// waitingShare is how many pushes may wait for each that is worked on. They hold
	// their bodies and little else.
	waitingShare = 64
	// hurry is by how much shorter the wait is under a load that does not end.
	hurry = 100
)

// ShedError says that a push is not taken now. The same push may be later.
type ShedError struct {
	Reason Reason
	Limit  int64 // of pushes, or of bytes
}

// Error says which limit is reached.
func (e *ShedError) Error() string {
	if e.Reason == Bytes {
		return fmt.Sprintf("the bodies of the pushes in flight take all they may, limit: %d bytes", e.Limit)
	}
	return fmt.Sprintf("too many pushes at once, limit: %d", e.Limit)
}

// Gate admits pushes. It is safe for concurrent use; a nil Gate admits everything.
type Gate struct {
	cfg Config

	mu      sync.Mutex
	lines   map[string]*line
	idle    list.List          // known lines that wait with no push at work, in that order
	busy    map[*line]struct{} // known lines with pushes at work, InFlight at the most
	running int
	waiting int
	alone   time.Time // when nobody waited last
	bytes   int64
	served  uint64
	shed    [reasons]uint64
}

// line is the pushes of a job, or of all jobs that are not known, that have a place.
type line struct {
	name    string
	known   bool
	places  int
	running int
	bytes   int64
	served  uint64 // when a push of it got its turn last, in turns
	queue   []*Place
	idle    *list.Element // in the gate's list
}

// Place is that of one push. Its zero value is none. It is of one goroutine.
type Place struct {
	gate    *Gate
	line    *line
	bytes   int64
	running bool
	turn    chan Reason // gets 0 for the turn, or why there will be none
}

// New returns a gate.
func New(cfg Config) *Gate {
	if cfg.InFlight <= 0 {
		cfg.InFlight = math.MaxInt / waitingShare
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = math.MaxInt64
	}
	if cfg.Wait <= 0 {
		cfg.Wait = time.Second
	}
	return &Gate{cfg: cfg, lines: map[string]*line{}, busy: map[*line]struct{}{}}
}

// Enter has p be the place of a push with so many bytes of body; Leave gives it up. A
// push that would be shed if its turn were asked for now is shed at once, before anybody
// reads it. The error is a *ShedError.
func (g *Gate) Enter(p *Place, job string, known bool, bytes int64) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.line(job, known)
	if g.running >= g.cfg.InFlight && g.crowded() && g.victim(l) == nil {
		g.tidy(l)
		return g.refuse(Full)
	}
	if !g.fits(l, 0, bytes) {
		g.tidy(l)
		return g.refuse(Bytes)
	}
	l.places++
	l.bytes += bytes
	g.bytes += bytes
	*p = Place{gate: g, line: l, bytes: bytes}
	return nil
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
	if err != nil || wait == 0 {
		return err
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case why := <-p.turn:
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
	if g.running < g.cfg.InFlight {
		g.run(p)
		return 0, nil
	}
	if g.crowded() && !g.makeRoom(p.line) {
		return 0, g.refuse(Full)
	}
	now := time.Now()
	if g.waiting == 0 {
		g.alone = now
	}
	p.turn = make(chan Reason, 1)
	p.line.queue = append(p.line.queue, p)
	g.waiting++
	g.sort(p.line)
	if now.Sub(g.alone) >= g.cfg.Wait {
		return max(1, g.cfg.Wait/hurry), nil
	}
	return g.cfg.Wait, nil
}

// crowded reports whether as many wait as may.
func (g *Gate) crowded() bool { return g.waiting >= waitingShare*g.cfg.InFlight }

// makeRoom sheds one that waits for one more of a line, if there is one that has to.
func (g *Gate) makeRoom(l *line) bool {
	v := g.victim(l)
	if v == nil {
		return false
	}
	last := v.queue[len(v.queue)-1]
	v.queue = v.queue[:len(v.queue)-1]
	g.waiting--
	g.sort(v)
	g.shed[Displaced]++
	last.turn <- Displaced
	return true
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
	for i, other := range p.line.queue {
		if other != p {
			continue
		}
		if i == 0 { // who has waited the longest
			p.line.queue = p.line.queue[1:]
		} else {
			p.line.queue = append(p.line.queue[:i], p.line.queue[i+1:]...)
		}
		g.waiting--
		g.sort(p.line)
		if cause != nil {
			return cause
		}
		return g.refuse(Waited)
	}
	return p.told(<-p.turn)
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
		g.running--
		l.running--
		g.sort(l)
		if next := g.next(); next != nil {
			first := next.queue[0]
			next.queue = next.queue[1:]
			g.waiting--
			g.run(first)
			first.turn <- 0
		}
	}
	g.tidy(l)
	*p = Place{}
}

func (g *Gate) run(p *Place) {
	g.running++
	g.served++
	p.running = true
	p.line.running++
	p.line.served = g.served
	g.sort(p.line)
}

// sort keeps a line where next looks for it.
func (g *Gate) sort(l *line) {
	if !l.known {
		return
	}
	if l.running > 0 {
		g.busy[l] = struct{}{}
	} else {
		delete(g.busy, l)
	}
	waits := l.running == 0 && len(l.queue) > 0
	switch {
	case waits && l.idle == nil:
		l.idle = g.idle.PushBack(l)
	case !waits && l.idle != nil:
		g.idle.Remove(l.idle)
		l.idle = nil
	}
}

// line is the line of a job, made if it has none.
func (g *Gate) line(job string, known bool) *line {
	if !known {
		job = ""
	}
	l := g.lines[job]
	if l == nil {
		l = &line{name: job, known: known}
		g.lines[job] = l
	}
	return l
}

// tidy forgets a line without a place.
func (g *Gate) tidy(l *line) {
	if l.places == 0 {
		delete(g.lines, l.name)
	}
}

// fits reports whether a push that holds own bytes may hold so many more: a line that
// holds those of other pushes, too, has no more than are left to the other lines.
func (g *Gate) fits(l *line, own, bytes int64) bool {
	left := g.cfg.Bytes - g.bytes - bytes
	return left >= 0 && (l.bytes == own || l.bytes+bytes <= left)
}

func (g *Gate) refuse(why Reason) error {
	g.shed[why]++
	limit := int64(g.cfg.InFlight)
	if why == Bytes {
		limit = g.cfg.Bytes
	}
	return &ShedError{Reason: why, Limit: limit}
}

// next is the line whose turn it is, nil if nobody waits.
func (g *Gate) next() *line {
	if first := g.idle.Front(); first != nil {
		return first.Value.(*line)
	}
	var best *line
	for l := range g.busy {
		if len(l.queue) > 0 && (best == nil || l.before(best)) {
			best = l
		}
	}
	if strangers := g.lines[""]; best == nil && strangers != nil && len(strangers.queue) > 0 {
		return strangers
	}
	return best
}

func (l *line) before(other *line) bool {
	return l.running < other.running || l.running == other.running && l.served < other.served
}

// victim is the line that has to make room for one more of a line, where all places to
// wait are taken: the jobs that are not known for one that is, else the longest, if it is
// longer by more than the one. Nil if there is none.
func (g *Gate) victim(l *line) *line {
	var longest *line
	for _, other := range g.lines {
		switch {
		case other == l, len(other.queue) == 0, other.known && !l.known:
		case l.known && !other.known:
			return other
		case longest == nil || len(other.queue) > len(longest.queue):
			longest = other
		}
	}
	if longest == nil || len(longest.queue) <= len(l.queue)+1 {
		return nil
	}
	return longest
}
