package ledger

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// writer is a raw grouping key, hashed with the book's secret seed: 64 bits
// keep the table small, and nobody can look for a collision.
type writer uint64

const unknown writer = 0

// or is the writer of what was written by one of the two.
func (w writer) or(other writer) writer {
	if w == other {
		return w
	}
	return unknown
}

// group is the entry of one group. A group that does not exist upstream has an
// entry only while somebody holds it or waits for it.
type group struct {
	key      wire.Key
	twin     *group // the next group with the same canonical key
	gate     chan struct{}
	users    int // who hold the gate or wait for it
	families holdings
	last     writer // who pushed last
	exists   bool   // upstream, or may exist there
	pushing  bool   // a PUT or POST is under way
}

// find returns the entry of a group, or nil.
func (b *Book) find(key wire.Key) *group {
	g := b.groups[key.Canonical().ID()]
	for g != nil && !g.key.Equal(key) {
		g = g.twin
	}
	return g
}

func (b *Book) insert(key wire.Key) *group {
	g := &group{key: detached(key)}
	id := g.key.Canonical().ID()
	g.twin, b.groups[id] = b.groups[id], g
	return g
}

func (b *Book) unlink(g *group) {
	id := g.key.Canonical().ID()
	head := b.groups[id]
	switch {
	case head != g:
		for head.twin != g {
			head = head.twin
		}
		head.twin = g.twin
	case g.twin != nil:
		b.groups[id] = g.twin
	default:
		delete(b.groups, id)
	}
}

// twin returns a twin of g that exists upstream or is about to, or nil.
func (b *Book) twin(g *group) *group {
	for t := b.groups[g.key.Canonical().ID()]; t != nil; t = t.twin {
		if t != g && (t.exists || t.pushing) {
			return t
		}
	}
	return nil
}

func (b *Book) setExists(g *group, exists bool) {
	if g.exists == exists {
		return
	}
	g.exists = exists
	if exists {
		b.size++
	} else {
		b.size--
	}
}

// forget books that a group does not exist upstream any more.
func (b *Book) forget(g *group) {
	g.families, g.last = nil, unknown
	b.setExists(g, false)
}

// detached copies a key, so that the table does not keep alive the request it
// was parsed from.
func detached(key wire.Key) wire.Key {
	var all strings.Builder
	for _, l := range key.Labels() {
		all.WriteString(l.Name)
		all.WriteString(l.Value)
	}
	rest := all.String()
	own := make([]labels.Label, 0, len(key.Labels()))
	for _, l := range key.Labels() {
		n, v := len(l.Name), len(l.Name)+len(l.Value)
		own = append(own, labels.Label{Name: rest[:n], Value: rest[n:v]})
		rest = rest[v:]
	}
	return wire.NewKey(own...)
}

// holdings are the families of a group, sorted.
type holdings []held

// held is a family, hashed, and the raw key that wrote it last.
type held struct {
	family uint64
	writer writer
}

func (h holdings) search(family uint64) (int, bool) {
	return slices.BinarySearchFunc(h, family, func(e held, f uint64) int { return cmp.Compare(e.family, f) })
}

// writer returns who wrote a family last: unknown also for a family not held.
func (h holdings) writer(family uint64) writer {
	if i, ok := h.search(family); ok {
		return h[i].writer
	}
	return unknown
}

// allBy reports whether w wrote every family last.
func (h holdings) allBy(w writer) bool {
	return !slices.ContainsFunc(h, func(e held) bool { return e.writer != w })
}

// with adds families, sorted and each once: of those not held yet fresh is the
// writer, of the others what known makes of the one before. It may reuse h.
func (h holdings) with(families []uint64, fresh writer, known func(writer) writer) holdings {
	before := h
	for _, f := range families {
		if i, ok := before.search(f); ok {
			h[i].writer = known(h[i].writer)
		} else {
			h = append(h, held{family: f, writer: fresh})
		}
	}
	slices.SortFunc(h, func(a, b held) int { return cmp.Compare(a.family, b.family) })
	return h
}
