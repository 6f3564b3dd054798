package ledger

import (
	"math"

	"github.com/pushguard/pushguard/proxy/wire"
)

// promiseTime is for how long after a push was applied, in seconds, the groups
// that were to make room for it count as gone. Who has not evicted them by then
// will not.
const promiseTime = 60

// promises are groups of a job that are to be evicted for pushes that were
// admitted. They count as gone.
type promises struct {
	groups map[*group]promise
	series int   // of them all
	due    int64 // no promise ends before, by the book's clock
}

type promise struct {
	by     *Grant // of the push that they make room for
	series int
	until  int64
}

// make promises groups for a push. They count as gone until end.
func (p *promises) make(by *Grant, groups []*group) {
	if p.groups == nil && len(groups) > 0 {
		p.groups, p.due = map[*group]promise{}, math.MaxInt64
	}
	for _, g := range groups {
		p.groups[g] = promise{by: by, series: g.series(), until: math.MaxInt64}
		p.series += g.series()
	}
}

// settle ends the promise that was made for a push, unless the push was applied:
// then at a time, if nobody keeps it.
func (p *promises) settle(by *Grant, g *group, o Outcome, until int64) {
	kept, ok := p.groups[g]
	switch {
	case !ok || kept.by != by:
	case o == Applied:
		kept.until = until
		p.groups[g] = kept
		p.due = min(p.due, until)
	default:
		p.end(g)
	}
}

// end ends a promise, if there is one.
func (p *promises) end(g *group) {
	if kept, ok := p.groups[g]; ok {
		p.series -= kept.series
		delete(p.groups, g)
	}
}

// expire ends the promises that nobody kept in time.
func (p *promises) expire(at int64) {
	if len(p.groups) == 0 || at < p.due {
		return
	}
	p.due = math.MaxInt64
	for g, kept := range p.groups {
		switch {
		case g.turn != nil: // perhaps it is being deleted right now
			p.due = min(p.due, at+1)
		case kept.until <= at:
			p.end(g)
		default:
			p.due = min(p.due, kept.until)
		}
	}
}

// changed brings a promise up to date with its group.
func (p *promises) changed(g *group) {
	kept, ok := p.groups[g]
	if !ok {
		return
	}
	if !g.exists {
		p.end(g)
		return
	}
	p.series += g.series() - kept.series
	kept.series = g.series()
	p.groups[g] = kept
}

func (p *promises) has(g *group) bool {
	_, ok := p.groups[g]
	return ok
}

// stands reports whether a group is promised, and may still be evicted at a time.
func (p *promises) stands(g *group, at int64) bool {
	kept, ok := p.groups[g]
	return ok && at < kept.until
}

// without returns how many promises there are, and of how many series, but for
// that of one group.
func (p *promises) without(g *group) (groups, series int) {
	groups, series = len(p.groups), p.series
	if kept, ok := p.groups[g]; ok {
		return groups - 1, series - kept.series
	}
	return groups, series
}

// lately are the groups that were evicted within the last 10 to 20 seconds. A Pushgateway
// says that it has deleted a group before it has, and lists it for as long as pushes are
// ahead of the DELETE: the book would take it for one that is there, and younger than it
// was, and have others go in its place.
type lately struct {
	young, old map[string]struct{} // by id
	turned     second              // when the young were begun
}

// latelyTime is how long a Pushgateway may take to delete a group, in seconds.
const latelyTime = 10

func (l *lately) add(id string, now second) {
	l.turn(now)
	if l.young == nil {
		l.young = map[string]struct{}{}
	}
	l.young[id] = struct{}{}
}

// turn forgets those of long ago.
func (l *lately) turn(now second) {
	switch passed := int64(now) - int64(l.turned); {
	case passed < 0, passed >= 2*latelyTime:
		l.young, l.old, l.turned = nil, nil, now
	case passed >= latelyTime:
		l.young, l.old, l.turned = nil, l.young, now
	}
}

// known are they as what a listing knows less of than the book.
func (l *lately) known(now second) map[string]*since {
	l.turn(now)
	out := make(map[string]*since, len(l.young)+len(l.old))
	for _, ids := range []map[string]struct{}{l.young, l.old} {
		for id := range ids {
			out[id] = &since{whole: true}
		}
	}
	return out
}

