package counter

import (
	"context"

	"github.com/pushguard/pushguard/proxy/state"
)

// Reason is how an increment came about. The zero value is none.
type Reason uint8

// The reasons.
const (
	Grown   Reason = iota + 1 // it continues its baseline
	First                     // the source was not seen before, which is sure
	Counted                   // it may have been seen before; counted in full
	Ignored                   // it may have been seen before; it counts nothing and is the baseline
	Reset                     // it is below its baseline: the source began anew
	Late                      // it is below its baseline, and a later one was counted
	Added                     // nothing tells its source, or it is an increment itself: added whole
	Retry                     // the push was counted before
)

var reasonNames = [...]string{"", "grown", "first", "counted", "ignored", "reset", "late", "added", "retry"}

// String is the reason in one word.
func (r Reason) String() string { return reasonNames[r] }

// Increments are what one push adds. The zero value is ready for
// Book.Difference. Not safe for concurrent use.
type Increments struct {
	book     *Book
	readings []Reading
	push     Push
	retry    retry
	all      []Increment
	steps    []step
	buckets  []float64
	periodic bool
	did      uint32 // when it was pushed, in seconds since 1970, if others may have counted later ones

	wide []float64 // sum and buckets of a reading
	unit []byte    // what is kept
}

func (i *Increments) reset(b *Book, readings []Reading, push Push) {
	i.book, i.readings, i.push = b, readings, push
	i.retry, i.periodic, i.did = retry{}, false, 0
	clear(i.all)
	i.all, i.steps, i.buckets = i.all[:0], i.steps[:0], i.buckets[:0]
}

// repeat makes all increments those of a push that was counted before.
func (i *Increments) repeat() {
	for n := range i.readings {
		inc := Increment{Series: i.readings[n].Output}
		i.none(&inc, &i.readings[n])
		i.all, i.steps = append(i.all, inc), append(i.steps, step{reason: Retry})
	}
}

// All are the increments, one for each reading, in their order; those of zero are
// among them. They are valid until the next Difference.
func (i *Increments) All() []Increment { return i.all }

// Reason says how the increment of a reading came about.
func (i *Increments) Reason(reading int) Reason { return i.steps[reading].reason }

// Periodic reports, after Commit or Foresee, whether the anonymous counters of the group
// look like running totals that are added up over and over: in four pushes in a
// row none fell and one rose each time.
func (i *Increments) Periodic() bool { return i.periodic }

// Commit books the readings as baselines and gives the increments to the sink;
// with nil, in a push of which only the baselines are to advance, to nobody. It
// is called once the push was applied, at most once; readings and push are let go. Of a Store it returns when
// what it did is kept; an error, which is that of ctx or the log's, says that it
// counts but may not survive. It may be called late: other groups commit between.
func (i *Increments) Commit(ctx context.Context, sink Sink) error {
	b := i.book
	if b.shared != nil {
		return b.shared.commit(ctx, i, sink)
	}
	now := b.clock()
	upto, added := i.commit(sink, now)
	if sink != nil && !added && !i.retry.known {
		sink.Add(i.all)
	}
	b.stats.count(i, sink != nil)
	i.readings, i.push = nil, Push{}
	b.shrink(now)
	return b.journal.commit(ctx, upto)
}

// Foresee has Periodic report what it would after Commit, and books nothing.
func (i *Increments) Foresee() {
	if i.retry.known {
		return
	}
	group := groupHash(i.push.Group)
	s := i.book.shardOf(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, pushes := s.patterns.look(group, i.readings)
	i.periodic = pushes >= periodicPushes
}

// commit books what counts, in one unit if it is kept. With baselines go the
// totals that are kept beside them; added says that the sink is those.
func (i *Increments) commit(sink Sink, now uint32) (upto state.Position, added bool) {
	j := i.book.journal
	if j != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
	}
	i.unit = i.unit[:0]
	i.bookAll(now)
	i.remember()
	if j == nil {
		return 0, false
	}
	t, added := sink.(*Totals)
	if added = added && t.journal == j; added && !i.retry.known {
		i.unit = t.add(i.all, i.unit)
	}
	return j.append(i.unit), added
}

// bookAll makes the readings baselines.
func (i *Increments) bookAll(now uint32) {
	group := groupHash(i.push.Group)
	s := i.book.shardOf(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range i.steps {
		if slot, changed := i.bookOne(s, group, now, n); changed && i.book.journal != nil {
			i.unit = s.appendBaseline(i.unit, slot)
		}
	}
	s.settle()
	if !i.retry.known {
		i.periodic = s.patterns.observe(group, i.readings)
	}
}

func (i *Increments) bookOne(s *shard, group uint64, now uint32, n int) (slot uint32, changed bool) {
	st, r := &i.steps[n], &i.readings[n]
	switch st.book {
	case bookReading:
		if r.Output.Kind == Counter {
			return s.assign(st.key, group, now, r.Value, nil)
		}
		i.wide = append(append(i.wide[:0], r.Sum), r.Buckets...)
		return s.assign(st.key, group, now, r.Count, i.wide)
	case bookSeen:
		if slot = s.find(st.key); slot != 0 {
			return slot, s.see(slot, now)
		}
	}
	return 0, false
}

// remember keeps what tells a retry of this push.
func (i *Increments) remember() {
	r := i.book.retries
	if i.push.IdempotencyKey != "" && !i.retry.known {
		key, until := i.push.key(), i.book.cfg.Now().Add(keysFor).Unix()
		r.remember(key, until)
		i.unit = appendKey(i.unit, key, until)
	}
	if i.retry.lost != (lostPush{}) {
		r.settle(i.retry.lost)
	}
}
