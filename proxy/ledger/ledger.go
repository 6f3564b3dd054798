// Package ledger keeps who holds what in the upstream: which groups exist,
// which raw grouping key pushed to each of them last, and which raw grouping
// key wrote each of their families last.
//
// A raw grouping key is the one a client sent; the group is what the policy
// made of it. Where the policy folds several raw keys into one group, the book
// is what keeps them from erasing one another: it decides whether a PUT may
// replace the group and whether a DELETE may remove it.
//
// The book also serialises. From Admit to Settle a group belongs to one
// request; others wait for it, bounded. Different groups never wait for each
// other. And it holds twins apart: groups that are equal but for empty label
// values, which together would break every scrape of the upstream.
//
// The book knows what went through it and what Load told it. What others write
// to the upstream past it, it learns at the next Load.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// ErrBusy says that a group stayed taken for longer than Config.Wait. A retry
// may succeed.
var ErrBusy = errors.New("the group is busy with another push")

// TwinError says that a push would create a group beside one that differs from
// it only by labels with an empty value. It is the client's to mend.
type TwinError struct {
	Group wire.Key // the group of the push
	Twin  wire.Key // the one that exists, or is being pushed to right now
}

// Error names both groups.
func (e *TwinError) Error() string {
	return fmt.Sprintf("group %.200s equals the existing group %.200s but for empty label values", e.Group, e.Twin)
}

// Claim is what a request wants to do to a group.
type Claim struct {
	Group    wire.Key // the group as the upstream will store it
	Raw      wire.Key // the grouping key as the client sent it
	Method   string   // PUT, POST or DELETE
	Families []string // the families the push writes; not read for DELETE
	Folds    bool     // the policy can fold other raw keys into this group
}

// Outcome is what became of a granted request. The zero value is none.
type Outcome uint8

// The outcomes.
const (
	// Applied says that the upstream did as it was asked.
	Applied Outcome = iota + 1
	// Refused says that the upstream refused the push after it had read it. It
	// has then booked a failure under the group, which exists from now on.
	Refused
	// Untouched says that the upstream certainly did nothing: nothing was sent,
	// or the answer shows that the request never reached its storage.
	Untouched
	// Unknown says that nobody can tell: no answer came.
	Unknown
)

// Grant is the right to send one request for a group, and the group's lock.
// It must be settled.
type Grant struct {
	// Method is what to send: the claim's, or POST in place of a PUT that would
	// erase families which other raw keys have pushed.
	Method string
	// Skip says that nothing is to be sent: a DELETE of a group that another raw
	// key has pushed to since.
	Skip bool
	// Shared are the families of this push that another raw key wrote last, in
	// the claim's order.
	Shared []string

	book    *Book
	group   *group
	raw     writer
	pushed  []uint64
	settled bool
}

// Config configures a Book.
type Config struct {
	// Wait bounds how long Admit waits for a group that is taken. 0 does not wait.
	Wait time.Duration
}

// Book is the table of groups. It is safe for concurrent use.
type Book struct {
	wait time.Duration
	seed maphash.Seed

	loading sync.Mutex // serialises Load

	mu     sync.Mutex
	groups map[string]*group // by the ID of the canonical key; twins are chained
	size   int               // how many of them exist upstream
	wipes  int
	// settled is set while Load reads: the groups settled meanwhile, and whether
	// the book knows their whole content since.
	settled map[string]bool
}

// NewBook returns an empty book.
func NewBook(cfg Config) *Book {
	return &Book{wait: cfg.Wait, seed: maphash.MakeSeed(), groups: make(map[string]*group)}
}

// Admit takes the group of the claim and decides how the request may go on. The
// caller sends it as the grant says, or not at all, and settles the grant;
// until then no other claim to the group is admitted.
//
// It fails with ErrBusy if the group stays taken, with the context's error if
// that ends first, and with a *TwinError if a PUT or POST would create a twin.
func (b *Book) Admit(ctx context.Context, c Claim) (*Grant, error) {
	switch c.Method {
	case http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return nil, fmt.Errorf("method %.20q is none of PUT, POST and DELETE", c.Method)
	}
	g := b.join(c.Group)
	if err := b.take(ctx, g); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.leave(g)
		return nil, err
	}
	return b.grant(g, c)
}

