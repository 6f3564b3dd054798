package shared

import (
	"sync/atomic"
	"time"
)

// Alone is how a guard goes on by itself.
type Alone struct {
	// Outage numbers the times that this guard was by itself.
	Outage uint64
	// Guards is how many there were when Redis was last heard of, and Rank which of
	// them this one is, from 0. Guards that had heard the same agree on both.
	Guards, Rank int
	// Clock is that of the order, as it goes on meanwhile.
	Clock func() time.Time
}

// Alone reports whether the guard goes on by itself: Redis is away, Config.Degrade
// says so, and what was done since is within Config.OutageBytes. What is then Posted
// has been done already. It takes its place once Redis is back, with what the other
// guards did meanwhile, in the order of the times at which it was done.
func (d *Door) Alone() (Alone, bool) {
	l := d.log
	l.mu.Lock()
	defer l.mu.Unlock()
	a := Alone{Outage: l.outage.number, Guards: int(l.guards.Load()), Rank: int(l.rank.Load()), Clock: l.clock}
	return a, l.Alone()
}

// Outage is in words what becomes of pushes while Redis is away: a guard goes on alone
// then, or it does not.
func Outage(alone bool) string {
	if alone {
		return "the Redis does not answer: this guard goes on by itself, within its share of each budget"
	}
	return "the Redis does not answer: pushes are answered 503"
}

// Parted is closed once the guard goes on by itself, and nil if it never does: what waits
// for another guard may wait for long from then on.
func (d *Door) Parted() <-chan struct{} {
	l := d.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outage.parted
}

// Back reports whether a guard that may go on by itself need not, any more.
func (d *Door) Back() bool { return d.log.cfg.Degrade && !d.log.Away() }

// Alone reports whether the guard goes on by itself.
func (l *Log) Alone() bool {
	return l.cfg.Degrade && l.joined.Load() && l.away.Load() && l.outage.bytes.Load() < int64(l.cfg.OutageBytes)
}

// outage is what a guard did by itself since Redis is away.
type outage struct {
	number   uint64
	begun    time.Time
	commands int
	bytes    atomic.Int64  // that wait to be handed in, also of outages before
	parted   chan struct{} // closed while there is one; nil: the guard does nothing by itself
}

func (o *outage) begin() {
	o.number++
	o.begun, o.commands = time.Now(), 0
	if o.parted != nil {
		close(o.parted)
	}
}

// keep notes a command, and reports whether that is the one that reaches the limit.
func (o *outage) keep(c *command, limit int64) bool {
	o.commands++
	n := int64(len(c.body))
	after := o.bytes.Add(n)
	return after >= limit && after-n < limit
}

// keep has a command that was posted be handed in, as of when it was. The log is locked.
func (l *Log) keep(c *command) {
	if c.at == 0 {
		return // of the log itself
	}
	c.did = c.at
	if l.outage.keep(c, int64(l.cfg.OutageBytes)) {
		l.logger.Error("This guard has done by itself as much as it keeps: it does so no more until the Redis that the guards share answers", "bytes", l.cfg.OutageBytes)
	}
}

// Posted is a command that was Posted.
type Posted struct{ command *command }

// Again has a command be done again, by a guard that went on by itself since it did it
// first: the same is not handed in twice. It reports whether it could.
func (d *Door) Again(p Posted) bool {
	l := d.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.command == nil || p.command.did == 0 || p.command.taken || !l.away.Load() {
		return false
	}
	p.command.did = l.clock().UnixMicro()
	return true
}

// tick is what Redis said its time was.
type tick struct {
	micro int64
	at    time.Time     // by the clock of this guard
	off   time.Duration // by no more than that
}

// tickTime is for how long a better tick is better than a newer one.
const tickTime = time.Minute

// hear takes the time of Redis, which was told between then and now.
func (l *Log) hear(micro int64, begun time.Time) {
	l.heard.Store(int64(begun.Sub(l.started)))
	off := time.Since(begun) / 2
	if t := l.ticked.Load(); t == nil || off <= t.off || begun.Sub(t.at) > tickTime {
		l.ticked.Store(&tick{micro, begun.Add(off), off})
	}
}

// clock is the time of the order, were there a command now.
func (l *Log) clock() time.Time {
	at := l.now.Load()
	if t := l.ticked.Load(); t != nil {
		at = max(at, t.micro+time.Since(t.at).Microseconds())
	}
	return time.UnixMicro(at)
}

// goAway notes that Redis is away.
func (l *Log) goAway(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away.Load() {
		return
	}
	l.outage.begin()
	l.away.Store(true)
	if !l.cfg.Degrade {
		l.logger.Error("The Redis that the guards share does not answer", "err", err)
		return
	}
	l.logger.Error("The Redis that the guards share does not answer: this guard goes on by itself within its share of what is left of each budget", "guards", l.guards.Load(), "err", err)
	for _, c := range l.queue { // what waited already was done before what is done from now on
		if c.did == 0 {
			l.keep(c)
		}
	}
}

// back notes that Redis is there. A guard that went on by itself hands in what it
// did, and says when that is all; until all others have, nothing else is decided.
func (l *Log) back() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.away.Load() {
		return
	}
	l.away.Store(false)
	if !l.cfg.Degrade {
		l.logger.Info("The Redis that the guards share answers again")
		return
	}
	o := &l.outage
	o.parted = make(chan struct{})
	l.logger.Info("The Redis that the guards share answers again: what this guard did by itself is handed in",
		"commands", o.commands, "bytes", o.bytes.Load(), "seconds", time.Since(o.begun).Seconds())
	l.counts.handed.Add(float64(o.commands))
	l.sayAll()
}

// sayAll has the guard say that it has handed in all. The log is locked.
func (l *Log) sayAll() {
	l.hold = true
	l.finals++
	l.queue = append(l.queue, &command{body: []byte{handIn}, posted: true, done: make(chan struct{})})
}

// handingIn puts commands that were done already into commands that hand them in.
func (l *Log) handingIn(batch []*command) []*command {
	out := batch[:0:0]
	for _, c := range batch {
		if c.did == 0 {
			out = append(out, c)
			continue
		}
		if n := len(out); n == 0 || len(out[n-1].parts) == 0 {
			out = append(out, &command{body: []byte{handIn}, posted: true, done: make(chan struct{})})
		}
		in := out[len(out)-1]
		in.body = appendPart(in.body, c.room, c.did, c.body)
		in.parts = append(in.parts, c)
		c.taken = true
		l.outage.bytes.Add(-int64(len(c.body)))
	}
	return out
}
