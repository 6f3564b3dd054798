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
	"slices"
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

// Grant is the right to send one request for a group as its Ruling says, and the
// group's lock. It must be settled.
type Grant struct {
	Ruling

	book    *Book
	group   *group
	raw     writer
	draft   *draft   // until it is settled
	pushed  holdings // what the push brings; memory of the draft
	same    bool     // the push leaves the group as it is
	success bool     // it brings a family that tells of a success
	settled bool

	account *account      // of the job that paid when it was admitted
	entry   *entryAccount // of the job, if the job was new to it
	at      int64         // when it was admitted, by the book's clock
	fresh   int           // series that counted as new
	made    bool          // it makes the group
	victims []*group      // promised to be evicted

	foreseen *foresight // nil if it was admitted
	id       grantID    // of a book that several guards share
	shared   []int32    // families of the claim that another wrote last, of such a book
	did      time.Time  // when it was carried out without asking; zero: it was asked for
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
	settled  map[string]*since // while Load reads: the groups settled meanwhile
	shared   *sharing          // nil if no other guard has this book
	alone    *alone            // not nil of a guard that goes on by itself
}

// since is what a group was settled to while Load read a listing.
type since struct {
	whole    bool     // the book knows its whole content
	families []uint64 // the book knows these, sorted
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
		return b.ask(ctx, &c)
	}
	d := drafts.Get().(*draft)
	if err := d.fill(b, &c); err != nil {
		d.free()
		return nil, err
	}
	g := b.join(c.Group, c.Totals)
	if err := b.take(ctx, g); err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.leave(g)
		d.free()
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	grant := &Grant{book: b, group: g, raw: writer(b.hash(c.Raw.ID())), draft: d}
	if err := b.grant(grant, &c); err != nil {
		b.free(g)
		d.free()
		return nil, err
	}
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
		grant.Ruling = v.Ruling
		return nil
	}
	grant.bring(c, &v)
	b.count(grant, j, &v)
	b.change(g, func() { g.reserve(grant) })
	return nil
}

// bring fills in what the push brings.
func (g *Grant) bring(c *Claim, v *verdict) {
	d := g.draft
	g.Ruling, g.same = v.Ruling, v.same
	d.collapse()
	if g.same && g.Method == http.MethodPut {
		g.pushed = g.group.content
	} else {
		g.pushed = d.build(c, g.group, g.raw)
	}
	g.success = d.writes(c.Success)
}

// take fills in what it uses up.
func (g *Grant) take(v *verdict, at int64) {
	g.at, g.fresh = at, v.fresh
	g.made, g.victims = !g.group.exists && g.group.sums == nil, v.victims
}

// count books what an admitted push uses up.
func (b *Book) count(grant *Grant, j *job, v *verdict) {
	grant.account = j.account
	grant.take(v, b.clock.at)
	if !grant.did.IsZero() {
		grant.at -= max(0, int64(b.clock.last.Sub(grant.did)/time.Second))
	}
	if grant.group.sums == nil && grant.did.IsZero() {
		j.pushes.add(minute, grant.at, 1)
	}
	j.hour.add(hour, grant.at, v.fresh)
	j.day.add(day, grant.at, v.fresh)
	if v.newJob {
		grant.entry = b.entry(j.entry)
		grant.entry.newJobs.add(day, grant.at, 1)
		b.recordEntry(grant.entry, grant.at)
	}
	if v.fresh > 0 {
		b.recordAccount(j.account, grant.at)
	}
	b.journal.flush()
	j.promised.end(grant.group)
	j.promised.make(grant, v.victims)
}

// repay gives back what a push has not used up after all, and ends or binds the
// promise of what was to make room for it.
func (g *Grant) repay(o Outcome, at int64) {
	if o == Untouched && g.entry != nil {
		g.entry.newJobs.take(day, g.at, 1)
		g.book.recordEntry(g.entry, g.at)
	}
	if fresh := g.unspent(o); fresh > 0 {
		g.account.hour.take(hour, g.at, fresh)
		g.account.day.take(day, g.at, fresh)
		g.book.recordAccount(g.account, g.at)
	}
	for _, v := range g.victims {
		if v.job != nil {
			v.job.promised.settle(g, v, o, at+promiseTime)
		}
	}
}

// unspent is how many of the series that counted as new are not, after an outcome.
func (g *Grant) unspent(o Outcome) int {
	switch {
	case o == Untouched, o == Refused && !g.made:
		return g.fresh
	case o == Refused:
		return g.fresh - ownSeries // those are there
	default:
		return 0
	}
}

// Settle books what became of the request and gives the group free. Only the
// first call counts, so that a deferred Settle(Unknown) may stand behind every
// other; an outcome that is none of the four is taken for Unknown, after which
// the group holds what it held and what the push brings, until a later request
// or Load tells. The outcome of a grant with Skip does not matter.
func (g *Grant) Settle(o Outcome) {
	b := g.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.settled {
		return
	}
	g.settled = true
	if g.foreseen != nil {
		g.foreseen.settle(g, o)
		g.draft.free()
		g.draft, g.pushed = nil, nil
		return
	}
	if b.shared != nil {
		b.tellSettled(g.id, o)
		return
	}
	if b.alone != nil {
		b.alone.report(g, o)
	}
	b.conclude(g, o)
	b.free(g.group)
}

// conclude books what became of the request of a grant.
func (b *Book) conclude(g *Grant, o Outcome) {
	now := toSecond(b.clock.read())
	switch {
	case !g.Skip:
		if g.group.sums == nil {
			b.note(g, o)
		}
		b.settle(g, o, now)
	case g.Reason == Pinned && g.group.job != nil:
		g.group.job.promised.end(g.group)
	}
	g.draft.free()
	g.draft, g.pushed, g.victims = nil, nil, nil
}

func (b *Book) settle(grant *Grant, o Outcome, now second) {
	g := grant.group
	before := g.asKept()
	if !g.exists {
		g.at = now
	}
	b.change(g, func() {
		if g.sums != nil && o == Applied {
			g.sums.seen = grown(g.sums.seen, grant.pushed)
		}
		g.settle(grant, o)
	})
	if grant.Method == http.MethodDelete {
		if g.job != nil {
			g.job.promised.end(g)
		}
	} else {
		g.age(grant, o, now)
		grant.repay(o, b.clock.at)
	}
	b.record(g, before)
	b.journal.flush()
}

// note tells a Load that reads what is newer than its listing.
func (b *Book) note(g *Grant, o Outcome) {
	if o == Untouched {
		return
	}
	if b.settled != nil {
		noteIn(b.settled, g, o)
	}
	if b.shared != nil {
		for _, l := range b.shared.loads {
			noteIn(l.settled, g, o)
		}
	}
}

func noteIn(settled map[string]*since, g *Grant, o Outcome) {
	s := settled[g.group.id]
	if s == nil {
		s = &since{}
		settled[g.group.id] = s
	}
	if o != Applied {
		return
	}
	if g.Method != http.MethodPost {
		s.whole = true
		return
	}
	for c := g.pushed.read(g.raw); c.next(); {
		s.families = append(s.families, c.at.name)
	}
	slices.Sort(s.families)
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
