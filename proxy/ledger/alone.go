package ledger

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"net/http"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
)

// alone is what a book knows of a guard that goes on by itself: what all guards held
// when it began, and so what is its own of the rest.
//
// Each may take its share of what was left of each budget then, and gives nothing back
// that is replaced or deleted meanwhile, since another guard may bring it again. So
// together they stay within what all knew. What a group held passes as ever.
type alone struct {
	shared.Alone
	door  *shared.Door
	begun // of all jobs
	jobs  map[string]*begun
	// entries are by the policy's entry.
	entries map[int]*begun
	n       uint64
	seed    maphash.Seed
	told    map[string]lastWord // by group
}

// lastWord is what was handed in last of a group.
type lastWord struct {
	sum    uint64
	posted shared.Posted
}

// begun is what was held when a guard began to go on by itself.
type begun struct {
	series, groups, lent int
	jobs                 int            // of an entry
	hour, day, pushes    window         // of an entry, day is of new jobs
	values               map[uint64]int // of a job, by label
}

// byItself returns the book by which a guard goes on by itself, if it does.
func (b *Book) byItself() *Book {
	if b.shared == nil {
		return nil
	}
	s := b.shared
	a, ok := s.door.Alone()
	if !ok {
		return nil
	}
	s.lonely.Lock()
	defer s.lonely.Unlock()
	if s.alone == nil || s.alone.alone.Outage != a.Outage {
		s.alone = b.part(a)
	}
	return s.alone
}

// part returns a book of the guard's own that begins with what all know. What guards
// had under way counts as pushes that nobody knows the end of.
func (b *Book) part(a shared.Alone) *Book {
	own := NewBook(Config{Wait: b.wait, Now: a.Clock})
	own.hashKey, own.shared = b.hashKey, newSharing()
	own.shared.door = b.shared.door
	saved := room{b}.Save(nil)
	own.mu.Lock()
	defer own.mu.Unlock()
	l := loader{book: own, reader: newReader(saved)}
	l.all()
	for _, grant := range own.shared.grants {
		grant.group.turn.waiting = nil
		own.conclude(grant, Unknown)
		grant.group.turn = nil
		if !grant.group.exists {
			own.unlink(grant.group)
		}
	}
	own.shared = nil
	for _, j := range own.jobs {
		j.promised = promises{}
	}
	own.alone = own.begin(a, b.shared.door)
	return own
}

// begin notes what is held now.
func (b *Book) begin(a shared.Alone, door *shared.Door) *alone {
	at := &alone{
		Alone: a, door: door, begun: begun{series: b.series - b.slack, groups: b.live, lent: b.lent},
		jobs: map[string]*begun{}, entries: map[int]*begun{}, seed: maphash.MakeSeed(), told: map[string]lastWord{},
	}
	for id, e := range b.entries {
		at.entries[id] = &begun{series: e.series, jobs: e.jobs, day: e.newJobs.clone()}
	}
	for name, i := range b.idles.accounts {
		at.jobs[name] = i.begun()
	}
	for name, j := range b.jobs {
		o := j.begun()
		o.series, o.groups, o.values = j.series, j.live, j.values.labels.counts()
		at.jobs[name] = o
	}
	return at
}

func (a *account) begun() *begun {
	return &begun{hour: a.hour.clone(), day: a.day.clone(), pushes: a.pushes.clone()}
}

// share is what a guard may hold of a limit of which so much was held.
func (a *alone) share(held, limit int) int {
	if limit <= 0 || held >= limit {
		return limit
	}
	return max(1, held+a.own(limit-held)) // 0 would be no limit
}

// own is the guard's share of what is left: those of all guards are all of it.
func (a *alone) own(left int) int {
	n := max(1, a.Guards)
	own := left / n
	if a.Rank < left%n {
		own++
	}
	return own
}

// terms are the claim's budget and what becomes of what is over it, as far as this
// guard may decide.
func (b *Book) terms(c *Claim) (Budget, OverBudget) {
	switch {
	case c.done != 0:
		return Budget{}, Trim // it is there
	case b.alone == nil:
		return c.Budget, c.OverBudget
	case c.OverBudget == EvictOldest:
		return b.alone.budget(c, b.clock.at), Trim // another guard may have pushed to the oldest
	default:
		return b.alone.budget(c, b.clock.at), c.OverBudget
	}
}

