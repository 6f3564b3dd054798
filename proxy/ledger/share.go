package ledger

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
)

// sharing is what a book that several guards share knows beside its own. What they
// claim and settle takes effect in the order that they share, on every guard by the
// code of a book that is one guard's alone.
type sharing struct {
	door   *shared.Door
	last   uint64              // of the numbers that this guard gave
	asked  map[uint64]*answer  // of this guard, without an answer
	held   map[uint64]struct{} // grants that this guard has to settle
	grants map[grantID]*Grant  // of all guards
	loads  map[grantID]*loading
	onLoss func() // nil: nobody wants to know

	lonely sync.Mutex
	alone  *Book // as this guard goes on by itself, until it knows better; nil if it never did
}

// grantID names what a guard has begun.
type grantID struct {
	guard shared.Guard
	n     uint64
}

func (id grantID) compare(o grantID) int {
	return cmp.Or(cmp.Compare(id.guard, o.guard), cmp.Compare(id.n, o.n))
}

// loading is a listing of the upstream that a guard reads.
type loading struct {
	wipes   int
	settled map[string]*since
}

// ask is a claim that waits for its group.
type ask struct {
	id    grantID
	until time.Time // for how long it waits; when it was done, if it was
	claim []byte    // as it was written down
	own   *answer
}

// answer is what became of a claim of this guard. The book's lock guards it.
type answer struct {
	done  chan struct{}
	grant *Grant
	err   error
	gone  bool // nobody waits for it any more
	waits bool // the claim has its place, and waits for its group
}

// errStale says that the group no longer holds what the claim repeats.
var errStale = fmt.Errorf("the group has changed")

// Share returns a book that all guards of a log have, as they know it once the log
// has joined. A grant of a guard that has left is settled as Unknown. Config.Now does
// not matter: the clock is that of the log.
func Share(log *shared.Log, cfg Config) *Book {
	cfg.Now = log.Now
	b := NewBook(cfg)
	b.shared = newSharing()
	b.shared.door = log.Room(room{b})
	return b
}

func newSharing() *sharing {
	return &sharing{
		asked: map[uint64]*answer{}, held: map[uint64]struct{}{},
		grants: map[grantID]*Grant{}, loads: map[grantID]*loading{},
	}
}

// OnLoss has f called when a guard has left that did not say how its requests ended,
// of a book that is shared. It must not call the book.
func (b *Book) OnLoss(f func()) {
	if b.shared != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.shared.onLoss = f
	}
}

// ask is Admit of a book that guards share.
func (b *Book) ask(ctx context.Context, c *Claim) (*Grant, error) {
	for again := false; ; again = true {
		grant, err := b.askAll(ctx, c)
		if !errors.Is(err, shared.ErrAway) {
			return grant, err
		}
		if by := b.byItself(); by != nil {
			return by.Admit(ctx, *c)
		}
		if again || !b.shared.door.Back() {
			return nil, err
		}
	}
}

// askAll asks for the ruling that all guards come to.
func (b *Book) askAll(ctx context.Context, c *Claim) (*Grant, error) {
	for {
		b.mu.Lock()
		digest := b.repeats(c)
		b.mu.Unlock()
		grant, err := b.askOnce(ctx, c, digest)
		if err == errStale && digest != 0 {
			if grant, err = b.askOnce(ctx, c, 0); err == errStale {
				continue
			}
		}
		if err == nil {
			for _, i := range grant.shared {
				grant.Shared = append(grant.Shared, c.Families[i])
			}
		}
		return grant, err
	}
}

