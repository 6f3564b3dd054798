package counter

// baseline is the last reading of one source of one counter. It holds no pointer,
// so that a million of them cost the garbage collector nothing.
type baseline struct {
	key   Identity // of counter and source, see baselineKey
	group uint64   // see groupHash
	last  float64  // the value, or the count of a histogram or summary

	older, newer uint32 // the list of all by when they were seen
	next, prev   uint32 // the ring of those of the group
	seen         uint32 // in seconds since 1970
	wide         uint32 // where sum and buckets are; 0 for a counter
}

// baselineKey tells the counter of one source from that of another. Counters of
// another kind, or with other buckets, are others.
func baselineKey(r *Reading) Identity {
	tag := uint64(r.Source)<<8 | uint64(r.Output.Kind)
	if r.Output.Kind == Histogram {
		tag |= boundsHash(r.Output.Bounds) << 16
	}
	return Identity{r.Identity.hi ^ mix(uint64(r.Began)), r.Identity.lo ^ mix(tag)}
}

// groupHash is what baselines keep of their group.
func groupHash(group Identity) uint64 { return group.lo }

// slabSize is how many baselines are allocated at once.
const slabSize = 256

// table holds the baselines of some groups: slots in slabs, found by key and by
// group. Slots are numbered from 1. It is not safe for concurrent use.
type table struct {
	slabs  []*[slabSize]baseline
	slots  uint32 // ever used
	free   uint32 // the first slot to use again; they are linked by next
	keys   index
	groups index // one baseline of each group

	oldest, newest uint32
	count          int

	wides    [][]float64 // sum and buckets, from 1
	freeWide []uint32
}

func newTable() *table {
	t := &table{groups: index{byGroup: true}, wides: make([][]float64, 1)}
	t.keys.cells, t.groups.cells = make([]uint32, 16), make([]uint32, 16)
	return t
}

func (t *table) at(slot uint32) *baseline {
	return &t.slabs[(slot-1)/slabSize][(slot-1)%slabSize]
}

// find returns the slot of a key, 0 if there is none.
func (t *table) find(key Identity) uint32 {
	mask := uint32(len(t.keys.cells) - 1)
	for i := uint32(key.lo) & mask; ; i = (i + 1) & mask {
		slot := t.keys.cells[i]
		if slot == 0 || t.at(slot).key == key {
			return slot
		}
	}
}

// findGroup returns the cell of the index that holds a baseline of the group, or
// the empty one where it would stand.
func (t *table) findGroup(group uint64) uint32 {
	mask := uint32(len(t.groups.cells) - 1)
	for i := uint32(group) & mask; ; i = (i + 1) & mask {
		slot := t.groups.cells[i]
		if slot == 0 || t.at(slot).group == group {
			return i
		}
	}
}

// insert makes a baseline, the newest of all.
func (t *table) insert(key Identity, group uint64, seen uint32) uint32 {
	slot := t.free
	if slot == 0 {
		if t.slots++; t.slots > uint32(len(t.slabs))*slabSize {
			t.slabs = append(t.slabs, new([slabSize]baseline))
		}
		slot = t.slots
	} else {
		t.free = t.at(slot).next
	}
	*t.at(slot) = baseline{key: key, group: group, seen: seen}
	t.add(&t.keys, slot)
	t.join(slot)
	t.append(slot)
	t.count++
	return slot
}

// remove drops a baseline.
func (t *table) remove(slot uint32) {
	b := t.at(slot)
	t.unlink(slot)
	t.leave(slot)
	t.drop(&t.keys, t.cell(&t.keys, slot))
	if b.wide != 0 {
		t.wides[b.wide] = nil
		t.freeWide = append(t.freeWide, b.wide)
	}
	*b = baseline{next: t.free}
	t.free = slot
	t.count--
}

// touch makes a baseline the newest of all.
func (t *table) touch(slot, seen uint32) {
	b := t.at(slot)
	b.seen = max(b.seen, seen)
	if t.newest == slot {
		return
	}
	t.unlink(slot)
	t.append(slot)
}

func (t *table) append(slot uint32) {
	b := t.at(slot)
	b.older, b.newer = t.newest, 0
	if t.newest != 0 {
		t.at(t.newest).newer = slot
	} else {
		t.oldest = slot
	}
	t.newest = slot
}

func (t *table) unlink(slot uint32) {
	b := t.at(slot)
	if b.older != 0 {
		t.at(b.older).newer = b.newer
	} else {
		t.oldest = b.newer
	}
	if b.newer != 0 {
		t.at(b.newer).older = b.older
	} else {
		t.newest = b.older
	}
}

// join puts a baseline into the ring of its group.
func (t *table) join(slot uint32) {
	b := t.at(slot)
	head := t.groups.cells[t.findGroup(b.group)]
	if head == 0 {
		b.next, b.prev = slot, slot
		t.add(&t.groups, slot)
		return
	}
	h := t.at(head)
	b.next, b.prev = head, h.prev
	t.at(h.prev).next = slot
	h.prev = slot
}

func (t *table) leave(slot uint32) {
	b := t.at(slot)
	cell := t.findGroup(b.group)
	if b.next == slot {
		t.drop(&t.groups, cell)
		return
	}
	if t.groups.cells[cell] == slot {
		t.groups.cells[cell] = b.next
	}
	t.at(b.prev).next, t.at(b.next).prev = b.next, b.prev
}

// wide returns the sum and buckets of a baseline, nil for a counter's.
func (t *table) wide(slot uint32) []float64 { return t.wides[t.at(slot).wide] }

// setWide makes room for the sum of a baseline and its buckets.
func (t *table) setWide(slot uint32, size int) []float64 {
	b := t.at(slot)
	if b.wide == 0 {
		if n := len(t.freeWide); n > 0 {
			b.wide, t.freeWide = t.freeWide[n-1], t.freeWide[:n-1]
		} else {
			t.wides = append(t.wides, nil)
			b.wide = uint32(len(t.wides) - 1)
		}
	}
	if len(t.wides[b.wide]) != size {
		t.wides[b.wide] = make([]float64, size)
	}
	return t.wides[b.wide]
}

// weight is what a baseline takes of the bound on all of them: 1, and 1 more for
// each hundred bytes that its buckets take.
func (t *table) weight(slot uint32) int64 { return 1 + int64(len(t.wide(slot))+11)/12 }
