package counter

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/pushguard/pushguard/proxy/state"
)

// commitHead is what a commit says of its push.
type commitHead struct {
	group         Identity
	key           Identity // of its idempotency key; zero: none
	lost          uint64   // its print, if it looks like one whose reply was lost
	ignoreUnknown bool
	totals        bool // what it counts goes to the totals
}

func newReader(body []byte) reader { return reader{state.NewReader(body, errUnit)} }

// appendCommit writes a push down. With short, a series that has a total is named by
// its birth; one that goes to no totals is not named at all.
func (s *sharing) appendCommit(p *commitHead, readings []Reading, short bool) []byte {
	t := s.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	flags := byte(0)
	if p.ignoreUnknown {
		flags |= 1
	}
	if p.totals {
		flags |= 2
	}
	dst := appendIdentity([]byte{cmdCommit, flags}, p.group)
	dst = appendWord(appendIdentity(dst, p.key), p.lost)
	dst = binary.AppendUvarint(dst, uint64(len(readings)))
	for i := range readings {
		r := &readings[i]
		dst = append(appendIdentity(dst, r.Identity), byte(r.Source), byte(r.Semantics), byte(r.Output.Kind))
		dst = binary.AppendVarint(dst, r.Began)
		if r.Output.Kind == Counter {
			dst = appendFloat(dst, r.Value)
		} else {
			dst = appendFloat(appendFloat(dst, r.Count), r.Sum)
		}
		if r.Output.Kind == Histogram {
			dst = appendFloats(appendFloats(dst, r.Buckets), r.Output.Bounds)
		}
		if !p.totals {
			continue
		}
		if to := t.known[r.Output]; to != nil && short && !to.gone && !to.other {
			dst = binary.AppendUvarint(dst, to.born)
			continue
		}
		dst = appendString(appendString(append(dst, 0), r.Output.Name), r.Output.Help)
		dst = binary.AppendUvarint(dst, uint64(len(r.Output.Labels)))
		for _, l := range r.Output.Labels {
			dst = appendString(appendString(dst, l.Name), l.Value)
		}
	}
	return dst
}

// readCommit reads a push, with the births of the totals that it names.
func (s *sharing) readCommit(in *reader) (p commitHead, readings []Reading, births []uint64) {
	flags := in.Byte()
	p = commitHead{group: in.identity(), key: in.identity(), lost: in.Word(), ignoreUnknown: flags&1 != 0, totals: flags&2 != 0}
	readings = make([]Reading, in.Count(27))
	births = make([]uint64, len(readings))
	for i := range readings {
		r, out := &readings[i], &Series{}
		r.Output = out
		r.Identity, r.Source, r.Semantics, out.Kind = in.identity(), Source(in.Byte()), Semantics(in.Byte()), Kind(in.Byte())
		r.Began = in.Varint()
		switch out.Kind {
		case Counter:
			r.Value = in.float()
		case Histogram:
			r.Count, r.Sum = in.float(), in.float()
			r.Buckets, out.Bounds = in.floats(nil), in.floats(nil)
		case Summary:
			r.Count, r.Sum = in.float(), in.float()
		default:
			in.Fail()
		}
		if r.Source < Created || r.Source > Anonymous || len(r.Buckets) != len(out.Bounds) || !ascend(out.Bounds) {
			in.Fail()
		}
		if !p.totals {
			continue
		}
		if births[i] = in.Uvarint(); births[i] == 0 {
			out.Name, out.Help, out.Labels = in.Text(), in.Text(), in.labels()
		}
	}
	return p, readings, births
}

// ascend reports whether bounds are those of a histogram: numbers, each above the one
// before.
func ascend(bounds []float64) bool {
	for i, b := range bounds {
		if math.IsNaN(b) || i > 0 && b <= bounds[i-1] {
			return false
		}
	}
	return true
}

