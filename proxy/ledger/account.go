package ledger

import (
	"slices"

	"github.com/pushguard/pushguard/proxy/wire"
)

// job is the account of one job that has groups, or is about to.
type job struct {
	*account
	entry  int
	terms  *Budget // as its last claim said; shared, never changed
	series int
	groups int // that exist upstream
	live   int // that exist or are about to
	users  int // groups in the table that it pays for
	ages   ages
	// promised are the groups that are to be evicted for pushes that were admitted.
	promised promises
	values   valueTable
	families holders
}

func newJob(entry int, a *account) *job {
	return &job{account: a, entry: entry, terms: &Budget{}, families: holders{}}
}

// payer is the name of the job that pays for the claim.
func (c *Claim) payer() string {
	if c.Job != "" {
		return c.Job
	}
	return c.Group.Job()
}

// learn makes a value of a label known, that bill can count it. It reports
// whether it was not.
func (j *job) learn(v wire.LabelValue) bool {
	if j.values.has(v.Value) {
		return false
	}
	j.values.set(v.Value, valueUse{label: v.Label})
	return true
}

// unlearn forgets those of the values that nothing uses.
func (j *job) unlearn(values []uint64) {
	for _, v := range values {
		if u, ok := j.values.get(v); ok && u.uses == 0 {
			j.values.remove(v)
		}
	}
}

func (j *job) use(values []uint64) {
	for _, v := range values {
		j.values.count(v, +1)
	}
}

func (j *job) release(values []uint64) {
	for _, v := range values {
		if j.values.count(v, -1) == 0 {
			j.values.remove(v)
		}
	}
}

// change lets to change a group, and bills the difference.
func (b *Book) change(g *group, to func()) {
	booked, upkeep, slack, existed := g.booked(), g.upkeep(), g.spare(), g.exists
	to()
	j := g.job
	if j == nil {
		return // nothing was there, and nothing is
	}
	b.bill(g, j, booked, g.booked())
	if n := g.upkeep() - upkeep; n != 0 {
		b.add(j, n)
		b.open(j, n/ownSeries)
	}
	b.slack += g.spare() - slack
	switch {
	case existed == g.exists, g.sums != nil:
	case g.exists:
		b.size++
		j.groups++
		j.ages.push(g)
	default:
		b.size--
		j.groups--
		j.ages.remove(g)
		j.seen = b.clock.at
	}
	j.promised.changed(g)
}

// bill charges the job for what it holds in a group instead of what it held.
func (b *Book) bill(g *group, j *job, held, holds holdings) {
	if len(held) == len(holds) && (len(held) == 0 || &held[0] == &holds[0]) {
		return
	}
	series := 0
	pairs(held.read(unknown), holds.read(unknown), func(was, is *family) {
		if is == nil {
			return
		}
		series += is.series()
		if was == nil && g.sums == nil {
			j.families.add(is.name, 1)
			b.families.add(is.name, 1)
		}
		if was == nil || !slices.Equal(was.values, is.values) {
			j.use(is.values)
		}
	})
	// Only now, lest a value that moves to another family is forgotten between.
	pairs(held.read(unknown), holds.read(unknown), func(was, is *family) {
		if was == nil {
			return
		}
		series -= was.series()
		if is == nil && g.sums == nil {
			j.families.add(was.name, -1)
			b.families.add(was.name, -1)
		}
		if is == nil || !slices.Equal(was.values, is.values) {
			j.release(was.values)
		}
	})
	b.add(j, series)
}

func (b *Book) add(j *job, series int) {
	if series == 0 {
		return
	}
	j.series += series
	b.series += series
	b.charge(j.entry, series, 0)
}

// open counts groups that the job has from now on, or is about to have.
func (b *Book) open(j *job, groups int) {
	had := j.live > 0
	j.live += groups
	b.live += groups
	switch has := j.live > 0; {
	case has && !had:
		b.charge(j.entry, 0, 1)
	case had && !has:
		b.charge(j.entry, 0, -1)
	}
}

