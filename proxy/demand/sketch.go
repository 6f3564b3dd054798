package demand

import (
	"math"
	"math/bits"
	"slices"
)

const (
	// maxExact is how many values a sketch counts exactly.
	maxExact = 32

	// precision is how many bits of a hash choose its register. The standard
	// error is 1.04/√2^precision, 1.6 %.
	precision = 12
	// longest is the largest value of a register: all bits of the hash that do
	// not choose it are zero.
	longest = 64 - precision + 1
)

// sketch counts distinct hashes: the exact set while it is small, registers
// after. What it counts does not depend on the order in which hashes were added.
// The zero value is empty.
type sketch struct {
	exact     []uint64 // sorted; nil once there are registers
	registers *registers
	sample    sample // empty unless shapes are wanted
}

// add reports whether the hash may be new.
func (s *sketch) add(hash uint64) bool {
	if s.registers != nil {
		s.registers.add(hash)
		return true
	}
	at, known := slices.BinarySearch(s.exact, hash)
	switch {
	case known:
		return false
	case len(s.exact) < maxExact:
		s.exact = slices.Insert(s.exact, at, hash)
	default:
		s.registers = new(registers)
		for _, h := range s.exact {
			s.registers.add(h)
		}
		s.registers.add(hash)
		s.exact = nil
	}
	return true
}

func (s *sketch) isEmpty() bool { return s.registers == nil && len(s.exact) == 0 }

// window is a sketch of each of the last two generations.
type window struct {
	current, previous sketch
	seen              []seen // the shapes of their samples
}

// turn begins the next generation.
func (w *window) turn() { w.previous, w.current = w.current, sketch{} }

func (w *window) isEmpty() bool { return w.current.isEmpty() && w.previous.isEmpty() }

// maxUnion is how many distinct hashes of exact sets a union counts exactly: more
// than one window holds, so that the window is counted as exactly as its sketches.
const maxUnion = 1024

// union counts what windows hold together; in which order they were added does
// not matter. The zero value is empty.
type union struct {
	registers registers
	exact     []uint64 // may repeat, in no order
	estimated bool     // exact is not all there is
}

func (u *union) add(w *window) {
	for _, s := range []*sketch{&w.current, &w.previous} {
		if s.registers != nil {
			u.estimated = true
			u.registers.merge(s.registers)
			continue
		}
		for _, h := range s.exact {
			u.registers.add(h)
		}
		if u.estimated {
			continue
		}
		if u.exact = append(u.exact, s.exact...); len(u.exact) > 4*maxUnion {
			u.compact()
		}
	}
}

// compact removes repetitions, and gives up the exact set if too much is left.
func (u *union) compact() {
	slices.Sort(u.exact)
	u.exact = slices.Compact(u.exact)
	u.estimated = u.estimated || len(u.exact) > maxUnion
}

func (u *union) count() uint64 {
	if u.compact(); u.estimated {
		return uint64(math.Round(min(u.registers.estimate(), 1<<63)))
	}
	return uint64(len(u.exact))
}

func (u *union) reset() {
	u.registers = registers{}
	u.exact = u.exact[:0]
	u.estimated = false
}

// registers are those of a HyperLogLog of 64 bit hashes (Flajolet, Fusy,
// Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
// estimation algorithm", 2007; Heule, Nunkesser, Hall: "HyperLogLog in
// Practice", 2013): each holds the longest run of leading zeros, plus one, of the
// hashes that fell to it.
type registers [1 << precision]uint8

func (r *registers) add(hash uint64) {
	at := hash >> (64 - precision)
	run := uint8(bits.LeadingZeros64(hash<<precision|1<<(precision-1))) + 1
	r[at] = max(r[at], run)
}

func (r *registers) merge(other *registers) {
	for i, run := range other {
		r[i] = max(r[i], run)
	}
}

// estimate is the improved raw estimator, algorithm 6 of Ertl: "New cardinality
// estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284), less its
// term for registers that can grow no more, which are none below 2^60 hashes. It
// is unbiased over the whole range and needs no table of measured corrections.
func (r *registers) estimate() float64 {
	var counts [longest + 1]int
	for _, run := range r {
		counts[run]++
	}
	const m = float64(len(registers{}))
	z := 0.0
	for k := longest; k >= 1; k-- {
		z = (z + float64(counts[k])) / 2
	}
	z += m * sigma(float64(counts[0])/m)
	return m * m / (2 * math.Ln2 * z)
}

// sigma is x + Σ x^(2^k)·2^(k-1) over k ≥ 1, of Ertl's equation for the registers
// that are still zero.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	sum, factor := x, 1.0
	for {
		x *= x
		next := sum + x*factor
		if next == sum {
			return sum
		}
		sum, factor = next, factor*2
	}
}