// Save is part of shared.Room. What it writes is the same on every guard that has
// applied the same.
func (s *sharing) Save(dst []byte) []byte {
	b, t := s.book, s.totals
	var kept []byte
	for _, shard := range b.shards {
		shard.mu.Lock()
		for slot := shard.oldest; slot != 0; slot = shard.at(slot).newer {
			kept = shard.appendBaseline(kept, slot)
		}
		shard.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, born := range slices.Sorted(maps.Keys(t.byBirth)) {
		kept = t.byBirth[born].appendTotal(t.byBirth[born].appendBirth(kept, true))
	}
	kept = appendWatermark(b.retries.appendKeys(kept), b.watermark.Load())
	dst = appendString(dst, string(kept))
	for _, n := range []uint64{uint64(b.turn.Load()), uint64(b.seconds.Load()), t.births, t.scrapers.floor, t.scrapers.turn, uint64(len(t.byBirth))} {
		dst = binary.AppendUvarint(dst, n)
	}
	for _, born := range slices.Sorted(maps.Keys(t.byBirth)) {
		dst = binary.AppendVarint(binary.AppendUvarint(dst, born), t.byBirth[born].used)
	}
	dst = b.retries.appendLost(dst)
	return t.appendNames(dst)
}

// appendLost writes the lost replies down, the oldest first.
func (r *retries) appendLost(dst []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = binary.AppendUvarint(dst, uint64(r.lost.Len()))
	for _, p := range r.lost.Keys() {
		l, _ := r.lost.Peek(p)
		dst = appendWord(appendIdentity(dst, p.group), p.print)
		dst = binary.AppendVarint(binary.AppendVarint(dst, int64(l.count)), l.until)
	}
	return dst
}

// appendNames writes the families and the scrapers down.
func (t *Totals) appendNames(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.families)))
	for _, name := range slices.Sorted(maps.Keys(t.families)) {
		f := t.families[name]
		dst = appendString(append(appendString(dst, name), byte(f.kind)), f.help)
		dst = binary.AppendVarint(dst, f.asked)
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.scrapers.marks)))
	for _, name := range slices.Sorted(maps.Keys(t.scrapers.marks)) {
		m := t.scrapers.marks[name]
		dst = binary.AppendUvarint(binary.AppendUvarint(appendString(dst, name), m.born), m.turn)
	}
	return dst
}

// Restore is part of shared.Room.
func (s *sharing) Restore(saved []byte) error {
	b, t := s.book, s.totals
	for i := range b.shards {
		b.shards[i].mu.Lock()
		b.shards[i].table, b.shards[i].patterns = newTable(), newPatterns()
		b.shards[i].settle()
		b.shards[i].mu.Unlock()
	}
	b.weight.Store(0)
	b.watermark.Store(0)
	b.retries.clear()
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := NewTotals(t.cfg)
	t.families, t.names, t.known, t.count, t.births = fresh.families, fresh.names, fresh.known, 0, 0
	t.heavy = 0
	t.scrapers, t.byBirth = fresh.scrapers, map[uint64]*total{}
	if len(saved) == 0 {
		return nil
	}
	in := newReader(saved)
	return s.restore(&in)
}

func (r *retries) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost.Purge()
	r.keys.Purge()
	clear(r.groups)
}

func (s *sharing) restore(in *reader) error {
	b, t := s.book, s.totals
	r := restorer{book: b, totals: t, births: map[uint64]*total{}}
	if err := r.apply([]byte(in.Text())); err != nil {
		return err
	}
	t.byBirth = r.births
	b.turn.Store(in.uint32())
	b.seconds.Store(in.uint32())
	t.births, t.scrapers.floor, t.scrapers.turn = in.Uvarint(), in.Uvarint(), in.Uvarint()
	for range in.Uvarint() {
		if in.Err() != nil {
			break
		}
		if to, used := t.byBirth[in.Uvarint()], in.Varint(); to != nil {
			to.used = used
		}
	}
	for range in.Count(26) {
		p := lostPush{in.identity(), in.Word()}
		b.retries.groups[p.group]++
		b.retries.lost.Add(p, lostReplies{int(in.Varint()), in.Varint()})
	}
	for range in.Count(4) {
		name, kind, help, asked := in.Text(), Kind(in.Byte()), in.Text(), in.Varint()
		if in.Err() != nil || kind < Counter || kind > Summary {
			return errUnit
		}
		f := t.families[name]
		if f == nil {
			f = t.hold(name, kind)
		}
		f.help, f.asked = help, asked
	}
	for range in.Count(3) {
		name := in.Text()
		t.scrapers.marks[name] = &mark{born: in.Uvarint(), turn: in.Uvarint()}
	}
	return in.End()
}

func (r *reader) uint32() uint32 {
	v := r.Uvarint()
	if v > 1<<32-1 {
		r.Fail()
	}
	return uint32(v)
}