// budget is the guard's share of the claim's budget.
func (a *alone) budget(c *Claim, at int64) Budget {
	b, j, e := c.Budget, a.of(c), cmp.Or(a.entries[c.Entry], &begun{})
	if b.Series > 0 && b.Borrow > 0 {
		most := a.share(j.series, b.Series+b.Borrow)
		b.Series = a.share(j.series, b.Series)
		b.Borrow = max(0, most-b.Series)
	} else {
		b.Series = a.share(j.series, b.Series)
	}
	b.Groups = a.share(j.groups, b.Groups)
	b.NewSeriesPerHour = a.share(j.hour.sum(hour, at), b.NewSeriesPerHour)
	b.NewSeriesPerDay = a.share(j.day.sum(day, at), b.NewSeriesPerDay)
	b.PushesPerMinute = a.share(j.pushes.sum(minute, at), b.PushesPerMinute)
	b.EntrySeries, b.EntryJobs = a.share(e.series, b.EntrySeries), a.share(e.jobs, b.EntryJobs)
	b.NewJobsPerDay = a.share(e.day.sum(day, at), b.NewJobsPerDay)
	b.GuardGroups = a.share(a.groups, b.GuardGroups)
	if b.GuardSeries > 0 {
		remainder := a.share(a.lent, b.remainder())
		b.GuardSeries = a.share(a.series, b.GuardSeries)
		b.Guaranteed = a.share(e.series, b.Guaranteed)
		b.Reserved = b.GuardSeries - remainder
	}
	return b
}

// of is what was held by the job that pays for a claim.
func (a *alone) of(c *Claim) *begun { return cmp.Or(a.jobs[c.payer()], &begun{}) }

// labelValues is how many values of a label the job of a claim may have.
func (b *Book) labelValues(c *Claim, label uint64) int {
	if b.alone == nil {
		return c.Budget.LabelValues
	}
	return b.alone.share(b.alone.of(c).values[label], c.Budget.LabelValues)
}

// report tells the other guards what this one did, for when they hear of it. A push
// that brings again what was told of its group last only takes its place. The book is
// locked.
func (a *alone) report(g *Grant, o Outcome) {
	if g.Skip || o == Untouched {
		return
	}
	if o < Applied || o > Unknown {
		o = Unknown
	}
	a.n++
	body := g.book.appendClaim(nil, g.asDone(o), g.raw, 0)
	sum := maphash.Bytes(a.seed, body)
	id := g.group.id
	if g.group.sums != nil {
		id += "\x00totals"
	}
	if before := a.told[id]; before.sum == sum && a.door.Again(before.posted) {
		return
	}
	// Its number is of none that this guard asks for.
	head := binary.AppendUvarint([]byte{cmdAdmit}, a.Outage<<40|a.n)
	a.told[id] = lastWord{sum, a.door.Post(append(binary.AppendVarint(head, 0), body...), nil)}
}

// asDone is a claim of what a grant did.
func (g *Grant) asDone(o Outcome) *Claim {
	c := &Claim{Group: g.group.key(), Method: g.Method, OverBudget: Trim, Totals: g.group.sums != nil, done: o}
	if g.Method == http.MethodDelete {
		return c
	}
	j := g.group.job
	c.Job, c.Entry, c.Budget = j.name, j.entry, *j.terms
	for r := g.pushed.read(g.raw); r.next(); {
		f := int32(len(c.hashes))
		c.hashes = append(c.hashes, r.at.name)
		if g.success {
			c.Success = append(c.Success, f)
		}
		for i, print := range r.at.prints {
			m := MetricClaim{Fingerprint: print, Family: f, Samples: int32(r.at.size(i))}
			if i == 0 { // the values are the family's
				var values []wire.LabelValue
				for _, v := range r.at.values {
					values = append(values, wire.LabelValue{Label: j.values.label(v), Value: v})
				}
				m.Values = c.AddValues(values)
			}
			c.Metrics = append(c.Metrics, m)
		}
	}
	return c
}

// done reports whether the claim was carried out already.
func (a *ask) done() bool { return len(a.claim) > 0 && a.claim[0]>>claimDone != 0 }

// redo books what a guard did by itself: what it brought is there.
func (b *Book) redo(g *group, a *ask, c *read) {
	d := drafts.Get().(*draft)
	grant := &Grant{book: b, group: g, raw: c.by, draft: d, id: a.id, did: a.until}
	err := d.fill(b, &c.Claim)
	if err == nil {
		err = b.grant(grant, &c.Claim)
	}
	if err != nil { // a group that equals another by now; the listing tells
		d.free()
	} else {
		b.conclude(grant, c.done)
	}
	if b.shared.onLoss != nil {
		b.shared.onLoss()
	}
}
