package store

import (
	"slices"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
)

// Index knows which families there are and of which types, whoever holds them, and
// which label names the groups of each job have. By it a push is checked as a
// Pushgateway checks it, but in a time that does not grow with what is stored. It
// is safe for concurrent use. The zero value is not usable, see NewIndex.
type Index struct {
	mu       sync.Mutex
	families map[string]*familyUse
	jobs     map[string]*jobNames
}

// familyUse is a family that some groups hold.
type familyUse struct {
	typ    dto.MetricType
	groups int
}

// jobNames are the sets of label names that the groups of a job have, each by the
// last of its names: who has none of these names cannot hold such a set.
type jobNames struct {
	byLast map[string][]*nameSet
	sets   int
}

type nameSet struct {
	names  []string // without job, sorted
	groups int
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{families: map[string]*familyUse{}, jobs: map[string]*jobNames{}}
}

// Family is a family by its name and type.
type Family struct {
	Name string
	Type dto.MetricType
}

// Clash is a family that cannot be held beside another.
type Clash struct {
	// Family is the one that was pushed, Other the one it clashes with: the same
	// name if it has another type.
	Family, Other Family
}

// Error says it in a Pushgateway's words, as far as they do not name a metric.
func (c *Clash) Error() string {
	kind := strings.ToLower(c.Other.Type.String())
	switch {
	case c.Family.Name == c.Other.Name:
		return "collected metric family \"" + c.Family.Name + "\" is not a " + c.Other.Type.String()
	case len(c.Family.Name) > len(c.Other.Name):
		return "collected metric named \"" + c.Family.Name + "\" collides with previously collected " + kind + " named \"" + c.Other.Name + "\""
	default:
		return "collected histogram or summary named \"" + c.Family.Name + "\" collides with previously collected metric named \"" + c.Other.Name + "\""
	}
}

// Take has a group hold families beside what all groups hold, or says why it
// cannot: a *Clash, after which nothing is taken. What the group itself gives up
// with the same push is named too, and does not stand in the way; it is not given up
// before Drop.
func (x *Index) Take(take, give []Family) error { return x.decide(take, give, true) }

// Check says what Take would, and takes nothing.
func (x *Index) Check(take, give []Family) error { return x.decide(take, give, false) }

func (x *Index) decide(take, give []Family, keep bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range give {
		x.families[f.Name].groups--
	}
	defer func() {
		for _, f := range give {
			x.families[f.Name].groups++
		}
		x.tidy(take)
	}()
	if keep {
		x.families = withRoom(x.families, len(take))
	}
	before := make([]dto.MetricType, 0, len(take))
	for _, f := range take {
		if err := x.check(f); err != nil {
			x.untake(take, before)
			return err
		}
		before = append(before, x.take(f))
	}
	if !keep {
		x.untake(take, before)
	}
	return nil
}

// untake takes back the first of those that were taken, which were of these types
// before.
func (x *Index) untake(taken []Family, before []dto.MetricType) {
	for n := len(before) - 1; n >= 0; n-- {
		u := x.families[taken[n].Name]
		u.groups--
		u.typ = before[n]
	}
}

// take has one more group hold a family, and returns its type before. One that
// nobody else holds may change its type.
func (x *Index) take(f Family) dto.MetricType {
	u := x.families[f.Name]
	if u == nil {
		u = &familyUse{typ: f.Type}
		x.families[strings.Clone(f.Name)] = u
	}
	before := u.typ
	if u.groups == 0 {
		u.typ = f.Type
	}
	u.groups++
	return before
}

// Drop has a group no longer hold families.
func (x *Index) Drop(families []Family) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(families)
}

func (x *Index) drop(families []Family) {
	for _, f := range families {
		if u := x.families[f.Name]; u != nil {
			u.groups--
		}
	}
	x.tidy(families)
}

// tidy forgets families that nobody holds.
func (x *Index) tidy(families []Family) {
	for _, f := range families {
		if u := x.families[f.Name]; u != nil && u.groups <= 0 {
			delete(x.families, f.Name)
		}
	}
}

