package rules

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/pushguard/pushguard/rules/finding"
)

// Set is a compiled Config. It does not change and is safe for concurrent use.
// The zero value permits everything.
type Set struct {
	limits    Limits
	allowlist *names // nil permits every label
	rules     []rule
	relabel   []*relabel.Config
}

// rule is a compiled Rule.
type rule struct {
	Rule
	index  int      // in Config.Rules
	names  *names   // nil matches every name
	shapes shapeSet // 0 matches every value
}

// Compile compiles a Config, patterns once and for all. The error is a Faults
// with every fault there is, not just the first.
func Compile(c Config) (*Set, error) {
	comp := compiler{rule: -1}
	s := &Set{limits: c.Limits}
	comp.limits(c.Limits)
	if c.Labels != nil {
		s.allowlist = comp.names(c.Labels)
	}
	seen := make(map[string]int, len(c.Rules))
	for i, r := range c.Rules {
		comp.rule = i
		comp.id(r.ID, seen)
		comp.action(r)
		s.rules = append(s.rules, comp.matchers(r))
	}
	comp.rule = -1
	s.relabel = comp.relabelConfigs(c.Relabel)
	if len(comp.faults) > 0 {
		return nil, comp.faults
	}
	return s, nil
}

// compiler gathers the faults of one Config.
type compiler struct {
	rule   int
	faults Faults
}

// fault notes that something is wrong with the i-th element of a field; -1 is
// the field itself.
func (c *compiler) fault(field string, i int, format string, args ...any) {
	c.faults = append(c.faults, &Fault{Rule: c.rule, Field: field, Index: i, Err: fmt.Errorf(format, args...)})
}

func (c *compiler) limits(l Limits) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{finding.BodySizeLimit, l.BodySize},
		{finding.SampleLimit, int64(l.Samples)},
		{finding.LabelLimit, int64(l.Labels)},
		{finding.LabelNameLengthLimit, int64(l.LabelNameLength)},
		{finding.LabelValueLengthLimit, int64(l.LabelValueLength)},
	} {
		if f.value < 0 {
			c.fault(f.name, -1, "limit %d is negative: want 0 for no limit, or more", f.value)
		}
	}
}

// maxID is the longest id in bytes: it becomes the value of a label.
const maxID = 64

func (c *compiler) id(id string, seen map[string]int) {
	first, duplicate := seen[id]
	switch {
	case id == "":
		c.fault("id", -1, "id is missing: want the name its findings carry")
	case len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool {
		return r >= utf8.RuneSelf || !isAlphanumeric(byte(r)) && !strings.ContainsRune("._-/:", r)
	}):
		c.fault("id", -1, "bad id %s: want at most %d letters, digits and . _ - / :", clipped(id), maxID)
	case finding.IsOwn(id):
		c.fault("id", -1, "id %q is taken: the guard's own findings carry it", id)
	case duplicate:
		c.fault("id", -1, "duplicate rule id %q: rule %d has it", id, first+1)
	default:
		seen[id] = c.rule
	}
}

func isAlphanumeric(c byte) bool { return classes[c]&(digits|hexLower|lower|hexUpper|upper) != 0 }

func (c *compiler) action(r Rule) {
	const want = "want drop, template, bucket, truncate, replace, event, reject or keep"
	switch r.Action {
	case Drop, Template, Bucket, Truncate, Replace, Event, Reject, Keep:
		c.options(r)
	case "":
		c.fault("action", -1, "action is missing: %s", want)
	default:
		c.fault("action", -1, "unknown action %s: %s", clipped(string(r.Action)), want)
	}
}

// options holds what a rule states for its action to what that action wants.
func (c *compiler) options(r Rule) {
	for _, o := range []struct {
		field  string
		stated bool
		action Action
		want   string
	}{
		{"buckets", r.Buckets != 0, Bucket, "how many values to leave"},
		{"length", r.Length != 0, Truncate, "how many bytes to leave"},
		{"replacement", r.Replacement != "", Replace, "the new value, drop takes the label away"},
	} {
		switch {
		case o.action == r.Action && !o.stated:
			c.fault(o.field, -1, "%s is missing: action %s wants %s", o.field, o.action, o.want)
		case o.action != r.Action && o.stated:
			c.fault(o.field, -1, "%s is for action %s, not %s", o.field, o.action, r.Action)
		}
	}
	if r.Buckets < 0 {
		c.fault("buckets", -1, "buckets %d: want 1 or more", r.Buckets)
	}
	if r.Length < 0 {
		c.fault("length", -1, "length %d: want 1 or more", r.Length)
	}
	if !utf8.ValidString(r.Replacement) {
		c.fault("replacement", -1, "replacement %s is not UTF-8", clipped(r.Replacement))
	}
	c.gauges(r)
}

func (c *compiler) gauges(r Rule) {
	switch r.Gauges {
	case "":
	case Last, Max, Min, Sum:
		if r.Action == Reject || r.Action == Keep {
			c.fault("gauges", -1, "gauges is for actions that change a label, not %s", r.Action)
		}
	default:
		c.fault("gauges", -1, "unknown gauges %s: want last, max, min or sum", clipped(string(r.Gauges)))
	}
}

