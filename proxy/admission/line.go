package admission

import (
	"container/heap"
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
	empty   time.Time // when nobody waited in it last
	joined  time.Time // when somebody came last to wait
	hurried time.Time // when somebody had waited for too long last
	idle    int       // where among the idle lines of its gate, from 1; 0 if it is none
	since   time.Time // when it came to be one
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
	l.queue = slices.Delete(l.queue, i, i+1)
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
	idle idleLines          // known lines that wait with no push in flight
	busy map[*line]struct{} // known lines with pushes at work
	// spare are lines that nobody has a place in, for others to use their memory.
	spare []*line
}

// mostSpare is how many spare lines are kept.
const mostSpare = 64

// of is the line of a job, made if it has none.
func (ls *lines) of(job string, known bool) *line {
	if !known {
		job = ""
	}
	l := ls.all[job]
	if l == nil {
		l = ls.fresh()
		l.name, l.known = job, known
		ls.all[job] = l
	}
	return l
}

// fresh is a line of nobody.
func (ls *lines) fresh() *line {
	end := len(ls.spare) - 1
	if end < 0 {
		return &line{}
	}
	l := ls.spare[end]
	ls.spare = ls.spare[:end]
	return l
}

// tidy forgets a line without a place.
func (ls *lines) tidy(l *line) {
	if l.places > 0 {
		return
	}
	delete(ls.all, l.name)
	if len(ls.spare) < mostSpare {
		*l = line{}
		ls.spare = append(ls.spare, l)
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
	case waits && l.idle == 0:
		l.since = time.Now()
		heap.Push(&ls.idle, l)
	case !waits && l.idle != 0:
		heap.Remove(&ls.idle, l.idle-1)
	}
}

// idleLines are a heap of those that wait for their turns, with no push in flight. First is
// the one whose last turn was the longest ago: a job that pushes now and then does not
// wait for one that always has a push there.
type idleLines []*line

// Len, Less, Swap, Push and Pop are those of heap.Interface.
func (ls idleLines) Len() int { return len(ls) }

func (ls idleLines) Less(i, j int) bool {
	a, b := ls[i], ls[j]
	return a.served < b.served || a.served == b.served && a.since.Before(b.since)
}

func (ls idleLines) Swap(i, j int) {
	ls[i], ls[j] = ls[j], ls[i]
	ls[i].idle, ls[j].idle = i+1, j+1
}

func (ls *idleLines) Push(l any) {
	*ls = append(*ls, l.(*line))
	(*ls)[len(*ls)-1].idle = len(*ls)
}

func (ls *idleLines) Pop() any {
	end := len(*ls) - 1
	l := (*ls)[end]
	(*ls)[end] = nil
	*ls = (*ls)[:end]
	l.idle = 0
	return l
}

// next is the line whose turn it is, while somebody waits.
func (ls *lines) next() *line {
	if len(ls.idle) > 0 {
		return ls.idle[0]
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
