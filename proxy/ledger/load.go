package ledger

import (
	"github.com/pushguard/pushguard/proxy/wire"
)

// Group is a group as the upstream lists it.
type Group struct {
	Key wire.Key
	// Families are those that were pushed, without the two that a Pushgateway
	// adds to every group.
	Families []string
}

// listed is a Group made ready for the table.
type listed struct {
	key      wire.Key
	families []uint64
}

// Load replaces the table by what read returns, the upstream's listing. Of
// groups and families the book knew, it keeps the writers; of the others they
// are unknown.
//
// Requests go on meanwhile, so the listing may be older than what the book has
// learnt from them. A group that was settled while read ran, or is taken now,
// is therefore never forgotten, and one that was deleted does not come back.
// If read fails, the table stays as it is and Load returns its error; if Wipe
// was called while it ran, the listing counts for nothing.
//
// One Load runs at a time. The book is not locked while read runs.
func (b *Book) Load(read func() ([]Group, error)) error {
	b.loading.Lock()
	defer b.loading.Unlock()
	b.mu.Lock()
	b.settled = make(map[string]bool)
	wipes := b.wipes
	b.mu.Unlock()

	groups, err := read()
	list := make([]listed, 0, len(groups))
	for _, g := range groups {
		list = append(list, listed{key: g.Key, families: b.hashes(g.Families)})
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	settled := b.settled
	b.settled = nil
	if err != nil {
		return err
	}
	if wipes == b.wipes {
		b.replace(list, settled)
	}
	return nil
}

func (b *Book) replace(list []listed, settled map[string]bool) {
	seen := make(map[*group]struct{}, len(list))
	for _, l := range list {
		whole, recent := settled[l.key.ID()]
		if whole {
			continue
		}
		g := b.find(l.key)
		if g == nil {
			g = b.insert(l.key)
		}
		seen[g] = struct{}{}
		if recent {
			g.families = g.families.with(l.families, unknown, func(w writer) writer { return w })
		} else {
			g.families = g.families.only(l.families)
		}
		b.setExists(g, true)
	}
	for _, g := range b.groups {
		for ; g != nil; g = g.twin {
			_, recent := settled[g.key.ID()]
			if _, ok := seen[g]; !ok && !recent && g.users == 0 {
				b.forget(g)
				b.unlink(g)
			}
		}
	}
}

// only returns the holdings of exactly these families.
func (h holdings) only(families []uint64) holdings {
	out := make(holdings, 0, len(families))
	for _, f := range families {
		out = append(out, held{family: f, writer: h.writer(f)})
	}
	return out
}

// Wipe forgets every group: the upstream has been told to delete them all. A
// push under way is booked when it is settled, as it may come after the wipe.
func (b *Book) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipes++
	for _, g := range b.groups {
		for ; g != nil; g = g.twin {
			b.forget(g)
			if g.users == 0 {
				b.unlink(g)
			}
		}
	}
}
