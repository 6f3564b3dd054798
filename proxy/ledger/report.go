package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// JobUse is what one job holds.
type JobUse struct {
	Job    string
	Entry  int
	Series int // with what is booked for pushes under way
	Over   int // series over the job's budget
	Groups int // that exist upstream
	// NewThisHour and NewThisDay are the series that the job brought within an hour
	// and 24 hours, which its groups did not hold.
	NewThisHour, NewThisDay int
	// OldestPush is when the group was pushed to that was so longest ago, LastPush
	// when the one was that was so last. Zero if there is none.
	OldestPush, LastPush time.Time
}

// GroupUse is what one group holds.
type GroupUse struct {
	Key    wire.Key
	Series int       // with the upstream's own two
	Pushed time.Time // when it was last pushed to, rounded up to a second
	Failed bool      // no push to it was ever accepted; Pushed is when one failed
	Pinned bool      // the policy keeps it
	Over   bool      // the groups that are older leave no room for it in the job's budget
}

// JobReport is what one job holds, and where.
type JobReport struct {
	JobUse
	Oldest []GroupUse // groups, oldest first
}

// Totals is what all jobs hold.
type Totals struct {
	Series, Groups, Jobs int
	Lent                 int // series beyond what their entries are guaranteed
	// Idle is how many jobs without a group are remembered, for their windows, and
	// Forgotten how many were forgotten before their time, since those were too many.
	Idle      int
	Forgotten int64
}

// Jobs returns the n jobs that hold most series, most first.
func (b *Book) Jobs(n int) []JobUse {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	most := make([]*job, 0, max(0, min(2*n, len(b.jobs))))
	for _, j := range b.jobs {
		if j.series == 0 {
			continue
		}
		if most = append(most, j); len(most) >= 2*n {
			most = first(most, n)
		}
	}
	most = first(most, n)
	out := make([]JobUse, len(most))
	for i, j := range most {
		out[i] = b.use(j)
	}
	return out
}

// first returns the n jobs that hold most series, most first.
func first(jobs []*job, n int) []*job {
	slices.SortFunc(jobs, func(x, y *job) int {
		return cmp.Or(cmp.Compare(y.series, x.series), cmp.Compare(x.name, y.name))
	})
	return jobs[:min(n, len(jobs))]
}

func (b *Book) use(j *job) JobUse {
	u := JobUse{
		Job: j.name, Entry: j.entry, Series: j.series, Over: j.over(), Groups: j.groups,
		NewThisHour: j.hour.sum(hour, b.clock.at), NewThisDay: j.day.sum(day, b.clock.at),
	}
	if g := j.ages.first(); g != nil {
		u.OldestPush, u.LastPush = g.at.time(), j.ages.newest.at.time()
	}
	return u
}

// Job returns what a job holds, with its n oldest groups, and whether the book
// knows the job. Of one that has no group any more, only what was new is known.
func (b *Book) Job(name string, n int) (JobReport, bool) { return b.JobFrom(name, 0, n) }

// JobFrom is Job without the oldest groups up to a number: the page of them that begins
// there.
func (b *Book) JobFrom(name string, from, n int) (JobReport, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	j := b.jobs[name]
	if j == nil {
		a := b.idles.accounts[name]
		if a == nil || a.spent(b.clock.at) {
			return JobReport{}, false
		}
		j = newJob(0, a)
	}
	r := JobReport{JobUse: b.use(j)}
	older, pinned := 0, j.pinned()
	for g := j.ages.first(); g != nil && len(r.Oldest) < n; g = g.newer {
		older += g.series()
		if from--; from >= 0 {
			continue
		}
		r.Oldest = append(r.Oldest, GroupUse{
			Key: g.key(), Series: g.series(), Pushed: g.at.time(), Failed: g.failed,
			Pinned: g == pinned, Over: j.terms.Series > 0 && older > j.terms.Series,
		})
	}
	return r, true
}

// Totals returns what all jobs hold.
func (b *Book) Totals() Totals {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	b.idles.expire(b.clock.at)
	return Totals{
		Series: b.series, Groups: b.size, Jobs: len(b.jobs), Lent: b.lent,
		Idle: len(b.idles.accounts), Forgotten: b.idles.forgotten,
	}
}
