// Package rules decides what happens to the labels of one metric and of one
// grouping key. It is pure: no I/O, no clock, no lock.
package rules

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/rules/finding"
)

// Action is what a Rule does to the labels it matches, as the policy file writes it.
type Action string

// The actions.
const (
	Drop     Action = "drop"     // the label goes
	Template Action = "template" // the value becomes the normal form of its shape
	Replace  Action = "replace"  // the value becomes Rule.Replacement
	Reject   Action = "reject"   // the push is refused
	Keep     Action = "keep"     // the value stays and no later rule sees it
)

// Limits are the limits of one push, under Prometheus' own names. Zero is no limit.
type Limits struct {
	BodySize         int64
	Samples          int
	Labels           int
	LabelNameLength  int
	LabelValueLength int
}

// Rule is one rule as the policy states it.
type Rule struct {
	ID          string
	Labels      []string // anchored RE2 patterns of label names; empty matches every name
	Shapes      []string // names of shapes, or "all"; empty matches every value
	Action      Action
	Replacement string
}

// Config is what Compile turns into a Set.
type Config struct {
	Limits Limits
	// Labels is the allowlist of label names, anchored RE2 patterns; nil permits every label.
	Labels []string
	Rules  []Rule
}

// Outcome is what a Verdict says. The zero value is no outcome.
type Outcome uint8

// The outcomes.
const (
	Permitted Outcome = iota + 1 // nothing changes
	Rewritten                    // the labels change
	Rejected                     // the push is refused
)

// Verdict is what the rules decided about one metric or one grouping key.
type Verdict struct {
	Outcome  Outcome
	Labels   []labels.Label
	Findings []finding.Finding
}

// Set is a compiled Config.
type Set struct{}
