package ledger

import (
	"math/bits"
	"slices"
)

// valueTable is which label values a job has, by their hashes. A million of them take
// some 20 bytes each: they lie in segments, and each time there are more than a segment
// is meant for, one of these is split, so that no push waits while all are moved (Litwin,
// Linear Hashing, 1980). The zero value is empty.
type valueTable struct {
	segments []segment
	n        int
	labels   labelTable
}

// valueUse is a label, and how many families of groups hold the value.
type valueUse struct {
	label uint64
	uses  int
}

// segment is an open table with linear probing.
type segment struct {
	slots []slot
	n     int
}

type slot struct {
	value uint64
	label uint32 // its number; 0: the slot is free
	uses  uint32
}

// perSegment is how many values a segment has on average, at the most.
const perSegment = 256

func (t *valueTable) get(value uint64) (valueUse, bool) {
	if s := t.find(value); s != nil {
		return valueUse{t.labels.of[s.label].label, int(s.uses)}, true
	}
	return valueUse{}, false
}

// label is the label of a value; 0 if the job has it not.
func (t *valueTable) label(value uint64) uint64 {
	u, _ := t.get(value)
	return u.label
}

func (t *valueTable) has(value uint64) bool { return t.find(value) != nil }

// count changes how many hold a value, and returns how many do.
func (t *valueTable) count(value uint64, by int) (uses int) {
	s := t.find(value)
	if s == nil {
		t.set(value, valueUse{})
		s = t.find(value)
	}
	s.uses = uint32(int(s.uses) + by)
	return int(s.uses)
}

// set makes of a value what is given.
func (t *valueTable) set(value uint64, u valueUse) {
	if s := t.find(value); s != nil {
		s.uses = uint32(u.uses)
		return
	}
	if t.n++; t.n > perSegment*len(t.segments) {
		t.split()
	}
	t.segments[t.at(value)].add(slot{value, t.labels.take(u.label), uint32(u.uses)})
}

func (t *valueTable) remove(value uint64) {
	s := t.find(value)
	if s == nil {
		return
	}
	t.labels.release(s.label)
	t.segments[t.at(value)].remove(s)
	if t.n--; t.n == 0 {
		*t = valueTable{}
	}
}

func (t *valueTable) find(value uint64) *slot {
	if t.n == 0 {
		return nil
	}
	return t.segments[t.at(value)].find(value)
}

// at is the segment of a value: by as many bits of it as there are twice the segments
// for, or one less for a segment that is not there yet.
func (t *valueTable) at(value uint64) int { return segmentOf(value, len(t.segments)) }

func segmentOf(value uint64, segments int) int {
	width := bits.Len(uint(segments - 1))
	if i := int(value & (1<<width - 1)); i < segments {
		return i
	}
	return int(value & (1<<(width-1) - 1))
}

// split adds a segment, and moves to it what belongs there.
func (t *valueTable) split() {
	t.segments = append(t.segments, segment{})
	added := len(t.segments) - 1
	if added == 0 {
		return
	}
	old := &t.segments[added&(1<<(bits.Len(uint(added))-1)-1)]
	all := old.slots
	*old = segment{}
	for _, s := range all {
		if s.label != 0 {
			t.segments[t.at(s.value)].add(s)
		}
	}
}

// home is where a value is looked for first, by its upper bits: the lower tell the segment.
func (g *segment) home(value uint64) int {
	high, _ := bits.Mul64(value, uint64(len(g.slots)))
	return int(high)
}

func (g *segment) find(value uint64) *slot {
	if g.n == 0 {
		return nil
	}
	for i := g.home(value); g.slots[i].label != 0; i = g.after(i) {
		if g.slots[i].value == value {
			return &g.slots[i]
		}
	}
	return nil
}

func (g *segment) after(i int) int {
	if i++; i < len(g.slots) {
		return i
	}
	return 0
}

// add adds a value that is not there. An eighth of the slots stays free.
func (g *segment) add(s slot) {
	if g.n++; g.n > len(g.slots)-len(g.slots)/8-1 {
		g.grow()
	}
	i := g.home(s.value)
	for g.slots[i].label != 0 {
		i = g.after(i)
	}
	g.slots[i] = s
}

func (g *segment) grow() {
	all := g.slots
	g.slots = slices.Grow([]slot(nil), len(all)+len(all)/5+2)
	g.slots = g.slots[:cap(g.slots)]
	for _, s := range all {
		if s.label == 0 {
			continue
		}
		i := g.home(s.value)
		for g.slots[i].label != 0 {
			i = g.after(i)
		}
		g.slots[i] = s
	}
}

// remove frees a slot, and has those behind it that are not at home move up.
func (g *segment) remove(at *slot) {
	g.n--
	free := g.home(at.value)
	for &g.slots[free] != at {
		free = g.after(free)
	}
	for i := g.after(free); g.slots[i].label != 0; i = g.after(i) {
		if home := g.home(g.slots[i].value); g.distance(home, i) >= g.distance(free, i) {
			g.slots[free], free = g.slots[i], i
		}
	}
	g.slots[free] = slot{}
}

func (g *segment) distance(from, to int) int {
	if to < from {
		to += len(g.slots)
	}
	return to - from
}

// labelTable numbers labels, and counts their distinct values. The zero value is empty.
type labelTable struct {
	numbers map[uint64]uint32
	of      []labelCount // by number; the first is none
	free    []uint32
}

type labelCount struct {
	label    uint64
	distinct int
}

// take counts a value of a label, and returns the number of that.
func (t *labelTable) take(label uint64) uint32 {
	n, ok := t.numbers[label]
	if !ok {
		n = t.add(label)
	}
	t.of[n].distinct++
	return n
}

func (t *labelTable) add(label uint64) uint32 {
	if t.numbers == nil {
		t.numbers, t.of = map[uint64]uint32{}, make([]labelCount, 1)
	}
	n := uint32(len(t.of))
	if last := len(t.free) - 1; last >= 0 {
		n, t.free = t.free[last], t.free[:last]
		t.of[n] = labelCount{label: label}
	} else {
		t.of = append(t.of, labelCount{label: label})
	}
	t.numbers[label] = n
	return n
}

func (t *labelTable) release(n uint32) {
	l := &t.of[n]
	if l.distinct--; l.distinct == 0 {
		delete(t.numbers, l.label)
		t.free = append(t.free, n)
	}
}

// distinct is how many values of a label there are.
func (t *labelTable) distinct(label uint64) int {
	if n, ok := t.numbers[label]; ok {
		return t.of[n].distinct
	}
	return 0
}

// counts is that of every label.
func (t *labelTable) counts() map[uint64]int {
	out := make(map[uint64]int, len(t.numbers))
	for label, n := range t.numbers {
		out[label] = t.of[n].distinct
	}
	return out
}
