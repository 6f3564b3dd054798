package statsd

import "github.com/pushguard/pushguard/proxy/counter"

// family is what owns names on the wire, so that one name is one thing.
type family struct {
	raw    string // its name as it came
	base   string // cleaned, with the prefix
	kind   counter.Kind
	series int // that are remembered
}

// names are those that a family of this name and kind owns. It owns its base
// too: x_count of a counter x_count and of a histogram x would be one.
func names(base string, kind counter.Kind) []string {
	if kind == counter.Counter {
		return []string{base}
	}
	out := make([]string, 1, 4)
	out[0] = base
	for _, s := range suffixes[kind] {
		out = append(out, base+s)
	}
	return out
}

// families are the owners of the names in use.
type families map[string]*family

// claim returns the family of a series, which is a new one if its names are
// free. The family is to be released.
func (f families) claim(src *counter.Series, base string) (*family, Refusal) {
	owned := names(base, src.Kind)
	if at := f[base]; at != nil && at.base == base {
		switch {
		case at.raw != src.Name:
			return nil, RefusedCollision
		case at.kind != src.Kind:
			return nil, RefusedKind
		}
		at.series++
		return at, ""
	}
	for _, n := range owned {
		if reserved(n) {
			return nil, RefusedReserved
		}
		if f[n] != nil {
			return nil, RefusedKind
		}
	}
	at := &family{raw: src.Name, base: base, kind: src.Kind, series: 1}
	for _, n := range owned {
		f[n] = at
	}
	return at, ""
}

func (f families) release(at *family) {
	if at.series--; at.series > 0 {
		return
	}
	for _, n := range names(at.base, at.kind) {
		delete(f, n)
	}
}