func (b *Book) askOnce(ctx context.Context, c *Claim, digest uint64) (*Grant, error) {
	s := b.shared
	a := &answer{done: make(chan struct{})}
	b.mu.Lock()
	s.last++
	n := s.last
	s.asked[n] = a
	b.mu.Unlock()
	body := binary.AppendUvarint([]byte{cmdAdmit}, n)
	body = b.appendClaim(binary.AppendVarint(body, int64(b.wait)), c, writer(b.hash(c.Raw.ID())), digest)
	timer := time.NewTimer(b.wait + askTime)
	defer timer.Stop()
	parted := s.door.Parted()
	err := s.door.Do(ctx, body, a)
	if err == nil {
		select {
		case <-a.done:
		case <-parted:
			err = shared.ErrAway // who has the group cannot say so before the Redis is back
		case <-timer.C:
			err = ErrBusy
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-a.done:
		return a.grant, a.err
	default:
		if a.gone = true; errors.Is(err, shared.ErrUnsent) {
			delete(s.asked, n) // what nobody will answer
		}
		return nil, err
	}
}

// askTime is how much longer than in a book of its own a guard waits for a group, for
// the news that it is free.
const askTime = 250 * time.Millisecond

// reply answers a claim, if it is this guard's. The grant, if there is one, was booked.
func (b *Book) reply(id grantID, a *answer, g *Grant, err error) {
	if a == nil {
		return
	}
	delete(b.shared.asked, id.n)
	switch {
	case g == nil:
	case a.gone:
		b.tellSettled(id, Untouched)
	default:
		b.shared.held[id.n] = struct{}{}
		a.grant = &Grant{Ruling: g.Ruling, book: b, id: id, shared: g.shared}
	}
	a.err = err
	close(a.done)
}

// tell puts a command into the order. The book is locked.
func (b *Book) tell(body []byte) { b.shared.door.Post(body, nil) }

func (b *Book) tellSettled(id grantID, o Outcome) {
	delete(b.shared.held, id.n)
	b.tell(append(binary.AppendUvarint([]byte{cmdSettle}, id.n), byte(o)))
}

// room is the book as the log sees it.
type room struct{ *Book }

// Apply is part of shared.Room.
func (r room) Apply(e shared.Entry) error {
	b := r.Book
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	in := newReader(e.Body)
	switch in.Byte() {
	case cmdAdmit:
		b.applyAdmit(&in, e)
	case cmdSettle:
		if id, o := (grantID{e.Guard, in.Uvarint()}), Outcome(in.Byte()); o < Applied || o > Unknown {
			in.Fail()
		} else if in.End() == nil {
			b.applySettle(id, o)
		}
	case cmdBegin:
		if id := (grantID{e.Guard, in.Uvarint()}); in.End() == nil {
			b.shared.loads[id] = &loading{wipes: b.wipes, settled: map[string]*since{}}
		}
	case cmdListed:
		b.applyListed(&in, grantID{e.Guard, in.Uvarint()})
	case cmdListedEnd:
		heard, _ := e.Own.(*bool)
		b.applyListedEnd(&in, grantID{e.Guard, in.Uvarint()}, heard)
	case cmdWipe:
		b.wipes++
		b.wipe()
	case cmdTerms:
		b.applyTerms(&in)
	case cmdTurnTotals:
		b.turnTotals(toSecond(b.clock.last))
	default:
		in.Fail()
	}
	return in.End()
}

// applyAdmit decides a claim, or has it wait for its group.
func (b *Book) applyAdmit(in *reader, e shared.Entry) {
	a := &ask{id: grantID{e.Guard, in.Uvarint()}}
	a.until = e.At.Add(time.Duration(in.Varint()))
	if !e.Did.IsZero() {
		a.until = e.Did
	}
	a.own, _ = e.Own.(*answer)
	written := *in
	c := in.claim()
	if err := in.End(); err != nil {
		b.reply(a.id, a.own, nil, err)
		return
	}
	a.claim = written.Take(uint64(written.Len()))
	g := findIn(b.table(c.Totals), c.Group)
	if g == nil {
		g = b.insert(c.Group, c.Totals)
	}
	if g.turn == nil {
		g.turn = &turn{}
	}
	switch {
	case g.turn.held == nil:
		if !b.ruleAsk(g, a, &c) {
			b.handOver(g)
		}
	case b.wait <= 0 && c.done == 0:
		b.reply(a.id, a.own, nil, ErrBusy)
	default:
		g.turn.waiting = append(g.turn.waiting, a)
		if a.own != nil {
			a.own.waits = true
		}
	}
}

// ruleAsk decides a claim whose group is free, and reports whether it holds it now.
func (b *Book) ruleAsk(g *group, a *ask, c *read) bool {
	if c.done != 0 {
		b.redo(g, a, c)
		return false
	}
	d := drafts.Get().(*draft)
	grant := &Grant{book: b, group: g, raw: c.by, draft: d, id: a.id}
	var err error
	switch {
	case c.repeats && !d.recall(b, g, c):
		err = errStale
	case !c.repeats:
		err = d.fill(b, &c.Claim)
	}
	if err == nil {
		err = b.grant(grant, &c.Claim)
	}
	if err != nil {
		d.free()
		b.reply(a.id, a.own, nil, err)
		return false
	}
	g.turn.held = grant
	b.shared.grants[a.id] = grant
	b.reply(a.id, a.own, grant, nil)
	return true
}

func (b *Book) applySettle(id grantID, o Outcome) {
	grant := b.shared.grants[id]
	if grant == nil {
		return // the guard was thought to have left
	}
	delete(b.shared.grants, id)
	g := grant.group
	b.conclude(grant, o)
	g.turn.held = nil
	b.handOver(g)
}

// handOver gives a free group to the next who waits for it.
func (b *Book) handOver(g *group) {
	for len(g.turn.waiting) > 0 {
		a := g.turn.waiting[0]
		g.turn.waiting = g.turn.waiting[1:]
		if a.until.Before(b.clock.last) && !a.done() {
			b.reply(a.id, a.own, nil, ErrBusy)
			continue
		}
		in := newReader(a.claim)
		c := in.claim()
		if err := in.End(); err != nil { // of a snapshot that is not as it was written
			b.reply(a.id, a.own, nil, err)
		} else if b.ruleAsk(g, a, &c) {
			return
		}
	}
	g.turn = nil
	if !g.exists {
		b.unlink(g)
	}
}

// Leave is part of shared.Room.
func (r room) Leave(guard shared.Guard, _ time.Time) {
	b := r.Book
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	var lost []grantID
	for id, grant := range b.shared.grants {
		t := grant.group.turn
		t.waiting = slices.DeleteFunc(t.waiting, func(a *ask) bool {
			left := a.id.guard == guard && !a.done()
			if left { // of the guard that hears of itself that it has left, somebody waits
				b.reply(a.id, a.own, nil, shared.ErrAway)
			}
			return left
		})
		if id.guard == guard {
			lost = append(lost, id)
		}
	}
	slices.SortFunc(lost, grantID.compare)
	for _, id := range lost {
		b.applySettle(id, Unknown)
	}
	for id := range b.shared.loads {
		if id.guard == guard {
			delete(b.shared.loads, id)
		}
	}
	if len(lost) > 0 && b.shared.onLoss != nil {
		b.shared.onLoss()
	}
}
