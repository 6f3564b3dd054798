package counter

import "math"

// booking is what Commit does to the baseline of a reading.
type booking uint8

const (
	bookNothing booking = iota
	bookSeen            // it was seen again, and stands
	bookReading         // the reading takes its place
)

// step is a reading on its way to a baseline.
type step struct {
	key    Identity
	reason Reason
	book   booking
	noSum  bool
}

// difference finds what a reading adds. The shard's lock is held.
func (s *shard) difference(i *Increments, r *Reading) {
	st := step{key: baselineKey(r)}
	inc := Increment{Series: r.Output}
	if r.Semantics == Delta || r.Semantics == Auto && r.Source == Anonymous {
		st.reason = Added
		i.whole(&inc, r)
	} else if slot := s.find(st.key); slot == 0 {
		st.book = bookReading
		if st.reason = s.book.first(r, i.push.IgnoreUnknown); st.reason == Ignored {
			i.none(&inc, r)
		} else {
			i.whole(&inc, r)
		}
	} else {
		st.book = bookReading
		switch {
		case i.grown(&inc, r, s.at(slot).last, s.wide(slot)):
			st.reason = Grown
		case r.Source == Created || i.did != 0 && i.did < s.at(slot).seen:
			st.reason, st.book = Late, bookSeen
			i.none(&inc, r)
		default:
			st.reason = Reset
			i.whole(&inc, r)
		}
	}
	st.noSum = inc.NoSum
	i.all, i.steps = append(i.all, inc), append(i.steps, st)
}

// first says what the first reading of a source is: surely the first if it began
// after the last time that a baseline was forgotten.
func (b *Book) first(r *Reading, ignore bool) Reason {
	switch {
	case r.Began > b.watermark.Load():
		return First
	case ignore:
		return Ignored
	default:
		return Counted
	}
}

// whole makes the increment all that the reading says.
func (i *Increments) whole(inc *Increment, r *Reading) {
	if r.Output.Kind == Counter {
		inc.Value = r.Value
		return
	}
	inc.Count = r.Count
	inc.sum(r.Sum)
	start := len(i.buckets)
	i.buckets = append(i.buckets, r.Buckets...)
	inc.Buckets = i.buckets[start:len(i.buckets):len(i.buckets)]
}

// none makes the increment nothing.
func (i *Increments) none(inc *Increment, r *Reading) {
	start := len(i.buckets)
	for range r.Buckets {
		i.buckets = append(i.buckets, 0)
	}
	inc.Buckets = i.buckets[start:len(i.buckets):len(i.buckets)]
}

func (inc *Increment) sum(delta float64) {
	inc.NoSum = !countable(delta)
	if !math.IsInf(delta, 0) {
		inc.Sum = delta
	}
}

// grown makes the increment what the reading is over its baseline, whose value or
// count is last, and whose sum and buckets are wide. It reports whether the
// reading is not below it anywhere: a histogram's buckets are decided on as one.
func (i *Increments) grown(inc *Increment, r *Reading, last float64, wide []float64) bool {
	if r.Output.Kind == Counter {
		inc.Value = max(0, r.Value-last)
		return r.Value >= last
	}
	if len(wide) != 1+len(r.Buckets) || r.Count < last {
		return false
	}
	start := len(i.buckets)
	below := 0.0
	for n, b := range r.Buckets {
		delta, ok := above(below, b-wide[1+n], b)
		if !ok {
			i.buckets = i.buckets[:start]
			return false
		}
		i.buckets, below = append(i.buckets, delta), delta
	}
	count, ok := above(below, r.Count-last, r.Count)
	if !ok {
		i.buckets = i.buckets[:start]
		return false
	}
	inc.Count, inc.Buckets = count, i.buckets[start:len(i.buckets):len(i.buckets)]
	inc.sum(r.Sum - wide[0])
	return true
}

// above returns by how much a bucket that holds now grew, which is not less than
// the bucket below it did. Less is a bucket that lost something, unless the
// difference is one of rounding, as fractions have: whole counts are exact.
func above(below, delta, now float64) (float64, bool) {
	if delta >= below {
		return delta, true
	}
	const rounding = 1.0 / (1 << 45)
	return below, delta >= 0 && below-delta <= now*rounding
}