// govern makes the named job pay for the group, under the given terms.
func (b *Book) govern(g *group, name string, entry int, budget *Budget) *job {
	j := b.employ(g, name, entry)
	b.setTerms(j, entry, budget)
	return j
}

// employ makes the named job pay for the group; if it is not known it is of the
// entry.
func (b *Book) employ(g *group, name string, entry int) *job {
	j := g.job
	if j != nil && j.name == name {
		return j
	}
	if j = b.jobs[name]; j == nil {
		j = newJob(entry, b.idles.take(name, b.clock.at))
		b.jobs[j.name] = j
	}
	b.hire(g, j)
	return j
}

func (b *Book) setTerms(j *job, id int, budget *Budget) {
	if j.entry != id {
		jobs := min(j.live, 1)
		b.charge(j.entry, -j.series, -jobs)
		b.charge(id, j.series, jobs)
		j.entry = id
	}
	if *j.terms != *budget {
		j.terms = b.entry(id).share(budget)
	}
	b.guarantee(b.entry(id), budget.Guaranteed)
}

// share returns terms equal to those given, in memory that jobs share.
func (e *entryAccount) share(budget *Budget) *Budget {
	if e.terms == nil || *e.terms != *budget {
		terms := *budget
		e.terms = &terms
	}
	return e.terms
}

// hire makes j pay for the group in place of who did so before.
func (b *Book) hire(g *group, j *job) {
	before := g.job
	j.users++
	g.job = j
	if before == nil {
		return
	}
	g.kept = 0 // has to be written
	before.promised.end(g)
	for c := g.booked().read(g.last); c.next(); {
		for _, v := range c.at.values {
			j.learn(wire.LabelValue{Label: before.values.label(v), Value: v})
		}
	}
	b.bill(g, j, nil, g.booked())
	b.bill(g, before, g.booked(), nil)
	if n := g.upkeep(); n > 0 {
		b.add(j, n)
		b.open(j, 1)
		b.add(before, -n)
		b.open(before, -1)
	}
	if g.exists && g.sums == nil {
		j.groups++
		before.groups--
		before.ages.remove(g)
		before.seen = b.clock.at
		b.recordAccount(before.account, b.clock.at)
		j.ages.push(g)
	}
	b.dismiss(before)
}

// dismiss ends the duty of a job for one group. With the last one it goes, and
// what is to be remembered of it stays.
func (b *Book) dismiss(j *job) {
	if j == nil {
		return
	}
	if j.users--; j.users == 0 {
		delete(b.jobs, j.name)
		b.idles.put(j.account, b.clock.at)
	}
}

// Regovern gives every job new terms: terms returns the policy's entry that
// governs a job, and its budget. It is for a policy that was read again, whose
// entries count otherwise. Nothing that is held is taken away. It holds the book's
// lock while terms runs.
func (b *Book) Regovern(terms func(job string) (entry int, budget Budget)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared != nil {
		b.tellTerms(terms)
		return
	}
	for _, e := range b.entries {
		b.guarantee(e, 0)
	}
	for _, j := range b.jobs {
		id, budget := terms(j.name)
		b.setTerms(j, id, &budget)
	}
	b.dropEntries()
}

// RegovernJob gives one job new terms, as Regovern does all: for a claim of before
// that was decided after it. A job that the book does not know has none.
func (b *Book) RegovernJob(job string, entry int, budget Budget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[job]
	switch {
	case j == nil:
	case b.shared != nil:
		b.tellTermsOf(job, entry, &budget)
	default:
		b.setTerms(j, entry, &budget)
	}
}

// Held returns how many series a job holds: those of its groups, the upstream's
// own two of each among them, and what is booked for pushes under way.
func (b *Book) Held(job string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.jobs[job]; j != nil {
		return j.series
	}
	return 0
}

// Within reports whether a job holds series, and no more than its budget.
func (b *Book) Within(job string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[job]
	return j != nil && j.series > 0 && j.over() == 0
}

func (j *job) over() int {
	if j.terms.Series == 0 {
		return 0
	}
	return max(0, j.series-j.terms.Series)
}

// Series returns how many series all jobs hold.
func (b *Book) Series() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.series
}
