package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// queries is what others ask Prometheus.
type queries struct {
	read   []query
	unread []unread
}

// query is an expression, and where it stands.
type query struct {
	place     string
	selectors []selector
}

// selector is a choice of series and the labels by which they are told apart.
type selector struct {
	metric   string // empty: any
	matchers []*labels.Matcher
	labels   map[string]bool
}

// unread is a query that could not be parsed.
type unread struct {
	Place string `json:"place"`
	Fault string `json:"fault"`
}

// broken is a query that uses what goes.
type broken struct {
	Place string `json:"place"`
	Gone  gone   `json:"gone"`
}

// readQueries reads rules, and dashboards, of which folders have any number.
func readQueries(rules, dashboards []string) (queries, error) {
	var q queries
	for _, file := range rules {
		if err := q.readRules(file); err != nil {
			return q, flagFault("--rules.file: %s: %v", file, err)
		}
	}
	for _, name := range dashboards {
		if err := q.readDashboards(name); err != nil {
			return q, flagFault("--dashboards: %v", err)
		}
	}
	return q, nil
}

// readRules reads what it needs of a file of rules; promtool checks the rest.
func (q *queries) readRules(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var written struct {
		Groups []struct {
			Name  string
			Rules []struct{ Alert, Record, Expr string }
		}
	}
	if err := yaml.Unmarshal(content, &written); err != nil {
		return err
	}
	if len(written.Groups) == 0 {
		return errors.New("no groups of rules")
	}
	for _, g := range written.Groups {
		for _, r := range g.Rules {
			kind, name := "alert", r.Alert
			if r.Record != "" {
				kind, name = "record", r.Record
			}
			q.add(fmt.Sprintf("%s: group %q: %s %q", file, g.Name, kind, name), r.Expr)
		}
	}
	return nil
}

// add reads one expression, in the first of its wordings that parses.
func (q *queries) add(place string, candidates ...string) {
	var fault error
	for _, expr := range candidates {
		parsed, err := parser.NewParser(parser.Options{EnableExperimentalFunctions: true}).ParseExpr(expr)
		if err == nil {
			q.read = append(q.read, query{place, selectorsOf(parsed, nil)})
			return
		}
		if fault == nil {
			fault = err
		}
	}
	q.unread = append(q.unread, unread{place, fault.Error()})
}

// selectorsOf returns the selectors below a node; above are the labels that what is
// above it looks at.
func selectorsOf(n parser.Node, above []string) []selector {
	above = slices.Concat(above, labelsOf(n))
	if s, ok := n.(*parser.VectorSelector); ok {
		return []selector{newSelector(s, above)}
	}
	var out []selector
	for child := range parser.ChildrenIter(n) {
		out = append(out, selectorsOf(child, above)...)
	}
	return out
}

// labelsOf are the labels that a node wants of what is below it.
func labelsOf(n parser.Node) []string {
	switch n := n.(type) {
	case *parser.AggregateExpr:
		if !n.Without {
			return n.Grouping
		}
	case *parser.BinaryExpr:
		if n.VectorMatching != nil && n.VectorMatching.On {
			return slices.Concat(n.VectorMatching.MatchingLabels, n.VectorMatching.Include)
		}
		if n.VectorMatching != nil {
			return n.VectorMatching.Include
		}
	case *parser.Call:
		return labelArguments(n)
	}
	return nil
}

// labelArguments are the labels that a function reads by name.
func labelArguments(n *parser.Call) []string {
	from := map[string]int{"label_replace": 3, "label_join": 3, "sort_by_label": 1, "sort_by_label_desc": 1}[n.Func.Name]
	if from == 0 || from >= len(n.Args) {
		return nil
	}
	args := n.Args[from:]
	if n.Func.Name == "label_replace" {
		args = args[:1]
	}
	var out []string
	for _, a := range args {
		if s, ok := a.(*parser.StringLiteral); ok {
			out = append(out, s.Val)
		}
	}
	return out
}

func newSelector(s *parser.VectorSelector, above []string) selector {
	out := selector{metric: s.Name, matchers: s.LabelMatchers, labels: map[string]bool{}}
	for _, l := range above {
		out.labels[l] = true
	}
	for _, m := range s.LabelMatchers {
		if m.Name != model.MetricNameLabel {
			out.labels[m.Name] = true
		}
	}
	return out
}

// uses reports whether the selector chooses the metric and looks at the label.
func (s selector) uses(g gone) bool {
	for _, m := range s.matchers {
		value, known := "", true
		switch m.Name {
		case model.MetricNameLabel:
			value = g.Metric
		case model.JobLabel:
			value = g.Job
		default:
			known = false
		}
		if known && !hasVariable(m.Value) && !m.Matches(value) {
			return false
		}
	}
	if g.Label == "" {
		return s.metric != "" || slices.ContainsFunc(s.matchers, func(m *labels.Matcher) bool { return m.Name == model.MetricNameLabel })
	}
	return s.labels[g.Label]
}

// using returns the queries that use what goes, each with all of that.
func (q queries) using(all []gone) []broken {
	var out []broken
	for _, query := range q.read {
		for _, g := range all {
			if slices.ContainsFunc(query.selectors, func(s selector) bool { return s.uses(g) }) {
				out = append(out, broken{query.place, g})
			}
		}
	}
	return out
}
