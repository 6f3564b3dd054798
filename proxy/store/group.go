package store

import (
	"slices"
	"strings"
	"sync"

	"github.com/pushguard/pushguard/proxy/wire"
)

const shardCount = 64

// group is a group as it is stored. What it holds changes with its shard locked.
type group struct {
	key   wire.Key
	text  string   // its labels in each of its lines
	names []string // of those with a value, without job, sorted
	named bool     // it has a label instance
	plain bool     // its label names are of the legacy charset
	place int32    // among the groups of its shard; guarded by the shard
	// turn is held from the check of a push to its end: pushes of one group are one
	// after the other.
	turn sync.Mutex
	gone bool // a push that waited for its turn begins anew

	content *content // immutable
}

// content is what a group holds: families in the order of their names, and when it
// was pushed to. It is immutable.
type content struct {
	families []*family
	// pushed and failed are in Unix nanoseconds; 0 is never.
	pushed, failed int64
}

// find returns the family of that name, nil if there is none.
func (c *content) find(name string) *family {
	i, ok := slices.BinarySearchFunc(c.families, name, func(f *family, name string) int { return strings.Compare(f.shape.Name, name) })
	if !ok {
		return nil
	}
	return c.families[i]
}

// member is a family of a group in the order of a page.
type member struct {
	group  *group
	family *family
}

// shard holds some of the groups.
type shard struct {
	mu     sync.RWMutex
	groups map[string]*group // by the ID of the key
	order  []*group          // the same, for whoever wants them all
	// members are the families of the groups by their names: what a page needs.
	members map[string][]member
}

// pinned is a group and what it held at a time.
type pinned struct {
	*group
	*content
}

// pin appends what the groups hold now. One whose first push is not decided yet is
// left out.
func (s *shard) pin(dst []pinned) []pinned {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.appendGroups(dst)
}

// appendGroups is pin where the shard is locked.
func (s *shard) appendGroups(dst []pinned) []pinned {
	first := len(dst)
	for _, g := range s.order {
		dst = append(dst, pinned{group: g})
	}
	// Apart, so that what is far in memory comes for many of them at once; see ahead.
	for i := first; i < len(dst); i++ {
		dst[i].content = dst[i].group.content
	}
	decided := slices.DeleteFunc(dst[first:], func(g pinned) bool { return g.pushed == 0 && g.failed == 0 })
	return dst[:first+len(decided)]
}

// enter adds a group, and leave removes it. The shard is locked.
func (s *shard) enter(g *group) {
	s.groups[g.key.ID()] = g
	g.place = int32(len(s.order))
	s.order = append(s.order, g)
}

func (s *shard) leave(g *group) {
	delete(s.groups, g.key.ID())
	last := len(s.order) - 1
	s.order[g.place] = s.order[last]
	s.order[g.place].place = g.place
	s.order[last] = nil
	s.order = s.order[:last]
}

// swap replaces what a group holds. The shard is locked. The families of before and
// after are in the order of their names; one that is in both keeps its place.
func (s *shard) swap(g *group, after *content) {
	before := g.content.families
	s.members = withRoom(s.members, len(after.families)-len(before))
	for _, f := range after.families {
		for len(before) > 0 && before[0].shape.Name < f.shape.Name {
			s.remove(before[0])
			before = before[1:]
		}
		switch {
		case len(before) > 0 && before[0] == f:
			before = before[1:]
		case len(before) > 0 && before[0].shape.Name == f.shape.Name:
			f.place = before[0].place
			s.members[f.shape.Name][f.place].family = f
			before = before[1:]
		default:
			all := s.members[f.shape.Name]
			f.place = int32(len(all))
			s.members[f.shape.Name] = append(all, member{g, f})
		}
	}
	for _, f := range before {
		s.remove(f)
	}
	g.content = after
}

// remove takes a family out of the members; the last of them takes its place.
func (s *shard) remove(f *family) {
	name := f.shape.Name
	all := s.members[name]
	last := len(all) - 1
	all[f.place] = all[last]
	all[f.place].family.place = f.place
	all[last] = member{}
	if last == 0 {
		delete(s.members, name)
		return
	}
	s.members[name] = all[:last]
}

// padded are the groups with labels without a value, by what they are without these: their
// series are the same. The zero value has none. Safe for concurrent use.
type padded struct {
	mu  sync.RWMutex
	ids map[string][]string
}

// of returns the IDs of those that are, without them, the one of that ID.
func (p *padded) of(id string) []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.ids[id])
}

func (p *padded) enter(g *group) {
	id := g.key.Canonical().ID()
	if id == g.key.ID() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = map[string][]string{}
	}
	p.ids[id] = append(p.ids[id], g.key.ID())
}

func (p *padded) leave(g *group) {
	id := g.key.Canonical().ID()
	if id == g.key.ID() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids[id] = slices.DeleteFunc(p.ids[id], func(other string) bool { return other == g.key.ID() })
	if len(p.ids[id]) == 0 {
		delete(p.ids, id)
	}
}
