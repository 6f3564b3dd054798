package proxy

import (
	"errors"
	"net/http"
	"slices"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/rules/finding"
)

// mayCount reports whether a family of counters may be added up here, and says
// so if not: it is totals or a snapshot for the whole guard, whichever it was
// first. Of native buckets alone there is nothing to add up, so that where they are no
// totals to others they are a snapshot as that of any job.
func (g *Guard) mayCount(v *passage, family int) bool {
	if g.route(v.entry) != toTotals {
		return true
	}
	f := &v.push.Families[family]
	if f.OnlyNative() && !g.clashes(v, family) {
		return false
	}
	name, kind := v.totalOf(family)
	if !g.totals(v).Holds(name) && g.isSnapshot(v, name, kind) {
		v.noteFamily(finding.FamilyConflict, f.Name, "other jobs keep this family as a snapshot: have them enforced too, or give the family another name")
		return false
	}
	if !v.enforced() {
		return true
	}
	if err := g.totals(v).Claim(name, kind); err != nil {
		fix := "give the family another name"
		if errors.Is(err, counter.ErrFull) {
			fix = "until there is room for one more family it stays a snapshot: drop labels of counters that nobody needs"
		}
		v.noteFamily(finding.FamilyConflict, f.Name, err.Error()+"; "+fix)
		return false
	}
	v.counts.held = append(v.counts.held, int32(family))
	return true
}

// release gives back the names that the push has claimed: those of what it has
// added up are totals' own by now.
func (g *Guard) release(v *passage) {
	for _, family := range v.counts.held {
		g.cfg.Totals.Release(v.totalOf(int(family)))
	}
}

// isSnapshot reports whether other jobs keep a family, or one that has a name of
// its samples, as a snapshot. Those that would have it added up do not count: each
// would wait for the other.
func (g *Guard) isSnapshot(v *passage, name string, kind counter.Kind) bool {
	heldByOthers := func(jobs ...string) bool {
		return slices.ContainsFunc(kind.Names(name), func(sample string) bool { return g.book.HeldByOthers(sample, jobs...) })
	}
	if !heldByOthers(v.job) {
		return false
	}
	return !v.enforced() || heldByOthers(g.leavingWith(v, name)...)
}

// totalOf is as what a family is added up.
func (v *passage) totalOf(family int) (string, counter.Kind) {
	if unit := v.counts.classes[family].Unit; unit != "" {
		return unit, counter.Histogram
	}
	f := &v.push.Families[family]
	return f.Name, kindOf(f.Type)
}

// isTotal reports whether a family that does not count here is added up for
// others, and says so.
func (g *Guard) isTotal(v *passage, family int) bool {
	if !g.clashes(v, family) {
		return false
	}
	f := &v.push.Families[family]
	v.noteFamily(finding.FamilyConflict, f.Name, "the guard adds this family up for others, so it cannot be a snapshot: give it another name")
	return true
}

// clashes reports whether a family that stays a snapshot would have a name on the page
// that one of totals has, or a sample of it.
func (g *Guard) clashes(v *passage, family int) bool {
	name, kind := v.totalOf(family)
	return slices.ContainsFunc(kind.Names(name), g.totals(v).Holds)
}

// noteShadowed says which counters the group still holds as a snapshot, from
// before they were added up: what adds to a group leaves there what it does not
// name.
func (g *Guard) noteShadowed(v *passage, grant *ledger.Grant) {
	if !v.counts.any || !v.enforced() || grant.Method == http.MethodPut {
		return
	}
	family := int32(-1)
	metrics := v.push.Metrics()
	for i := range metrics {
		at := metrics[i].Family
		if at == family || v.counts.ways[i] != counted {
			continue
		}
		family = at
		if name := v.push.Families[at].Name; g.book.Holds(v.group, name) {
			v.noteFamily(finding.ShadowedCounter, name, "the group holds a copy of this counter from before it was added up, which stands for nothing any more: delete the group between two runs")
		}
	}
}
