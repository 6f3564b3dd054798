package ledger

import (
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// tally holds a claim's new metrics to the budget, one after the other. What it
// counts is what there is once the push is applied, and what was promised to make
// room is gone, with all that is admitted so far.
type tally struct {
	book  *Book
	group *group
	job   *job
	claim *Claim
	draft *draft

	used    int // series of the job
	before  int // those without the push
	shared  int // of the entry
	total   int // of all jobs
	slack   int // of them those that cannot be there all at once
	others  int // what other entries hold of the remainder
	groups  int // of the job
	fresh   int // series that count as new
	hour    int // those that counted before, within an hour
	day     int // and within a day
	newJob  bool
	victims victims

	excess  []Excess
	refused map[uint64]struct{} // new label values that were over
}

func (b *Book) tally(g *group, j *job, c *Claim, d *draft) tally {
	t := tally{book: b, group: g, job: j, claim: c, draft: d}
	e := b.entries[c.Entry]
	if e == nil {
		e = &entryAccount{}
	}
	t.shared, t.others = e.series, b.lent-e.lent()
	if !g.exists || len(d.candidates) > 0 {
		t.hour, t.day = j.hour.sum(hour, b.clock.at), j.day.sum(day, b.clock.at)
	}
	if b.shared == nil || d.ahead == nil { // else guards would come to know different things
		j.promised.expire(b.clock.at)
	}
	promised, series := j.promised.without(g)
	t.used, t.groups = j.series-series, j.live-promised
	t.total, t.slack = b.series, b.slack-g.spare()
	if d.ahead != nil {
		t.foresee(d.ahead)
	}
	t.before = t.used
	return t
}

// foresee counts what is not booked, but would be.
func (t *tally) foresee(a *ahead) {
	t.used, t.shared, t.total, t.slack = t.used+a.used, t.shared+a.shared, t.total+a.total, t.slack+a.slack
	t.hour, t.day, t.others = t.hour+a.fresh, t.day+a.fresh, t.others-a.others
	t.groups += a.groups
}

// pace holds the job to its pushes a minute.
func (t *tally) pace() error {
	limit, at := t.claim.Budget.PushesPerMinute, t.book.clock.at
	if limit <= 0 || t.job.pushes.sum(minute, at) < limit {
		return nil
	}
	return &RateError{Job: t.job.name, Max: limit, RetryAfter: max(time.Second, t.job.pushes.wait(minute, at, limit-1))}
}

// release takes off what the push replaces for certain: a push is held to what
// there is once it is applied, and if it is not, there is what was.
func (t *tally) release(put bool) {
	freed := 0
	if put {
		freed = t.draft.gone
	}
	for slot := range t.draft.freed {
		if put || t.draft.certain[slot] {
			freed += t.draft.freed[slot]
			t.draft.freed[slot] = 0
		}
	}
	t.take(-freed)
}

// take takes up series.
func (t *tally) take(net int) {
	t.used += net
	t.shared += net
	t.total += net
}

// begin admits the group as a new one: perhaps a job more, a group more, and the
// two series that the upstream makes for it. It reports whether they fit, and
// otherwise notes the first limit that they do not.
func (t *tally) begin() bool {
	b := &t.claim.Budget
	e := t.book.entries[t.claim.Entry]
	if e == nil {
		e = &entryAccount{}
	}
	if t.job.live == 0 {
		t.newJob = !t.job.known(t.book.clock.at)
		if !t.permits(EntryJobsLimit, e.jobs+1, b.EntryJobs) {
			return false
		}
		if t.newJob && !t.permits(NewJobsPerDayLimit, e.newJobs.sum(day, t.book.clock.at)+1, b.NewJobsPerDay) {
			return false
		}
	}
	over := 0
	if b.Groups > 0 {
		over = max(0, t.groups+1-b.Groups)
	}
	return t.permits(GuardGroupsLimit, t.book.live+1, b.GuardGroups) &&
		(over == 0 || t.makePlace(over) || t.permits(GroupsLimit, t.groups+1, b.Groups)) &&
		t.fits(ownSeries, ownSeries, ownSeries, -1)
}

// permits reports whether a number is within a limit, and otherwise notes it.
func (t *tally) permits(l Limit, n, limit int) bool {
	if limit <= 0 || n <= limit {
		return true
	}
	t.note(Excess{Over: l, Metric: -1, Value: -1, Max: limit}).Count = n
	return false
}

// admit admits a metric if it fits whole, as it is or collapsed. The first of a
// family lets go of what the family held.
func (t *tally) admit(entry int32) bool {
	if t.claim.OverBudget == Collapse {
		return t.admitOrCollapse(entry)
	}
	metric := int(t.draft.entries[entry].metric)
	m := &t.claim.Metrics[metric]
	values, slot := t.claim.ValuesOf(m), int(t.draft.slots[m.Family])
	cost, fresh := t.draft.brings(entry)
	if !t.valuesFit(values, metric) || !t.fits(cost, cost-t.freed(slot), fresh, metric) {
		return false
	}
	t.write(slot)
	t.learn(values)
	return true
}

// write has the push write a family, whose other metrics go.
func (t *tally) write(slot int) {
	t.draft.freed[slot] -= t.freed(slot)
	t.draft.certain[slot] = true
}

func (t *tally) learn(values []wire.LabelValue) {
	for _, v := range values {
		if t.job.learn(v) {
			t.draft.fresh = append(t.draft.fresh, v.Value)
		}
	}
}

// freed is what goes of a family if something of it is admitted.
func (t *tally) freed(slot int) int {
	return max(0, t.draft.freed[slot])
}

// fits takes up series, net of what they replace, if they fit all limits, and
// otherwise notes the first that they do not.
func (t *tally) fits(series, net, fresh, metric int) bool {
	limit, most := t.over(net, fresh)
	if limit == SeriesLimit && t.overShared(net, fresh) == 0 && t.makeRoom(net) {
		limit = 0
	}
	if limit != 0 {
		t.note(Excess{Over: limit, Metric: metric, Value: -1, Max: most}).Count += t.counts(limit, series, fresh)
		return false
	}
	t.take(net)
	t.fresh += fresh
	return true
}

func (t *tally) valuesFit(values []wire.LabelValue, metric int) bool {
	fit := true
	if t.claim.Budget.LabelValues <= 0 {
		return true
	}
	for i, v := range values {
		limit := t.book.labelValues(t.claim, v.Label)
		if t.job.values.has(v.Value) || t.draft.overflow.permits(t.job, v, limit) {
			continue
		}
		fit = false
		x := t.note(Excess{Over: LabelValuesLimit, Metric: metric, Value: i, Max: limit, label: v.Label})
		if _, ok := t.refused[v.Value]; !ok {
			if t.refused == nil {
				t.refused = map[uint64]struct{}{}
			}
			t.refused[v.Value] = struct{}{}
			x.Count++
		}
	}
	return fit
}

// note counts a metric that is over a limit, and returns the excess, in whose
// Count is what did not fit until sum.
func (t *tally) note(x Excess) *Excess {
	i := slices.IndexFunc(t.excess, func(o Excess) bool { return o.Over == x.Over && o.label == x.label })
	if i < 0 {
		i = len(t.excess)
		t.excess = append(t.excess, x)
	}
	t.excess[i].Metrics++
	return &t.excess[i]
}

// sum ends the tally.
func (t *tally) sum() []Excess {
	for i := range t.excess {
		t.excess[i].Count += t.held(&t.excess[i])
	}
	return t.excess
}

func (t *tally) refusal() error {
	return &OverBudgetError{Job: t.job.name, Excess: t.excess}
}