// join finds or makes the entry of a group and keeps it in the table until leave.
func (b *Book) join(key wire.Key) *group {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.find(key)
	if g == nil {
		g = b.insert(key)
	}
	if g.users == 0 {
		g.gate = make(chan struct{}, 1)
	}
	g.users++
	return g
}

// leave undoes join. The entry of a group that does not exist upstream goes
// with its last user.
func (b *Book) leave(g *group) {
	g.users--
	if g.users > 0 {
		return
	}
	g.gate = nil
	if !g.exists {
		b.unlink(g)
	}
}

func (b *Book) take(ctx context.Context, g *group) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.gate <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case g.gate <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives the group to the next who waits for it.
func (b *Book) free(g *group) {
	g.pushing = false
	<-g.gate
	b.leave(g)
}

// grant decides a claim whose group is taken, and frees the group if it refuses.
func (b *Book) grant(g *group, c Claim) (*Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	raw := writer(b.hash(c.Raw.ID()))
	grant := &Grant{Method: c.Method, book: b, group: g, raw: raw}
	if c.Method == http.MethodDelete {
		grant.Skip = c.Folds && g.exists && g.last != unknown && g.last != raw
		return grant, nil
	}
	if twin := b.twin(g); twin != nil {
		b.free(g)
		return nil, &TwinError{Group: c.Group, Twin: twin.key}
	}
	g.pushing = true
	if c.Method == http.MethodPut && c.Folds && !g.families.allBy(raw) {
		grant.Method = http.MethodPost
	}
	grant.pushed = b.hashes(c.Families)
	for _, name := range c.Families {
		if w := g.families.writer(b.hash(name)); w != unknown && w != raw {
			grant.Shared = append(grant.Shared, name)
		}
	}
	return grant, nil
}

// Settle books what became of the request and gives the group free. Only the
// first call counts, so that a deferred Settle(Unknown) may stand behind every
// other; an outcome that is none of the four is taken for Unknown. The outcome
// of a grant with Skip does not matter.
func (g *Grant) Settle(o Outcome) {
	b := g.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.settled {
		return
	}
	g.settled = true
	if !g.Skip {
		b.settle(g, o)
	}
	b.free(g.group)
}

func (b *Book) settle(g *Grant, o Outcome) {
	if b.settled != nil && o != Untouched {
		whole := o == Applied && g.Method != http.MethodPost
		b.settled[g.group.key.ID()] = whole || b.settled[g.group.key.ID()]
	}
	switch {
	case o == Untouched:
	case g.Method != http.MethodDelete:
		g.group.pushed(g, o)
		b.setExists(g.group, true)
	case o == Applied:
		b.forget(g.group)
	default:
		// A DELETE creates nothing: what the book holds may still be there.
	}
}

// pushed books a push. After an outcome that is unknown, what was certain
// before is certain only where both ends of the push agree on it.
func (g *group) pushed(by *Grant, o Outcome) {
	switch o {
	case Applied:
		if by.Method == http.MethodPut {
			g.families = make(holdings, 0, len(by.pushed))
		}
		g.last = by.raw
		g.families = g.families.with(by.pushed, by.raw, func(writer) writer { return by.raw })
	case Refused:
		if !g.exists {
			g.last = by.raw
		}
	default:
		if !g.exists {
			g.last = by.raw
		}
		g.last = by.raw.or(g.last)
		g.families = g.families.with(by.pushed, by.raw, by.raw.or)
	}
}

// Has reports whether the book knows the group to exist upstream.
func (b *Book) Has(key wire.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.find(key)
	return g != nil && g.exists
}

// Len returns how many groups exist upstream, as far as the book knows.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size
}

func (b *Book) hash(s string) uint64 {
	if h := maphash.String(b.seed, s); h != 0 {
		return h
	}
	return 1 // 0 is the unknown writer
}

// hashes returns the sorted set of the names' hashes.
func (b *Book) hashes(names []string) []uint64 {
	out := make([]uint64, 0, len(names))
	for _, name := range names {
		out = append(out, b.hash(name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
