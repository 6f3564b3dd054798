package finding

// maxListed is how many different findings a List keeps.
const maxListed = 32

// List gathers the findings of one push. Findings with the same ID and Label
// are one: their counts are added (the largest is kept where there is a Limit,
// since that is what the limit was held against, with its Fix), and the Metric,
// Sample and Fix of the first stay. At most 32 different ones are kept.
//
// The zero value is an empty list, ready to use. A List is not safe for
// concurrent use.
type List struct {
	kept []Finding
	more int
}

// Add notes one finding. It allocates nothing for an ID and Label already kept.
func (l *List) Add(f Finding) {
	for i := range l.kept {
		k := &l.kept[i]
		if k.ID != f.ID || k.Label != f.Label {
			continue
		}
		switch {
		case k.Limit == 0:
			k.Count += f.Count
		case f.Count > k.Count:
			k.Count, k.Fix = f.Count, f.Fix // which may say how many
		}
		return
	}
	if len(l.kept) == maxListed {
		l.more++
		return
	}
	l.kept = append(l.kept, f)
}

// All returns the findings in the order in which they were first added. The
// slice belongs to the list: it is valid until the next Add or Reset.
func (l *List) All() []Finding { return l.kept }

// Len returns how many different findings are kept, at most 32.
func (l *List) Len() int { return len(l.kept) }

// More returns how many findings found no room, each one counted that was
// neither kept nor folded into one that is.
func (l *List) More() int { return l.more }

// Reset empties the list and keeps its memory for the next push, without
// holding on to the data of the last.
func (l *List) Reset() {
	clear(l.kept)
	l.kept, l.more = l.kept[:0], 0
}
