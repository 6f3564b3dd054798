package demand

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// sampled is how many values of a label and generation are looked at.
	sampled = 64
	// maxShapes is how many shapes of a label have names; the others share otherName.
	maxShapes = 8

	// unseen is the shape of a value that nobody has looked at yet, others that of one
	// whose shape has no name here.
	unseen = 0
	others = maxShapes + 1
)

// ShapeUse is how many of a label's distinct values have a shape.
type ShapeUse struct {
	Shape string
	// Share is the part of the values that have it, from 0 to 1: exact up to 64
	// values, then of 64 that were drawn.
	Share float64
	// Example is one of them, made safe by finding.RedactLabel; empty for "__other__".
	Example string
}

// Shapes returns the shapes of a label's values, most first and equal ones by name.
// There are none without Config.Shape, nor of a label that is not tracked.
func (e *Estimator) Shapes(job, label string) []ShapeUse {
	e.Generation()
	job, label = clip(job), clip(label)
	s := e.shard(job)
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[job]; j != nil && j.labels[label] != nil {
		return j.labels[label].shapesOf()
	}
	return nil
}

// look finds the shapes of values that were drawn: with no lock held, for it may take
// a while.
func (e *Estimator) look(s *shard, job string, drawn []Value) {
	shapes := make([]string, len(drawn))
	for i, v := range drawn {
		shapes[i] = e.shape(v.Label, v.Text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	if j == nil {
		return // it was forgotten meanwhile
	}
	for i, v := range drawn {
		if w := j.labels[clip(v.Label)]; w != nil {
			w.saw(v, shapes[i])
		}
	}
}

// sample is the values with the smallest hashes: drawn by lot from the distinct ones,
// in whatever order and however often they were sent. The zero value is empty.
type sample struct {
	hashes []uint64 // sorted
	shapes []uint8  // of each, by its place in the window's list, from 1
}

// draw reports whether the value is one of the sample now and was not before.
func (s *sample) draw(hash uint64) bool {
	n := len(s.hashes)
	if n == sampled && hash >= s.hashes[n-1] {
		return false
	}
	at, known := slices.BinarySearch(s.hashes, hash)
	if known {
		return false
	}
	if n == sampled {
		s.hashes, s.shapes = s.hashes[:n-1], s.shapes[:n-1]
	}
	s.hashes, s.shapes = slices.Insert(s.hashes, at, hash), slices.Insert(s.shapes, at, unseen)
	return true
}

// seen is a shape that a value of the label has, and such a value.
type seen struct{ shape, example string }

// saw notes the shape of a value, unless others have pushed it out of the sample.
func (w *window) saw(v Value, shape string) {
	for _, s := range []*sample{&w.current.sample, &w.previous.sample} {
		if at, ok := slices.BinarySearch(s.hashes, v.Hash); ok {
			s.shapes[at] = w.place(shape, v)
			return
		}
	}
}

// place is where a shape stands in the window's list, from 1. One that no value has any
// more makes room for it.
func (w *window) place(shape string, v Value) uint8 {
	at := slices.IndexFunc(w.seen, func(s seen) bool { return s.shape == shape })
	if at >= 0 {
		return uint8(at) + 1
	}
	if at = len(w.seen); at == maxShapes {
		used := w.shapeCounts()
		if at = slices.Index(used[1:others], 0); at < 0 {
			return others
		}
		w.seen[at] = seen{shape, finding.RedactLabel(v.Label, v.Text)}
		return uint8(at) + 1
	}
	w.seen = append(w.seen, seen{shape, finding.RedactLabel(v.Label, v.Text)})
	return uint8(at) + 1
}

// shapeCounts is how many values of both generations have each shape.
func (w *window) shapeCounts() (counts [others + 1]int) {
	for _, s := range []*sample{&w.current.sample, &w.previous.sample} {
		for _, at := range s.shapes {
			counts[at]++
		}
	}
	return counts
}

// shapesOf counts the shapes of the values with the smallest hashes of both
// generations.
func (w *window) shapesOf() []ShapeUse {
	drawn := sample{hashes: slices.Clone(w.current.sample.hashes), shapes: slices.Clone(w.current.sample.shapes)}
	for i, h := range w.previous.sample.hashes {
		if drawn.draw(h) {
			at, _ := slices.BinarySearch(drawn.hashes, h)
			drawn.shapes[at] = w.previous.sample.shapes[i]
		}
	}
	var counts [others + 1]int
	for _, at := range drawn.shapes {
		counts[at]++
	}
	looked := float64(len(drawn.shapes) - counts[unseen])
	var out []ShapeUse
	for at, n := range counts {
		switch {
		case n == 0 || at == unseen:
		case at == others:
			out = append(out, ShapeUse{Shape: otherName, Share: float64(n) / looked})
		default:
			s := w.seen[at-1]
			out = append(out, ShapeUse{Shape: s.shape, Share: float64(n) / looked, Example: s.example})
		}
	}
	slices.SortFunc(out, func(a, b ShapeUse) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Shape, b.Shape))
	})
	return out
}
