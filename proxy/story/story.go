// Package story tells people what became of a write: a trace, step by step, each rule
// with its line in the policy.
package story

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Teller tells a trace as text. Whatever a push holds, what is written has no control
// characters but line breaks and the teller's own colours.
type Teller struct {
	// File stands for the policy where it has no line to name, such as for a default
	// that is not written.
	File string
	// Color is for a terminal.
	Color bool
}

// Tell returns the steps in the order in which the guard takes them.
func (t Teller) Tell(e *proxy.Trace) string {
	s := &story{file: t.File, color: t.Color}
	return s.tell(e)
}

type story struct {
	file  string
	color bool
	out   strings.Builder
}

// The colours, as terminals know them.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint makes data safe to show, in a colour.
func (s *story) paint(color, text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\t", " "))
	if !s.color || color == plain || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// step begins a step of the way.
func (s *story) step(name, color, format string, args ...any) {
	s.out.WriteString(s.paint(bold, fmt.Sprintf("%-10s", name)) + s.paint(color, fmt.Sprintf(format, args...)) + "\n")
}

const indent = "          " // as wide as the name of a step

// more adds a line to a step.
func (s *story) more(color, format string, args ...any) {
	s.out.WriteString(indent + s.paint(color, fmt.Sprintf(format, args...)) + "\n")
}

// quote adds text as it is, line by line.
func (s *story) quote(color, text string) {
	for line := range strings.Lines(text) {
		s.out.WriteString(indent + s.paint(dim, "│ ") + s.paint(color, strings.TrimRight(line, "\r\n")) + "\n")
	}
}

func (s *story) tell(e *proxy.Trace) string {
	s.step("push", cyan, "%s %s", e.Method, e.Path)
	s.entry(e)
	s.body(e.Body)
	s.changes(e)
	s.families(e)
	s.events(e)
	s.merges(e)
	s.noticed(e)
	s.left(e)
	s.ledger(e)
	s.budget(e.Budget)
	s.forwarded(e.Forwarded)
	s.answer(e)
	return s.out.String()
}

func (s *story) entry(e *proxy.Trace) {
	if e.Key == nil {
		return
	}
	s.step("key", plain, "%s", keyText(e.Key.Pushed))
	if job := e.Key.Pushed["job"]; job != e.Entry.Job {
		s.more(yellow, "job %s is folded: it is governed as %s", strconv.Quote(job), strconv.Quote(e.Entry.Job))
	}
	if group := keyText(e.Key.Group); group != keyText(e.Key.Pushed) {
		verb := "becomes"
		if e.Entry.Mode != string(policy.Enforce) {
			verb = "would become"
		}
		s.more(yellow, "%s %s", verb, group)
	}
	owner := ""
	if e.Entry.Owner != "" {
		owner = ", owner " + e.Entry.Owner
	}
	s.step("entry", plain, "%s %s%s, mode %s", s.place(e.Entry.File, e.Entry.Line), e.Entry.Name, owner, e.Entry.Mode)
	switch e.Entry.Mode {
	case string(policy.Report):
		s.more(plain, "what the policy says is only reported: nothing is changed for it")
	case string(policy.Open):
		s.more(plain, "nothing is judged")
	}
}

// place is a line of a policy file.
func (s *story) place(file string, line int) string {
	if line == 0 {
		return s.file + ":"
	}
	return file + ":" + strconv.Itoa(line) + ":"
}

// optional is a line of the policy where one has decided, before what it decided.
func (s *story) optional(file string, line int) string {
	if line == 0 {
		return ""
	}
	return s.place(file, line) + " "
}

func (s *story) body(b *proxy.TraceBody) {
	if b == nil {
		return
	}
	size := fmt.Sprintf("%d bytes", b.Bytes)
	if b.Decoded != b.Bytes {
		size += fmt.Sprintf(", %d decompressed", b.Decoded)
	}
	s.step("body", plain, "%s, %s: %s, %s, %s", b.Encoding, size,
		counted(b.Families, "family", "families"), counted(b.Metrics, "metric", "metrics"), counted(b.Samples, "sample", "samples"))
}

func (s *story) changes(e *proxy.Trace) {
	for i, c := range e.Changes {
		name := "rules"
		if i > 0 {
			name = ""
		}
		color := yellow
		if c.Act == proxy.PushRefused {
			color = red
		}
		s.step(name, color, "%s %s: %s", s.place(c.File, c.Line), c.Rule, changeText(&c))
		for _, v := range c.Values {
			switch c.Act {
			case proxy.LabelReplaced:
				s.more(plain, "  %q → %q", v.Before, v.After)
			case proxy.LabelAdded:
				s.more(plain, "  %q", v.After)
			default:
				s.more(plain, "  %q", v.Before)
			}
		}
	}
}

// changeText says in words what happened to a label, or because of it.
func changeText(c *proxy.TraceChange) string {
	where := "of the grouping key"
	if c.Metric != "" {
		where = "of " + c.Metric
	}
	what := "label " + c.Label + " " + where
	switch {
	case c.Label == "" && c.Metric == "":
		what = "the grouping key"
	case c.Label == "":
		what = c.Metric
	}
	act := string(c.Act)
	switch c.Act {
	case proxy.PushRefused:
		act = "refuses the push"
	case proxy.MetricLeftOut:
		act = "leaves the metric out"
	}
	if c.Limit > 0 {
		what += fmt.Sprintf(" has %d, limit %d", c.Seen, c.Limit)
	}
	text := what + ": " + act
	if c.Metric != "" {
		text += ", in " + counted(c.Count, "metric", "metrics")
	}
	return text
}

// maxMerges is how many merges are told one by one.
const maxMerges = 3

func (s *story) merges(e *proxy.Trace) {
	verb := would(e, "are", "would be")
	for i, m := range e.Merges {
		name := "merged"
		if i > 0 {
			name = ""
		}
		if i == maxMerges {
			s.step(name, plain, "and %d more", len(e.Merges)-i)
			return
		}
		s.step(name, plain, "%s that became equal:", counted(m.Metrics, "metric", "metrics"))
		for _, part := range m.Parts {
			s.quote(plain, part)
		}
		if n := m.Metrics - len(m.Parts); n > 0 {
			s.quote(dim, fmt.Sprintf("and %d more", n))
		}
		s.more(plain, "%s one:", verb)
		s.quote(green, m.Whole)
	}
}

// noticed tells the findings that no change has told.
func (s *story) noticed(e *proxy.Trace) {
	name := "noticed"
	for _, f := range e.Findings {
		if slices.ContainsFunc(e.Changes, func(c proxy.TraceChange) bool { return c.Rule == f.ID && c.Label == f.Label }) {
			continue
		}
		s.step(name, yellow, "%s%s", s.optional(f.File, f.Line), f.Finding)
		name = ""
	}
	if e.MoreFindings > 0 {
		s.step(name, yellow, "and %d findings more", e.MoreFindings)
	}
}

func (s *story) ledger(e *proxy.Trace) {
	l := e.Ledger
	if l == nil {
		return
	}
	s.step("ledger", plain, "group %s", keyText(l.Group))
	switch {
	case l.Skip:
		s.more(yellow, "another run has pushed to it since: not deleted")
	case e.Forwarded == nil:
	case l.Method != e.Method:
		s.more(yellow, "%s goes on as %s, so that what other runs pushed stays", e.Method, l.Method)
	default:
		s.more(plain, "%s goes on as it is", l.Method)
	}
	if len(l.Shared) > 0 {
		s.more(yellow, "families that another run wrote last: %s", strings.Join(l.Shared, ", "))
	}
}

// budget says what the job would hold.
func (s *story) budget(b *proxy.TraceBudget) {
	if b == nil {
		return
	}
	text, color := counted(b.Held, "series", "series")+" held", plain
	if b.Limit > 0 {
		text += " of " + strconv.Itoa(b.Limit)
	} else {
		text += ", without a limit"
	}
	if before := b.Before; before != nil && before.Held > 0 && before.Held != b.Held {
		text += fmt.Sprintf(", %d before", before.Held)
	}
	if b.GroupsLimit > 0 {
		text += fmt.Sprintf("; %s of %d", counted(b.Groups, "group", "groups"), b.GroupsLimit)
	}
	if b.LeftOut > 0 {
		text, color = text+fmt.Sprintf("; new metrics left out: %d", b.LeftOut), yellow
	}
	s.step("budget", color, "%s", text)
	s.newSeries(b)
	if b.Collapsed > 0 {
		s.more(yellow, "label values of %s became %s", counted(b.Collapsed, "metric", "metrics"), wire.Other)
	}
	s.over(b)
	for _, group := range b.Evicted {
		s.more(yellow, "group %s makes room: it is deleted once the push is done", keyText(group))
	}
}

// newSeries tells of budgets in time, where there are any.
func (s *story) newSeries(b *proxy.TraceBudget) {
	var texts []string
	if b.NewThisHourLimit > 0 {
		texts = append(texts, fmt.Sprintf("%d this hour of %d", b.NewThisHour, b.NewThisHourLimit))
	}
	if b.NewThisDayLimit > 0 {
		texts = append(texts, fmt.Sprintf("%d this day of %d", b.NewThisDay, b.NewThisDayLimit))
	}
	if len(texts) > 0 {
		s.more(plain, "new series: %s", strings.Join(texts, ", "))
	}
}

// over names the limits that a push passes, and what the policy says of that.
func (s *story) over(b *proxy.TraceBudget) {
	for _, o := range b.Over {
		s.more(yellow, "%sover %s: %d, limit %d", s.optional(o.File, o.Line), o.Budget, o.Count, o.Limit)
	}
	switch on := b.OnOver; {
	case on == nil:
	case on.Line == 0:
		s.more(yellow, "on_over_budget: %s, since nothing else is written", on.Ruling)
	default:
		s.more(yellow, "%son_over_budget: %s", s.optional(on.File, on.Line), on.Ruling)
	}
}

func (s *story) forwarded(f *proxy.TraceForwarded) {
	if f == nil {
		s.step("forwarded", red, "nothing")
		return
	}
	s.step("forwarded", cyan, "%s %s", f.Method, f.Path)
	if f.Method == "DELETE" {
		return
	}
	how := "byte for byte"
	if f.Rewritten {
		how = "rewritten"
	}
	about := fmt.Sprintf("%d bytes, %s", f.Bytes, how)
	if f.ContentType != "" {
		about += ", " + f.ContentType
	}
	if f.ContentEncoding != "" {
		about += ", " + f.ContentEncoding
	}
	s.more(plain, "%s", about)
	s.quote(plain, f.Text)
}

func (s *story) answer(e *proxy.Trace) {
	color := green
	if !e.Accepted() {
		color = red
	}
	text := fmt.Sprintf("%d, %s", e.Answer.Status, e.Outcome)
	if e.Answer.Status < 300 && !e.Accepted() {
		text += ": dropped, and the client is not told"
	}
	if e.Would != "" && e.Would != e.Outcome {
		text += ", enforced it would be " + e.Would
	}
	s.step("answer", color, "%s", text)
	s.quote(plain, e.Answer.Body)
}

func keyText(key map[string]string) string { return labels.FromMap(key).String() }

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
