package rules

import (
	"slices"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
)

// Class is what becomes of a metric family. The zero value is no class.
type Class string

// The classes. The policy file can say the first four.
const (
	ClassCounter  Class = "counter"  // it adds up: its increments leave, not its values
	ClassSnapshot Class = "snapshot" // it is forwarded as the last push says
	ClassEvent    Class = "event"    // it leaves as a record, not as series
	ClassDrop     Class = "drop"     // it is left out
	ClassEvidence Class = "evidence" // it tells counters of one source from another's, then it is left out
	ClassNoise    Class = "noise"    // a runtime's own: a snapshot that is never counted
)

// Semantics is how the values of a counter become increments, as the policy file
// writes it. The zero value is as Auto.
type Semantics string

// The semantics.
const (
	Auto       Semantics = "auto"       // by the evidence that comes with the push
	Cumulative Semantics = "cumulative" // each value continues the one before
	Delta      Semantics = "delta"      // each value is an increment
	Latest     Semantics = "latest"     // the last value stands: no counter, a snapshot
)

// GaugeNamedTotal is the lint of a gauge whose name ends as a counter's does.
const GaugeNamedTotal = "gauge_named_total"

// Classified is what Classes say about one family.
type Classified struct {
	Class Class
	// Semantics is Auto, Cumulative or Delta for ClassCounter, else empty.
	Semantics Semantics
	// Reason says in a few words why, for people.
	Reason string
	// Lint is GaugeNamedTotal or empty.
	Lint string
	// Rule is the number of the FamilyRule that decided, from 1; 0 is the
	// built-in table.
	Rule int
	// Unit is X for the untyped families X_bucket, X_sum and X_count that are one
	// histogram together; else empty. It shares memory with the family's name.
	Unit string

	// depends says which siblings in the push make something else of it.
	depends kinship
}

// kinship is what a family can be to others of the same push.
type kinship uint8

const (
	createdOf   kinship = 1 << iota // it may tell when a sibling began
	partOfUnit                      // it may be a part of an untyped histogram
	bucketOfOne                     // and is its buckets, with le
	beginning                       // it is of a type that X_created goes with as X
	totalling                       // or, a counter, as X_total
)

// Family is what the class of a family follows from.
type Family struct {
	Name string
	Type dto.MetricType
	// Le says that the family's samples carry the label le. It matters for untyped
	// families alone whose name ends in _bucket.
	Le bool
}

// FamilyRule says what becomes of the families it matches.
type FamilyRule struct {
	// Metrics are anchored RE2 patterns of family names; at least one.
	Metrics []string
	// Types are declared types, untyped among them; empty matches every type.
	Types []dto.MetricType
	// As is ClassCounter, ClassSnapshot, ClassEvent or ClassDrop.
	As Class
	// Semantics is for ClassCounter alone; empty is what ClassConfig says.
	Semantics Semantics
}

// ClassConfig is what CompileClasses turns into Classes. The zero value is the
// built-in table alone.
type ClassConfig struct {
	// Semantics are those of every counter that no rule gives any. Auto and empty
	// leave the built-in table its own.
	Semantics Semantics
	// Families are tried in order, before the built-in table; the first that
	// matches decides.
	Families []FamilyRule
}

// Classes tell counters from snapshots. They are safe for concurrent use, and
// what they say follows from the families alone. The zero value is the built-in
// table.
type Classes struct {
	semantics Semantics
	rules     []familyRule

	// known remembers what patterns were tried for. Without rules nothing is
	// remembered: the built-in table is faster than a map.
	mu    sync.RWMutex
	known map[Family]Classified
}

// maxKnown bounds the families that Classes remember. Once full they start anew.
const maxKnown = 4096

// Of returns the class of a family that stands alone in its push.
func (c *Classes) Of(f Family) Classified {
	if len(c.rules) == 0 {
		return c.classify(f)
	}
	f.Le = false // an only child, bucket or not
	c.mu.RLock()
	known, ok := c.known[f]
	c.mu.RUnlock()
	if ok {
		return known
	}
	return c.learn(f)
}

// learn classifies a family and remembers it.
func (c *Classes) learn(f Family) Classified {
	f.Name, f.Le = strings.Clone(f.Name), false
	found := c.classify(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxKnown {
		c.known = make(map[Family]Classified)
	}
	c.known[f] = found
	return found
}

// Push appends to dst the class of each family of one push, in their order. What
// a family is follows from its siblings, too, never from the order they stand in.
func (c *Classes) Push(families []Family, dst []Classified) []Classified {
	start, depends := len(dst), kinship(0)
	dst = slices.Grow(dst, len(families))
	for i := range families {
		found := c.Of(families[i])
		depends |= found.depends
		dst = append(dst, found)
	}
	if depends&(createdOf|partOfUnit) != 0 {
		c.relate(families, dst[start:])
	}
	return dst
}
