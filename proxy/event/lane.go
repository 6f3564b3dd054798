package event

import (
	"cmp"
	"slices"
)

// lane is what records of a queue are worth. A full queue drops from the first
// lane that has any.
type lane uint8

const (
	snapshots lane = iota // superseded by the next one
	facts                 // what happened once
	refusals              // what a job's author will ask for
	laneCount
)

// String is the lane's name in metrics and files.
func (l lane) String() string { return [...]string{"snapshots", "facts", "refusals"}[l] }

// laneOf is the lane of records of a kind.
func laneOf(k Kind) lane {
	switch k {
	case Snapshot:
		return snapshots
	case Rejected:
		return refusals
	default:
		return facts
	}
}

// item is a record in a queue.
type item struct {
	seq  uint64 // the order in which it was added
	lane lane
	json []byte // as Record.encode made it
	end  place  // behind it on disk; zero in memory
}

// itemOverhead is what an item costs in memory besides its bytes, about.
const itemOverhead = 64

func (i *item) size() int64 { return int64(len(i.json)) + itemOverhead }

// inOrder sorts items as they were added.
func inOrder(items []item) {
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.seq, b.seq) })
}

// fifo is a queue of items in memory. The zero value is empty.
type fifo struct {
	items []item
	head  int
}

func (f *fifo) len() int     { return len(f.items) - f.head }
func (f *fifo) front() *item { return &f.items[f.head] }
func (f *fifo) push(i item)  { f.items = append(f.items, i) }

func (f *fifo) pop() item {
	i := f.items[f.head]
	f.items[f.head] = item{}
	if f.head++; f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	} else if f.head > 1024 && f.head > len(f.items)/2 {
		f.items, f.head = append(f.items[:0:0], f.items[f.head:]...), 0
	}
	return i
}
