package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// nobody is the holder of a group that was deleted, while old copies of it are left.
const nobody = -1

// settles is how long an upstream that answers again may take over what it had received
// before: until then nobody copies what it may concern.
const settles = 5 * time.Second

// standing says where a group is that is not, or not only, where it belongs. It is a
// value: the slice is not changed.
type standing struct {
	key    wire.Key
	holder int   // has what counts
	old    []int // have what counts no more
	// worthless says that what the old ones have is not what the group holds any more,
	// and hidden that all of it is where the holder is: neither is on a page that begins
	// from now on.
	worthless, hidden bool

	// writes changes as a write of it is sent, and again as it is answered: what was read
	// of the group is all of it if that is the same before and afterwards.
	writes int
	// frozen is a group of which a copy was sent and not answered: it may yet arrive, and
	// must not come after what is written now.
	frozen bool
	// doubted is when a write got no answer; until a later one did, or a listing, doubtful
	// says so, too.
	doubted  time.Time
	doubtful bool
	retry    time.Time // not sooner is it copied again

	copied *copied   // nil if the holder's is not a copy that Move made
	seen   time.Time // when the holder was first seen to have it beside old ones
}

// copied is the copy that was made of a group.
type copied struct {
	of     gateway.Group // as it was listed where it was
	from   int
	writes int // of the standing, at that time
}

// untouched reports whether the holder has a copy, and nothing was written to it since.
func (s standing) untouched() bool { return s.copied != nil && s.copied.writes == s.writes }

// replacedAt is the standing after a write that leaves nothing of what was.
func (s standing) replacedAt(holder int) standing {
	old := slices.Clone(s.old)
	if s.holder != nobody {
		old = append(old, s.holder)
	}
	out := standing{key: wire.KeyOf(strings.Clone(s.key.ID())), holder: holder, old: old, worthless: true, hidden: true}
	return out.without(holder)
}

// copiedTo is the standing after a copy of the group was made.
func (s standing) copiedTo(home int, of gateway.Group) standing {
	s.copied = &copied{of: of, from: s.holder, writes: s.writes}
	s.old = append(slices.Clone(s.old), s.holder)
	s.holder, s.frozen, s.doubtful = home, false, false
	return s.without(home)
}

// without is the standing without one of the old copies.
func (s standing) without(at int) standing {
	s.old = slices.DeleteFunc(slices.Clone(s.old), func(i int) bool { return i == at })
	return s
}

// same reports whether two standings have a group in the same places.
func (s standing) same(o standing) bool {
	return s.holder == o.holder && len(s.old) == len(o.old) &&
		!slices.ContainsFunc(s.old, func(at int) bool { return !slices.Contains(o.old, at) })
}

// written returns where a group stands that is not only where it belongs, and notes that
// a write of it is sent.
func (f *Fleet) written(key wire.Key) (standing, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.standings[key.ID()]
	if ok {
		s.writes = f.tick()
		f.standings[s.key.ID()] = s
	}
	return s, ok
}

// tick returns a number that it never returned before. The lock is held.
func (f *Fleet) tick() int {
	f.ticks++
	return f.ticks
}

// answered notes that a write of a group came to its end, and whether it got an answer.
func (f *Fleet) answered(key wire.Key, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.standings[key.ID()]
	s.writes = f.tick()
	switch {
	case !ok:
		return
	case err == nil:
		s.doubtful = false
	case !untouched(err):
		s.doubted, s.doubtful = time.Now(), true
	}
	f.standings[s.key.ID()] = s
}

// standing returns where a group stands that is not only where it belongs.
func (f *Fleet) standing(id string) (standing, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.standings[id]
	return s, ok
}

// set has a group stand so; where there is nothing left to do it is forgotten.
func (f *Fleet) set(s standing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stand(s)
}

// stand is set for who holds the lock.
func (f *Fleet) stand(s standing) {
	id := s.key.ID()
	if f.changed != nil {
		f.changed[id] = true
	}
	if len(s.old) == 0 && (s.holder == nobody || s.holder == f.Place(s.key)) {
		delete(f.standings, id)
		return
	}
	f.standings[id] = s
}

func (f *Fleet) forgetAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.standings {
		if f.changed != nil {
			f.changed[id] = true
		}
	}
	clear(f.standings)
	clear(f.aged)
}

// located is a group and the upstream that has it.
type located struct {
	gateway.Group
	at int
}

// Groups lists what all of them hold, one call at a time. Where one that groups belong to
// does not tell, the listing says nothing of what it may hold: the error is then a
// *gateway.Partial. It fails if one that leaves does not, which may have any group, or if
// none does. Of a group that several have, the one that was pushed to later stands. One
// that has moved is as old as before.
func (f *Fleet) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	f.listing.Lock()
	defer f.listing.Unlock()
	defer f.reads.begin()()
	f.begin()
	defer f.end()
	found := map[string][]located{}
	var silent []int
	for at, u := range f.all {
		groups, err := f.list(ctx, at, seed)
		if err != nil {
			if silent = append(silent, at); at >= f.staying || len(silent) == f.staying || ctx.Err() != nil {
				return nil, fmt.Errorf("%s: %w", u.Name(), err)
			}
			f.logger.Warn("A Pushgateway does not tell which groups it holds: what is known of them stays as it is", "pushgateway", u.Name(), "err", err)
		}
		for _, g := range groups {
			found[g.Key.ID()] = append(found[g.Key.ID()], located{g, at})
		}
	}
	f.unite(ctx, found)
	if len(silent) == 0 {
		return f.relearn(found, func(wire.Key) bool { return false }), nil
	}
	untold := f.untold(silent)
	unknown := func(k wire.Key) bool { return untold[k.ID()] || slices.Contains(silent, f.Place(k)) }
	return f.relearn(found, unknown), &gateway.Partial{Unknown: unknown}
}

