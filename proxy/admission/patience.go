package admission

import "time"

const (
	// hurry is by how much shorter the wait is under a load that does not end: long
	// enough that a processor finds somebody to work for.
	hurry = 20
	// burst is the part of the wait for which a line that is never empty is one of a burst.
	burst = 10
	// promptly is the part of the wait within which a job that is known has to have its
	// turn, now and then, for all to be well. It leaves room for clients that push one
	// after the other, and always have one push waiting.
	promptly = 4
)

// patience is for how long one of a line may wait.
func (g *Gate) patience(l *line, now time.Time) time.Duration {
	if g.standing(l, now) || now.Sub(g.prompt) >= g.cfg.Wait {
		return g.soon()
	}
	return g.cfg.Wait
}

// standing reports whether more of a line come than are served: it is never empty, or
// would not have been but for those who have waited for too long.
func (g *Gate) standing(l *line, now time.Time) bool {
	return now.Sub(l.empty) >= g.cfg.Wait/burst || now.Sub(l.hurried) < g.cfg.Wait
}

func (g *Gate) soon() time.Duration { return max(1, g.cfg.Wait/hurry) }

// pace is how soon one turn follows another while somebody waits.
type pace struct {
	mean time.Duration // of the latest
	last time.Time     // when the last turn was, or somebody came to wait behind nobody
}

// paced is over how many turns a pace is the mean, about.
const paced = 16

// begin has somebody wait, behind nobody.
func (p *pace) begin(now time.Time) { p.last = now }

// orderly counts a turn, and reports whether all who wait, this one too, will have theirs
// within half of that time. Who came first is served first then: none of them is about to
// give up.
func (p *pace) orderly(waiting int, now time.Time, within time.Duration) bool {
	p.mean += (now.Sub(p.last) - p.mean) / paced
	p.last = now
	return time.Duration(waiting)*p.mean <= within/2
}

// late sheds all of a line who have waited for longer than others of it do, while others
// come or were shed, and reports whether there were such.
func (g *Gate) late(l *line, now time.Time) bool {
	newest := l.queue[len(l.queue)-1]
	goesOn := now.Sub(l.joined) <= g.soon() || now.Sub(l.hurried) < g.cfg.Wait
	if !g.standing(l, now) || !goesOn || now.Sub(newest.since) <= g.soon() {
		return false
	}
	l.hurried = now
	for len(l.queue) > 0 {
		g.drop(l, l.newest(), Waited)
	}
	return true
}
