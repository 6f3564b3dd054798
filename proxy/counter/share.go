package counter

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
)

// sharing is how a book and totals that several guards share take part in the order
// that they have: what a push counts is found out when it has its place there, on
// every guard by the code of a book that is one guard's alone.
type sharing struct {
	door   *shared.Door
	book   *Book
	totals *Totals
}

// The commands, by their first byte.
const (
	cmdCommit = 'c' // push, and its readings
	cmdLost   = 'l' // group print
	cmdForget = 'f' // group
	cmdClaim  = 'n' // kind name
	cmdExpire = 'x' // n {born used}
	cmdShown  = 'v' // born scraper
)

// claimTime is for how long a family is kept for a claim to which nothing was added.
const claimTime = 10 * time.Minute

// Share returns a book and totals that all guards of a log have, as they know them
// once the log has joined. The clocks of their configurations do not matter: it is
// that of the log. Who has neither baselines nor the first command before it begins
// with that: what began before may have been counted.
func Share(log *shared.Log, cfg Config, totals TotalsConfig) (*Book, *Totals) {
	cfg.Now, totals.Now = log.Now, log.Now
	s := &sharing{book: NewBook(cfg), totals: NewTotals(totals)}
	s.book.watermark.Store(0)
	s.book.shared, s.totals.shared, s.totals.byBirth = s, s, map[uint64]*total{}
	s.door = log.Room(s)
	return s.book, s.totals
}

// sent is what the guard of a commit wants to know.
type sent struct {
	sink     Sink // if it is not the totals
	counts   bool // it goes to a sink
	outputs  []*Series
	periodic bool
	done     chan struct{}
}

