// Package ledger keeps who holds what in the upstream: which groups exist, which
// metrics they hold and which job pays for them, which raw grouping key pushed
// to each of them last, and which one wrote each of their families last.
//
// A raw grouping key is the one a client sent; the group is what the policy
// made of it. Where the policy folds several raw keys into one group, the book
// is what keeps them from erasing one another: it decides whether a PUT may
// replace the group and whether a DELETE may remove it.
//
// The book holds jobs to their budgets. Admit compares and books in one step,
// so that two pushes never both take the last series, and until Settle says what
// became of a push, what it may add and what it may replace both count: a push
// under way may cause a refusal, never an excess.
//
// The book also serialises. From Admit to Settle a group belongs to one
// request; others wait for it, bounded. Different groups never wait for each
// other. And it holds twins apart: groups that are equal but for empty label
// values, which together would break every scrape of the upstream.
//
// The book knows what went through it and what Load told it. What others write
// to the upstream past it, it learns at the next Load. What no upstream has, such
// as what enforcement would have let through, is kept by a second Book, whose
// pushes are settled as Applied at once.
//
// What is new is counted in windows that roll, and that outlive the groups of a
// job. The groups of a job stand in the order of their last push: from the old end
// come those that are stale, and those that make room for others.
//
// Open keeps a book in the state directory. NewBook keeps it in memory alone.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/clock"
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

// Config configures a Book.
type Config struct {
	// Wait bounds how long Admit waits for a group that is taken. 0 does not wait.
	Wait time.Duration
	// Now tells the time. Nil is time.Now.
	Now func() time.Time
	// Secret is the key of the hashes that stand for names. Zero is a random one. A
	// book that is kept needs the same each time, as do the fingerprints of claims.
	Secret [16]byte
}

// Book is the table of groups and what they cost. It is safe for concurrent use.
type Book struct {
	wait    time.Duration
	hashKey hashKey

	loading sync.Mutex // serialises Load

	mu     sync.Mutex
	clock  rolling           // read by whoever locks to change something
	watch  *clock.Watch      // what was pushed is younger than it looks by that
	groups map[string]*group // by the ID of the canonical key; twins are chained
	totals map[string]*group // groups of totals, likewise
	size   int               // how many of them exist upstream
	live   int               // how many exist or are about to
	turns  []*turn           // that nobody uses
	jobs   map[string]*job
	idles  idles
	// families count the groups of the upstream that hold each.
	families holders
	entries  map[int]*entryAccount
	series   int // of all jobs
	slack    int // series of them that cannot all be there at once
	lent     int // series beyond what their entries are guaranteed
	wipes    int
	journal  *journal
	restored second            // when groups were; 0: none was
	settled  map[string]*since // while Load reads: the groups settled meanwhile
	evicted  lately            // groups that went
	shared   *sharing          // nil if no other guard has this book
	alone    *alone            // not nil of a guard that goes on by itself
}

// NewBook returns an empty book.
func NewBook(cfg Config) *Book {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Book{
		wait: cfg.Wait, hashKey: newHashKey(cfg.Secret), clock: rolling{now: cfg.Now}, watch: clock.New(cfg.Now),
		groups: make(map[string]*group), totals: make(map[string]*group), families: holders{}, jobs: make(map[string]*job), entries: make(map[int]*entryAccount),
		idles: idles{accounts: make(map[string]*account)},
	}
}

// Admit takes the group of the claim, decides how the request may go on, and
// books in the same step what it may bring. The caller sends it as the grant
// says, or not at all, and settles the grant; until then no other claim to the
// group is admitted, and both what the group held and what the push brings count.
//
// What the group holds passes, always; a histogram or summary that brings more
// series than it holds passes if the difference fits. New metrics are admitted
// in the claim's order as far as each fits.
//
// It fails with ErrBusy if the group stays taken, with the context's error if
// that ends first, with a *TwinError if a PUT or POST would create a twin, with
// a *RateError, and with an *OverBudgetError.
//
// Of a book that guards share it fails with shared.ErrAway, too.
func (b *Book) Admit(ctx context.Context, c Claim) (*Grant, error) {
	if b.shared != nil {
		asked := c // apart, so that no other claim is on the heap
		return b.ask(ctx, &asked)
	}
	d := drafts.Get().(*draft)
	d.claim = c
	if err := d.fill(b, &d.claim); err != nil {
		d.free()
		return nil, err
	}
	by := writer(b.hash(c.Raw.ID()))
	b.mu.Lock()
	defer b.mu.Unlock()
	g, err := b.enter(ctx, c.Group, c.Totals)
	if err != nil {
		d.free()
		return nil, err
	}
	b.clock.read()
	grant := &Grant{book: b, group: g, raw: by, draft: d}
	if err := b.grant(grant, &d.claim); err != nil {
		b.free(g)
		d.free()
		return nil, err
	}
	d.claim = Claim{} // it is the caller's again
	return grant, nil
}

// grant decides a claim whose group is taken, and books it.
func (b *Book) grant(grant *Grant, c *Claim) error {
	g, d := grant.group, grant.draft
	j := g.job
	if c.Method != http.MethodDelete {
		j = b.govern(g, c.payer(), c.Entry, &c.Budget)
		c.Budget, c.OverBudget = b.terms(c)
	}
	v, err := b.rule(g, j, c, d, grant.raw)
	if err != nil {
		if j != nil {
			j.unlearn(d.fresh)
		}
		return err
	}
	grant.shared = v.shared
	if c.Method == http.MethodDelete {
		grant.Ruling, grant.evicts = v.Ruling, c.Evict
		return nil
	}
	grant.bring(c, &v)
	b.count(grant, j, &v)
	b.change(g, func() { g.reserve(grant) })
	return nil
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

func (b *Book) hash(s string) uint64 { return b.hashKey.hash(s) }
