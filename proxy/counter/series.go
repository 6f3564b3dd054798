package counter

import "github.com/prometheus/prometheus/model/labels"

// Kind is what a Series is made of. The zero value is none.
type Kind uint8

// The kinds.
const (
	Counter   Kind = iota + 1 // one total
	Histogram                 // a count, a sum and classic buckets
	Summary                   // a count and a sum; quantiles do not add up
)

var kindNames = [...]string{"", "counter", "histogram", "summary"}

// String is the kind as a TYPE line has it.
func (k Kind) String() string { return kindNames[k] }

// Series is one output series: where increments are added, whatever sources they
// come from. It is not changed once it is made; share it freely.
type Series struct {
	// Name is that of the family: for a histogram without _bucket, _sum and
	// _count, for a counter whole, with _total where the client wrote it so.
	Name string
	// Labels are sorted by name and complete: those of the group and of the
	// metric after all rules, without le and without empty ones.
	Labels []labels.Label
	Kind   Kind
	Help   string
	// Bounds are the finite upper bounds of a histogram's buckets, ascending.
	Bounds []float64
}

// Size is how many bytes of memory the series takes, by and large.
func (s *Series) Size() int {
	n := 128 + len(s.Name) + len(s.Help) + 8*len(s.Bounds)
	for _, l := range s.Labels {
		n += 32 + len(l.Name) + len(l.Value)
	}
	return n
}

// Increment is what is to be added to one series. All of it is finite and, but for the
// Sum of one with NoSum, not negative.
type Increment struct {
	Series *Series
	// Value is what a counter grew by.
	Value float64
	// Count and Sum are of a histogram or a summary.
	Count, Sum float64
	// Buckets are what each bucket of Series.Bounds grew by, cumulative as in an
	// exposition: nothing is below the one before it, and Count is that of +Inf.
	Buckets []float64
	// NoSum says that the sum fell, as it does where observations are negative: by Sum,
	// or by more than is a number, and then Sum is 0. No counter can carry that on.
	NoSum bool
}

// Sink is where increments go. What Add was given counts from then on; it never
// fails and never waits for a network or a disk. It is safe for concurrent use,
// and keeps nothing of the slice and the buckets in it.
type Sink interface {
	Add(increments []Increment)
}
