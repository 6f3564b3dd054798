package consistency

import (
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/wire"
)

// hold counts families that no group holds, and nobody gives up.
func (b *book) hold(own map[string]dto.MetricType) {
	for name, typ := range own {
		_ = b.index.Take([]store.Family{{Name: name, Type: typ}}, nil) // those of one process agree
	}
}

// list takes over what the upstream lists, and returns how many families contradict
// others of it.
func (b *book) list(groups []gateway.Group) (contradictions int) {
	for _, listed := range groups {
		g := b.enter(listed.Key)
		for _, f := range listed.Families {
			own := family{Family: store.Family{Name: f.Name, Type: f.Type}}
			for _, m := range f.Metrics {
				own.prints = append(own.prints, m.Fingerprint)
			}
			slices.Sort(own.prints)
			g.families = append(g.families, own)
		}
		slices.SortFunc(g.families, func(a, b family) int { return strings.Compare(a.Name, b.Name) })
		contradictions += b.count(g)
		g.changed = time.Time{}
	}
	return contradictions
}

// keep takes over from the book before what a listing that was asked for at that time
// need not tell of: what has changed since, and, unless the upstream has restarted, what
// it may have had to do yet; and the groups that it does not know.
func (b *book) keep(before *book, asked time.Time, restarted bool, unknown func(wire.Key) bool) (contradictions int) {
	later := func(at time.Time, certain bool) bool {
		return at.After(asked) || certain && !restarted && asked.Sub(at) < lag
	}
	for id, old := range before.groups {
		if !old.pushing && !later(old.changed, !old.doubtful) && !unknown(old.key) {
			continue
		}
		if g := b.groups[id]; g != nil {
			b.remove(g.key)
		}
		g := b.enter(old.key)
		g.families, g.next, g.pushing, g.doubtful, g.changed = old.families, old.next, old.pushing, old.doubtful, old.changed
		contradictions += b.count(g)
	}
	for name, old := range before.unsure {
		if g := b.groups[old.key.ID()]; g != nil && (g.pushing || g.doubtful) {
			b.unsure[name] = g
		}
	}
	for id, at := range before.removed {
		if !later(at, true) || before.groups[id] != nil {
			continue
		}
		if g := b.groups[id]; g != nil {
			b.remove(g.key)
		}
		b.removed[id] = at
	}
	return contradictions
}

// count has the index count what a group holds, or is about to, and returns how much of
// that contradicts others: that it may hold a family as one type or another does not.
func (b *book) count(g *group) (contradictions int) {
	for _, f := range namesOf(either(g.families, g.next)) {
		if slices.Contains(g.taken, f) {
			continue
		}
		own := len(g.taken) // from there on it is of the same name
		for own > 0 && g.taken[own-1].Name == f.Name {
			own--
		}
		if b.index.Take([]store.Family{f}, g.taken[own:]) != nil {
			contradictions++
			continue
		}
		g.taken = append(g.taken, f)
	}
	return contradictions
}
