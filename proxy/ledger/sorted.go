package ledger

import (
	"slices"
	"sync/atomic"
)

// Sorting is how books sort the families and metrics of a claim, for a caller that
// claims the same again and again. The zero value is that of nothing yet. It is safe for
// concurrent use.
type Sorting struct{ kept atomic.Pointer[sorted] }

// SortedBytes is how much memory a Sorting takes for each metric of its claim, at the most.
const SortedBytes = 32

// by returns what a book with this key made of the claim, nil if there is nothing.
func (s *Sorting) by(key hashKey) *sorted {
	if kept := s.kept.Load(); kept != nil && kept.key == key {
		return kept
	}
	return nil
}

// keep keeps a copy of what a book made of the claim, in place of what another did.
func (s *Sorting) keep(key hashKey, made *sorted) {
	kept := &sorted{key: key}
	kept.be(made)
	s.kept.Store(kept)
}

// sorted are the families and metrics of a claim in the order of a book.
type sorted struct {
	key     hashKey  // of the hashes; of what is kept alone
	names   []uint64 // hashes of the families, a sorted set
	slots   []int32  // the claim's families → names
	starts  []int32  // names → entries; one more than names
	entries []entry  // by family, then fingerprint
}

// be has s be as another, in memory of its own.
func (s *sorted) be(other *sorted) {
	s.names, s.slots = append(s.names[:0], other.names...), append(s.slots[:0], other.slots...)
	s.starts, s.entries = append(s.starts[:0], other.starts...), append(s.entries[:0], other.entries...)
}

// of returns the entries of a family.
func (s *sorted) of(slot int) []entry { return s.entries[s.starts[slot]:s.starts[slot+1]] }

// entry is a metric of the claim; metric is its complement once it is trimmed.
type entry struct {
	print   uint64
	metric  int32
	samples int32
}

// claimed is the metric that the entry was made of.
func (e *entry) claimed() int32 {
	if e.metric < 0 {
		return ^e.metric
	}
	return e.metric
}

// trim leaves the entry out.
func (e *entry) trim() { e.metric = ^e.claimed() }

func sortEntries(es []entry) {
	slices.SortFunc(es, func(a, b entry) int {
		switch {
		case a.print < b.print:
			return -1
		case a.print > b.print:
			return 1
		default:
			return int(a.metric - b.metric)
		}
	})
}
