// Package finding is the vocabulary of what pushguard notices about a push.
//
// A finding is data with a stable id. Only the edges turn it into text, JSON
// or a metric's label; nothing in between formats or interprets it.
package finding

// The ids of the findings that do not come from a rule of the policy. They are
// part of the interface: dashboards, tests and people's searches name them, so
// they never change. A rule's finding carries the rule's own id.
const (
	// Allowlist says that a label was removed because the policy's labels do
	// not list it.
	Allowlist = "allowlist"
	// SampleLimit says that a push held more samples than sample_limit.
	SampleLimit = "sample_limit"
	// BodySizeLimit says that a decoded body was larger than body_size_limit.
	BodySizeLimit = "body_size_limit"
	// LabelLimit says that a metric had more labels than label_limit.
	LabelLimit = "label_limit"
	// LabelNameLengthLimit says that a label name was longer than
	// label_name_length_limit.
	LabelNameLengthLimit = "label_name_length_limit"
	// LabelValueLengthLimit says that a label value was longer than
	// label_value_length_limit.
	LabelValueLengthLimit = "label_value_length_limit"
	// SharedFamily says that a family of the group was last written by another
	// raw grouping key that the policy folds into the same group.
	SharedFamily = "shared_family"
	// CounterSharedGroup says that the policy folds the grouping keys of
	// parallel runs, so that their counters overwrite one another.
	CounterSharedGroup = "counter_shared_group"
	// FoldedJob says that the name of a job carried the name of one of its runs,
	// and that the job is governed without it.
	FoldedJob = "folded_job"
	// Unmergeable says that a rule made metrics equal that cannot be added, such
	// as histograms with unlike bucket bounds.
	Unmergeable = "unmergeable"
	// ReservedFamily says that a push carried one of the families that the
	// Pushgateway itself writes for every group, and that it was left out.
	ReservedFamily = "reserved_family"
	// Relabel says that a relabel_configs of the policy changed a label, left a
	// metric out or refused the push.
	Relabel = "relabel"
	// SeriesBudget says that a job holds as many series as its budget, so that
	// new metrics were left out or the push was refused.
	SeriesBudget = "series_budget"
	// EntryBudget says the same of all jobs that one entry governs together.
	EntryBudget = "entry_budget"
	// GuardBudget says the same of all jobs of the guard.
	GuardBudget = "guard_budget"
	// LabelValuesBudget says that a label of a job has as many values as its
	// budget.
	LabelValuesBudget = "label_values"
	// BudgetExpired says that the job's own budget has ended by its date, and
	// default's holds.
	BudgetExpired = "budget_expired"
	// NearBudget says that a job holds nearly as much as a budget grants it.
	NearBudget = "near_budget"
	// Protocol says that a push would have broken the Pushgateway, its scrape or
	// other jobs (or is no push at all), whatever the policy permits.
	Protocol = "protocol"
)

// Finding is one thing noticed about a push. The zero value is not a finding.
// A Finding is plain data: copy it freely.
type Finding struct {
	// ID is the id of the rule that noticed it, or one of the constants above.
	ID string `json:"id"`
	// Metric is the first metric family concerned; empty for the grouping key
	// or the push as a whole.
	Metric string `json:"metric,omitempty"`
	// Label is the label concerned, if it is about one.
	Label string `json:"label,omitempty"`
	// Sample is the first value concerned, made safe by Redact.
	Sample string `json:"sample,omitempty"`
	// Count is how many were seen: metrics for a label, samples, bytes or labels
	// for a limit.
	Count int `json:"count"`
	// Limit is what Count was held against; 0 where there is no number.
	Limit int `json:"limit,omitempty"`
	// Fix is the shortest change that mends it, one line, said to the job's
	// author.
	Fix string `json:"fix,omitempty"`
}