// commit is Increments.Commit of a book that guards share.
func (s *sharing) commit(ctx context.Context, i *Increments, sink Sink) error {
	_, toTotals := sink.(*Totals)
	own := &sent{counts: sink != nil, done: make(chan struct{})}
	if !toTotals {
		own.sink = sink
	}
	for n := range i.readings {
		own.outputs = append(own.outputs, i.readings[n].Output)
	}
	p := commitHead{group: i.push.Group, ignoreUnknown: i.push.IgnoreUnknown, totals: toTotals, lost: i.retry.lost.print}
	if i.push.IdempotencyKey != "" {
		p.key = i.push.key()
	}
	later, err := s.door.Keep(ctx, s.appendCommit(&p, i.readings, true), own)
	i.readings, i.push = nil, Push{}
	if err != nil || later {
		return err
	}
	select {
	case <-own.done:
		i.periodic = own.periodic
		s.meet(own.outputs, toTotals)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// meet remembers the totals of the series that a push added to, so that the next
// push need not spell them out.
func (s *sharing) meet(outputs []*Series, toTotals bool) {
	if !toTotals {
		return
	}
	t := s.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range outputs {
		if t.known[o] != nil || t.families[o.Name] == nil {
			continue
		}
		if to := t.families[o.Name].totals[labelsKey(o.Labels)]; to != nil && !to.other {
			t.know(o, to)
		}
	}
}

func (s *sharing) lost(p lostPush) {
	s.door.Post(appendWord(appendIdentity([]byte{cmdLost}, p.group), p.print), nil)
}

func (s *sharing) forget(ctx context.Context, group Identity) error {
	_, err := s.door.Keep(ctx, appendIdentity([]byte{cmdForget}, group), nil)
	return err
}

func (s *sharing) shown(scraper string, born uint64) {
	s.door.Post(append(binary.AppendUvarint([]byte{cmdShown}, born), scraper...), nil)
}

// claimed is what became of a claim.
type claimed struct{ err error }

// claim asks the others only for a family that nobody has.
func (s *sharing) claim(name string, kind Kind) error {
	t := s.totals
	t.mu.Lock()
	f := t.families[name]
	known := f != nil && f.kind == kind
	t.mu.Unlock()
	if known {
		return nil
	}
	own := &claimed{}
	body := append([]byte{cmdClaim, byte(kind)}, name...)
	if err := s.door.Do(context.Background(), body, own); err != nil {
		return nil // the push will find that out by itself
	}
	return own.err
}

// expire is Totals.Expire of totals that guards share.
func (s *sharing) expire(idle func(job string) time.Duration) (gone int) {
	t := s.totals
	t.mu.Lock()
	now := t.cfg.Now()
	var body []byte
	empty := 0
	for _, f := range t.families {
		if len(f.totals) == 0 {
			empty++
		}
		for _, to := range f.totals {
			if most := idle(jobOf(to.labels)); most > 0 && now.Sub(time.Unix(to.used, 0)) >= most+s.door.Ahead(most) {
				body = binary.AppendVarint(binary.AppendUvarint(body, to.born), to.used)
				gone++
			}
		}
	}
	t.mu.Unlock()
	if gone+empty > 0 {
		s.door.Post(slices.Concat(binary.AppendUvarint([]byte{cmdExpire}, uint64(gone)), body), nil)
	}
	return gone
}

// Apply is part of shared.Room.
func (s *sharing) Apply(e shared.Entry) error {
	if s.book.watermark.Load() == 0 {
		s.book.raise(e.At.UnixNano())
	}
	in := newReader(e.Body)
	switch in.Byte() {
	case cmdCommit:
		own, _ := e.Own.(*sent)
		s.applyCommit(&in, own, e.Did)
	case cmdLost:
		if lost := (lostPush{in.identity(), in.Word()}); in.End() == nil {
			s.book.retries.lose(lost, e.At)
		}
	case cmdForget:
		if group := in.identity(); in.End() == nil {
			s.book.retries.forget(group)
			s.book.forget(groupHash(group))
		}
	case cmdClaim:
		own, _ := e.Own.(*claimed)
		s.applyClaim(&in, own, e.At)
	case cmdExpire:
		s.applyExpire(&in, e.At)
	case cmdShown:
		born, scraper := in.Uvarint(), string(in.Take(uint64(in.Len())))
		if in.Err() == nil {
			s.totals.mu.Lock()
			s.totals.scrapers.shown(scraper, born)
			s.totals.mu.Unlock()
		}
	default:
		in.Fail()
	}
	return in.End()
}

// Leave is part of shared.Room: what a guard has not committed does not count.
func (s *sharing) Leave(shared.Guard, time.Time) {}

func (s *sharing) applyClaim(in *reader, own *claimed, at time.Time) {
	kind, name := Kind(in.Byte()), string(in.Take(uint64(in.Len())))
	if kind < Counter || kind > Summary {
		in.Fail()
		return
	}
	t := s.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.claim(name, kind)
	if err == nil {
		f.asked = at.Unix()
	}
	if own != nil {
		own.err = err
	}
}

// applyExpire forgets totals to which nothing was added since they were found idle,
// and families that were claimed and never added to.
func (s *sharing) applyExpire(in *reader, at time.Time) {
	t := s.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	for range in.Count(2) {
		to, used := t.byBirth[in.Uvarint()], in.Varint()
		if to == nil || to.used != used {
			continue
		}
		delete(t.byBirth, to.born)
		delete(to.family.totals, labelsKey(to.labels))
		to.gone, to.family.sorted = true, nil
		t.count--
		if len(to.family.totals) == 0 {
			to.family.asked = 0
		}
	}
	for _, f := range t.families {
		if len(f.totals) == 0 && at.Unix()-f.asked > int64(claimTime/time.Second) {
			t.release(f)
		}
	}
	for s, to := range t.known {
		if to.gone {
			delete(t.known, s)
		}
	}
}

// applyCommit counts a push in its place; did is when it was taken by a guard that was
// by itself.
func (s *sharing) applyCommit(in *reader, own *sent, did time.Time) {
	p, readings, births := s.readCommit(in)
	for i, born := range births {
		if to := s.totals.byBirth[born]; to != nil && to.family.kind != readings[i].Output.Kind {
			in.Fail()
		}
	}
	if in.End() != nil {
		return
	}
	if slices.ContainsFunc(births, func(born uint64) bool { return born != 0 && s.totals.byBirth[born] == nil }) {
		s.again(&p, readings, own)
		return
	}
	b, now := s.book, s.book.cfg.Now()
	var i Increments
	i.reset(b, readings, Push{Group: p.group, IgnoreUnknown: p.ignoreUnknown})
	seconds := b.clock()
	if !did.IsZero() {
		i.did = uint32(did.Unix())
		seconds = min(seconds, i.did)
	}
	i.retry = b.retries.among(&p, now)
	if i.retry.known {
		i.repeat()
	} else {
		b.differenceAll(&i)
	}
	i.bookAll(seconds)
	switch {
	case i.retry.lost != (lostPush{}):
		b.retries.settle(i.retry.lost)
	case p.key != (Identity{}) && !i.retry.known:
		b.retries.remember(p.key, now.Add(keysFor).Unix())
	}
	if p.totals && !i.retry.known {
		s.totals.addAt(i.all, births)
	}
	b.shrink(b.clock())
	s.answer(&i, own)
}

// again commits a push anew whose total has gone, with its series spelled out.
func (s *sharing) again(p *commitHead, readings []Reading, own *sent) {
	if own == nil {
		return
	}
	for n := range readings {
		readings[n].Output = own.outputs[n]
	}
	s.door.Post(s.appendCommit(p, readings, false), own)
}

func (s *sharing) answer(i *Increments, own *sent) {
	if own == nil {
		return
	}
	for n := range i.all {
		i.all[n].Series = own.outputs[n]
	}
	if own.sink != nil && !i.retry.known {
		own.sink.Add(i.all)
	}
	s.book.stats.count(i, own.counts)
	own.periodic = i.periodic
	close(own.done)
}

// among is look for a push as it was written down.
func (r *retries) among(p *commitHead, now time.Time) retry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.key != (Identity{}) && r.knows(p.key, now) {
		return retry{known: true}
	}
	if p.lost == 0 {
		return retry{}
	}
	return r.isLost(lostPush{p.group, p.lost}, now)
}

// addAt adds increments to totals, of which some are named by their births.
func (t *Totals) addAt(increments []Increment, births []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now().Unix()
	for i := range increments {
		to := t.byBirth[births[i]]
		if to == nil {
			to = t.locate(increments[i].Series)
		}
		if to == nil {
			t.dropped++
			continue
		}
		to.used = now
		if to.other {
			t.collapsed++
		}
		to.add(&increments[i])
	}
}

// locate finds the total of a series, or makes it. It remembers nothing that guards
// which came at different times would not share.
func (t *Totals) locate(s *Series) *total {
	f, err := t.claim(s.Name, s.Kind)
	if err != nil {
		return nil
	}
	if f.help == "" {
		f.help = strings.Clone(s.Help)
	}
	ls, other := t.place(f, s.Labels)
	to := f.totals[labelsKey(ls)]
	if to == nil {
		to = t.bear(f, ls, s.Bounds)
		to.other = other
	}
	return to
}
