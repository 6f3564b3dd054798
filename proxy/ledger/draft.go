package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// draft is a claim made ready for the book, and the memory for deciding it;
// drafts are pooled.
type draft struct {
	claim  Claim    // where the book has it
	hashed []hashed // the claim's families, by hash
	sorted
	writers []writer // who wrote the names last in the group
	had     []int32  // by entry: series that the group holds of it; empty where it holds nothing
	unsure  bool     // the group may hold them, or not

	// candidates are the entries of metrics that the group does not hold, or not in that
	// size, in the claim's order.
	candidates []int32
	freed      []int    // by name: series of the group that go if the push writes the family
	certain    []bool   // by name: the push writes the family whatever is trimmed
	gone       int      // series of the group in families that the push does not name
	fresh      []uint64 // label values that the job has only because of the claim
	words      []uint64 // of the family at hand
	before     []uint64 // of the one before it, which the builder still compares
	pushed     builder
	overflow   overflow
	ahead      *ahead // nil unless the claim is only foreseen
}

type hashed struct {
	name   uint64
	family int32
}

// brings is how many series the push brings of an entry, and how many of them the group
// may not have held.
func (d *draft) brings(entry int32) (cost, fresh int) {
	samples, had := int(d.entries[entry].samples), 0
	if len(d.had) > 0 {
		had = int(d.had[entry])
	}
	fresh = max(0, samples-had)
	if d.unsure {
		return samples, fresh
	}
	return samples - had, fresh
}

var drafts = sync.Pool{New: func() any { return new(draft) }}

// keptWords is the largest memory that a pooled draft keeps, in metrics.
const keptWords = 1 << 14

func (d *draft) free() {
	if cap(d.entries) <= keptWords && cap(d.words) <= keptWords && cap(d.pushed.out) <= keptWords {
		d.claim = Claim{}
		d.pushed.before = family{}
		d.overflow.reset()
		drafts.Put(d)
	}
}

// spend lets go of the tables of a large draft once the claim is decided: what the push
// brings is all that is read of it then.
func (d *draft) spend() {
	if cap(d.entries) > keptWords {
		d.entries, d.had, d.candidates, d.hashed = nil, nil, nil, nil
	}
}

// fill sorts the metrics of the claim into their families, unless that was done before.
func (d *draft) fill(b *Book, c *Claim) error {
	if c.Sorting == nil {
		return d.sort(b, c)
	}
	if o := c.Sorting.by(b.hashKey); o != nil {
		d.be(o)
		return nil
	}
	if err := d.sort(b, c); err != nil {
		return err
	}
	c.Sorting.keep(b.hashKey, &d.sorted)
	return nil
}

func (d *draft) sort(b *Book, c *Claim) error {
	n := len(c.Families) + len(c.hashes)
	d.hashed, d.names = slices.Grow(d.hashed[:0], n), slices.Grow(d.names[:0], n)
	for i, name := range c.Families {
		d.hashed = append(d.hashed, hashed{name: b.hash(name), family: int32(i)})
	}
	for i, name := range c.hashes {
		d.hashed = append(d.hashed, hashed{name: name, family: int32(i)})
	}
	slices.SortFunc(d.hashed, func(x, y hashed) int { return cmp.Compare(x.name, y.name) })
	d.slots = slices.Grow(d.slots[:0], len(d.hashed))[:len(d.hashed)]
	for _, h := range d.hashed {
		if n := len(d.names); n == 0 || d.names[n-1] != h.name {
			d.names = append(d.names, h.name)
		}
		d.slots[h.family] = int32(len(d.names) - 1)
	}
	d.starts = slices.Grow(d.starts[:0], len(d.names)+1)[:len(d.names)+1]
	clear(d.starts)
	for i := range c.Metrics {
		f := c.Metrics[i].Family
		if f < 0 || int(f) >= len(d.slots) {
			return fmt.Errorf("metric %d of the claim is of family %d, of %d", i, f, len(d.slots))
		}
		d.starts[d.slots[f]]++
	}
	sum := int32(0)
	for i, n := range d.starts { // to where each family ends
		sum += n
		d.starts[i] = sum
	}
	d.entries = slices.Grow(d.entries[:0], len(c.Metrics))[:len(c.Metrics)]
	for i := len(c.Metrics) - 1; i >= 0; i-- {
		m := &c.Metrics[i]
		at := &d.starts[d.slots[m.Family]]
		*at-- // in the end, to where it starts
		d.entries[*at] = entry{print: m.Fingerprint, metric: int32(i), samples: m.Samples}
	}
	for i := range d.names {
		sortEntries(d.of(i))
	}
	return nil
}

