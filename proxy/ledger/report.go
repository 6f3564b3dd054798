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
	// OldestPush is when the group was pushed to that was so longest ago. Zero if
	// there is none.
	OldestPush time.Time
}

// GroupUse is what one group holds.
type GroupUse struct {
	Key    wire.Key
	Series int       // with the upstream's own two
	Pushed time.Time // when it was last pushed to, rounded up to a second
	Failed bool      // no push to it was ever accepted; Pushed is when one failed
	Pinned bool      // the policy keeps it
	Over   bool      // the groups pushed to before it leave no room for it in the job's budget
}

// JobReport is what one job holds, and where.
type JobReport struct {
	JobUse
	Oldest []GroupUse // groups, oldest first
}

// Totals is what all jobs hold.
type Totals struct {
	Series, Groups, Jobs int
	Lent                 int // series over what the entries are guaranteed
	// Idle is how many jobs without a group are remembered, for their windows, and
	// Forgotten how many were forgotten before their time, since those were too many.
	Idle      int
	Forgotten int64
}

// StaleGroup is a group that has outlived its job's StaleAfter.
type StaleGroup struct {
	Key        wire.Key
	Job        string
	Pushed     time.Time // as in GroupUse
	StaleAfter time.Duration
}

// Jobs returns the n jobs that hold most series, most first.
func (b *Book) Jobs(n int) []JobUse {
	b.mu.Lock()
	all := make([]JobUse, 0, len(b.jobs))
	for _, j := range b.jobs {
		if j.series > 0 {
			all = append(all, JobUse{Job: j.name, Entry: j.entry, Series: j.series, Groups: j.groups})
		}
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(x, y JobUse) int {
		return cmp.Or(cmp.Compare(y.Series, x.Series), cmp.Compare(x.Job, y.Job))
	})
	return slices.Clip(all[:min(n, len(all))])
}

// Job returns what a job holds, with its n oldest groups, and whether the book
// knows the job.
func (b *Book) Job(name string, n int) (JobReport, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.jobs[name]
	if j == nil {
		return JobReport{}, false
	}
	return JobReport{JobUse: JobUse{Job: j.name, Entry: j.entry, Series: j.series, Groups: j.groups}}, true
}

// Totals returns what all jobs hold.
func (b *Book) Totals() Totals {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Totals{Series: b.series, Groups: b.size, Jobs: len(b.jobs)}
}

// Stale returns up to n groups that have outlived the StaleAfter of their job by
// now, oldest first over all jobs. Groups that are pinned or taken are left out.
// Its cost grows with the number of jobs, and of the groups it returns.
func (b *Book) Stale(now time.Time, n int) []StaleGroup {
	return nil
}

// Oldest returns the group of a job that was pushed to longest ago, and whether
// there is any.
func (b *Book) Oldest(job string) (GroupUse, bool) {
	r, _ := b.Job(job, 1)
	if len(r.Oldest) == 0 {
		return GroupUse{}, false
	}
	return r.Oldest[0], true
}
