package ledger

import (
	"slices"

	"github.com/pushguard/pushguard/proxy/wire"
)

// sums is what a group of totals needs beside a group's own: two generations of
// its content. Totals never leave by a push, so what is named no more has to be
// forgotten by time.
type sums struct {
	seen  holdings // what was named since
	since second   // when the generation began; 0: with the next push
}

// grown returns what is in either; h itself if that is all.
func grown(h, by holdings) holdings {
	if contains(h, by) {
		return h
	}
	return exact(united(h.read(unknown), by.read(unknown), unknown))
}

// contains reports whether h has every metric of other.
func contains(h, other holdings) bool {
	all := true
	pairs(h.read(unknown), other.read(unknown), func(has, wants *family) {
		switch {
		case wants == nil:
		case has == nil:
			all = false
		default:
			at := 0
			for _, print := range wants.prints {
				i, ok := slices.BinarySearch(has.prints[at:], print)
				if !ok {
					all = false
					return
				}
				at += i
			}
		}
	})
	return all
}

// turnTotals forgets the totals that nobody named for the StaleAfter of their
// job: what the generation before named and this one did not.
func (b *Book) turnTotals(now second) {
	for _, g := range sortedTable(b.totals) {
		for ; g != nil; g = g.twin {
			b.turnSums(g, now)
		}
	}
	b.journal.flush()
}

func (b *Book) turnSums(g *group, now second) {
	if g.turn != nil || g.job == nil || g.job.terms.StaleAfter <= 0 {
		return
	}
	s := g.sums
	if s.since == 0 {
		s.since = g.at
	}
	if int64(now)-int64(s.since) < int64(g.job.terms.StaleAfter.Seconds()) {
		return
	}
	seen, before := s.seen, g.asKept()
	s.seen, s.since = nil, now
	b.change(g, func() {
		g.content = seen
		g.exists = len(seen) > 0
	})
	b.record(g, before)
	if !g.exists {
		b.unlink(g)
	}
}

// holders count how many groups of the upstream hold a family.
type holders map[uint64]int

func (h holders) add(family uint64, n int) {
	if h[family] += n; h[family] == 0 {
		delete(h, family)
	}
}

// HeldByOthers reports whether groups of the upstream that other jobs than these
// pay for hold a family, or are about to. Each job is named once.
func (b *Book) HeldByOthers(family string, jobs ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := b.hash(family)
	others := b.families[name]
	for _, job := range jobs {
		if others == 0 {
			break
		}
		if j := b.jobs[job]; j != nil {
			others -= j.families[name]
		}
	}
	return others > 0
}

// Holds reports whether a group of the upstream holds a family.
func (b *Book) Holds(key wire.Key, family string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.find(key)
	if g == nil {
		return false
	}
	name := b.hash(family)
	for c := g.content.read(g.last); c.next(); {
		if c.at.name == name {
			return true
		}
	}
	return false
}

// Group returns what a group of the upstream holds, and whether it exists.
func (b *Book) Group(key wire.Key) (GroupUse, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.find(key)
	if g == nil || !g.exists {
		return GroupUse{}, false
	}
	return GroupUse{
		Key: g.key(), Series: g.series(), Pushed: g.at.time(), Failed: g.failed, Pinned: g == g.job.pinned(),
	}, true
}
