package proxy

import (
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/rules/finding"
)

// Trace is how one write went through the guard, step by step, for people who
// want to know why. A step that was not reached is absent. Its JSON is part of
// the interface: fields are added, never renamed.
type Trace struct {
	Method string `json:"method"`
	// Path is the escaped path as the client sent it.
	Path string `json:"path"`
	// Policy is the digest of the policy file.
	Policy string `json:"policy"`
	// Key is absent if the path is none of a group.
	Key   *TraceKey   `json:"key,omitempty"`
	Entry *TraceEntry `json:"entry,omitempty"`
	Body  *TraceBody  `json:"body,omitempty"`
	// Changes are what the rules, the allowlist and the limits said about labels:
	// what they did if the mode is enforce, what they would do if it is report.
	Changes []TraceChange `json:"changes,omitempty"`
	// Merges are the metrics that became equal and were joined.
	Merges []TraceMerge `json:"merges,omitempty"`
	// Families are the families of the body by what they are taken for: what adds
	// up leaves the snapshot, and only its increments go on.
	Families []TraceFamily `json:"families,omitempty"`
	// Metrics is what became of the body's metrics, by the rules.
	Metrics *TraceMetrics `json:"metrics,omitempty"`
	Ledger  *TraceLedger  `json:"ledger,omitempty"`
	// Budget is what the ledger said of the job's budget under enforcement.
	Budget *TraceBudget `json:"budget,omitempty"`
	// Events are the records of the metrics that leave for the event log, without
	// their ids and time.
	Events []event.Record `json:"events,omitempty"`
	// Increments are what the push has added, whole and not redacted, those of nothing
	// left out. What it would add but did not, Families has.
	Increments []counter.Increment `json:"-"`
	// Forwarded is what would be sent to a Pushgateway; absent if nothing would, and of
	// a write that was not only explained.
	Forwarded *TraceForwarded `json:"forwarded,omitempty"`
	// Findings are all findings of the push, as the audit log has them.
	Findings     []TraceFinding `json:"findings,omitempty"`
	MoreFindings int            `json:"more_findings,omitempty"`
	// Outcome is passed, changed, refused, skipped or failed.
	Outcome string `json:"outcome"`
	// Would is the outcome that enforce would have, in report alone.
	Would  string      `json:"would,omitempty"`
	Answer TraceAnswer `json:"answer"`
}

