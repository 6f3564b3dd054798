package learn

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// proposal is a rule of the advice, brought down to one label and to the shapes that
// its values have.
type proposal struct {
	label  string
	rule   *adviceRule
	shapes []string
	notes  []string
}

// rules writes the rules for the labels that the advice has something to do about, in
// its order.
func (s *Summary) rules(w *bytes.Buffer, j *job) {
	proposals := s.proposals(j)
	if len(proposals) == 0 {
		return
	}
	w.WriteString("  rules:\n")
	taken := map[string]bool{}
	for _, p := range proposals {
		for _, note := range p.notes {
			fmt.Fprintf(w, "  # %s\n", note)
		}
		fmt.Fprintf(w, "  - id: %s\n    labels: [%s]\n", ruleID(taken, p), pattern(p.label))
		if len(p.shapes) > 0 {
			fmt.Fprintf(w, "    shapes: [%s]\n", strings.Join(p.shapes, ", "))
		}
		fmt.Fprintf(w, "    action: %s\n", p.rule.Action)
		p.rule.details(w)
	}
}

func (r *adviceRule) details(w *bytes.Buffer) {
	if r.Buckets > 0 {
		fmt.Fprintf(w, "    buckets: %d\n", r.Buckets)
	}
	if r.Length > 0 {
		fmt.Fprintf(w, "    length: %d\n", r.Length)
	}
	if r.Replacement != "" {
		fmt.Fprintf(w, "    replacement: %s\n", strconv.Quote(r.Replacement))
	}
}

func (s *Summary) proposals(j *job) []proposal {
	var out []proposal
	for i := range s.advice.rules {
		r := &s.advice.rules[i]
		for _, name := range slices.Sorted(maps.Keys(j.labels)) {
			l := j.labels[name]
			if r.Action == "keep" && r.matches(name) && len(l.advice) > 0 {
				out = append(out, proposal{name, r, r.Shapes, []string{"Of these shapes the values of the label are few."}})
			}
			if p := l.proposal(name, i, r); len(p.notes) > 0 {
				out = append(out, p)
			}
		}
	}
	return out
}

// proposal brings down a rule to the label; it has no notes if there is nothing to do.
func (l *label) proposal(name string, rule int, r *adviceRule) proposal {
	p := proposal{label: name, rule: r}
	if t := l.advice[reason{rule, anyShape}]; t != nil {
		p.shapes, p.notes = r.Shapes, []string{fmt.Sprintf("Found by a guard, %s as redacted: %s", t.count("value"), t.quoted())}
		return p
	}
	for _, shape := range append([]string{""}, r.Shapes...) {
		t := l.advice[reason{rule, shape}]
		if t == nil {
			continue
		}
		if shape == "" {
			p.notes = append(p.notes, fmt.Sprintf("By its name, %s: %s", t.count("value"), t.quoted()))
			continue
		}
		p.shapes = append(p.shapes, shape)
		p.notes = append(p.notes, fmt.Sprintf("Shape %s, %s: %s", shape, t.count("value"), t.quoted()))
	}
	return p
}

// ruleID names a rule after the one it is of and its label, as far as an id can.
func ruleID(taken map[string]bool, p proposal) string {
	const most = 64 - len("-1000")
	clean := strings.Map(func(r rune) rune {
		if r < 128 && (r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, p.rule.ID+"-"+p.label)
	id := clean[:min(most, len(clean))]
	for n := 2; taken[id]; n++ {
		id = fmt.Sprintf("%s-%d", clean[:min(most, len(clean))], n)
	}
	taken[id] = true
	return id
}
