package ledger

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Grant is the right to send one request for a group as its Ruling says, and the
// group's lock. It must be settled.
type Grant struct {
	Ruling

	book    *Book
	group   *group
	raw     writer
	draft   *draft   // until it is settled
	pushed  holdings // what the push brings; memory of the draft
	same    bool     // the push leaves the group as it is
	success bool     // it brings a family that tells of a success
	settled atomic.Bool

	account *account      // of the job that paid when it was admitted
	entry   *entryAccount // of the job, if the job was new to it
	at      int64         // when it was admitted, by the book's clock
	fresh   int           // series that counted as new
	made    bool          // it makes the group
	victims []*group      // promised to be evicted
	evicts  bool          // it keeps such a promise

	foreseen *foresight // nil if it was admitted
	id       grantID    // of a book that several guards share
	shared   []int32    // families of the claim that another wrote last, of such a book
	did      time.Time  // when it was carried out without asking; zero: it was asked for
}

// bring fills in what the push brings.
func (g *Grant) bring(c *Claim, v *verdict) {
	d := g.draft
	g.Ruling, g.same = v.Ruling, v.same
	d.collapse()
	if g.same && g.Method == http.MethodPut {
		g.pushed = g.group.content
	} else {
		g.pushed = d.build(c, g.group, g.raw)
	}
	g.success = d.writes(c.Success)
	d.spend()
}

// take fills in what it uses up.
func (g *Grant) take(v *verdict, at int64) {
	g.at, g.fresh = at, v.fresh
	g.made, g.victims = !g.group.exists && g.group.sums == nil, v.victims
}

// count books what an admitted push uses up.
func (b *Book) count(grant *Grant, j *job, v *verdict) {
	grant.account = j.account
	grant.take(v, b.clock.at)
	if !grant.did.IsZero() {
		grant.at -= max(0, int64(b.clock.last.Sub(grant.did)/time.Second))
	}
	if grant.group.sums == nil && grant.did.IsZero() {
		j.pushes.add(minute, grant.at, 1)
	}
	j.hour.add(hour, grant.at, v.fresh)
	j.day.add(day, grant.at, v.fresh)
	if v.newJob {
		grant.entry = b.entry(j.entry)
		grant.entry.newJobs.add(day, grant.at, 1)
		b.recordEntry(grant.entry, grant.at)
	}
	if v.fresh > 0 {
		b.recordAccount(j.account, grant.at)
	}
	b.journal.flush()
	j.promised.end(grant.group)
	j.promised.make(grant, v.victims)
}

// repay gives back what a push has not used up after all, and ends or binds the
// promise of what was to make room for it.
func (g *Grant) repay(o Outcome, at int64) {
	if o == Untouched && g.entry != nil {
		g.entry.newJobs.take(day, g.at, 1)
		g.book.recordEntry(g.entry, g.at)
	}
	if fresh := g.unspent(o); fresh > 0 {
		g.account.hour.take(hour, g.at, fresh)
		g.account.day.take(day, g.at, fresh)
		g.book.recordAccount(g.account, g.at)
	}
	for _, v := range g.victims {
		if v.job != nil {
			v.job.promised.settle(g, v, o, at+promiseTime)
		}
	}
}

// unspent is how many of the series that counted as new are not, after an outcome.
func (g *Grant) unspent(o Outcome) int {
	switch {
	case o == Untouched, o == Refused && !g.made:
		return g.fresh
	case o == Refused:
		return g.fresh - ownSeries // those are there
	default:
		return 0
	}
}

// Settle books what became of the request and gives the group free. Only the
// first call counts, so that a deferred Settle(Unknown) may stand behind every
// other; an outcome that is none of the four is taken for Unknown, after which
// the group holds what it held and what the push brings, until a later request
// or Load tells. The outcome of a grant with Skip does not matter.
func (g *Grant) Settle(o Outcome) {
	if g.settled.Swap(true) {
		return
	}
	b := g.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.foreseen != nil {
		g.foreseen.settle(g, o)
		g.draft.free()
		g.draft, g.pushed = nil, nil
		return
	}
	if b.shared != nil {
		b.tellSettled(g.id, o)
		return
	}
	if b.alone != nil {
		b.alone.report(g, o)
	}
	b.conclude(g, o)
	b.free(g.group)
}

// conclude books what became of the request of a grant.
func (b *Book) conclude(g *Grant, o Outcome) {
	now := toSecond(b.clock.read())
	switch {
	case !g.Skip:
		if g.group.sums == nil {
			b.note(g, o)
		}
		b.settle(g, o, now)
	case g.Reason == Pinned && g.group.job != nil:
		g.group.job.promised.end(g.group)
	}
	g.draft.free()
	g.draft, g.pushed, g.victims = nil, nil, nil
}

func (b *Book) settle(grant *Grant, o Outcome, now second) {
	g := grant.group
	before := g.asKept()
	if !g.exists {
		g.at = now
	}
	b.change(g, func() {
		if g.sums != nil && o == Applied {
			g.sums.seen = grown(g.sums.seen, grant.pushed)
		}
		g.settle(grant, o)
	})
	if grant.Method == http.MethodDelete {
		if g.job != nil {
			g.job.promised.end(g)
		}
		if grant.evicts && o == Applied {
			b.evicted.add(g.id, now)
		}
	} else {
		g.age(grant, o, now)
		grant.repay(o, b.clock.at)
	}
	b.record(g, before)
	b.journal.flush()
}
