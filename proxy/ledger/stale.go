package ledger

import (
	"container/heap"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// StaleGroup is a group that has outlived its job's StaleAfter.
type StaleGroup struct {
	Key        wire.Key
	Job        string
	Pushed     time.Time // as in GroupUse
	StaleAfter time.Duration
}

// Stale returns up to n groups that have outlived the StaleAfter of their job by
// now, oldest first over all jobs. Groups that are pinned or taken, or about to
// be evicted, are left out. Where the clock was set forward, nobody had that time to
// push: it is not counted. In a book that guards share, groups are dated by the clock of
// the log, and old by that one, whatever now is, but for what it was ahead since this guard
// is there. Its cost grows with the number of jobs,
// and of the groups it returns.
func (b *Book) Stale(now time.Time, n int) []StaleGroup {
	b.mu.Lock()
	defer b.mu.Unlock()
	ahead := b.watch.Ahead
	if b.shared != nil {
		b.tell([]byte{cmdTurnTotals})
		now, ahead = b.shared.door.Now(), b.shared.door.Ahead
	} else {
		b.turnTotals(toSecond(b.clock.read()))
	}
	var q staleQueue
	for _, j := range b.jobs {
		if j.terms.StaleAfter <= 0 {
			continue
		}
		life := j.terms.StaleAfter
		s := staleJob{job: j, at: b.clock.at, before: now.Add(-life - ahead(life)), next: j.ages.first(), pinned: j.pinned()}
		if s.skip() {
			q = append(q, s)
		}
	}
	heap.Init(&q)
	var out []StaleGroup
	for len(q) > 0 && len(out) < n {
		s := &q[0]
		out = append(out, StaleGroup{
			Key: s.next.key(), Job: s.job.name, Pushed: s.next.at.time(), StaleAfter: s.job.terms.StaleAfter,
		})
		s.next = s.next.newer
		if s.skip() {
			heap.Fix(&q, 0)
		} else {
			heap.Pop(&q)
		}
	}
	return out
}

// staleJob walks the groups of a job, oldest first.
type staleJob struct {
	job    *job
	at     int64     // of the book's clock
	before time.Time // what was not pushed to after that is stale
	next   *group
	pinned *group
}

// skip goes on to the next group that may be deleted, and reports whether that
// is stale.
func (s *staleJob) skip() bool {
	for s.next != nil && (s.next == s.pinned || s.next.turn != nil || s.job.promised.stands(s.next, s.at)) {
		s.next = s.next.newer
	}
	return s.next != nil && !s.next.at.after(s.before)
}

// staleQueue is a heap of jobs by their oldest group.
type staleQueue []staleJob

func (q staleQueue) Len() int           { return len(q) }
func (q staleQueue) Less(i, j int) bool { return q[i].next.at < q[j].next.at }
func (q staleQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *staleQueue) Push(x any)        { *q = append(*q, x.(staleJob)) }
func (q *staleQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}