// matchers compiles what a rule matches.
func (c *compiler) matchers(r Rule) rule {
	out := rule{Rule: r, index: c.rule}
	if len(r.Labels) == 0 && len(r.Shapes) == 0 {
		c.fault("labels", -1, "the rule says neither labels nor shapes: it would match everything")
	}
	if len(r.Labels) > 0 {
		out.names = c.names(r.Labels)
	}
	out.shapes = c.shapes(r.Shapes)
	if r.Action == Template && len(r.Shapes) == 0 {
		out.shapes = allShapes()
	}
	return out
}

// shapes compiles the field shapes.
func (c *compiler) shapes(names []string) shapeSet {
	all := shapeSet(0)
	for i, name := range names {
		set, ok := shapesNamed(name)
		if !ok {
			c.fault("shapes", i, "unknown shape %s", unknownShape(name))
		}
		all |= set
	}
	return all
}

// names matches label names.
type names struct {
	literals map[string]struct{}
	patterns []*labels.FastRegexMatcher
}

func (n *names) match(name string) bool {
	if _, ok := n.literals[name]; ok {
		return true
	}
	for _, p := range n.patterns {
		if p.MatchString(name) {
			return true
		}
	}
	return false
}

func newNames(n int) *names { return &names{literals: make(map[string]struct{}, n)} }

// add adds a pattern, and returns the only names that it matches, if it is known
// to match no others.
func (n *names) add(p string) (only []string, err error) {
	if regexp.QuoteMeta(p) == p {
		n.literals[p] = struct{}{}
		return []string{p}, nil
	}
	// Tried alone first: "a)|(b" is a pattern only inside the anchors.
	if _, err := regexp.Compile(p); err != nil {
		return nil, err
	}
	m, err := labels.NewFastRegexMatcher(p)
	if err != nil {
		return nil, err
	}
	n.patterns = append(n.patterns, m)
	return m.SetMatches(), nil
}

// names compiles the field labels, of a rule or of the allowlist.
func (c *compiler) names(patterns []string) *names {
	n := newNames(len(patterns))
	for i, p := range patterns {
		if p == "" {
			c.fault("labels", i, "empty pattern: no label has an empty name")
			continue
		}
		only, err := n.add(p)
		if err != nil {
			c.fault("labels", i, "bad pattern: %w", err)
			continue
		}
		c.refuseProtected(i, p, only...)
	}
	return n
}

// refuseProtected notes a pattern of a rule that matches these names only, none
// of which a rule ever touches.
func (c *compiler) refuseProtected(i int, pattern string, only ...string) {
	if c.rule < 0 || len(only) == 0 {
		return
	}
	if !slices.ContainsFunc(only, func(name string) bool { return !isProtected(name) }) {
		c.fault("labels", i, "pattern %s matches nothing a rule may touch: job, le, quantile and __name__ always stay", clipped(pattern))
	}
}

// unknownShape quotes the name and says which one was meant, or which there are.
func unknownShape(name string) string {
	if len(name) <= maxID {
		best, at := 3, ""
		for _, known := range append(ShapeNames(), "all") {
			if d := EditDistance(name, known); d < best && d < len(name) {
				best, at = d, known
			}
		}
		if at != "" {
			return fmt.Sprintf("%q (did you mean %s?)", name, at)
		}
	}
	return clipped(name) + ": want all or some of " + strings.Join(ShapeNames(), ", ")
}

// EditDistance is how many bytes must be changed, left out or put in to make b of
// a, for messages that guess which word was meant. It takes time that grows with
// the product of the lengths.
func EditDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// clipped quotes s, cut short.
func clipped(s string) string { return fmt.Sprintf("%.50q", s) }

// Fault is one thing wrong with a Config.
type Fault struct {
	Rule  int    // index into Config.Rules, or -1 for the rest of Config
	Field string // the policy file's name of the field, such as labels or label_limit
	Index int    // position in a field that is a list, or -1
	Err   error  // what is wrong, without the place
}

// Error returns what is wrong and where.
func (f *Fault) Error() string {
	place := f.Field
	if f.Index >= 0 {
		place = fmt.Sprintf("%s[%d]", f.Field, f.Index)
	}
	if f.Rule >= 0 {
		place = fmt.Sprintf("rules[%d]: %s", f.Rule, place)
	}
	return place + ": " + f.Err.Error()
}

// Unwrap returns Err.
func (f *Fault) Unwrap() error { return f.Err }

// Faults are all the faults of a Config.
type Faults []*Fault

// Error returns one line a fault.
func (f Faults) Error() string { return errors.Join(f.Unwrap()...).Error() }

// Unwrap returns the faults as errors.
func (f Faults) Unwrap() []error {
	errs := make([]error, len(f))
	for i := range f {
		errs[i] = f[i]
	}
	return errs
}