// TraceFinding is a finding, and the line of the policy that stands behind it.
type TraceFinding struct {
	finding.Finding
	// File and Line are absent where nothing written in the policy decides.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// TraceKey is the grouping key.
type TraceKey struct {
	// Pushed is the key as the client sent it, Group as the policy would have it:
	// job folded, rules applied.
	Pushed map[string]string `json:"pushed"`
	Group  map[string]string `json:"group"`
}

// TraceEntry is the policy entry that governs the push.
type TraceEntry struct {
	Name string `json:"name"`
	// File and Line are where the entry stands; absent for a default not written.
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
	Owner string `json:"owner,omitempty"`
	Mode  string `json:"mode"`
	// Job is the name by which the entry was found: the pushed one, folded.
	Job string `json:"job"`
}

// TraceBody is what was read from the body.
type TraceBody struct {
	Encoding string `json:"encoding"` // text or protobuf
	Bytes    int    `json:"bytes"`    // as received
	Decoded  int    `json:"decoded_bytes"`
	Families int    `json:"families"`
	Metrics  int    `json:"metrics"` // a histogram or summary is one
	Samples  int    `json:"samples"` // histograms and summaries expanded
}

// TraceAct is what was done to a label, or because of it.
type TraceAct string

// The acts.
const (
	LabelDropped  TraceAct = "dropped"  // the label goes
	LabelReplaced TraceAct = "replaced" // its value becomes another
	LabelAdded    TraceAct = "added"    // it was not pushed
	MetricLeftOut TraceAct = "left out" // the metric does not go on
	PushRefused   TraceAct = "refused"  // the push does not
)

// TraceChange is what one rule did to one label of one family, or of the
// grouping key, in all of its metrics.
type TraceChange struct {
	// Rule is the id of the rule, or of the guard's own finding.
	Rule string `json:"rule"`
	// File and Line are where the rule stands in the policy; absent if it does not.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Metric is empty for the grouping key.
	Metric string   `json:"metric,omitempty"`
	Label  string   `json:"label,omitempty"`
	Act    TraceAct `json:"act"`
	// Values are the first three different ones.
	Values []TraceValue `json:"values,omitempty"`
	// Count is how many metrics it concerns.
	Count int `json:"count"`
	// Seen was held against Limit, for a limit.
	Seen  int `json:"seen,omitempty"`
	Limit int `json:"limit,omitempty"`
}

// TraceValue is a value before and after, both redacted.
type TraceValue struct {
	Before string `json:"before"`
	After  string `json:"after,omitempty"`
}

// TraceFamily is what a family of the body is taken for, and why.
type TraceFamily struct {
	Family string `json:"family"`
	Type   string `json:"type"` // as declared
	// Unit is the histogram that the family is a part of, where the parts were
	// pushed without a type.
	Unit string `json:"unit,omitempty"`
	// Class is counter, snapshot, event, drop, evidence or noise, and Reason says
	// what that follows from; File and Line are where the policy said so.
	Class  string `json:"class"`
	Reason string `json:"reason"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	// Route is where the increments of a counter go: totals, statsd, or snapshot
	// where it stays as it is.
	Route string `json:"route,omitempty"`
	// Metrics is how many the body has of the family. Counted of them leave as
	// increments, and LeftOut neither count nor stay: by a rule, as evidence that
	// has served, or because the policy says event or drop.
	Metrics int `json:"metrics"`
	Counted int `json:"counted,omitempty"`
	LeftOut int `json:"left_out,omitempty"`
	// Semantics are those of a counter, Evidence what tells its source from others.
	Semantics string `json:"semantics,omitempty"`
	Evidence  string `json:"evidence,omitempty"`
	// How are the ways in which values became increments, each once: grown, first,
	// counted, ignored, reset, late, added or retry.
	How []string `json:"how,omitempty"`
	// Increment is what the push adds to all of the family's series: of a
	// histogram or summary, observations. Absent if nothing is added up.
	Increment *float64 `json:"increment,omitempty"`
	// Added are the first three of the series that this is added to, and
	// MoreAdded how many more there are.
	Added     []TraceAdded `json:"added,omitempty"`
	MoreAdded int          `json:"more_added,omitempty"`
}

// TraceAdded is what a push adds to one series.
type TraceAdded struct {
	// Labels are those of the series after the rules and the budget, their values
	// redacted. Its name is the family's, or the unit's.
	Labels map[string]string `json:"labels"`
	// Increment is what a counter grows by, or the observations of a histogram or
	// summary.
	Increment float64 `json:"increment"`
	// Sum is what their sum grows by. Absent of a counter, and where it is not
	// known to grow, since observations were negative.
	Sum *float64 `json:"sum,omitempty"`
}

// TraceMerge is several metrics that became one.
type TraceMerge struct {
	Metrics int `json:"metrics"`
	// Parts are the first three of them as lines of text, redacted; Whole is the
	// one they became.
	Parts []string `json:"parts"`
	Whole string   `json:"whole"`
}

// TraceMetrics counts the metrics of a body by what the rules made of them.
type TraceMetrics struct {
	Passed  int `json:"passed"`
	Changed int `json:"changed"`
	// Counted are those that leave as increments.
	Counted int `json:"counted,omitempty"`
	// LeftOut counts the others that do not go on by themselves, merged ones
	// included.
	LeftOut int `json:"left_out"`
}

// TraceLedger is what the ledger decided.
type TraceLedger struct {
	Group map[string]string `json:"group"`
	// Method is what is sent: POST in place of a PUT that would erase what other
	// runs have pushed to the group.
	Method string `json:"method"`
	// Skip says that a DELETE is not sent: another run has pushed since.
	Skip bool `json:"skip,omitempty"`
	// Shared are the families that another run wrote last.
	Shared []string `json:"shared_families,omitempty"`
}

// TraceBudget is what a job holds once the push is booked, and what it may hold.
// A limit is 0 where nothing limits the job.
type TraceBudget struct {
	// Held counts series, the upstream's own two of each group and the totals
	// that the push is added to among them.
	Held  int `json:"held"`
	Limit int `json:"limit,omitempty"`
	// Groups and the new series are what the book knows once the push is done:
	// under report, the forecast's.
	Groups           int `json:"groups"`
	GroupsLimit      int `json:"groups_limit,omitempty"`
	NewThisHour      int `json:"new_this_hour"`
	NewThisHourLimit int `json:"new_this_hour_limit,omitempty"`
	NewThisDay       int `json:"new_this_day"`
	NewThisDayLimit  int `json:"new_this_day_limit,omitempty"`
	// LeftOut counts the new metrics for which there was no room, Collapsed those
	// that have room only since label values of theirs became one.
	LeftOut   int `json:"left_out,omitempty"`
	Collapsed int `json:"collapsed,omitempty"`
	// Before is what the job holds without the push; absent where it was not asked.
	Before *TraceUse `json:"before,omitempty"`
	// Over are the limits that the push passes.
	Over []TraceOver `json:"over,omitempty"`
	// OnOver is what the policy says becomes of new metrics that pass a limit; absent
	// where none does.
	OnOver *TraceOnOver `json:"on_over_budget,omitempty"`
	// Evicted are the groups that make room for the push once it is done.
	Evicted []map[string]string `json:"evicted,omitempty"`
}

// TraceUse is what a job holds and has brought.
type TraceUse struct {
	Held        int `json:"held"`
	Groups      int `json:"groups"`
	NewThisHour int `json:"new_this_hour"`
	NewThisDay  int `json:"new_this_day"`
}

// TraceOver is one limit that a push passes.
type TraceOver struct {
	// Budget is the limit's name in a policy.
	Budget string `json:"budget"`
	// Count would be held with the push, or be new within the limit's time.
	Count int `json:"count"`
	Limit int `json:"limit"`
	// File and Line are where the limit stands; absent where the policy does not have it.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// TraceOnOver is a policy's on_over_budget.
type TraceOnOver struct {
	// Ruling is trim, reject, collapse or evict_oldest.
	Ruling string `json:"ruling"`
	// File and Line are where it is said; absent where nothing is, so that it is trim.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// TraceAnswer is what the client is told.
type TraceAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
}
