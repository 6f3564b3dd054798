package ledger

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pushguard/pushguard/proxy/state"
)

// What is kept of a book are records that say what is, so that one may be applied
// again over what followed it, as long as all that followed is, too:
//
//	k word                                       what comes is hashed by this key
//	g id job last kept flags slack holdings values   a group
//	t id kept                                    when a group was pushed to
//	d id at                                      a group is gone
//	w at                                         all groups are gone
//	s, x                                         as g and d, of totals
//	a name seen n {step n} n {step n}            steps of a job's hour and day
//	e id n {step n}                              steps of an entry's new jobs
//
// A word is of 8 bytes, little-endian; all else are varints, and strings with
// their length before them. Holdings are their number and as many words, values
// the number of labels, their hashes and, for each value in the holdings, the
// index of its label. A step with 0 is none. Many records may be one of the log.
const (
	recordKey        = 'k'
	recordGroup      = 'g'
	recordTouched    = 't'
	recordGone       = 'd'
	recordWiped      = 'w'
	recordTotals     = 's'
	recordTotalsGone = 'x'
	recordAccount    = 'a'
	recordEntry      = 'e'
)

var errRecord = errors.New("a record of the ledger is damaged, or of a newer version")

// The flags of a group.
const (
	flagUnsure = 1 << iota
	flagFailed
	flagSuccess
)

func (g *group) flags() uint64 {
	flags := uint64(0)
	for i, set := range []bool{g.unsure, g.failed, g.success} {
		if set {
			flags |= 1 << i
		}
	}
	return flags
}

func appendWord(dst []byte, w uint64) []byte { return binary.LittleEndian.AppendUint64(dst, w) }

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendKey(dst []byte, check uint64) []byte { return appendWord(append(dst, recordKey), check) }

// kind is the kind of a record of the group.
func (g *group) kind(ofGroup, ofTotals byte) byte {
	if g.sums != nil {
		return ofTotals
	}
	return ofGroup
}

func (g *group) appendTo(dst []byte) []byte {
	dst = appendString(append(dst, g.kind(recordGroup, recordTotals)), g.id)
	dst = appendWord(appendString(dst, g.job.name), uint64(g.last))
	for _, v := range []uint64{uint64(g.kept), g.flags(), uint64(g.slack), uint64(len(g.content))} {
		dst = binary.AppendUvarint(dst, v)
	}
	for _, w := range g.content {
		dst = appendWord(dst, w)
	}
	return g.appendValues(dst)
}

// appendValues writes which label each value of the holdings is of.
func (g *group) appendValues(dst []byte) []byte {
	var labels []uint64
	var indices []byte
	g.content.values(func(values []uint64) {
		for _, v := range values {
			label := g.job.values.label(v)
			i := slices.Index(labels, label)
			if i < 0 {
				i, labels = len(labels), append(labels, label)
			}
			indices = binary.AppendUvarint(indices, uint64(i))
		}
	})
	dst = binary.AppendUvarint(dst, uint64(len(labels)))
	for _, l := range labels {
		dst = appendWord(dst, l)
	}
	return append(dst, indices...)
}

// values calls visit for the values of each record that has its own.
func (h holdings) values(visit func([]uint64)) {
	for c := h.read(unknown); len(c.rest) > 0; {
		own := c.rest[1]&again == 0
		if c.next(); own {
			visit(c.at.values)
		}
	}
}

func appendTouched(dst []byte, g *group) []byte {
	return binary.AppendUvarint(appendString(append(dst, recordTouched), g.id), uint64(g.kept))
}

func appendGone(dst []byte, g *group, at int64) []byte {
	return binary.AppendVarint(appendString(append(dst, g.kind(recordGone, recordTotalsGone)), g.id), at)
}

func appendWiped(dst []byte, at int64) []byte {
	return binary.AppendVarint(append(dst, recordWiped), at)
}

func appendAccount(dst []byte, a *account, hours, days []tick) []byte {
	dst = binary.AppendVarint(appendString(append(dst, recordAccount), a.name), a.seen)
	return appendTicks(appendTicks(dst, hours), days)
}

func appendEntry(dst []byte, id int, days []tick) []byte {
	return appendTicks(binary.AppendVarint(append(dst, recordEntry), int64(id)), days)
}

func appendTicks(dst []byte, ticks []tick) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ticks)))
	for _, t := range ticks {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(t.step)), uint64(t.n))
	}
	return dst
}

// reader reads records.
type reader struct{ state.Reader }

func (r *reader) uint32() uint32 {
	v := r.Uvarint()
	if v > 1<<32-1 {
		r.Fail()
	}
	return uint32(v)
}

func (r *reader) words() []uint64 {
	words := make([]uint64, r.Count(8))
	for i := range words {
		words[i] = r.Word()
	}
	return words
}

func (r *reader) ticks() []tick {
	ticks := make([]tick, r.Count(2))
	for i := range ticks {
		ticks[i] = tick{step: r.uint32(), n: r.uint32()}
	}
	return ticks
}

// holdings reads holdings, of which every record is whole, and the families are
// in order.
func (r *reader) holdings() holdings {
	h := holdings(r.words())
	name, first := uint64(0), true
	for rest := h; len(rest) > 0; first = false {
		if len(rest) < 2 || !first && rest[0] <= name || first && rest[1]&again != 0 {
			r.Fail()
			return nil
		}
		name = rest[0]
		n := recordLen(rest[1])
		if n > uint64(len(rest)) {
			r.Fail()
			return nil
		}
		rest = rest[n:]
	}
	return h
}

// recordLen returns how many words a record of holdings has, by its head.
func recordLen(head uint64) uint64 {
	n := uint64(2)
	if head&again == 0 {
		metrics := head >> 32
		n += metrics + uint64(uint32(head)>>3)
		if head&sized != 0 {
			n += metrics
		}
	}
	if head&written != 0 {
		n++
	}
	return n
}
