package counter

import (
	"math"
	"math/bits"
)

// index is an open-addressed hash table of slots with linear probing, a power of
// two of cells, 0 in the empty ones. Four bytes a cell are all that a baseline
// costs beside itself.
type index struct {
	cells   []uint32
	used    int
	byGroup bool // slots are found by their group, not their key
}

// hash is where a slot would stand best.
func (t *table) hash(ix *index, slot uint32) uint32 {
	if ix.byGroup {
		return uint32(t.at(slot).group)
	}
	return uint32(t.at(slot).key.lo)
}

// cell is where a slot stands.
func (t *table) cell(ix *index, slot uint32) uint32 {
	mask := uint32(len(ix.cells) - 1)
	i := t.hash(ix, slot) & mask
	for ix.cells[i] != slot {
		i = (i + 1) & mask
	}
	return i
}

// add files a slot. Three of four cells may be taken.
func (t *table) add(ix *index, slot uint32) {
	if ix.used++; ix.used*4 > len(ix.cells)*3 {
		before := ix.cells
		ix.cells = make([]uint32, 2*len(before))
		for _, s := range before {
			if s != 0 {
				t.place(ix, s)
			}
		}
	}
	t.place(ix, slot)
}

func (t *table) place(ix *index, slot uint32) {
	mask := uint32(len(ix.cells) - 1)
	i := t.hash(ix, slot) & mask
	for ix.cells[i] != 0 {
		i = (i + 1) & mask
	}
	ix.cells[i] = slot
}

// drop empties a cell and moves up those behind it that would not be found
// across the gap (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
func (t *table) drop(ix *index, gap uint32) {
	ix.used--
	mask := uint32(len(ix.cells) - 1)
	for i := (gap + 1) & mask; ix.cells[i] != 0; i = (i + 1) & mask {
		if (i-t.hash(ix, ix.cells[i]))&mask >= (i-gap)&mask {
			ix.cells[gap], gap = ix.cells[i], i
		}
	}
	ix.cells[gap] = 0
}

// boundsHash tells lists of bounds apart.
func boundsHash(bounds []float64) uint64 {
	h := uint64(len(bounds))
	for _, b := range bounds {
		h = (bits.RotateLeft64(h, 23) ^ math.Float64bits(b)) * 0x9e3779b97f4a7c15
	}
	return mix(h)
}
