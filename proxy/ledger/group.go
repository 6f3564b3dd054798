package ledger

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// writer is a raw grouping key, hashed with the book's secret seed: 64 bits
// keep the table small, and nobody can look for a collision.
type writer uint64

const unknown writer = 0

// or is the writer of what was written by one of the two.
func (w writer) or(other writer) writer {
	if w == other {
		return w
	}
	return unknown
}

// ownSeries are those that a Pushgateway adds to every group.
const ownSeries = 2

// group is the entry of one group. A group that does not exist upstream has an
// entry only while somebody holds it or waits for it.
type group struct {
	id      string // of its key
	twin    *group // the next group with the same canonical key
	turn    *turn  // nil while nobody holds the group or waits for it
	job     *job   // who pays; nil only if there is nothing to pay for
	content holdings
	last    writer // who pushed last

	sums         *sums  // not nil for a group of totals; see Claim.Totals
	older, newer *group // of the job, those that exist, by at
	at           second // of the last accepted push; if there never was one, of the last failure
	kept         second // the time that was written last; 0: the group was not
	slack        uint32 // series of the content that cannot all be there at once

	exists  bool // upstream, or may exist there
	unsure  bool // the content is what it may hold, after an outcome that is unknown
	failed  bool // no push was ever accepted
	success bool // a family tells when the job succeeded last
}

// turn is what a group needs only while somebody uses it.
type turn struct {
	gate  chan struct{}
	users int // who hold the gate or wait for it

	held    *Grant // of a book that guards share: who holds the group
	waiting []*ask // and who waits for it, in the order of their claims

	push   *Grant   // the PUT or POST under way
	booked holdings // with it, what the group may hold
	last   writer   // with it, who may have pushed last
	slack  uint32   // with it
	spare  uint32   // of the content once a POST is applied
}

// keptTurns is how many turns a book keeps for groups that need one next.
const keptTurns = 64

func (g *group) key() wire.Key { return wire.KeyOf(g.id) }

func (g *group) push() *Grant {
	if g.turn == nil {
		return nil
	}
	return g.turn.push
}

// booked is what counts of the group now.
func (g *group) booked() holdings {
	if g.push() != nil {
		return g.turn.booked
	}
	return g.content
}

// spare is how many of the series that count cannot be there: of a push, either
// what it replaces is, or what it brings.
func (g *group) spare() int {
	if g.push() != nil {
		return int(g.turn.slack)
	}
	return int(g.slack)
}

// upkeep is what counts of the upstream's own series.
func (g *group) upkeep() int {
	if g.sums != nil {
		return 0
	}
	if g.exists || g.push() != nil {
		return ownSeries
	}
	return 0
}

// reserve begins a push, or brings it up to date with the content.
func (g *group) reserve(p *Grant) {
	t := g.turn
	t.push, t.booked, t.last, t.slack, t.spare = p, g.content, g.last, g.slack, 0
	if p.same {
		return
	}
	t.last = p.raw
	if g.exists {
		t.last = p.raw.or(g.last)
	}
	t.booked = united(g.content.read(g.last), p.pushed.read(p.raw), t.last)
	if g.sums != nil || p.book.alone != nil {
		return // what is added to takes nothing away
	}
	before, after := g.content.series()-int(g.slack), p.pushed.series()
	if p.Method == http.MethodPost {
		all := afterPost(g.content, p.pushed)
		after = min(all, before+after)
		t.spare = uint32(all - after)
	}
	t.slack = uint32(max(0, t.booked.series()-max(before, after)))
}

// afterPost returns how many series there are once a POST is applied.
func afterPost(content, pushed holdings) int {
	n := 0
	pairs(content.read(unknown), pushed.read(unknown), func(was, is *family) {
		if is == nil {
			is = was
		}
		n += is.series()
	})
	return n
}

// settle ends a request. After an outcome that is unknown, what was certain
// before is certain only where both ends of the push agree on it.
func (g *group) settle(by *Grant, o Outcome) {
	t := g.turn
	booked, last, slack := t.booked, t.last, t.slack
	t.push, t.booked = nil, nil
	switch {
	case by.Method == http.MethodDelete:
		if o == Applied && by.book.alone == nil { // else what the book holds may still be there
			g.content, g.last, g.slack = nil, unknown, 0
			g.exists, g.unsure, g.failed, g.success = false, false, false, false
		}
		return
	case o == Untouched:
		return
	case g.sums != nil:
		if !by.same {
			g.content = exact(booked)
		}
	case o == Refused:
		if !g.exists {
			g.last, g.failed = by.raw, true
		}
	case by.same:
	case by.book.alone != nil:
		g.content, g.last = g.shared(booked), last
	case o != Applied:
		g.content, g.last, g.slack, g.unsure = g.shared(booked), last, slack, true
	case by.Method == http.MethodPut:
		g.content, g.last, g.slack, g.unsure = g.shared(by.pushed), by.raw, 0, false
	default:
		g.content = g.shared(overlaid(g.content.read(g.last), by.pushed.read(by.raw), by.raw))
		g.last, g.slack = by.raw, t.spare
	}
	g.exists = true
}

