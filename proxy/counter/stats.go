package counter

// BookStats is what a book did since it was made.
type BookStats struct {
	Increments     map[Source]uint64 // readings that counted something
	Ambiguous      map[Source]uint64 // first readings that may have been counted before
	Resets         uint64            // readings below their baseline that began anew
	Late           uint64            // readings below their baseline that counted nothing
	NegativeSums   uint64            // increments whose sum was left out
	Retries        uint64            // pushes that counted nothing
	Periodic       uint64            // pushes of groups that look periodic
	Evictions      uint64            // baselines that made room for others
	Expirations    uint64            // baselines that nobody pushed for too long
	Baselines      int               // kept now
	RetriesPending int               // lost replies and idempotency keys remembered now
}

// Stats returns the counts, of which the set of labels is fixed.
func (b *Book) Stats() BookStats { return BookStats{} }

// TotalsStats is what totals did since they were made.
type TotalsStats struct {
	Series    int    // kept now
	Families  int    // claimed now
	Collapsed uint64 // increments that were added to __other__
	Dropped   uint64 // increments of families that could not be claimed
}

// Stats returns the counts.
func (t *Totals) Stats() TotalsStats { return TotalsStats{} }
