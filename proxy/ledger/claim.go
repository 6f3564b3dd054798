package ledger

import (
	"fmt"

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

	// Families are the names of those that the push writes, each once. Not read
	// for DELETE.
	Families []string
	// Metrics are the metrics of these families, in the order in which they are
	// admitted. A family without any is written, and holds no series.
	Metrics []MetricClaim
}

// MetricClaim is a metric that a push brings.
type MetricClaim struct {
	Fingerprint uint64            // by wire.Print
	Values      []wire.LabelValue // by wire.Print
	Family      int32             // an index into Claim.Families
	Samples     int32             // the series it makes in an exposition
}

// Budget is how much may be held. 0 does not limit: it is measured only.
type Budget struct {
	Series      int // of the job
	LabelValues int // distinct values of one label, over all of the job
	EntrySeries int // of all jobs of the policy's entry together
	GuardSeries int // of all jobs
}

// OverBudget is what becomes of a push that brings more than the budget allows.
type OverBudget uint8

// What may become of it.
const (
	Trim   OverBudget = iota + 1 // new metrics over budget are left out
	Reject                       // the push is refused
)

// Limit is one of the limits of a Budget. The zero value is none.
type Limit uint8

// The limits.
const (
	SeriesLimit Limit = iota + 1
	LabelValuesLimit
	EntrySeriesLimit
	GuardSeriesLimit
)

// String is the limit's name in a policy.
func (l Limit) String() string {
	switch l {
	case SeriesLimit:
		return "series"
	case LabelValuesLimit:
		return "label_values"
	case EntrySeriesLimit:
		return "entry_budget"
	case GuardSeriesLimit:
		return "series of the guard"
	default:
		return "none"
	}
}

// Excess is what a claim brings over one limit; of LabelValuesLimit there is one
// for each label.
type Excess struct {
	Over Limit
	// Metric is the first metric over it, an index into Claim.Metrics, and Value
	// an index into its Values where a label's values are over. Metric is -1 for a
	// group that is new and itself over budget.
	Metric, Value int
	Metrics       int // over it
	// Count is what would be held with them, series or distinct values, and Max
	// the budget.
	Count, Max int

	label uint64
}

// OverBudgetError says that a push is refused, whole, for what it brings over
// the budget: because the claim says Reject, or because not even the two series
// fit which the upstream itself makes for a new group.
type OverBudgetError struct {
	Job    string
	Excess []Excess // at least one
}

// Error names the first limit passed.
func (e *OverBudgetError) Error() string {
	x := e.Excess[0]
	return fmt.Sprintf("job %.100q is over its budget of %s: %d, limit: %d", e.Job, x.Over, x.Count, x.Max)
}

// Ruling is what the book decides about a claim.
type Ruling struct {
	// Method is what to send: the claim's, or POST in place of a PUT that would
	// erase families which other raw keys have pushed.
	Method string
	// Skip says that nothing is to be sent: a DELETE of a group that another raw
	// key has pushed to since.
	Skip bool
	// Shared are the families of this push that another raw key wrote last, in
	// the claim's order.
	Shared []string
	// Trimmed are the metrics to leave out of the push, ascending indices into
	// Claim.Metrics, and Excess the reasons.
	Trimmed []int
	Excess  []Excess
	// Held is how many series the job holds once the push is applied; Max its
	// budget; and Near whether it holds 80 % of that.
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