// alike is how many groups are asked whether they hold the same.
const alike = 4

// shared returns holdings for the group to have: of the job's groups that were pushed to
// last, the memory of one that holds the same, else as much as they need. Groups that
// differ by no more than their keys hold the same.
func (g *group) shared(h holdings) holdings {
	if g.job == nil { // it is only foreseen
		return exact(h)
	}
	other := g.job.ages.newest
	for range alike {
		if other == nil {
			break
		}
		if slices.Equal(other.content, h) {
			return other.content
		}
		other = other.older
	}
	return exact(h)
}

// age notes when a push was settled: one that was, or may have been, accepted
// makes the group the job's newest, as does a failure where there is nothing else
// to go by.
func (g *group) age(by *Grant, o Outcome, now second) {
	switch o {
	case Untouched:
		return
	case Refused:
		if !g.failed {
			return
		}
	case Applied:
		g.failed = false
		g.success = by.success || g.success && by.Method == http.MethodPost
	default:
		g.success = g.success || by.success
	}
	if g.sums != nil {
		g.at = now
		return
	}
	g.job.ages.renew(g, now)
}

// table is where groups are found by the ID of their canonical key: those of the
// upstream, or those of totals.
func (b *Book) table(totals bool) map[string]*group {
	if totals {
		return b.totals
	}
	return b.groups
}

// find returns the entry of a group of the upstream, or nil.
func (b *Book) find(key wire.Key) *group { return findIn(b.groups, key) }

func findIn(table map[string]*group, key wire.Key) *group {
	g := table[key.Canonical().ID()]
	for g != nil && g.id != key.ID() {
		g = g.twin
	}
	return g
}

// insert makes the entry of a group. It keeps nothing of the request that the
// key was parsed from.
func (b *Book) insert(key wire.Key, totals bool) *group {
	g, table := &group{id: strings.Clone(key.ID())}, b.table(totals)
	if totals {
		g.sums = &sums{}
	}
	canonical := g.id
	if c := key.Canonical(); !c.Equal(key) {
		canonical = c.ID()
	}
	g.twin = table[canonical]
	table[canonical] = g
	return g
}

func (b *Book) unlink(g *group) {
	b.dismiss(g.job)
	g.job = nil
	id, table := g.key().Canonical().ID(), b.table(g.sums != nil)
	head := table[id]
	switch {
	case head != g:
		for head.twin != g {
			head = head.twin
		}
		head.twin = g.twin
	case g.twin != nil:
		table[id] = g.twin
	default:
		delete(table, id)
	}
}

// twin returns a twin of the group that exists upstream or is about to, or nil.
func (b *Book) twin(key wire.Key) *group {
	for t := b.groups[key.Canonical().ID()]; t != nil; t = t.twin {
		if t.id != key.ID() && (t.exists || t.push() != nil) {
			return t
		}
	}
	return nil
}

// enter joins a group and takes it. The book is locked, but not while it waits.
func (b *Book) enter(ctx context.Context, key wire.Key, totals bool) (*group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g := b.join(key, totals)
	gate := g.turn.gate // stays while the group is joined
	select {
	case gate <- struct{}{}:
		return g, nil
	default:
	}
	b.mu.Unlock()
	err := b.await(ctx, gate)
	b.mu.Lock()
	if err != nil {
		b.leave(g)
		return nil, err
	}
	return g, nil
}

// join finds or makes the entry of a group and keeps it in the table until leave.
func (b *Book) join(key wire.Key, totals bool) *group {
	g := findIn(b.table(totals), key)
	if g == nil {
		g = b.insert(key, totals)
	}
	if g.turn == nil {
		g.turn = b.turn()
	}
	g.turn.users++
	return g
}

func (b *Book) turn() *turn {
	last := len(b.turns) - 1
	if last < 0 {
		return &turn{gate: make(chan struct{}, 1)}
	}
	t := b.turns[last]
	b.turns = b.turns[:last]
	return t
}

// leave undoes join. The entry of a group that does not exist upstream goes
// with its last user.
func (b *Book) leave(g *group) {
	t := g.turn
	t.users--
	if t.users > 0 {
		return
	}
	g.turn = nil
	if len(b.turns) < keptTurns {
		*t = turn{gate: t.gate}
		b.turns = append(b.turns, t)
	}
	if !g.exists {
		b.unlink(g)
	}
}

// await takes a gate once it is free, if that is soon.
func (b *Book) await(ctx context.Context, gate chan<- struct{}) error {
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case gate <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives the group to the next who waits for it.
func (b *Book) free(g *group) {
	<-g.turn.gate
	b.leave(g)
}