// list is what one of them holds. One that hangs is not waited for as long as a listing may
// take.
func (f *Fleet) list(ctx context.Context, at int, seed uint64) ([]gateway.Group, error) {
	if err := f.answers(ctx, at); err != nil {
		return nil, err
	}
	return f.all[at].Groups(ctx, seed)
}

// answers returns an error if one of them says nothing at all within the time of a page.
func (f *Fleet) answers(ctx context.Context, at int) error {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	return f.all[at].Answers(ctx)
}

// untold are the groups that are not, or not only, where they belong, of which one that
// is silent has something. They stand as before.
func (f *Fleet) untold(silent []int) map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]bool{}
	for id, s := range f.standings {
		if slices.ContainsFunc(silent, func(at int) bool { return s.holder == at || slices.Contains(s.old, at) }) {
			out[id], f.changed[id] = true, true
		}
	}
	return out
}

func (f *Fleet) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = map[string]bool{}
}

func (f *Fleet) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = nil
}

// relearn takes over where groups are, but for those that have moved since the listing
// began, and returns them. How old those are of which it says nothing stays known.
func (f *Fleet) relearn(found map[string][]located, unknown func(wire.Key) bool) []gateway.Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.standings
	out := make([]gateway.Group, 0, len(found))
	f.standings = make(map[string]standing)
	kept := maps.Clone(f.aged)
	maps.DeleteFunc(kept, func(id string, _ aged) bool { return !unknown(wire.KeyOf(id)) })
	for id := range f.changed {
		if s, ok := before[id]; ok {
			f.standings[id] = s
		}
	}
	for id, copies := range found {
		was, known := before[id]
		if f.changed[id] {
			copies = standingFirst(copies, was, known)
		} else if copies = f.place(copies, was, known); len(copies) == 0 {
			continue
		}
		group := copies[0].Group
		f.restore(&group, f.standings[id], kept)
		out = append(out, group)
	}
	f.aged, f.doubles, f.told = kept, doubles(found), true
	if was, now := len(before), len(f.standings); was != now {
		f.logger.Info("Groups are not, or not only, on the Pushgateway they belong to: they move there", "groups", now, "before", was)
	}
	return out
}

// doubles are the canonical keys that several of the groups have.
func doubles(found map[string][]located) map[string]bool {
	out, seen := map[string]bool{}, map[string]bool{}
	for id, copies := range found {
		canonical := copies[0].Key.Canonical().ID()
		if canonical == id {
			continue
		}
		if found[canonical] != nil || seen[canonical] {
			out[canonical] = true
		}
		seen[canonical] = true
	}
	return out
}

// standingFirst are the copies of a group that moved while it was listed.
func standingFirst(copies []located, s standing, known bool) []located {
	if known {
		slices.SortStableFunc(copies, func(a, b located) int { return compareBool(b.at == s.holder, a.at == s.holder) })
	}
	return copies
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// place notes where a listed group stands, and returns its copies, that of the holder
// first; none if only old ones are left of it. The lock is held.
func (f *Fleet) place(copies []located, was standing, known bool) []located {
	if known && was.worthless {
		f.standings[was.key.ID()] = was
		copies = slices.DeleteFunc(copies, func(c located) bool { return slices.Contains(was.old, c.at) })
		if len(copies) == 0 {
			return nil
		}
	}
	slices.SortStableFunc(copies, func(a, b located) int { return compareBool(f.before(a, b), f.before(b, a)) })
	if known && was.frozen {
		copies = standingFirst(copies, was, true)
	}
	s := standing{key: copies[0].Key, holder: copies[0].at, hidden: len(copies) > 1, writes: f.tick()}
	for _, c := range copies[1:] {
		s.old = append(s.old, c.at)
	}
	switch {
	case known && was.worthless:
		was.holder = s.holder
		f.standings[was.key.ID()] = was
	case known && was.frozen && was.holder == s.holder:
		was.old = s.old
		f.standings[s.key.ID()] = was
	case known && was.same(s):
		was.doubtful = false
		f.standings[s.key.ID()] = was
	case len(s.old) > 0 || s.holder != f.Place(s.key):
		f.standings[s.key.ID()] = s
	}
	return copies
}

// before reports whether a copy of a group is older than another. A copy that no push
// was ever accepted in is the oldest; of two of one time, it is the stray.
func (f *Fleet) before(a, b located) bool {
	if !a.Pushed.Equal(b.Pushed) {
		return a.Pushed.Before(b.Pushed)
	}
	return a.at != f.Place(a.Key)
}

// restore has a group that was moved be as old as it was.
func (f *Fleet) restore(g *gateway.Group, s standing, kept map[string]aged) {
	id := g.Key.Canonical().ID()
	a, ok := f.aged[id]
	if ok && (a.stamp == g.Stamp || f.changed[g.Key.ID()]) {
		kept[id] = a
	}
	if ok && a.stamp == g.Stamp {
		g.Pushed, g.Failed = a.pushed, a.failed
	} else if s.untouched() {
		g.Pushed, g.Failed = s.copied.of.Pushed, s.copied.of.Failed
	}
}

var errFrozen = fmt.Errorf("%w: %w", gateway.ErrUnreachable, errors.New("the group is moved to a Pushgateway that does not answer"))