// compare finds the metrics that the group does not hold, in the claim's order,
// and what of the group the push replaces, and reports whether the push would
// leave the group as it is. Of a group of which the book knows only what it may
// hold, every metric is as one that it does not hold.
func (d *draft) compare(g *group, put bool, by writer) bool {
	d.candidates, d.writers, d.gone = d.candidates[:0], slices.Grow(d.writers[:0], len(d.names)), 0
	d.freed, d.certain = zeroed(d.freed, len(d.names)), zeroed(d.certain, len(d.names))
	d.had, d.unsure = d.had[:0], g.unsure
	if len(g.content) == 0 { // then all of them are
		d.candidates = slices.Grow(d.candidates, len(d.entries))
	} else {
		d.had = zeroed(d.had, len(d.entries))
	}
	same, families := g.last == by && !g.unsure, 0
	held := g.content.read(g.last)
	more := held.next()
	for slot := range d.names {
		for more && held.at.name < d.names[slot] {
			families++
			d.gone += held.at.series()
			more = held.next()
		}
		if !more || held.at.name != d.names[slot] {
			same = false
			d.writers = append(d.writers, unknown)
			d.compareFamily(slot, &family{})
			continue
		}
		d.writers = append(d.writers, held.at.writer)
		same = d.compareFamily(slot, &held.at) && same && held.at.writer == by
		families++
		more = held.next()
	}
	for ; more; more = held.next() {
		families++
		d.gone += held.at.series()
	}
	slices.SortFunc(d.candidates, func(a, b int32) int { return int(d.entries[a].metric - d.entries[b].metric) })
	return same && !(put && families > len(d.names))
}

// zeroed returns n zero values in the memory of s.
func zeroed[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

func (d *draft) compareFamily(slot int, held *family) bool {
	es, start := d.of(slot), d.starts[slot]
	same := len(es) == len(held.prints)
	d.certain[slot] = len(es) == 0
	at := 0
	for i := range es {
		e := &es[i]
		for at < len(held.prints) && held.prints[at] < e.print {
			d.freed[slot] += int(held.size(at))
			at++
		}
		had := int32(0)
		if at < len(held.prints) && held.prints[at] == e.print {
			had = int32(held.size(at))
			d.had[start+int32(i)] = had
			at++
		}
		same = same && had == e.samples
		if d.unsure {
			d.freed[slot] += int(had)
			had = 0
		}
		if cost := e.samples - had; cost > 0 || had == 0 {
			d.candidates = append(d.candidates, start+int32(i))
		} else {
			d.freed[slot] -= int(cost)
			d.certain[slot] = true
		}
	}
	for ; at < len(held.prints); at++ {
		d.freed[slot] += int(held.size(at))
	}
	return same
}

// build renders what the push brings, the trimmed metrics left out, into the
// memory of the draft. Values of families that the group holds unchanged are
// taken from there.
func (d *draft) build(c *Claim, g *group, by writer) holdings {
	d.pushed = builder{out: slices.Grow(d.pushed.out[:0], 2*len(d.names)), last: by}
	held := g.content.read(g.last)
	more := held.next()
	for slot, name := range d.names {
		for more && held.at.name < name {
			more = held.next()
		}
		f := family{name: name, writer: by}
		d.words = d.words[:0]
		es := d.of(slot)
		d.take(&f, es)
		if len(es) > 0 && len(f.prints) == 0 {
			continue // none of its metrics are left, so the push does not write it
		}
		if more && held.at.name == name && slices.Equal(held.at.prints, f.prints) {
			f.values = held.at.values
		} else {
			f.values = d.values(c, es)
		}
		d.pushed.add(f)
		d.words, d.before = d.before, d.words
	}
	return d.pushed.out
}

// writes reports whether anything of the families is left of the push, which are
// indices into those of the claim.
func (d *draft) writes(families []int32) bool {
	return slices.ContainsFunc(families, func(f int32) bool {
		return f >= 0 && int(f) < len(d.slots) &&
			slices.ContainsFunc(d.of(int(d.slots[f])), func(e entry) bool { return e.metric >= 0 })
	})
}

// take moves the fingerprints and sizes of the entries into a family.
func (d *draft) take(f *family, es []entry) {
	start := len(d.words)
	for _, e := range es {
		if e.metric >= 0 {
			d.words = append(d.words, e.print)
		}
	}
	f.prints = d.words[start:]
	start = len(d.words)
	for _, e := range es {
		if e.metric >= 0 {
			d.words = append(d.words, uint64(e.samples))
		}
	}
	f.sizes = plain(d.words[start:])
}

func (d *draft) values(c *Claim, es []entry) []uint64 {
	start := len(d.words)
	for _, e := range es {
		if e.metric < 0 {
			continue
		}
		d.words = d.overflow.values(d.words, c, int(e.metric))
	}
	values := d.words[start:]
	slices.Sort(values)
	return slices.Compact(values)
}
