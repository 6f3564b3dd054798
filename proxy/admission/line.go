package admission

import (
	"container/list"
	"slices"
	"time"
)

// line is the pushes of a job, or of all jobs that are not known, that have a place.
type line struct {
	name    string
	known   bool
	places  int
	running int
	bytes   int64
	served  uint64 // when a push of it got its turn last, in turns
	queue   []*Place
	empty   time.Time     // when nobody waited in it last
	joined  time.Time     // when somebody came last to wait
	hurried time.Time     // when somebody had waited for too long last
	idle    *list.Element // in the list of its gate
	since   time.Time     // when it came into that
}

// join has a push wait at the end of the line.
func (l *line) join(p *Place, now time.Time) {
	if len(l.queue) == 0 {
		l.empty = now
	}
	p.since, l.joined = now, now
	l.queue = append(l.queue, p)
}

// newest takes out who came last, and oldest who has waited the longest.
func (l *line) newest() *Place { return l.take(len(l.queue) - 1) }
func (l *line) oldest() *Place { return l.take(0) }

func (l *line) take(i int) *Place {
	p := l.queue[i]
	l.queue[i] = nil
	if i == 0 {
		l.queue = l.queue[1:]
	} else {
		l.queue = append(l.queue[:i], l.queue[i+1:]...)
	}
	return p
}

// leave takes a push out that no longer waits, and reports whether it was there.
func (l *line) leave(p *Place) bool {
	i := slices.Index(l.queue, p)
	if i >= 0 {
		l.take(i)
	}
	return i >= 0
}

// before reports whether a line with pushes at work has its turn before another.
func (l *line) before(other *line) bool {
	return l.running < other.running || l.running == other.running && l.served < other.served
}

// lines are those of a gate.
type lines struct {
	all  map[string]*line
	idle list.List          // known lines that wait with no push at work, in that order
	busy map[*line]struct{} // known lines with pushes at work
}

// of is the line of a job, made if it has none.
func (ls *lines) of(job string, known bool) *line {
	if !known {
		job = ""
	}
	l := ls.all[job]
	if l == nil {
		l = &line{name: job, known: known}
		ls.all[job] = l
	}
	return l
}

// tidy forgets a line without a place.
func (ls *lines) tidy(l *line) {
	if l.places == 0 {
		delete(ls.all, l.name)
	}
}

// sort keeps a line where next looks for it.
func (ls *lines) sort(l *line) {
	if !l.known {
		return
	}
	if l.running > 0 {
		ls.busy[l] = struct{}{}
	} else {
		delete(ls.busy, l)
	}
	waits := l.running == 0 && len(l.queue) > 0
	switch {
	case waits && l.idle == nil:
		l.idle, l.since = ls.idle.PushBack(l), time.Now()
	case !waits && l.idle != nil:
		ls.idle.Remove(l.idle)
		l.idle = nil
	}
}

// next is the line whose turn it is, while somebody waits.
func (ls *lines) next() *line {
	if first := ls.idle.Front(); first != nil {
		return first.Value.(*line)
	}
	var best *line
	for l := range ls.busy {
		if len(l.queue) > 0 && (best == nil || l.before(best)) {
			best = l
		}
	}
	if strangers := ls.all[""]; best == nil && strangers != nil && len(strangers.queue) > 0 {
		return strangers
	}
	return best
}

// victim is the line that has to make room for one more of a line, where all places to
// wait are taken: the jobs that are not known for one that is, else the longest, if it is
// longer by more than the one. Nil if there is none.
func (ls *lines) victim(l *line) *line {
	var longest *line
	for _, other := range ls.all {
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
