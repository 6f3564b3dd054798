package ledger

import (
	"slices"
	"strings"

	"github.com/pushguard/pushguard/proxy/wire"
)

// job is the account of one job.
type job struct {
	name   string
	entry  int
	max    int // series, as its last claim said
	series int
	groups int // that exist upstream
	users  int // groups in the table that it pays for
	// values counts, by the hash of the value, the families of groups that hold
	// it; distinct the values by label.
	values   map[uint64]valueUse
	distinct map[uint64]int
}

type valueUse struct {
	label uint64
	uses  int
}

func newJob(name string, entry int) *job {
	return &job{name: name, entry: entry, values: map[uint64]valueUse{}, distinct: map[uint64]int{}}
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
	if _, ok := j.values[v.Value]; ok {
		return false
	}
	j.values[v.Value] = valueUse{label: v.Label}
	j.distinct[v.Label]++
	return true
}

// unlearn forgets those of the values that nothing uses.
func (j *job) unlearn(values []uint64) {
	for _, v := range values {
		if u, ok := j.values[v]; ok && u.uses == 0 {
			j.drop(v, u)
		}
	}
}

func (j *job) use(values []uint64) {
	for _, v := range values {
		u := j.values[v]
		u.uses++
		j.values[v] = u
	}
}

func (j *job) release(values []uint64) {
	for _, v := range values {
		u := j.values[v]
		if u.uses--; u.uses == 0 {
			j.drop(v, u)
			continue
		}
		j.values[v] = u
	}
}

func (j *job) drop(value uint64, u valueUse) {
	delete(j.values, value)
	if j.distinct[u.label]--; j.distinct[u.label] == 0 {
		delete(j.distinct, u.label)
	}
}

// change lets to change a group, and bills the difference.
func (b *Book) change(g *group, to func()) {
	booked, upkeep, existed := g.booked(), g.upkeep(), g.exists
	to()
	b.bill(g.job, booked, g.booked())
	b.add(g.job, g.upkeep()-upkeep)
	if existed != g.exists {
		n := 1
		if existed {
			n = -1
		}
		b.size += n
		g.job.groups += n
	}
}

// bill charges the job for what it holds instead of what it held.
func (b *Book) bill(j *job, held, holds holdings) {
	if len(held) == len(holds) && (len(held) == 0 || &held[0] == &holds[0]) {
		return
	}
	series := 0
	pairs(held.read(unknown), holds.read(unknown), func(was, is *family) {
		if is == nil {
			return
		}
		series += is.series()
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
	b.addEntry(j.entry, series)
}

func (b *Book) addEntry(entry, series int) {
	b.entries[entry] += series
	if b.entries[entry] == 0 {
		delete(b.entries, entry)
	}
}

// govern makes the named job pay for the group, under the given terms.
func (b *Book) govern(g *group, name string, entry int, budget Budget) *job {
	j := g.job
	if j == nil || j.name != name {
		if j = b.jobs[name]; j == nil {
			j = newJob(strings.Clone(name), entry)
			b.jobs[j.name] = j
		}
		b.hire(g, j)
	}
	b.setTerms(j, entry, budget)
	return j
}

func (b *Book) setTerms(j *job, entry int, budget Budget) {
	if j.entry != entry {
		b.addEntry(j.entry, -j.series)
		b.addEntry(entry, j.series)
		j.entry = entry
	}
	j.max = budget.Series
}

// hire makes j pay for the group in place of who did so before.
func (b *Book) hire(g *group, j *job) {
	before := g.job
	j.users++
	g.job = j
	if before == nil {
		return
	}
	for c := g.booked().read(g.last); c.next(); {
		for _, v := range c.at.values {
			j.learn(wire.LabelValue{Label: before.values[v].label, Value: v})
		}
	}
	b.bill(j, nil, g.booked())
	b.add(j, g.upkeep())
	b.bill(before, g.booked(), nil)
	b.add(before, -g.upkeep())
	if g.exists {
		j.groups++
		before.groups--
	}
	b.dismiss(before)
}

// dismiss ends the duty of a job for one group; with the last one it goes.
func (b *Book) dismiss(j *job) {
	if j == nil {
		return
	}
	if j.users--; j.users == 0 {
		delete(b.jobs, j.name)
	}
}

// Regovern gives every job new terms: terms returns the policy's entry that
// governs a job, and its budget. It is for a policy that was read again, whose
// entries count otherwise. It holds the book's lock while terms runs.
func (b *Book) Regovern(terms func(job string) (entry int, budget Budget)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		entry, budget := terms(j.name)
		b.setTerms(j, entry, budget)
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

// Over returns by how many series a job is over the budget that its last claim
// named. Only what Load finds, or a budget that is lowered, brings it there.
func (b *Book) Over(job string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.jobs[job]; j != nil && j.max > 0 {
		return max(0, j.series-j.max)
	}
	return 0
}

// Series returns how many series all jobs hold.
func (b *Book) Series() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.series
}
