package consistency

import (
	"slices"
	"strings"

	"github.com/pushguard/pushguard/proxy/store"
)

// has reports whether one of the families, which are in the order of their names, is of
// that name and has that metric.
func has(families []family, name string, print uint64) bool {
	i, _ := slices.BinarySearchFunc(families, name, func(f family, name string) int { return strings.Compare(f.Name, name) })
	for ; i < len(families) && families[i].Name == name; i++ {
		if _, ok := slices.BinarySearch(families[i].prints, print); ok {
			return true
		}
	}
	return false
}

// join is what a group holds after a push that adds to it, both in the order of their
// names.
func join(before, pushed []family) []family {
	out := make([]family, 0, len(before)+len(pushed))
	for _, f := range before {
		for len(pushed) > 0 && pushed[0].Name < f.Name {
			out, pushed = append(out, pushed[0]), pushed[1:]
		}
		if len(pushed) == 0 || pushed[0].Name != f.Name {
			out = append(out, f)
		}
	}
	return append(out, pushed...)
}

// either is what a group may hold that holds the one or the other, in the order of the
// names: a name may come twice.
func either(a, b []family) []family {
	same := func(f, o family) bool { return f.Family == o.Family && slices.Equal(f.prints, o.prints) }
	out := slices.Clone(b)
	for _, f := range a {
		if !slices.ContainsFunc(b, func(o family) bool { return same(f, o) }) {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b family) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// kept are families without what is valid only while they are being pushed.
func kept(pushed []family) []family {
	out := make([]family, len(pushed))
	for i, f := range pushed {
		if f.push != nil {
			f.Name = strings.Clone(f.Name)
		}
		f.push, f.metrics = nil, nil
		out[i] = f
	}
	return out
}

// namesOf are the families by name and type, each once; they are in the order of their
// names.
func namesOf(families []family) []store.Family {
	out := make([]store.Family, 0, len(families))
	for _, f := range families {
		known := false
		for i := len(out) - 1; i >= 0 && out[i].Name == f.Name; i-- {
			known = known || out[i] == f.Family
		}
		if !known {
			out = append(out, f.Family)
		}
	}
	return out
}

// differ splits two sets of families: what only the first has, and what only the second.
func differ(a, b []store.Family) (onlyA, onlyB []store.Family) {
	in := make(map[store.Family]bool, len(a))
	for _, f := range a {
		in[f] = true
	}
	for _, f := range b {
		if in[f] {
			delete(in, f)
		} else {
			onlyB = append(onlyB, f)
		}
	}
	for _, f := range a {
		if in[f] {
			onlyA = append(onlyA, f)
		}
	}
	return onlyA, onlyB
}
