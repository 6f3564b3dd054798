// Package rules decides what happens to the labels of one metric and of one
// grouping key, and what class a metric family is of. It is pure: no I/O, no
// clock, and no lock but the one around what [Classes] remember.
//
// A [Config] is what a policy states, a [Set] what runs. Labels pass through
// Prometheus' relabelling, are held against the allowlist, then the rules, where the first that matches a label
// decides about it; what is left is held to the limits. The labels job, le,
// quantile and __name__ carry the protocol; limits count them, nothing else
// touches them.
//
// A [ClassConfig] and what it compiles to, [Classes], tell counters from snapshots.
package rules

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/pushguard/pushguard/rules/finding"
)

// Action is what a Rule does to the labels it matches, as the policy file writes it.
type Action string

// The actions.
const (
	Drop     Action = "drop"     // the label goes
	Template Action = "template" // the value becomes the normal form of its shape
	Bucket   Action = "bucket"   // the value becomes one of Rule.Buckets names
	Truncate Action = "truncate" // the value keeps its first Rule.Length bytes
	Replace  Action = "replace"  // the value becomes Rule.Replacement
	Event    Action = "event"    // the label goes, and the metric leaves a record with it in the event log
	Reject   Action = "reject"   // the push is refused
	Keep     Action = "keep"     // the value stays and no later rule sees it
)

// Gauges is what becomes of gauges that a rule makes equal, as the policy file
// writes it. The zero value says nothing, which is as Last.
type Gauges string

// The words for gauges.
const (
	Last Gauges = "last" // the last in the push stays
	Max  Gauges = "max"
	Min  Gauges = "min"
	Sum  Gauges = "sum"
)

// Limits are the limits of one push, under Prometheus' own names. Zero is no
// limit. Lengths are in bytes.
type Limits struct {
	BodySize         int64 // of the decoded body
	Samples          int   // of the push, histograms and summaries expanded
	Labels           int   // of one metric, or of the grouping key with its job; the name is none
	LabelNameLength  int
	LabelValueLength int
}

// Rule is one rule as the policy states it. It matches a label by its name, by
// the shape of its value, or by both; at least one must be stated.
type Rule struct {
	// ID is what findings carry: letters, digits and . _ - / :, at most 64 bytes,
	// unique among the rules and none of package finding's own.
	ID     string
	Labels []string // anchored RE2 patterns of label names; empty matches every name
	Shapes []string // names of shapes, or "all"; empty matches every value
	// Action is required. Template without Shapes means all of them; a value
	// without a shape is left to the next rule.
	Action Action
	// Replacement is the new value for Replace, and for it alone.
	Replacement string
	// Buckets is how many values Bucket leaves, for it alone; at least 1. With 12
	// of them they are b00 to b11: the xxHash64 of the value, seed 0, modulo
	// Buckets. That is so for ever, as a value that moves is a new series. Empty
	// values stay, and so do values that are the name of a bucket already.
	Buckets int
	// Length is how many bytes Truncate leaves, for it alone; at least 1. A
	// character is never cut in two; where not even one fits, the label goes.
	Length int
	// Gauges says how gauges are merged that this rule makes equal, for the
	// actions that change a label.
	Gauges Gauges
}

// Config is what Compile turns into a Set. The zero value permits everything.
type Config struct {
	Limits Limits
	// Labels is the allowlist of label names, anchored RE2 patterns; nil permits
	// every label, empty none.
	Labels []string
	Rules  []Rule
	// Relabel are Prometheus' relabel_configs, each with at least its action and
	// regex. They are not changed.
	Relabel []*relabel.Config
}

// Outcome is what a Verdict says. The zero value is no outcome.
type Outcome uint8

// The outcomes.
const (
	Permitted Outcome = iota + 1 // nothing changes
	Rewritten                    // the labels change
	Rejected                     // the push is refused
	LeftOut                      // the metric is left out of the push
)

// Verdict is what the rules decided about one metric or one grouping key.
type Verdict struct {
	Outcome Outcome
	// Labels are the labels as they shall be, in the order of the input, after
	// them those that relabelling adds. If Permitted they are the input itself, if
	// Rejected or LeftOut nil. Names and values that did not change share the
	// input's memory, and what relabelling takes from a key may share the key's.
	Labels []labels.Label
	// Findings say why: one for each change of a label, by relabelling or by the
	// rest, or, if Rejected or LeftOut, one for each reason, and nothing else.
	// Empty if Permitted. They share no memory with the input's values, but with
	// its names.
	Findings []finding.Finding
	// Gauges is the word of the first rule, in the policy's order, that changed a
	// label and has one; empty if none has.
	Gauges Gauges
	// Events are the ids of the rules of that action that took a label away.
	Events []string
}

// isProtected reports whether no rule ever touches the label: it carries the
// protocol, not the job's data.
func isProtected(label string) bool {
	switch label {
	case "job", "le", "quantile", "__name__":
		return true
	}
	return false
}
