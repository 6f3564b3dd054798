package counter

import "sync/atomic"

// BookStats is what a book did since it was made. The maps have all sources.
type BookStats struct {
	Increments   map[Source]uint64 // that are above zero and went to a sink
	Ambiguous    map[Source]uint64 // first readings that may have been counted before
	Resets       uint64            // readings below their baseline that began anew
	Late         uint64            // readings below their baseline that counted nothing
	NegativeSums uint64            // increments whose sum fell
	Retries      uint64            // pushes that counted nothing
	Periodic     uint64            // pushes of groups that look periodic
	Evictions    uint64            // baselines that made room for others
	Expirations  uint64            // baselines that nobody pushed for too long
	Baselines    int               // kept now
	Remembered   int               // lost replies and idempotency keys kept now
}

const sources = int(Anonymous) + 1

// bookCounts are the counts behind BookStats.
type bookCounts struct {
	increments, ambiguous  [sources]atomic.Uint64
	resets, late, negative atomic.Uint64
	retries, periodic      atomic.Uint64
	evictions, expirations atomic.Uint64
}

// count takes in a committed push. What it counts is added up first: atomics are
// what a push shares with all others.
func (c *bookCounts) count(i *Increments, added bool) {
	var increments, ambiguous [sources]uint64
	var resets, late, negative uint64
	for n := range i.steps {
		st, source := &i.steps[n], i.readings[n].Source
		switch st.reason {
		case Retry:
			continue
		case Counted:
			ambiguous[source]++
		case Ignored:
			ambiguous[source]++
			continue
		case Reset:
			resets++
		case Late:
			late++
			continue
		}
		if !added {
			continue
		}
		if st.noSum {
			negative++
		}
		if inc := &i.all[n]; inc.Value > 0 || inc.Count > 0 {
			increments[source]++
		}
	}
	for s := range sources {
		add(&c.increments[s], increments[s])
		add(&c.ambiguous[s], ambiguous[s])
	}
	add(&c.resets, resets)
	add(&c.late, late)
	add(&c.negative, negative)
	if i.retry.known {
		c.retries.Add(1)
	}
	if i.periodic {
		c.periodic.Add(1)
	}
}

func add(to *atomic.Uint64, n uint64) {
	if n > 0 {
		to.Add(n)
	}
}

// Stats returns the counts, of which the set of labels is fixed.
func (b *Book) Stats() BookStats {
	c := &b.stats
	out := BookStats{
		Increments: map[Source]uint64{}, Ambiguous: map[Source]uint64{},
		Resets: c.resets.Load(), Late: c.late.Load(), NegativeSums: c.negative.Load(),
		Retries: c.retries.Load(), Periodic: c.periodic.Load(),
		Evictions: c.evictions.Load(), Expirations: c.expirations.Load(),
		Remembered: b.retries.pending(),
	}
	for s := Created; s <= Anonymous; s++ {
		out.Increments[s], out.Ambiguous[s] = c.increments[s].Load(), c.ambiguous[s].Load()
	}
	for _, s := range b.shards {
		s.mu.Lock()
		out.Baselines += s.count
		s.mu.Unlock()
	}
	return out
}

// TotalsStats is what totals did since they were made.
type TotalsStats struct {
	Series    int    // kept now
	Families  int    // claimed now
	Collapsed uint64 // increments that were added to __other__
	Dropped   uint64 // increments of families that could not be claimed
}

// Stats returns the counts.
func (t *Totals) Stats() TotalsStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TotalsStats{Series: t.count, Families: len(t.families), Collapsed: t.collapsed, Dropped: t.dropped}
}
