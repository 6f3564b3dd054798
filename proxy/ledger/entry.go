package ledger

// entryAccount is the account of the policy's entry: of all the jobs that it governs.
type entryAccount struct {
	id         int
	series     int
	jobs       int // that have groups, or are about to
	guaranteed int // series
	newJobs    window

	terms *Budget // of one of its jobs; the others mostly have the same
}

// lent is what the entry holds of the remainder that nobody is guaranteed.
func (e *entryAccount) lent() int { return max(0, e.series-e.guaranteed) }

func (b *Book) entry(id int) *entryAccount {
	e := b.entries[id]
	if e == nil {
		e = &entryAccount{id: id}
		b.entries[id] = e
	}
	return e
}

// charge bills series to an entry, and jobs that have groups.
func (b *Book) charge(id, series, jobs int) {
	e := b.entry(id)
	b.lent -= e.lent()
	e.series += series
	e.jobs += jobs
	b.lent += e.lent()
}

func (b *Book) guarantee(e *entryAccount, series int) {
	if e.guaranteed == series {
		return
	}
	b.lent -= e.lent()
	e.guaranteed = series
	b.lent += e.lent()
}

// dropEntries forgets entries that nothing is billed to.
func (b *Book) dropEntries() {
	b.clock.read()
	for id, e := range b.entries {
		if e.series == 0 && e.jobs == 0 && e.newJobs.sum(day, b.clock.at) == 0 {
			delete(b.entries, id)
		}
	}
}
