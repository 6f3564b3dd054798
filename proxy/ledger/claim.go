package ledger

import (
	"fmt"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Claim is what a request wants to do to a group. It is plain data: the ledger
// reads it before Admit returns, and keeps nothing of it.
type Claim struct {
	Group  wire.Key // the group as the upstream will store it
	Raw    wire.Key // the grouping key as the client sent it
	Method string   // PUT, POST or DELETE
	Folds  bool     // the policy can fold other raw keys into this group

	// Job is who pays: the folded name of the job, the group's own if empty.
	Job string
	// Entry is the policy's entry that governs the job.
	Entry      int
	Budget     Budget
	OverBudget OverBudget // 0 is Trim
	// Others tells Collapse, by the hash of a label, the hash of its value
	// wire.Other, both of wire.PrintOther. Labels that are not in it keep their
	// values.
	Others map[uint64]uint64

	// Families are the names of those that the push writes, each once. Not read
	// for DELETE.
	Families []string
	// Metrics are the metrics of these families, in the order in which they are
	// admitted. A family without any is written, and holds no series.
	Metrics []MetricClaim
	// Values are the label values of the metrics, by wire.Print. Metrics may share them.
	Values [][]wire.LabelValue
	// Sorting, if not nil, is that of a caller whose claims with it all have the same
	// Families and Metrics: a book sorts them once. It changes nothing that is decided.
	Sorting *Sorting
	// Totals marks a POST of what is added up elsewhere under the key of the group,
	// not in the upstream: what it names is added to what is there and replaces
	// nothing. It costs the job its series, but is no group: no listing, limit of
	// groups, sweep or eviction concerns it. What no such push names for StaleAfter
	// goes within as long again.
	Totals bool

	// Success are the families that tell when the job succeeded last, indices into
	// Families; see Budget.KeepLast.
	Success []int32

	// Sweep marks a DELETE that the guard makes of itself, because the group is
	// stale. It acts only on a group that exists, is not pinned, and was not pushed
	// to after IfOlder, whoever wrote last; the zero IfOlder is no such bound.
	Sweep   bool
	IfOlder time.Time
	// Evict marks a DELETE that carries out a Ruling.Evict. It acts only while that
	// ruling stands for the group, and on what Sweep may act on.
	Evict bool

	hashes []uint64 // in place of the names of Families, if not nil
	done   Outcome  // it was carried out already, by a guard that was by itself
}

// MetricClaim is a metric that a push brings.
type MetricClaim struct {
	Fingerprint uint64 // by wire.Print
	Values      int32  // which of Claim.Values it has, from 1; 0 is none
	Family      int32  // an index into Claim.Families
	Samples     int32  // the series it makes in an exposition
	// Metric is what the caller knows the metric by; the book does not read it.
	Metric int32
}

// AddValues adds the label values of a metric, and returns which of Values they are.
func (c *Claim) AddValues(values []wire.LabelValue) int32 {
	c.Values = append(c.Values, values)
	return int32(len(c.Values))
}

// ValuesOf are the label values of one of Metrics.
func (c *Claim) ValuesOf(m *MetricClaim) []wire.LabelValue {
	if m.Values == 0 {
		return nil
	}
	return c.Values[m.Values-1]
}

// Budget is how much may be held, and for how long. 0 does not limit: it is
// measured only.
type Budget struct {
	// Series of the job. It may hold Borrow more of them, while the guard has room
	// that no entry is guaranteed.
	Series, Borrow int
	Groups         int // of the job
	LabelValues    int // distinct values of one label, over all of the job
	// NewSeriesPerHour and NewSeriesPerDay are how many series the job may bring,
	// in any hour and any 24 hours, that its group did not hold.
	NewSeriesPerHour, NewSeriesPerDay int
	PushesPerMinute                   int // of the job, those that are admitted

	EntrySeries   int // of all jobs of the policy's entry together
	EntryJobs     int // how many jobs of the entry may have groups
	NewJobsPerDay int // of the entry, those that had no group for 24 hours

	// Guaranteed is what of GuardSeries is set aside for the entry, Reserved the sum
	// of that over all entries. What an entry holds beyond its own comes out of the
	// remainder, GuardSeries - Reserved.
	Guaranteed, Reserved     int
	GuardSeries, GuardGroups int // of all jobs

	// StaleAfter is for how long after its last accepted push a group lives, one
	// that never had any after its last failure; see Stale.
	StaleAfter time.Duration
	// KeepLast pins the job's newest group that tells of a success, or its newest
	// group if none does. A pinned group is neither swept nor evicted.
	KeepLast bool
}

// OverBudget is what becomes of a push that brings more than the budget allows.
type OverBudget uint8

// What may become of it.
const (
	// Trim leaves out new metrics over budget.
	Trim OverBudget = iota + 1
	// Reject refuses the push.
	Reject
	// Collapse replaces label values of new metrics over budget by wire.Other, and
	// leaves out what does not fit even so.
	Collapse
	// EvictOldest has the job's oldest groups make room, where it is the job's own
	// series or groups that are over, with the push or without it. For the rest it is
	// Trim.
	EvictOldest
)

// Limit is one of the limits of a Budget. The zero value is none.
type Limit uint8

// The limits.
const (
	SeriesLimit Limit = iota + 1
	LabelValuesLimit
	EntrySeriesLimit
	GuardSeriesLimit
	GroupsLimit
	NewSeriesPerHourLimit
	NewSeriesPerDayLimit
	PushesPerMinuteLimit
	EntryJobsLimit
	NewJobsPerDayLimit
	GuardGroupsLimit
	RemainderLimit // what of GuardSeries no entry is guaranteed
)

var limitNames = [...]string{
	"none", "series", "label_values", "entry_budget", "series of the guard", "groups", "new_series_per_hour",
	"new_series_per_day", "pushes_per_minute", "jobs", "new_jobs_per_day", "groups of the guard", "series of the guard that are not guaranteed",
}

// String is the limit's name in a policy.
func (l Limit) String() string {
	if int(l) >= len(limitNames) {
		l = 0
	}
	return limitNames[l]
}

// Excess is what a claim brings over one limit; of LabelValuesLimit there is one
// for each label.
type Excess struct {
	Over Limit
	// Metric is the first metric over it, an index into Claim.Metrics, and Value
	// an index into its label values where a label's values are over. Metric is -1 for a
	// group that is new and itself over budget.
	Metric, Value int
	Metrics       int // over it
	// Count is what would be held with them, or be new within the window of the
	// limit, in the limit's own unit; Max is the limit.
	Count, Max int

	label uint64
}

// OverBudgetError says that a push is refused, whole, for what it brings over
// the budget: because the claim says Reject, or because the push would make a
// group or a job that is one too many, or of which not even the two series fit
// that the upstream itself makes for a new group.
type OverBudgetError struct {
	Job    string
	Excess []Excess // at least one
}

// Error names the first limit passed.
func (e *OverBudgetError) Error() string {
	x := e.Excess[0]
	return fmt.Sprintf("job %.100q is over its budget of %s: %d, limit: %d", e.Job, x.Over, x.Count, x.Max)
}

// RateError says that a job pushes too often.
type RateError struct {
	Job        string
	Max        int           // pushes a minute
	RetryAfter time.Duration // when there will be room again for one push
}

// Error names the limit.
func (e *RateError) Error() string {
	return fmt.Sprintf("job %.100q pushes too often, limit: %d a minute", e.Job, e.Max)
}

// Reason is why a DELETE is skipped. The zero value is none.
type Reason uint8

// The reasons.
const (
	Overtaken Reason = iota + 1 // another raw key has pushed since
	Gone                        // the group does not exist
	Fresh                       // it was pushed to after Claim.IfOlder
	Pinned                      // the policy keeps it
	Spared                      // no ruling asks for its eviction, any more
)

// Collapsed is a metric of the claim that passes with other label values.
type Collapsed struct {
	Metric int   // an index into Claim.Metrics
	Values []int // indices into its label values, ascending: those that become wire.Other
}

// Ruling is what the book decides about a claim.
type Ruling struct {
	// Method is what to send: the claim's, or POST in place of a PUT that would
	// erase families which other raw keys have pushed.
	Method string
	// Skip says that nothing is to be sent: a DELETE that must not act, for the
	// Reason.
	Skip   bool
	Reason Reason
	// Shared are the families of this push that another raw key wrote last, in
	// the claim's order.
	Shared []string
	// Trimmed are the metrics to leave out of the push, ascending indices into
	// Claim.Metrics, and Excess the reasons.
	Trimmed []int
	Excess  []Excess
	// Collapsed are the metrics that pass with label values replaced by wire.Other,
	// in the claim's order. Those that are equal then, to one another or to others
	// of the push, are one metric: the caller merges them.
	Collapsed []Collapsed
	// Evict are the groups that make room for the push, oldest first. Once the push
	// is Applied the caller deletes each by a claim with Evict.
	Evict []wire.Key
	// Held is how many series the job holds once the push is applied, and the
	// evictions done; Max its budget; and Near whether it holds 80 % of that.
	Held, Max int
	Near      bool
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