// held is the type of a family that some group holds.
func (x *Index) held(name string) (dto.MetricType, bool) {
	u := x.families[name]
	if u == nil || u.groups <= 0 {
		return 0, false
	}
	return u.typ, true
}

// check holds a family to the others as client_golang's registry does.
func (x *Index) check(f Family) error {
	if typ, ok := x.held(f.Name); ok && typ != f.Type {
		return &Clash{f, Family{f.Name, typ}}
	}
	for _, suffix := range suffixes {
		base, ok := strings.CutSuffix(f.Name, suffix)
		if !ok || base == "" {
			continue
		}
		typ, ok := x.held(base)
		if ok && (typ == dto.MetricType_HISTOGRAM || typ == dto.MetricType_SUMMARY && suffix != "_bucket") {
			return &Clash{f, Family{base, typ}}
		}
	}
	if f.Type != dto.MetricType_HISTOGRAM && f.Type != dto.MetricType_SUMMARY {
		return nil
	}
	for _, suffix := range suffixes {
		if suffix == "_bucket" && f.Type == dto.MetricType_SUMMARY {
			continue
		}
		if typ, ok := x.held(f.Name + suffix); ok {
			return &Clash{f, Family{f.Name + suffix, typ}}
		}
	}
	return nil
}

var suffixes = [...]string{"_count", "_sum", "_bucket"}

// Enter has a job have one more group whose labels, those with a value, have these
// names, sorted and without job. Leave takes it back. It returns the names in memory that
// all groups with such names share, and that must not be changed.
func (x *Index) Enter(job string, names []string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[job]
	if j == nil {
		j = &jobNames{byLast: map[string][]*nameSet{}}
		x.jobs[strings.Clone(job)] = j
	}
	if s := j.find(names); s != nil {
		s.groups++
		return s.names
	}
	last, set := lastOf(names), &nameSet{slices.Clone(names), 1}
	j.byLast[last] = append(j.byLast[last], set)
	j.sets++
	return set.names
}

// Leave takes back an Enter.
func (x *Index) Leave(job string, names []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[job]
	if j == nil {
		return
	}
	s := j.find(names)
	if s == nil {
		return
	}
	if s.groups--; s.groups > 0 {
		return
	}
	last := lastOf(names)
	j.byLast[last] = slices.DeleteFunc(j.byLast[last], func(o *nameSet) bool { return o == s })
	if len(j.byLast[last]) == 0 {
		delete(j.byLast, last)
	}
	if j.sets--; j.sets == 0 {
		delete(x.jobs, job)
	}
}

func (j *jobNames) find(names []string) *nameSet {
	for _, s := range j.byLast[lastOf(names)] {
		if slices.Equal(s.names, names) {
			return s
		}
	}
	return nil
}

func lastOf(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}

// Others returns the other sets of label names by which groups of the job could hold
// a series whose labels, those with a value, have these names: sorted, without job.
// own are those of the group that the series is pushed to. Mostly there are none.
func (x *Index) Others(job string, own, series []string) [][]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[job]
	if j == nil || j.sets == 1 && j.find(own) != nil {
		return nil
	}
	var out [][]string
	try := func(last string) {
		for _, s := range j.byLast[last] {
			if subset(s.names, series) && !slices.Equal(s.names, own) {
				out = append(out, s.names)
			}
		}
	}
	try("")
	for _, name := range series {
		try(name)
	}
	return out
}

// Mixed reports whether the groups of a job have more than one set of label names.
func (x *Index) Mixed(job string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := x.jobs[job]
	return j != nil && j.sets > 1
}

// subset reports whether all of a are in b, both sorted.
func subset(a, b []string) bool {
	for len(a) > 0 {
		switch {
		case len(b) == 0 || a[0] < b[0]:
			return false
		case a[0] == b[0]:
			a = a[1:]
		}
		b = b[1:]
	}
	return true
}
