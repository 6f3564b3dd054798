package rules

import (
	"math/bits"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/pushguard/pushguard/rules/finding"
)

// maxShapeLook is how much of a value the patterns read. A longer value is told
// by its head: every shape that a value so long can have shows there.
const maxShapeLook = 4096

// maxFolds is how often a normal form is folded again, as for a name with two
// suffixes.
const maxFolds = 8

// shape is one kind of value without bound.
type shape struct {
	name    string
	pattern string // RE2, matched against the whole value
	normal  string // what is left of it, $1 being the first group of the pattern

	// max is the longest value, in bytes, where the pattern itself has no end.
	max int
	// when is what else the value must fulfil; tried before the pattern, and
	// alone where there is no pattern.
	when func(value string) bool
	// label is which labels can have the shape; nil is all of them.
	label func(label string) bool

	re     *regexp.Regexp
	bounds bounds
}

// catalogue is every shape, compiled, in the order in which they are tried.
var catalogue = compileShapes(shapeTable())

func compileShapes(table []shape) []shape {
	for i := range table {
		s := &table[i]
		pattern := s.pattern
		if pattern == "" {
			pattern = `(?s).+`
		} else {
			s.re = regexp.MustCompile(`^(?:` + pattern + `)$`)
		}
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			panic(err) // cannot happen: it has just been compiled
		}
		s.bounds = boundsOf(tree)
		if s.max > 0 {
			s.bounds.max = min(s.bounds.max, s.max)
		}
	}
	return table
}

// ShapeNames returns the names of all shapes in the order in which they are
// tried.
func ShapeNames() []string {
	names := make([]string, len(catalogue))
	for i := range catalogue {
		names[i] = catalogue[i].name
	}
	return names
}

// Shape returns the first shape that value has as the value of label, and the
// bounded normal form to which it can be folded; ok is false if it has none, as
// bounded values should. The labels le and quantile never have a shape.
//
// A value has a shape as a whole, never by a part of it. A normal form that has
// a shape itself is folded further, so folding twice changes nothing more. The
// normal form is valid UTF-8 if the value is, and never empty.
func Shape(label, value string) (name, normal string, ok bool) {
	s, normal := allShapes().fold(label, value)
	if s == nil {
		return "", "", false
	}
	return s.name, normal, true
}

// ActionFor returns the action by which a rule bounds values of the named shape:
// Template where a name is left of them, Drop where nothing is that tells one from
// another; ok is false if there is no such shape.
func ActionFor(shape string) (_ Action, ok bool) {
	for i := range catalogue {
		if catalogue[i].name != shape {
			continue
		}
		if strings.Contains(catalogue[i].normal, "$") {
			return Template, true
		}
		return Drop, true
	}
	return "", false
}

// Shapes is a set of shapes, for folding what is no label of a metric. The zero
// value is empty and folds nothing.
type Shapes struct{ set shapeSet }

// NewShapes returns the set of the named shapes; "all" names every one. The
// error is a Faults about the field shapes.
func NewShapes(names []string) (Shapes, error) {
	c := compiler{rule: -1}
	set := c.shapes(names)
	if len(c.faults) > 0 {
		return Shapes{}, c.faults
	}
	return Shapes{set}, nil
}

// Fold returns the normal form of a value of label, folded until it has none of
// the shapes any more, so that folding twice changes nothing more. A value with
// none of them is returned as it is; nothing but the empty value becomes empty.
func (s Shapes) Fold(label, value string) string {
	for range len(value) { // nearly every fold takes a byte; this ends the others
		_, folded := s.set.fold(label, value)
		if folded == "" || folded == value {
			break
		}
		value = folded
	}
	return value
}

// shapeSet is a set of shapes: bit i is catalogue[i].
type shapeSet uint64

func allShapes() shapeSet { return 1<<len(catalogue) - 1 }

// fold returns the first shape of the set that value has, and its normal form
// folded until nothing of the set is left in it; nil if it has none.
func (set shapeSet) fold(label, value string) (*shape, string) {
	if label == "le" || label == "quantile" {
		return nil, ""
	}
	first, normal := set.match(label, value)
	if first == nil {
		return nil, ""
	}
	for range maxFolds {
		again, shorter := set.match(label, normal)
		if again == nil || shorter == normal {
			break
		}
		normal = shorter
	}
	return first, normal
}

// match returns the first shape of the set that value has and its normal form.
func (set shapeSet) match(label, value string) (*shape, string) {
	if value == "" {
		return nil, ""
	}
	t := traitsOf(value)
	for rest := set; rest != 0; rest &= rest - 1 {
		s := &catalogue[bits.TrailingZeros64(uint64(rest))]
		if !s.bounds.permit(value, &t) {
			continue
		}
		if normal, ok := s.normalize(label, value); ok {
			return s, normal
		}
	}
	return nil, ""
}

// normalize returns the normal form of value if it has the shape. Its bounds
// have been checked.
func (s *shape) normalize(label, value string) (string, bool) {
	if s.label != nil && !s.label(label) || s.when != nil && !s.when(value) {
		return "", false
	}
	if s.re == nil {
		return s.normal, true
	}
	head := headOf(value)
	if !strings.Contains(s.normal, "$") {
		return s.normal, s.re.MatchString(head)
	}
	groups := s.re.FindStringSubmatchIndex(head)
	if groups == nil {
		return "", false
	}
	return string(s.re.ExpandString(nil, s.normal, head, groups)), true
}

// headOf returns what the patterns read of value: all of it, or its beginning.
func headOf(value string) string { return finding.Head(value, maxShapeLook) }

// shapesNamed returns the set of the named shape, or of all.
func shapesNamed(name string) (shapeSet, bool) {
	if name == "all" {
		return allShapes(), true
	}
	for i := range catalogue {
		if catalogue[i].name == name {
			return 1 << i, true
		}
	}
	return 0, false
}
