package ledger

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Group is a group as the upstream lists it, and who pays for it, as in Claim.
type Group struct {
	Key    wire.Key
	Job    string
	Entry  int
	Budget Budget
	// Families are those that were pushed, without the two that a Pushgateway
	// adds to every group.
	Families []wire.FamilyPrint
	// Pushed and Failed are when the group was last pushed to with and without
	// success. The zero time is not known.
	Pushed, Failed time.Time
	// Success says that a family tells when the job succeeded last.
	Success bool
}

// Load replaces the table by what read returns, the upstream's listing. Of
// groups and families the book knew, it keeps the writers; of the others they
// are unknown. What is listed exists: it counts and passes from now on, also
// over the budget; see Over.
//
// Requests go on meanwhile, so the listing may be older than what the book has
// learnt from them. A group that was settled while read ran, or is taken now,
// is therefore never forgotten, and one that was deleted does not come back; nor does one
// that was evicted some seconds before, which a Pushgateway may list still. Of
// the times when a group was pushed to, the later stands; one that nobody knows
// is now. What is listed counts in no window.
// If read fails, the table stays as it is and Load returns its error; if Wipe
// was called while it ran, the listing counts for nothing.
//
// A listing may say nothing of some groups: those of which unknown reports true stay
// as they are. Nil is none.
//
// One Load runs at a time. The book is not locked while read runs.
func (b *Book) Load(read func() (groups []Group, unknown func(wire.Key) bool, err error)) error {
	b.loading.Lock()
	defer b.loading.Unlock()
	if b.shared != nil {
		return b.loadShared(read)
	}
	b.mu.Lock()
	b.settled = b.evicted.known(toSecond(b.clock.read()))
	wipes := b.wipes
	b.mu.Unlock()

	groups, unlisted, err := read()
	listed := make([]holdings, len(groups))
	for i := range groups {
		listed[i] = b.listed(groups[i].Families)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	now := toSecond(b.clock.read())
	settled := b.settled
	b.settled = nil
	if err != nil {
		return err
	}
	if wipes == b.wipes {
		b.replace(groups, listed, settled, unlisted, now)
	}
	return nil
}

// listed makes holdings of families, of unknown writers.
func (b *Book) listed(listed []wire.FamilyPrint) holdings {
	families := make([]family, 0, len(listed))
	for _, l := range listed {
		f := family{name: b.hash(l.Name)}
		metrics := slices.Clone(l.Metrics)
		slices.SortFunc(metrics, func(x, y wire.MetricPrint) int { return cmp.Compare(x.Fingerprint, y.Fingerprint) })
		for _, m := range metrics {
			f.prints = append(f.prints, m.Fingerprint)
			f.sizes = append(f.sizes, uint64(m.Samples))
		}
		f.sizes = plain(f.sizes)
		for _, v := range l.Values {
			f.values = append(f.values, v.Value)
		}
		slices.Sort(f.values)
		f.values = slices.Compact(f.values)
		families = append(families, f)
	}
	slices.SortFunc(families, func(x, y family) int { return cmp.Compare(x.name, y.name) })
	var out builder
	for _, f := range families {
		out.add(f)
	}
	return out.out
}

func (b *Book) replace(groups []Group, listed []holdings, settled map[string]*since, unlisted func(wire.Key) bool, now second) {
	if unlisted == nil {
		unlisted = func(wire.Key) bool { return false }
	}
	seen := make(map[*group]struct{}, len(groups))
	for i := range groups {
		if unlisted(groups[i].Key) {
			continue
		}
		if g := b.replaceGroup(&groups[i], listed[i], settled[groups[i].Key.ID()], now); g != nil {
			seen[g] = struct{}{}
		}
	}
	for _, g := range b.groups {
		for ; g != nil; g = g.twin {
			_, recent := settled[g.id]
			if _, ok := seen[g]; !ok && !recent && g.turn == nil && !unlisted(g.key()) {
				before := g.asKept()
				b.forget(g)
				b.record(g, before)
				b.unlink(g)
			}
		}
	}
	b.journal.flush()
}

// replaceGroup makes a group what it is listed as, and returns it; nil if the book
// knows better.
func (b *Book) replaceGroup(l *Group, listed holdings, recent *since, now second) *group {
	if recent != nil && recent.whole {
		return nil
	}
	g := b.find(l.Key)
	if g == nil {
		g = b.insert(l.Key, false)
	}
	before := g.asKept()
	b.loadAge(g, l, now)
	b.loadGroup(g, l, listed, recent)
	b.record(g, before)
	return g
}

// loadAge has a group be as young as anyone says.
func (b *Book) loadAge(g *group, l *Group, now second) {
	pushed, failed := orNever(l.Pushed), false
	if pushed == 0 {
		pushed, failed = orNever(l.Failed), !l.Failed.IsZero()
	}
	if !g.exists {
		g.at, g.failed = 0, failed
		if pushed != 0 && pushed < b.restored {
			pushed = min(pushed+touchEvery, b.restored) // as those are that were restored
		}
	}
	if pushed == 0 && g.at == 0 {
		pushed = now
	}
	g.failed = g.failed && failed
	if at := min(now, max(g.at, pushed)); at != g.at {
		g.at = at
		if g.exists {
			g.job.ages.mixed = true
		}
	}
}

// loadGroup makes a group what it is listed as; recent is not nil if it was
// settled since the listing began.
func (b *Book) loadGroup(g *group, l *Group, listed holdings, recent *since) {
	payer := l.Job
	if payer == "" {
		payer = l.Key.Job()
	}
	j := b.govern(g, payer, l.Entry, &l.Budget)
	if success := l.Success || recent != nil && g.success; success != g.success {
		g.success, j.ages.lost = success, true
	}
	next := builder{last: g.last, out: make(holdings, 0, len(listed)+len(g.content))}
	pairs(g.content.read(g.last), listed.read(unknown), func(held, listed *family) {
		switch {
		case listed == nil && recent != nil:
			next.add(*held)
		case listed == nil:
		case held == nil:
			next.add(*listed)
		case recent == nil:
			f := *listed
			f.writer = held.writer
			next.add(f)
		case slices.Contains(recent.families, held.name):
			next.add(*held)
		default: // the listing may be from before or after
			f := held.or(listed)
			f.writer = held.writer
			next.add(f)
		}
	})
	if g.exists && slices.Equal(next.out, g.content) {
		g.unsure = g.unsure && recent != nil
		return
	}
	var learnt []uint64
	for _, f := range l.Families {
		for _, v := range f.Values {
			if j.learn(v) {
				learnt = append(learnt, v.Value)
			}
		}
	}
	b.change(g, func() { g.restate(g.shared(next.out), g.last, true) })
	g.unsure = recent != nil
	j.unlearn(learnt)
}

// restate gives the group another content, under a push that may be under way.
func (g *group) restate(content holdings, last writer, exists bool) {
	g.content, g.last, g.exists, g.unsure = content, last, exists, false
	g.slack = 0
	if p := g.push(); p != nil {
		p.same = false
		g.reserve(p)
	}
}

// forget books that a group does not exist upstream any more.
func (b *Book) forget(g *group) {
	b.change(g, func() { g.restate(nil, unknown, false) })
	g.failed, g.success = false, false
}

// Wipe forgets every group: the upstream has been told to delete them all. What
// was new in the windows stays so. A push under way is booked when it is settled,
// as it may come after the wipe.
func (b *Book) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared != nil {
		b.tell([]byte{cmdWipe})
		return
	}
	b.clock.read()
	b.wipes++
	b.wipe()
	b.recordWipe()
	b.journal.flush()
}

