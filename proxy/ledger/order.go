package ledger

import (
	"cmp"
	"slices"
)

// ages are the groups of a job that exist, in the order in which they were last
// pushed to.
type ages struct {
	oldest, newest *group
	// mixed says that groups joined that are not the newest, at the end: the list is
	// sorted when somebody reads it.
	mixed bool

	marked *group // the newest with success; nil: there is none
	lost   bool   // marked has to be looked for
}

func (a *ages) push(g *group) {
	if a.newest != nil && a.newest.at > g.at {
		a.mixed = true
	}
	g.older, g.newer = a.newest, nil
	if a.newest != nil {
		a.newest.newer = g
	} else {
		a.oldest = g
	}
	a.newest = g
	if g.success {
		a.marked, a.lost = g, a.mixed
	}
}

// renew makes g the newest group, pushed to now. Times that are still to come are
// from a clock that has jumped back: they become now.
func (a *ages) renew(g *group, now second) {
	a.remove(g)
	for late := a.newest; late != nil && late.at > now; late = late.older {
		late.at = now
	}
	g.at = now
	a.push(g)
}

func (a *ages) remove(g *group) {
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		a.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		a.newest = g.older
	}
	g.older, g.newer = nil, nil
	if a.marked == g {
		a.marked, a.lost = nil, true
	}
}

// first returns the oldest group, or nil; from there on newer leads through all.
func (a *ages) first() *group {
	a.sort()
	return a.oldest
}

func (a *ages) sort() {
	if a.mixed {
		a.arrange(func(x, y *group) int { return cmp.Compare(x.at, y.at) })
	}
}

// arrange orders the list. Groups that are equal stay as they are.
func (a *ages) arrange(compare func(x, y *group) int) {
	var all []*group
	for g := a.oldest; g != nil; g = g.newer {
		all = append(all, g)
	}
	slices.SortStableFunc(all, compare)
	*a = ages{lost: true}
	for _, g := range all {
		a.push(g)
	}
}

// success returns the newest group that tells of a success, or nil.
func (a *ages) success() *group {
	a.sort()
	if a.lost {
		g := a.newest
		for g != nil && !g.success {
			g = g.older
		}
		a.marked, a.lost = g, false
	}
	return a.marked
}

// pinned returns the group that the job's terms keep, or nil.
func (j *job) pinned() *group {
	if !j.terms.KeepLast {
		return nil
	}
	if g := j.ages.success(); g != nil {
		return g
	}
	return j.ages.newest
}
