package ledger

import (
	"cmp"
	"slices"
)

// holdings are the families of a group, sorted by name, in the least memory: a
// record a family of two words, the name's hash and the head, and after them the
// fingerprints, the sizes, the values and the writer, as far as the head says
// that they are there. Holdings are immutable once a group has them.
type holdings []uint64

// The head of a record is metrics<<32 | values<<3 | flags.
const (
	again   = 1 << iota // metrics and values are those of the record before
	sized               // some metric makes more than one series
	written             // the writer is not the group's last
)

// family is a record spread out.
type family struct {
	name   uint64
	writer writer
	prints []uint64 // fingerprints of the metrics, sorted
	sizes  []uint64 // series of each metric; nil: one each
	values []uint64 // hashes of the label values, a sorted set
}

func (f *family) size(metric int) uint64 {
	if f.sizes == nil {
		return 1
	}
	return f.sizes[metric]
}

func (f *family) series() int {
	if f.sizes == nil {
		return len(f.prints)
	}
	n := uint64(0)
	for _, s := range f.sizes {
		n += s
	}
	return int(n)
}

func (f *family) sameMetrics(other *family) bool {
	return slices.Equal(f.prints, other.prints) && slices.Equal(f.sizes, other.sizes)
}

func (h holdings) series() int {
	n := 0
	for c := h.read(unknown); c.next(); {
		n += c.at.series()
	}
	return n
}

// cursor reads holdings record by record.
type cursor struct {
	rest holdings
	last writer // of the group
	at   family
}

func (h holdings) read(last writer) cursor { return cursor{rest: h, last: last} }

// next moves to the next family, whose slices are views, or reports false.
func (c *cursor) next() bool {
	if len(c.rest) == 0 {
		return false
	}
	head := c.rest[1]
	c.at.name, c.at.writer = c.rest[0], c.last
	c.rest = c.rest[2:]
	if head&again == 0 {
		metrics, values := int(head>>32), int(uint32(head)>>3)
		c.at.prints, c.at.sizes = c.take(metrics), nil
		if head&sized != 0 {
			c.at.sizes = c.take(metrics)
		}
		c.at.values = c.take(values)
	}
	if head&written != 0 {
		c.at.writer = writer(c.take(1)[0])
	}
	return true
}

func (c *cursor) take(n int) []uint64 {
	words := c.rest[:n:n]
	c.rest = c.rest[n:]
	return words
}

// builder writes holdings, families in the order of their names.
type builder struct {
	out    holdings
	last   writer
	before family
}

func (b *builder) add(f family) {
	head := uint64(len(f.prints))<<32 | uint64(len(f.values))<<3
	repeats := len(b.out) > 0 && f.sameMetrics(&b.before) && slices.Equal(f.values, b.before.values)
	if repeats {
		head = again
	}
	if f.sizes != nil {
		head |= sized
	}
	if f.writer != b.last {
		head |= written
	}
	b.out = append(b.out, f.name, head)
	if !repeats {
		b.out = append(b.out, f.prints...)
		b.out = append(b.out, f.sizes...)
		b.out = append(b.out, f.values...)
	}
	if f.writer != b.last {
		b.out = append(b.out, uint64(f.writer))
	}
	b.before = f
}

// pairs calls visit for each family of x or y, with nil for the one that has it
// not.
func pairs(x, y cursor, visit func(x, y *family)) {
	inX, inY := x.next(), y.next()
	for inX || inY {
		order := 0
		switch {
		case !inY:
			order = -1
		case !inX:
			order = 1
		default:
			order = cmp.Compare(x.at.name, y.at.name)
		}
		switch {
		case order < 0:
			visit(&x.at, nil)
			inX = x.next()
		case order > 0:
			visit(nil, &y.at)
			inY = y.next()
		default:
			visit(&x.at, &y.at)
			inX, inY = x.next(), y.next()
		}
	}
}

// overlaid returns base with the families of top in place of its own of the same
// names, for a group whose last writer is last.
func overlaid(base, top cursor, last writer) holdings {
	b := builder{last: last, out: make(holdings, 0, len(base.rest)+len(top.rest))}
	pairs(base, top, func(x, y *family) {
		if y == nil {
			y = x
		}
		b.add(*y)
	})
	return b.out
}

// united returns the families and metrics that are in either, for a group whose
// last writer is last. Of what both hold, nobody knows the writer unless they
// agree.
func united(a, b cursor, last writer) holdings {
	out := builder{last: last, out: make(holdings, 0, len(a.rest)+len(b.rest))}
	pairs(a, b, func(x, y *family) {
		switch {
		case y == nil:
			out.add(*x)
		case x == nil:
			out.add(*y)
		default:
			out.add(x.or(y))
		}
	})
	return out.out
}

// or is the family that may be either of two.
func (f *family) or(other *family) family {
	out := *f
	out.writer = f.writer.or(other.writer)
	if f.sameMetrics(other) {
		return out
	}
	n := len(f.prints) + len(other.prints)
	out.prints, out.sizes = make([]uint64, 0, n), make([]uint64, 0, n)
	i, j := 0, 0
	for i < len(f.prints) || j < len(other.prints) {
		if j == len(other.prints) || i < len(f.prints) && f.prints[i] < other.prints[j] {
			out.prints, out.sizes = append(out.prints, f.prints[i]), append(out.sizes, f.size(i))
			i++
			continue
		}
		size := other.size(j)
		if i < len(f.prints) && f.prints[i] == other.prints[j] {
			size = max(size, f.size(i))
			i++
		}
		out.prints, out.sizes = append(out.prints, other.prints[j]), append(out.sizes, size)
		j++
	}
	out.sizes = plain(out.sizes)
	out.values = slices.Concat(f.values, other.values)
	slices.Sort(out.values)
	out.values = slices.Compact(out.values)
	return out
}

// plain returns nil for sizes that are all one.
func plain(sizes []uint64) []uint64 {
	if slices.ContainsFunc(sizes, func(s uint64) bool { return s != 1 }) {
		return sizes
	}
	return nil
}

// exact returns the holdings in as much memory as they need.
func exact(h holdings) holdings {
	if len(h) == 0 {
		return nil
	}
	return append(make(holdings, 0, len(h)), h...)
}
