// Package admission decides which pushes a guard works on now, which wait, and which it
// sheds: at a load beyond what it can do, those that it takes are answered soon, and no
// job's flood costs another job its turn.
//
// A push has a [Place] from before its body is read to its answer. Its bytes count from
// the start, so that bodies which come slowly hold memory and nothing else; its turn it
// takes once the body is there. A turn that becomes free goes to the job with the fewest
// of its pushes in flight, among these to the one whose last turn was the longest ago: jobs
// which the guard knows come before those it does not, and all of the latter share one
// line, since their names cost nothing to invent.
//
// With its turn a push gets a processor to work with, which it gives back where it waits
// for others, by [Place.Rest]. So as many are worked on at once as there are processors,
// one after the other, and each of them is done soon; if all that may be in flight were,
// each would be as late as all together. One that takes long does not keep the others
// waiting: they go on beside it after a slice.
//
// A burst may wait: a second is better than an error. A job that has had pushes waiting
// for a tenth of that without a break sends more than can be done, and who of it waits as
// long as the others is only served as late as they: from then on each of its pushes waits
// for a twentieth at the longest, and while new ones come no older one is served, until a
// second has passed without such an end to a wait. The same is for all jobs if in a second
// none had its turn within a quarter of it. In each line who came first is served first, as
// long as all who wait will have their turns within half of a twentieth, by how soon the
// last turns came; beyond, who came last, since those before it may be about to give up.
// Together these are the "controlled delay" and the "adaptive LIFO" of Maurer, Fail at
// Scale, ACM Queue 13(8), 2015, after Nichols and Jacobson's CoDel.
package admission

import (
	"math"
	"runtime"
	"sync"
	"time"
)

// Config bounds what is done at once. Zero bounds nothing.
type Config struct {
	// InFlight is how many pushes are worked on at once. 64 times as many may wait, each
	// for Wait at the longest, and a twentieth of that under a load that does not end; no
	// Wait is one second.
	InFlight int
	Wait     time.Duration
	// Working is how many of those in flight work at once, and do not wait for others;
	// none is GOMAXPROCS, and without InFlight it bounds nothing.
	Working int
	// Bytes is how much the bodies of all pushes may hold, of those that are still read,
	// too. One job never holds more than it leaves to the others, but for a single push.
	Bytes int64
}

// waitingShare is how many pushes may wait for each that is in flight. They hold their
// bodies and little else.
const waitingShare = 64

// Gate admits pushes. It is safe for concurrent use; a nil Gate admits everything.
type Gate struct {
	cfg    Config
	others others

	mu      sync.Mutex
	lines   lines
	running int
	working []*Place // of those that run
	waiting int
	prompt  time.Time // when the next known job would not have waited for long, last
	pace    pace
	slicing bool // there is a timer for the next slice
	bytes   int64
	served  uint64
	shed    [reasons]uint64
}

// New returns a gate.
func New(cfg Config) *Gate {
	if cfg.InFlight <= 0 {
		cfg.InFlight = math.MaxInt / waitingShare
		cfg.Working = cfg.InFlight
	}
	if cfg.Working <= 0 {
		cfg.Working = runtime.GOMAXPROCS(0)
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = math.MaxInt64
	}
	if cfg.Wait <= 0 {
		cfg.Wait = time.Second
	}
	return &Gate{cfg: cfg, lines: lines{all: map[string]*line{}, busy: map[*line]struct{}{}}}
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
	l := g.lines.of(job, known)
	if !g.free() && g.crowded() && g.lines.victim(l) == nil {
		g.lines.tidy(l)
		return g.refuse(Full)
	}
	if !g.fits(l, 0, bytes) {
		g.lines.tidy(l)
		return g.refuse(Bytes)
	}
	l.places++
	l.bytes += bytes
	g.bytes += bytes
	*p = Place{gate: g, line: l, bytes: bytes}
	return nil
}

// free reports whether a push may have its turn at once. If so, none waits.
func (g *Gate) free() bool {
	return g.running < g.cfg.InFlight && len(g.working) < g.cfg.Working
}

// crowded reports whether as many wait as may.
func (g *Gate) crowded() bool { return g.waiting >= waitingShare*g.cfg.InFlight }

// makeRoom sheds one that waits for one more of a line, if there is one that has to.
func (g *Gate) makeRoom(l *line) bool {
	v := g.lines.victim(l)
	if v == nil {
		return false
	}
	g.drop(v, v.oldest(), Displaced)
	return true
}

// drop sheds one that was taken out of a line.
func (g *Gate) drop(l *line, p *Place, why Reason) {
	g.waiting--
	g.lines.sort(l)
	g.shed[why]++
	p.turn <- why
}

// fits reports whether a push that holds own bytes may hold so many more: a line that
// holds those of other pushes, too, has no more than are left to the other lines.
func (g *Gate) fits(l *line, own, bytes int64) bool {
	left := g.cfg.Bytes - g.bytes - bytes
	return left >= 0 && (l.bytes == own || l.bytes+bytes <= left)
}

// NoMemory sheds a push, before anybody reads it, for which the process has no memory
// left. The error is a *ShedError.
func (g *Gate) NoMemory() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refuse(Memory)
}

func (g *Gate) refuse(why Reason) error {
	g.shed[why]++
	switch why {
	case Bytes:
		return &ShedError{Reason: why, Limit: g.cfg.Bytes}
	case Memory:
		return &ShedError{Reason: why}
	default:
		return &ShedError{Reason: why, Limit: int64(g.cfg.InFlight)}
	}
}
