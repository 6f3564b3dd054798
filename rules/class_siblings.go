package rules

import (
	"strings"
	"sync"
)

// siblings are the families of one push by name, and what they can be to others.
type siblings map[string]kinship

// nurseries are siblings of pushes that are over, empty again.
var nurseries = sync.Pool{New: func() any { return make(siblings) }}

// relate sees to the classes that depend on siblings.
func (c *Classes) relate(families []Family, found []Classified) {
	s := nurseries.Get().(siblings)
	for i, f := range families {
		kin := found[i].depends
		if !f.Le {
			kin &^= bucketOfOne
		}
		if kin != 0 {
			s[f.Name] |= kin
		}
	}
	for i, f := range families {
		switch kin := found[i].depends; {
		case kin&createdOf != 0 && s.hasBeginning(strings.TrimSuffix(f.Name, created)):
			found[i] = Classified{Class: ClassEvidence, Reason: "tells when a sibling began"}
		case kin&partOfUnit != 0 && s.hasUnit(f.Name[:len(f.Name)-len(unitSuffix(f.Name))]):
			unit := Classified{Class: ClassCounter, Semantics: Auto, Reason: "untyped, a histogram together with its siblings"}
			found[i] = c.meant(unit)
			found[i].Unit = f.Name[:len(f.Name)-len(unitSuffix(f.Name))]
		}
	}
	clear(s)
	nurseries.Put(s)
}

// hasBeginning reports whether there is a family whose beginning base_created is.
func (s siblings) hasBeginning(base string) bool {
	return s[base]&beginning != 0 || s.has(base, "_total", totalling)
}

// hasUnit reports whether there are all the parts of a histogram.
func (s siblings) hasUnit(base string) bool {
	return s.has(base, bucket, bucketOfOne) && s.has(base, "_sum", partOfUnit) && s.has(base, "_count", partOfUnit)
}

func (s siblings) has(base, suffix string, kin kinship) bool {
	var room [128]byte
	return s[string(append(append(room[:0], base...), suffix...))]&kin != 0
}
