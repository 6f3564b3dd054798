package consistency

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/wire"
)

// book is what the upstream holds, as far as a push can contradict it.
type book struct {
	index  *store.Index
	groups map[string]*group // by their labels with a value
	// unsure are the families of which a group may hold one type or another, as one that
	// is being pushed as another type than before; the index knows one.
	unsure map[string]*group
	// removed are the groups that were removed lately, and when.
	removed map[string]time.Time
}

// lag is how long a Pushgateway may take to list what it has accepted: it answers before
// it has applied a push, and then applies one after the other.
const lag = 5 * time.Second

// maxRemoved is how many removed groups are remembered beyond those of the last seconds.
const maxRemoved = 10_000

// group is a group of the upstream.
type group struct {
	key   wire.Key
	names []string // of its labels with a value, without job, sorted
	// families are what it holds, and next what it is being pushed to hold, both in the
	// order of their names.
	families, next []family
	pushing        bool
	doubtful       bool           // a push got no answer: some of the families may not be there
	taken          []store.Family // what the index counts for it
	changed        time.Time      // zero if it is as it was listed
}

func newBook() *book {
	return &book{index: store.NewIndex(), groups: map[string]*group{}, unsure: map[string]*group{}, removed: map[string]time.Time{}}
}

func (b *book) find(key wire.Key) *group { return b.groups[key.Canonical().ID()] }

// enter returns the group, a new one if there is none.
func (b *book) enter(key wire.Key) *group {
	if g := b.find(key); g != nil {
		g.changed = time.Now()
		return g
	}
	g := newGroup(key)
	b.groups[g.key.ID()] = g
	g.names = b.index.Enter(g.key.Job(), g.names)
	g.changed = time.Now()
	return g
}

func newGroup(key wire.Key) *group {
	g := &group{key: wire.KeyOf(strings.Clone(key.Canonical().ID()))}
	for _, l := range g.key.Labels() {
		if l.Name != model.JobLabel {
			g.names = append(g.names, l.Name)
		}
	}
	return g
}

// reserve has a group be about to hold families: besides those it holds of other names,
// or, if it replaces all, in their place. The error says what contradicts that.
func (b *book) reserve(key wire.Key, pushed []family, all bool, seed uint64) error {
	g := b.enter(key)
	next, err := b.weigh(g, pushed, all, seed)
	if err != nil {
		return err
	}
	give, take := differ(g.taken, namesOf(next))
	if err := b.index.Take(take, give); err != nil {
		return clash(err, pushed)
	}
	g.next, g.pushing = kept(next), true
	g.taken = append(slices.Clip(g.taken), take...)
	for _, f := range give {
		if _, retyped := slices.BinarySearchFunc(take, f.Name, byName); retyped {
			b.unsure[f.Name] = g
		}
	}
	return nil
}

// byName finds a family of a name in their order.
func byName(f store.Family, name string) int { return strings.Compare(f.Name, name) }

// weigh finds what the group would hold, or what contradicts that in other groups but
// for the types of families.
func (b *book) weigh(g *group, pushed []family, all bool, seed uint64) ([]family, error) {
	for _, f := range pushed {
		if b.open(g, f.Name, all) {
			return nil, fmt.Errorf("%w: metric %.100q: %w", gateway.ErrUnreachable, f.Name, errUnsure)
		}
	}
	if err := b.own(g, pushed, seed); err != nil {
		return nil, err
	}
	next := pushed
	if !all {
		next = join(g.families, pushed)
	}
	if g.doubtful { // what it may hold stays until it is listed
		next = either(g.families, next)
	}
	return next, nil
}

// open reports whether it takes a type that nobody knows to say whether a group can hold
// a family of that name: another group's of the name, or one whose series may have it.
func (b *book) open(g *group, name string, all bool) bool {
	if len(b.unsure) == 0 {
		return false
	}
	if other := b.unsure[name]; other != nil && other != g {
		return true
	}
	return slices.ContainsFunc(suffixes[:], func(suffix string) bool {
		base, ok := strings.CutSuffix(name, suffix)
		other := b.unsure[base]
		return ok && other != nil && (other != g || !all)
	})
}

// suffixes are what the series of histograms and summaries are named with.
var suffixes = [...]string{"_bucket", "_count", "_sum"}

// apply has the group hold what it was pushed, withdraw what it held before, and doubt
// the one or the other.
func (b *book) apply(key wire.Key) {
	b.end(key, func(g *group) { g.families = g.next })
}

func (b *book) withdraw(key wire.Key) {
	b.end(key, func(*group) {})
}

func (b *book) doubt(key wire.Key) {
	b.end(key, func(g *group) {
		g.families, g.doubtful = either(g.families, g.next), true
	})
}

