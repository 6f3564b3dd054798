package fleet

import (
	"context"
	"slices"
)

// unite takes copies that are of one Pushgateway, which the list has by two names, for one
// copy: where the group belongs, if that is one of the names. What has moved from the one to
// the other would be deleted there, and so everywhere.
//
// Two are one if they list a group with the very same time of its push and say that they
// started in the same second.
func (f *Fleet) unite(ctx context.Context, found map[string][]located) {
	for _, copies := range found {
		for i, a := range copies {
			for _, b := range copies[i+1:] {
				if a.Stamp == b.Stamp {
					f.noteTwins(a.at, b.at)
				}
			}
		}
	}
	for pair := range f.twins {
		f.checkTwins(ctx, pair)
	}
	if len(f.twins) == 0 {
		return
	}
	for id, copies := range found {
		home := f.Place(copies[0].Key)
		for i, c := range copies {
			copies[i].at = f.first(c.at, home)
		}
		slices.SortStableFunc(copies, func(a, b located) int { return b.Pushed.Compare(a.Pushed) })
		at := map[int]bool{}
		found[id] = slices.DeleteFunc(copies, func(c located) bool {
			again := at[c.at]
			at[c.at] = true
			return again
		})
	}
}

// twins are two of the list, by their numbers, the lower one first.
type twins [2]int

func (f *Fleet) noteTwins(a, b int) {
	pair := twins{min(a, b), max(a, b)}
	if _, known := f.twins[pair]; !known && a != b {
		f.twins[pair] = false
	}
}

// checkTwins tells of two that are one, once, and forgets those that are not. One that does
// not say when it started may be the other.
func (f *Fleet) checkTwins(ctx context.Context, pair twins) {
	a, b := f.all[pair[0]], f.all[pair[1]]
	x, errA := a.Started(ctx)
	y, errB := b.Started(ctx)
	if errA == nil && errB == nil && !x.Equal(y) {
		delete(f.twins, pair)
		return
	}
	if !f.twins[pair] {
		f.twins[pair] = true
		f.logger.Error("Two names are of one Pushgateway: no group moves between them. Name it once", "pushgateway", a.Name(), "other", b.Name())
	}
}

// first is the number that stands for one of the list in a group's copies.
func (f *Fleet) first(at, home int) int {
	if _, same := f.twins[twins{min(at, home), max(at, home)}]; same || at == home {
		return home
	}
	for other := range at {
		if _, same := f.twins[twins{other, at}]; same {
			return other
		}
	}
	return at
}
