package statsd

import (
	"math"
	"slices"

	"github.com/pushguard/pushguard/proxy/counter"
)

const (
	maxLine = 4000 // the exporter takes 4,095 bytes over TCP, and none after a longer one
	maxLe   = len(",le:") + maxDigits
)

// series is one output series: what is pending of it, and what the exporter
// knows of it.
type series struct {
	source     *counter.Series // the first that became this one
	family     *family
	id         string
	name, tags string // parts of id

	bounds []float64
	// pending is what is to be sent: of a counter its value, of others the count
	// and the sum, of a histogram before them its buckets and that of +Inf.
	pending []float64
	first   [1]float64 // the pending of a counter

	// Times are the sender's age.
	seen   int64  // when it was last given an increment
	epoch  uint64 // of the connection over which it was born at zero
	born   int64  // when that was
	beat   int64  // when it was last sent as zero
	queued bool   // it is in the list of those with something pending
	gone   bool   // it was forgotten

	links [2]struct{ prev, next *series }
}

// newSeries returns a series that is in no list yet. Buckets need tags.
func newSeries(src *counter.Series, id string, name int, tags TagStyle) *series {
	sr := &series{source: src, id: id, name: id[:name], tags: id[name+1:]}
	switch {
	case src.Kind == counter.Counter:
		sr.pending = sr.first[:]
	case src.Kind == counter.Summary || tags == NoTags:
		sr.pending = make([]float64, 2)
	default:
		sr.bounds = src.Bounds
		sr.pending = make([]float64, len(src.Bounds)+3)
	}
	return sr
}

// fits reports whether a series of these bounds can be sent.
func (sr *series) fits(bounds []float64) bool {
	line := len(sr.name) + len("_bucket:") + maxDigits + len("|c|#") + len(sr.tags) + maxLe + len("\n")
	return line <= maxLine && line*(len(bounds)+3) <= maxPacket
}

// add adds an increment that is sound. It reports whether bounds came to those
// of the histogram.
func (sr *series) add(inc *counter.Increment) (grown bool, why Refusal) {
	n := len(sr.pending)
	switch {
	case sr.source.Kind == counter.Counter:
		sr.pending[0] += inc.Value
		return false, ""
	case n > 2:
		if grown, why = sr.widen(inc.Series); why != "" {
			return false, why
		}
		n = len(sr.pending)
		addBuckets(sr.pending[:n-3], sr.bounds, inc.Buckets, inc.Series.Bounds)
		sr.pending[n-3] += inc.Count
	}
	sr.pending[n-2] += inc.Count
	if !inc.NoSum {
		sr.pending[n-1] += inc.Sum
	}
	return grown, ""
}

// widen makes the bounds of src part of the series' own. So two versions of a
// job that count in different buckets add up to a histogram that is in order.
func (sr *series) widen(src *counter.Series) (grown bool, why Refusal) {
	if src == sr.source {
		return false, ""
	}
	all := union(sr.bounds, src.Bounds)
	if len(all) == len(sr.bounds) {
		return false, ""
	}
	if !goodBounds(all) {
		return false, RefusedBounds
	}
	if !sr.fits(all) {
		return false, RefusedSize
	}
	was, n := sr.pending, len(sr.bounds)
	sr.pending = make([]float64, len(all)+3)
	addBuckets(sr.pending[:len(all)], all, was[:n], sr.bounds)
	copy(sr.pending[len(all):], was[n:])
	sr.bounds = all
	return true, ""
}

// giveBack makes pending again what could not be sent.
func (sr *series) giveBack(p *part) {
	i := p.index
	switch grown := len(sr.pending) - p.of; {
	case grown == 0:
	case i >= p.of-3:
		i += grown
	default:
		i, _ = slices.BinarySearch(sr.bounds, p.bound)
	}
	sr.pending[i] += p.amount
}

func (sr *series) empty() bool {
	for _, v := range sr.pending {
		if v != 0 {
			return false
		}
	}
	return true
}

// column is what one of the pending amounts is: the suffix of its name, and the
// bound of its bucket or NaN.
func (sr *series) column(i int) (suffix string, bound float64) {
	bound = math.NaN()
	n := len(sr.pending)
	switch {
	case sr.source.Kind == counter.Counter:
	case i == n-1:
		suffix = "_sum"
	case i == n-2:
		suffix = "_count"
	case i == n-3:
		suffix, bound = "_bucket", math.Inf(1)
	default:
		suffix, bound = "_bucket", sr.bounds[i]
	}
	return suffix, bound
}

// The lists a series can be in.
const (
	byUse  = iota // queued or settled
	byBeat        // beats
)

// list is a doubly linked list. A series is in at most one list of each kind.
type list struct {
	kind        int
	front, back *series
	n           int
}

func (l *list) pushFront(sr *series) {
	sr.links[l.kind].next = l.front
	if l.front != nil {
		l.front.links[l.kind].prev = sr
	} else {
		l.back = sr
	}
	l.front = sr
	l.n++
}

func (l *list) pushBack(sr *series) {
	sr.links[l.kind].prev = l.back
	if l.back != nil {
		l.back.links[l.kind].next = sr
	} else {
		l.front = sr
	}
	l.back = sr
	l.n++
}

func (l *list) remove(sr *series) {
	at := &sr.links[l.kind]
	if at.prev != nil {
		at.prev.links[l.kind].next = at.next
	} else {
		l.front = at.next
	}
	if at.next != nil {
		at.next.links[l.kind].prev = at.prev
	} else {
		l.back = at.prev
	}
	at.prev, at.next = nil, nil
	l.n--
}
