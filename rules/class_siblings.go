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
	if !searching(families, found) {
		return
	}
	s := nurseries.Get().(siblings)
	for i, f := range families {
		if kin := found[i].kin(f); kin&^createdOf != 0 {
			s[f.Name] |= kin
		}
	}
	for i, f := range families {
		switch kin := found[i].depends; {
		case kin&createdOf != 0 && s.hasBeginning(strings.TrimSuffix(f.Name, created)):
			found[i] = beginningTold()
		case kin&partOfUnit != 0 && s.hasUnit(base(f.Name)):
			found[i] = c.partOf(base(f.Name))
		}
	}
	clear(s)
	nurseries.Put(s)
}

// searching sees to what the family just before decides, which is how clients
// write a beginning, and reports whether the rest of the push has to be asked.
func searching(families []Family, found []Classified) bool {
	search := false
	for i, f := range families {
		switch kin := found[i].kin(f); {
		case kin&bucketOfOne != 0:
			search = true
		case kin&createdOf == 0:
		case i > 0 && begins(families[i-1].Name, found[i-1].depends, strings.TrimSuffix(f.Name, created)):
			found[i] = beginningTold()
		default:
			search = true
		}
	}
	return search
}

// kin is what the family can be to its siblings.
func (found *Classified) kin(f Family) kinship {
	if !f.Le {
		return found.depends &^ bucketOfOne
	}
	return found.depends
}

// begins reports whether base_created tells when the family of that name began.
func begins(name string, kin kinship, base string) bool {
	rest, ok := strings.CutPrefix(name, base)
	return ok && (rest == "" && kin&beginning != 0 || rest == total && kin&totalling != 0)
}

func beginningTold() Classified {
	return Classified{Class: ClassEvidence, Reason: "tells when a sibling began"}
}

// partOf is a part of the untyped histogram of that name.
func (c *Classes) partOf(unit string) Classified {
	found := c.meant(Classified{Class: ClassCounter, Semantics: Auto, Reason: "untyped, a histogram together with its siblings"})
	if found.Class == ClassCounter {
		found.Unit = unit
	}
	return found
}

// base is the name without what makes it part of a histogram.
func base(name string) string { return strings.TrimSuffix(name, unitSuffix(name)) }

// hasBeginning reports whether there is a family whose beginning base_created is.
func (s siblings) hasBeginning(base string) bool {
	return s[base]&beginning != 0 || s.has(base, total, totalling)
}

// hasUnit reports whether there are all the parts of a histogram.
func (s siblings) hasUnit(base string) bool {
	return s.has(base, bucket, bucketOfOne) && s.has(base, "_sum", partOfUnit) && s.has(base, "_count", partOfUnit)
}

func (s siblings) has(base, suffix string, kin kinship) bool {
	var room [128]byte
	return s[string(append(append(room[:0], base...), suffix...))]&kin != 0
}