// series is what counts of the group now.
func (g *group) series() int { return g.booked().series() + g.upkeep() }

// victims finds the groups of a job that have to make room for a push, oldest
// first.
type victims struct {
	next   *group // to look at
	begun  bool
	chosen []*group
	none   bool // all that are left were not enough once
	left   int  // series of those
}

// nextVictim returns the oldest group that may still be evicted for the push, or
// nil. The group that the policy will keep once the push is applied stays.
func (t *tally) nextVictim() *group {
	v := &t.victims
	if !v.begun {
		v.begun, v.next = true, t.job.ages.first()
	}
	for g := v.next; g != nil; g = g.newer {
		if g == t.group || g.turn != nil || t.job.promised.has(g) || g == t.pinnedAfter() {
			continue
		}
		v.next = g.newer
		return g
	}
	v.next = nil
	return nil
}

// pinnedAfter returns the group that the policy keeps once the push is applied,
// if that is not the push's own, which is the newest then.
func (t *tally) pinnedAfter() *group {
	if !t.job.terms.KeepLast || len(t.claim.Success) > 0 {
		return nil
	}
	last := t.job.ages.success()
	if g := t.group; g.job != t.job && g.success && (last == nil || last.at <= g.at) {
		return g // it is the job's own once the claim is admitted
	}
	return last
}

// makeRoom chooses groups to evict until the job has room for series more, and
// reports whether there were enough; if not, it chooses none.
func (t *tally) makeRoom(series int) bool {
	if t.claim.OverBudget != EvictOldest {
		return false
	}
	v := &t.victims
	if v.none && !t.jobHasRoom(series-v.left) {
		return false
	}
	before, used := *v, t.used
	for !t.jobHasRoom(series) {
		g := t.nextVictim()
		if g == nil {
			before.none, before.left = true, used-t.used
			*v, t.used = before, used
			return false
		}
		v.chosen = append(v.chosen, g)
		t.used -= g.series()
	}
	v.left -= used - t.used
	return true
}

// makePlace chooses groups to evict until the job may have one more, and reports
// whether there were enough.
func (t *tally) makePlace(over int) bool {
	if t.claim.OverBudget != EvictOldest {
		return false
	}
	for range over {
		g := t.nextVictim()
		if g == nil {
			return false
		}
		t.victims.chosen = append(t.victims.chosen, g)
		t.used -= g.series()
	}
	return true
}

// makeUp chooses groups to evict for what the job holds beyond its budget without the
// push: that which brought it came to no known end, or the guard died before it had made
// room, and here it comes again, or another does. Only what is there for certain counts,
// lest a group go for one that never came to be.
func (t *tally) makeUp() {
	most := t.claim.Budget.Groups
	if t.claim.OverBudget != EvictOldest || (most <= 0 || t.groups <= most) && t.jobHasRoom(0) {
		return
	}
	groups, series := t.certain()
	doubt := t.used - series
	if most > 0 {
		t.makePlace(groups - most)
	}
	t.used -= doubt
	t.makeRoom(0)
	t.used += doubt
}

// certain returns how many groups and series of them the job has at the least, once the
// push is applied and what was chosen for it is gone.
func (t *tally) certain() (groups, series int) {
	groups, series = 1, t.group.series()+t.used-t.before
	for _, g := range t.victims.chosen {
		if g.unsure {
			series += g.series()
		} else {
			groups--
		}
	}
	for g := t.job.ages.first(); g != nil; g = g.newer {
		if g == t.group || g.unsure || t.job.promised.has(g) {
			continue
		}
		switch {
		case g.turn == nil:
			groups, series = groups+1, series+g.series()
		case g.push() != nil:
			groups++ // whatever it holds then
		}
	}
	return groups, series
}

// evictions names the groups that were chosen.
func (t *tally) evictions() []wire.Key {
	var keys []wire.Key
	for _, g := range t.victims.chosen {
		keys = append(keys, g.key())
	}
	return keys
}
