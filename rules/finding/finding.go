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
	// GroupsBudget says that a job has as many groups as its budget, so that a push
	// that would make one more was refused.
	GroupsBudget = "groups_budget"
	// GuardGroups says the same of all jobs of the guard.
	GuardGroups = "guard_groups"
	// NewSeriesPerHour says that a job has brought as many new series within an
	// hour as its budget.
	NewSeriesPerHour = "new_series_per_hour"
	// NewSeriesPerDay says the same of 24 hours.
	NewSeriesPerDay = "new_series_per_day"
	// PushesPerMinute says that a job pushes more often than its budget.
	PushesPerMinute = "pushes_per_minute"
	// JobsBudget says that one entry governs as many jobs as its budget, so that a
	// push of one more was refused.
	JobsBudget = "jobs_budget"
	// NewJobsPerDay says that as many new jobs came to one entry within 24 hours as
	// its budget.
	NewJobsPerDay = "new_jobs_per_day"
	// Collapsed says that label values for which a budget has no room became one.
	Collapsed = "collapsed"
	// Evicted says that older groups of the job make room for the push.
	Evicted = "evicted"
	// FamilyConflict says that a family is kept as totals for one job and as a
	// snapshot for another, or as totals of another kind.
	FamilyConflict = "family_conflict"
	// ShadowedCounter says that the group still holds an old copy of a counter
	// that is added up now.
	ShadowedCounter = "shadowed_counter"
	// CounterValue says that a counter has a value that no counter can have.
	CounterValue = "counter_value"
	// PeriodicCounter says that counters without a sign of their source look like
	// running totals, and are added up all the same.
	PeriodicCounter = "periodic_counter"
	// GaugeNamedTotal says that a gauge has the name of a counter.
	GaugeNamedTotal = "gauge_named_total"
	// EventFamily says that the policy takes a family for an event: it is left out.
	EventFamily = "event_family"
	// DroppedFamily says that the policy leaves a family out.
	DroppedFamily = "dropped_family"
	// Unauthenticated says that a push came from nobody whom the policy knows.
	Unauthenticated = "unauthenticated"
	// NotPermitted says that a user pushed as a job of others.
	NotPermitted = "not_permitted"
	// Protocol says that a push would have broken the Pushgateway, its scrape or
	// other jobs (or is no push at all), whatever the policy permits.
	Protocol = "protocol"
)

// own are the ids above.
var own = map[string]bool{
	Allowlist: true, SampleLimit: true, BodySizeLimit: true, LabelLimit: true, LabelNameLengthLimit: true,
	LabelValueLengthLimit: true, SharedFamily: true, CounterSharedGroup: true, FoldedJob: true, Unmergeable: true,
	ReservedFamily: true, Relabel: true, SeriesBudget: true, EntryBudget: true, GuardBudget: true,
	LabelValuesBudget: true, BudgetExpired: true, NearBudget: true, GroupsBudget: true, GuardGroups: true,
	NewSeriesPerHour: true, NewSeriesPerDay: true, PushesPerMinute: true, JobsBudget: true, NewJobsPerDay: true,
	Collapsed: true, Evicted: true, FamilyConflict: true, ShadowedCounter: true, CounterValue: true,
	PeriodicCounter: true, GaugeNamedTotal: true, EventFamily: true, DroppedFamily: true, Protocol: true,
	Unauthenticated: true, NotPermitted: true,
}

// IsOwn reports whether an id is one of the constants above, which no rule of a
// policy may have.
func IsOwn(id string) bool { return own[id] }

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