// errUnsure says why a push must wait for a listing.
var errUnsure = errors.New("a group was pushed a family of that name as another type than before, and has no answer")

func (b *book) noteUnsure(g *group) {
	for i := 1; i < len(g.families); i++ {
		if f, before := g.families[i], g.families[i-1]; f.Name == before.Name && f.Type != before.Type {
			b.unsure[f.Name] = g
		}
	}
}

// end ends a push of a group, if there is one; what it holds then is all that the index
// counts for it.
func (b *book) end(key wire.Key, decide func(*group)) {
	g := b.find(key)
	if g == nil || !g.pushing {
		return
	}
	maps.DeleteFunc(b.unsure, func(_ string, of *group) bool { return of == g })
	if decide(g); g.doubtful {
		b.noteUnsure(g)
	}
	g.next, g.pushing = nil, false
	stay := namesOf(g.families)
	gone, _ := differ(g.taken, stay)
	b.index.Drop(gone)
	g.taken, _ = differ(g.taken, gone)
	for i := range g.taken { // the name was a part of the push
		g.taken[i].Name = strings.Clone(g.taken[i].Name)
	}
	b.retype(g, gone)
	g.changed = time.Now()
}

// retype has the index know the types of what a group kept of other types: it knows one
// for each name.
func (b *book) retype(g *group, gone []store.Family) {
	for _, f := range gone {
		i := slices.IndexFunc(g.taken, func(o store.Family) bool { return o.Name == f.Name })
		if i < 0 {
			continue
		}
		is := g.taken[i : i+1 : i+1]
		if b.index.Drop(is); b.index.Take(is, nil) != nil {
			g.taken = slices.Delete(g.taken, i, i+1) // another has taken it meanwhile; a listing tells
		}
	}
}

// touch keeps a listing that was asked for before from deciding about a group.
func (b *book) touch(key wire.Key) {
	if g := b.find(key); g != nil {
		g.changed = time.Now()
	}
}

// remove forgets a group. For a listing that does not know it yet it is remembered that
// it is gone.
func (b *book) remove(key wire.Key) {
	g := b.find(key)
	if g == nil {
		return
	}
	maps.DeleteFunc(b.unsure, func(_ string, of *group) bool { return of == g })
	b.index.Drop(g.taken)
	b.index.Leave(g.key.Job(), g.names)
	delete(b.groups, g.key.ID())
	if len(b.removed) >= maxRemoved {
		maps.DeleteFunc(b.removed, func(_ string, at time.Time) bool { return time.Since(at) > lag })
	}
	b.removed[g.key.ID()] = time.Now()
}

// wipe forgets all groups. A push under way may come after it.
func (b *book) wipe() {
	for _, g := range b.groups {
		if g.pushing {
			g.families = nil
			continue
		}
		b.remove(g.key)
	}
}

// own holds the series of a push to being those of no other group.
func (b *book) own(g *group, pushed []family, seed uint64) error {
	// A group that is only foreseen is not among the others of its job.
	if entered := !g.changed.IsZero() || b.groups[g.key.ID()] == g; entered && !b.index.Mixed(g.key.Job()) {
		return nil
	}
	for i := range pushed {
		f := &pushed[i]
		for _, m := range f.metrics {
			if b.held(g, f, whole(f.push.Key, labelsOf(*f.push, int(m))), seed) {
				return f.twice(int(m))
			}
		}
	}
	return nil
}

// held reports whether another group has a series of the family with these labels.
func (b *book) held(g *group, f *family, ls []labels.Label, seed uint64) bool {
	names := make([]string, 0, len(ls))
	for _, l := range ls {
		if l.Value != "" && l.Name != model.JobLabel {
			names = append(names, l.Name)
		}
	}
	for _, set := range b.index.Others(g.key.Job(), g.names, names) {
		key := wire.NewKey(slices.DeleteFunc(slices.Clone(ls), func(l labels.Label) bool {
			return l.Name != model.JobLabel && !slices.Contains(set, l.Name)
		})...)
		other := b.groups[key.ID()]
		if other == nil || other == g {
			continue
		}
		fp, _ := wire.Print(seed, key, ls, nil)
		if has(other.families, f.Name, fp) || has(other.next, f.Name, fp) {
			return true
		}
	}
	return false
}

// clash says in a Pushgateway's words which metric stands in the way of what is held.
func clash(err error, pushed []family) error {
	var c *store.Clash
	if !errors.As(err, &c) || c.Family.Name != c.Other.Name {
		return err
	}
	for _, f := range pushed {
		if f.Name == c.Family.Name && len(f.metrics) > 0 {
			return fmt.Errorf("collected metric %q { %s} is not a %s", f.Name, f.words(int(f.metrics[0])), c.Other.Type)
		}
	}
	return err
}