func (b *Book) wipe() {
	for _, g := range sortedTable(b.groups) {
		for ; g != nil; g = g.twin {
			b.forget(g)
			if g.turn == nil {
				b.unlink(g)
			}
		}
	}
}

// sortedTable returns the heads of a table in an order that is the same on every
// guard: by their canonical keys.
func sortedTable(table map[string]*group) []*group {
	out := make([]*group, 0, len(table))
	for _, id := range slices.Sorted(maps.Keys(table)) {
		out = append(out, table[id])
	}
	return out
}

// since is what a group was settled to while Load read a listing.
type since struct {
	whole    bool     // the book knows its whole content
	families []uint64 // the book knows these, sorted
}

// note tells a Load that reads what is newer than its listing.
func (b *Book) note(g *Grant, o Outcome) {
	if o == Untouched {
		return
	}
	if b.settled != nil {
		noteIn(b.settled, g, o)
	}
	if b.shared != nil {
		for _, l := range b.shared.loads {
			noteIn(l.settled, g, o)
		}
	}
}

func noteIn(settled map[string]*since, g *Grant, o Outcome) {
	s := settled[g.group.id]
	if s == nil {
		s = &since{}
		settled[g.group.id] = s
	}
	if o != Applied {
		return
	}
	if g.Method != http.MethodPost {
		s.whole = true
		return
	}
	for c := g.pushed.read(g.raw); c.next(); {
		s.families = append(s.families, c.at.name)
	}
	slices.Sort(s.families)
}
