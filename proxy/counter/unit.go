package counter

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/state"
)

// A unit is what one commit changes, as it is kept: records that say what is,
// not by how much it grew. Units may be applied over what they have made already,
// as long as all that followed are, too.
//
//	b key group seen last n {float}             a baseline; its sum and buckets
//	f group                                     all baselines of a group are gone
//	n                                           all baselines and keys are gone
//	k key until                                 an idempotency key
//	w nanoseconds                               the watermark
//	d born created what kind name help n {name value} n {bound}   a total
//	t born value sum n {float}                  what it has come to; its buckets
//	g born                                      it is gone
//
// A key is of 16 bytes, a group and a float of 8, little-endian; a kind and what are of one
// byte, the bits of what being isOther and isUnseen; all else are varints, and strings with
// their length before them.
const (
	recordBaseline  = 'b'
	recordForgotten = 'f'
	recordAnew      = 'n'
	recordKey       = 'k'
	recordWatermark = 'w'
	recordBirth     = 'd'
	recordTotal     = 't'
	recordGone      = 'g'
)

const (
	isOther  = 1 << iota // it stands for series for which there was no room
	isUnseen             // no scraper was shown it; without it, as of builds that did not tell, one was, and all that were born before it
)

var errUnit = errors.New("a unit of counters is damaged")

func appendWord(dst []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(dst, v) }

func appendIdentity(dst []byte, i Identity) []byte { return appendWord(appendWord(dst, i.hi), i.lo) }

func appendFloat(dst []byte, v float64) []byte { return appendWord(dst, math.Float64bits(v)) }

func appendFloats(dst []byte, vs []float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(vs)))
	for _, v := range vs {
		dst = appendFloat(dst, v)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendBaseline writes a baseline of the table down.
func (t *table) appendBaseline(dst []byte, slot uint32) []byte {
	b := t.at(slot)
	dst = appendIdentity(append(dst, recordBaseline), b.key)
	dst = appendWord(dst, b.group)
	dst = binary.AppendUvarint(dst, uint64(b.seen))
	return appendFloats(appendFloat(dst, b.last), t.wide(slot))
}

func appendForgotten(dst []byte, group uint64) []byte {
	return appendWord(append(dst, recordForgotten), group)
}

func appendKey(dst []byte, key Identity, until int64) []byte {
	return binary.AppendVarint(appendIdentity(append(dst, recordKey), key), until)
}

func appendWatermark(dst []byte, w int64) []byte {
	return binary.AppendVarint(append(dst, recordWatermark), w)
}

// appendBirth writes down what a total is, and whether a scraper was shown it.
func (to *total) appendBirth(dst []byte, seen bool) []byte {
	dst = binary.AppendUvarint(append(dst, recordBirth), to.born)
	dst = binary.AppendVarint(dst, to.created)
	what := byte(0)
	if to.other {
		what = isOther
	}
	if !seen {
		what |= isUnseen
	}
	dst = append(dst, what, byte(to.family.kind))
	dst = appendString(appendString(dst, to.family.name), to.family.help)
	dst = binary.AppendUvarint(dst, uint64(len(to.labels)))
	for _, l := range to.labels {
		dst = appendString(appendString(dst, l.Name), l.Value)
	}
	return appendFloats(dst, to.bounds)
}

func (to *total) appendTotal(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, recordTotal), to.born)
	return appendFloats(appendFloat(appendFloat(dst, to.value), to.sum), to.buckets)
}

func (to *total) appendGone(dst []byte) []byte {
	return binary.AppendUvarint(append(dst, recordGone), to.born)
}

// reader reads records.
type reader struct{ state.Reader }

func (r *reader) identity() Identity { return Identity{hi: r.Word(), lo: r.Word()} }

func (r *reader) float() float64 { return math.Float64frombits(r.Word()) }

// floats reads floats into memory of dst.
func (r *reader) floats(dst []float64) []float64 {
	for range r.Count(8) {
		dst = append(dst, r.float())
	}
	return dst
}

func (r *reader) labels() []labels.Label {
	ls := make([]labels.Label, r.Count(2))
	for i := range ls {
		ls[i] = labels.Label{Name: r.Text(), Value: r.Text()}
	}
	return ls
}
