package counter

import (
	"fmt"
	"math"
)

// Semantics are how the readings of a counter become increments. The zero value
// is Auto.
type Semantics uint8

// The semantics.
const (
	Auto       Semantics = iota // by the source: what is anonymous is added whole
	Cumulative                  // each value continues the one before, anonymous or not
	Delta                       // each value is an increment
)

// Reading is one counter, histogram or summary as it was pushed.
type Reading struct {
	// Identity is GroupHash.Of the metric before any rewriting. Each reading of a
	// push has its own.
	Identity Identity
	// Source and Began are what Evidence.Source says.
	Source    Source
	Began     int64
	Semantics Semantics
	// Output is where the increment is added. Its kind, and for a histogram its
	// bounds, are those of the reading.
	Output *Series
	// Value is that of a counter.
	Value float64
	// Count and Sum are those of a histogram or a summary.
	Count, Sum float64
	// Buckets are cumulative and one for each of Output.Bounds. The book keeps
	// nothing of them.
	Buckets []float64
}

// Push is what readings came with.
type Push struct {
	// Group is the identity of the group.
	Group Identity
	// Method, Client and Body tell a retry: the client's address, without its
	// port, and the decoded body. They are read only if a reply to this group was
	// lost.
	Method, Client string
	Body           []byte
	// IdempotencyKey is what the client sent in the header of that name; may be
	// empty.
	IdempotencyKey string
	// IgnoreUnknown makes the first reading of a counter that may have been counted
	// before count nothing, instead of in full.
	IgnoreUnknown bool
}

// ValueError is a reading that no counter can have. Nothing of its push counts.
type ValueError struct {
	// Metric is the family's name.
	Metric string
	// Reason says what is wrong.
	Reason string
}

// Error names the metric and what is wrong.
func (e *ValueError) Error() string {
	return fmt.Sprintf("metric %.100q: %s", e.Metric, e.Reason)
}

func (r *Reading) refuse(format string, args ...any) error {
	return &ValueError{Metric: r.Output.Name, Reason: fmt.Sprintf(format, args...)}
}

// check refuses what would poison a total for ever.
func (r *Reading) check() error {
	if r.Output.Kind == Counter {
		if !countable(r.Value) {
			return r.refuse("a counter cannot be %v", r.Value)
		}
		return nil
	}
	if !countable(r.Count) {
		return r.refuse("a count cannot be %v", r.Count)
	}
	if math.IsNaN(r.Sum) || math.IsInf(r.Sum, 0) {
		return r.refuse("a sum cannot be %v", r.Sum)
	}
	if r.Output.Kind == Histogram {
		return r.checkBuckets()
	}
	return nil
}

func (r *Reading) checkBuckets() error {
	if len(r.Buckets) != len(r.Output.Bounds) {
		return r.refuse("%d buckets for %d bounds", len(r.Buckets), len(r.Output.Bounds))
	}
	below, bound := 0.0, math.Inf(-1)
	for i, b := range r.Buckets {
		if !(r.Output.Bounds[i] > bound && r.Output.Bounds[i] <= math.MaxFloat64) {
			return r.refuse("bound %v of a bucket is not above the one before it", r.Output.Bounds[i])
		}
		bound = r.Output.Bounds[i]
		if !(b >= below && b <= r.Count) {
			return r.refuse("bucket le=%v holds %v, which is not between the one before it and the count of %v", r.Output.Bounds[i], b, r.Count)
		}
		below = b
	}
	return nil
}

// countable reports whether v is finite and not negative.
func countable(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }
