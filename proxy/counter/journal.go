package counter

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Log keeps units, each whole or not at all, in the order they were appended. It
// is safe for concurrent use.
type Log interface {
	// Replay hands over what is kept, once, before the first Append. The unit is
	// valid during the call.
	Replay(apply func(unit []byte) error) error
	// Append adds a unit and does not wait. It keeps nothing of unit. The ticket is
	// for Wait.
	Append(unit []byte) (ticket uint64)
	// Wait returns once the unit survives the end of the process, and all before it.
	Wait(ticket uint64) error
}

// journal is how a book and totals share a log: what is in it is in the order in
// which it was done.
type journal struct {
	mu   sync.Mutex
	log  Log
	last uint64 // ticket
}

// append is called with the lock held.
func (j *journal) append(unit []byte) uint64 {
	if len(unit) > 0 {
		j.last = j.log.Append(unit)
	}
	return j.last
}

// barrier waits until all that was done so far is kept.
func (j *journal) barrier() error {
	j.mu.Lock()
	last := j.last
	j.mu.Unlock()
	return j.log.Wait(last)
}

// Open returns a book and totals as the log has them, and keeps there what they
// commit: both in one unit, so that they never disagree. An empty log is that of
// a guard that never ran.
func Open(log Log, cfg Config, totals TotalsConfig) (*Book, *Totals, error) {
	b, t := NewBook(cfg), NewTotals(totals)
	started := b.watermark.Swap(0)
	r := restorer{book: b, totals: t, births: map[uint64]*total{}}
	if err := log.Replay(r.apply); err != nil {
		return nil, nil, fmt.Errorf("reading counters: %w", err)
	}
	t.scrapers.floor = t.births
	j := &journal{log: log}
	b.journal, t.journal = j, j
	if r.units == 0 {
		b.watermark.Store(started)
		j.append(appendWatermark(nil, started))
	}
	b.shrink(b.clock())
	return b, t, nil
}

// Snapshot writes units that make a book and totals as they are, and with what is
// appended from its call on, as they will be. Commits go on meanwhile.
func (b *Book) Snapshot(t *Totals, write func(unit []byte) error) error {
	var unit []byte
	flush := func(size int) error {
		if len(unit) <= size {
			return nil
		}
		err := write(unit)
		unit = unit[:0]
		return err
	}
	var errs []error
	for _, s := range b.shards {
		s.mu.Lock()
		for slot := s.oldest; slot != 0; slot = s.at(slot).newer {
			unit = s.appendBaseline(unit, slot)
		}
		s.mu.Unlock()
		errs = append(errs, flush(snapshotUnit))
	}
	unit = b.retries.appendKeys(unit)
	t.mu.Lock()
	for _, f := range t.families {
		for _, to := range f.totals {
			unit = to.appendTotal(to.appendBirth(unit))
		}
	}
	t.mu.Unlock()
	// What was evicted before its shard was written is not in it.
	unit = appendWatermark(unit, b.watermark.Load())
	return errors.Join(append(errs, flush(0))...)
}

// snapshotUnit is about how large a unit of a snapshot is.
const snapshotUnit = 1 << 20

// restorer applies units to a book and totals that nobody uses yet.
type restorer struct {
	book   *Book
	totals *Totals
	births map[uint64]*total
	units  int
	floats []float64
}

func (r *restorer) apply(unit []byte) error {
	r.units++
	in := reader{rest: unit}
	for len(in.rest) > 0 && in.err == nil {
		switch in.byte() {
		case recordBaseline:
			r.baseline(&in)
		case recordForgotten:
			group := in.word()
			r.book.shardOf(group).forgetGroup(group)
		case recordKey:
			key, until := in.identity(), in.varint()
			r.book.retries.remember(key, until)
		case recordWatermark:
			r.book.raise(in.varint())
		case recordBirth:
			r.birth(&in)
		case recordTotal:
			r.total(&in)
		default:
			return errUnit
		}
	}
	return in.err
}

func (r *restorer) baseline(in *reader) {
	key, group, seen, last := in.identity(), in.word(), uint32(in.uvarint()), in.float()
	r.floats = in.floats(r.floats[:0])
	if in.err == nil {
		s := r.book.shardOf(group)
		s.assign(key, group, seen, last, r.floats)
		s.settle()
	}
}

func (r *restorer) birth(in *reader) {
	born, created, other := in.uvarint(), in.varint(), in.byte()
	kind, name, help := Kind(in.byte()), in.string(), in.string()
	ls, bounds := in.labels(), in.floats(nil)
	if in.err != nil || kind < Counter || kind > Summary {
		in.rest, in.err = nil, errUnit
		return
	}
	to := r.births[born]
	if to == nil {
		t := r.totals
		f := t.families[name]
		if f == nil {
			f = t.hold(name, kind)
		}
		f.help = help
		to = t.bear(f, ls, bounds)
		to.born, to.created, to.other = born, created, other == 1
		r.births[born] = to
		t.births = max(t.births, born)
	}
	to.bounds, to.buckets = bounds, make([]float64, len(bounds))
}

func (r *restorer) total(in *reader) {
	born, value, sum, buckets := in.uvarint(), in.float(), in.float(), in.floats(nil)
	to := r.births[born]
	if in.err != nil || to == nil || len(buckets) != len(to.bounds) {
		in.rest, in.err = nil, errUnit
		return
	}
	to.value, to.sum, to.buckets = value, sum, buckets
}

// relevant is how long a baseline may be seen again without being written again:
// until then only what it holds matters.
const relevant = uint32(10 * time.Minute / time.Second)
