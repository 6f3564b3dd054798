package ledger

// over returns the first limit that a push would pass with so many series more,
// net of what they replace, of which some count as new; and that limit.
func (t *tally) over(net, fresh int) (Limit, int) {
	b := &t.claim.Budget
	if !t.jobHasRoom(net) {
		if b.Borrow > 0 && t.used+net > b.Series+b.Borrow {
			return SeriesLimit, b.Series + b.Borrow
		}
		return SeriesLimit, b.Series
	}
	limit := t.overShared(net, fresh)
	switch limit {
	case EntrySeriesLimit:
		return limit, b.EntrySeries
	case RemainderLimit:
		return limit, b.remainder()
	case GuardSeriesLimit:
		return limit, b.GuardSeries
	case NewSeriesPerHourLimit:
		return limit, b.NewSeriesPerHour
	case NewSeriesPerDayLimit:
		return limit, b.NewSeriesPerDay
	}
	return limit, 0
}

// jobHasRoom reports whether the job may hold so many series more. What it holds
// beyond its budget it borrows from the remainder: it needs room there, which is
// taken up already where the entry holds more than it is guaranteed.
func (t *tally) jobHasRoom(net int) bool {
	b, used := &t.claim.Budget, t.used+net
	switch {
	case b.Series <= 0 || used <= b.Series:
		return true
	case used > b.Series+b.Borrow:
		return false
	}
	borrowed := max(0, used-b.Series-t.lent(net))
	return b.GuardSeries <= 0 || t.others+t.lent(net)+borrowed <= b.remainder()
}

// lent is what the entry holds beyond its guarantee with so many series more.
func (t *tally) lent(net int) int { return max(0, t.shared+net-t.claim.Budget.Guaranteed) }

// remainder is what of the guard's series no entry is guaranteed.
func (b *Budget) remainder() int { return max(0, b.GuardSeries-b.Reserved) }

// overShared returns the first of the limits that are not the job's own series
// and that the push would pass, or 0.
//
// What an entry holds within its guarantee is there for it, whatever others hold;
// what it holds beyond comes out of the remainder. So all that is admitted stays
// within the guard's limit. Only a listing, or a policy that guarantees what is
// lent out, can bring it over that; then nobody gets more until it is paid back.
// There it counts what the upstream may hold at most, lest the pushes of others
// that are under way, or whose end nobody knows, cost anyone a guarantee.
func (t *tally) overShared(net, fresh int) Limit {
	b := &t.claim.Budget
	switch {
	case b.EntrySeries > 0 && t.shared+net > b.EntrySeries:
		return EntrySeriesLimit
	case b.GuardSeries > 0 && t.lent(net) > 0 && t.others+t.lent(net) > b.remainder():
		if b.Reserved > 0 {
			return RemainderLimit
		}
		return GuardSeriesLimit
	case b.GuardSeries > 0 && t.total+net-t.slack > b.GuardSeries:
		return GuardSeriesLimit
	case fresh > 0 && b.NewSeriesPerHour > 0 && t.hour+t.fresh+fresh > b.NewSeriesPerHour:
		return NewSeriesPerHourLimit
	case fresh > 0 && b.NewSeriesPerDay > 0 && t.day+t.fresh+fresh > b.NewSeriesPerDay:
		return NewSeriesPerDayLimit
	default:
		return 0
	}
}

// counts is what a metric adds to the Count of an excess.
func (t *tally) counts(l Limit, series, fresh int) int {
	if l == NewSeriesPerHourLimit || l == NewSeriesPerDayLimit {
		return fresh
	}
	return series
}

// held is what is there of what a limit counts, with all that was admitted.
func (t *tally) held(x *Excess) int {
	switch x.Over {
	case SeriesLimit:
		return t.used
	case LabelValuesLimit:
		return t.job.values.labels.distinct(x.label)
	case EntrySeriesLimit:
		return t.shared
	case GuardSeriesLimit:
		return t.total
	case RemainderLimit:
		return t.others + t.lent(0)
	case NewSeriesPerHourLimit:
		return t.hour + t.fresh
	case NewSeriesPerDayLimit:
		return t.day + t.fresh
	default:
		return 0 // counted when it was noted
	}
}
