package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/pushguard/pushguard/rules"
)

const (
	// maxJobs bounds the entries: finding one tries their patterns in turn.
	maxJobs = 10_000
	// maxRules bounds the rules, relabel configs and families of all entries
	// together, each counted again where it is inherited.
	maxRules = 100_000
)

// compiler turns written entries into running ones.
type compiler struct {
	*decoder
	policy *Policy
	guard  guardBudget
	// usersUnread says that there may be users whose names are not known.
	usersUnread bool
	// sets are the compiled rules by what they were compiled from: most entries
	// of a large policy differ in owner or mode alone.
	sets map[string]*rules.Set
	// classes are the same for counters.
	classes map[string]*rules.Classes
	// rules counts the rules, relabel configs and families so far.
	rules int
	// jobs are the places of the job patterns so far.
	jobs map[string]spot
	// everything is the first entry that leaves nothing to match.
	everything *Entry
}

// compile turns a written policy into a running one. What it returns is of use
// only if no fault was found.
func (d *decoder) compile(f file) *Policy {
	c := &compiler{
		decoder: d,
		policy:  &Policy{literals: make(map[string]*Entry)},
		guard:   f.budget,
		sets:    make(map[string]*rules.Set),
		classes: make(map[string]*rules.Classes),
		jobs:    make(map[string]spot),
	}
	c.foldJobs(f.foldJobs)
	c.compileAuth(f.auth)
	for i := range f.jobs {
		if i == maxJobs {
			c.fault(f.jobs[i].spot, "", "more than %d entries in jobs", maxJobs)
			break
		}
		running := c.add(&f.jobs[i], &f.fallback, f.jobs[i].job.text)
		c.match(&f.jobs[i], running)
	}
	c.add(&f.fallback, &f.fallback, f.fallback.where)
	c.guarantees()
	return c.policy
}

// foldJobs compiles what job names are folded by.
func (c *compiler) foldJobs(names words) {
	shapes, err := rules.NewShapes(texts(names))
	c.policy.jobs, c.policy.folded = shapes, names
	var faults rules.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			c.fault(item(names, f.Index), "fold_jobs", "%s", message(f.Err))
		}
	}
}

// match makes the running entry found by the pattern of the written one.
func (c *compiler) match(e *entry, running *Entry) {
	job := e.job.text
	if !e.job.written() {
		return
	}
	// The pattern is tried alone first: "a)|(b" is one only inside the anchors.
	bare, err := regexp.Compile(job)
	if err != nil {
		c.fault(e.job.spot, e.where, "%s", message(err))
		return
	}
	anchored, err := regexp.Compile("^(?s:" + job + ")$")
	if err != nil {
		c.fault(e.job.spot, e.where, "%s", message(err))
		return
	}
	prefix, literal := bare.LiteralPrefix()
	if earlier, twice := c.jobs[job]; twice {
		c.fault(e.job.spot, e.where, "duplicate job pattern: first %s", earlier.from(e.job.file))
		return
	}
	c.jobs[job] = e.job.spot
	if earlier := c.shadow(prefix, literal); earlier != nil {
		c.fault(e.job.spot, e.where, "never governs a job: %q %s comes first", cut(earlier.Name), c.jobs[earlier.Name].from(e.job.file))
		return
	}
	if job == ".*" || job == ".+" {
		c.everything = running
	}
	if folded := c.policy.FoldJob(prefix); literal && folded != prefix {
		c.fault(e.job.spot, e.where, "never governs a job: fold_jobs makes %q of the name", cut(folded))
		return
	}
	if literal {
		running.literal = true
		c.policy.literals[prefix] = running
		return
	}
	c.policy.patterns = append(c.policy.patterns, pattern{running, prefix, anchored})
}

// shadow returns the earlier entry that leaves a pattern nothing to match, as
// far as that is certain: one for everything, or one that governs the plain
// name which the pattern is.
func (c *compiler) shadow(prefix string, literal bool) *Entry {
	if c.everything != nil || !literal {
		return c.everything
	}
	if earlier := c.policy.literals[prefix]; earlier != nil {
		return earlier
	}
	for _, p := range c.policy.patterns {
		if p.matches(prefix) {
			return p.entry
		}
	}
	return nil
}

// message is what is wrong, a pattern without Go's preamble.
func message(err error) string {
	if e := (*syntax.Error)(nil); errors.As(err, &e) {
		return fmt.Sprintf("bad pattern: %s: %q", e.Code, cut(e.Expr))
	}
	return err.Error()
}

// add appends the running form of e.
func (c *compiler) add(e, fallback *entry, name string) *Entry {
	inherited := inherit(e, fallback)
	running := &Entry{
		Name:  name,
		File:  e.file,
		Line:  e.line,
		Owner: first(e.owner, fallback.owner).text,
		Mode:  Mode(cmp.Or(e.mode.text, fallback.mode.text, string(Report))),
		Rules: c.compileRules(inherited),
		ID:    len(c.policy.entries),

		StaleAfter:      first(e.staleAfter, fallback.staleAfter).value,
		KeepLastSuccess: first(e.keepLastSuccess, fallback.keepLastSuccess).value,
		Counters:        c.counters(inherited.counters),

		written: inherited,
		isJob:   e != fallback,

		OnOverBudget:  OverBudget(cmp.Or(e.onOverBudget.text, fallback.onOverBudget.text, string(Trim))),
		Merge:         Merge(cmp.Or(e.merge.text, fallback.merge.text, string(MergeFamilies))),
		AcceptRefused: first(e.onRefuse, fallback.onRefuse).text == accept,
	}
	c.known(e.push, prefix(e.where, "push"))
	push := first(e.push, fallback.push)
	running.push = texts(push)
	running.lines.push, running.lines.foldJobs = push.spot, c.policy.folded.spot
	running.lines.onOverBudget = first(e.onOverBudget, fallback.onOverBudget).spot
	c.budgets(running, e, fallback)
	c.policy.entries = append(c.policy.entries, running)
	return running
}

// judged is what of an entry rules.Compile sees, after inheritance.
type judged struct {
	limits     limits
	labels     words
	labelsFrom *entry
	rules      ruleList
	relabel    relabelList
	counters   counters
}

// inherit fills in what e does not say itself.
func inherit(e, fallback *entry) judged {
	j := judged{
		limits: limits{
			bodySize:    first(e.limits.bodySize, fallback.limits.bodySize),
			samples:     first(e.limits.samples, fallback.limits.samples),
			labels:      first(e.limits.labels, fallback.limits.labels),
			nameLength:  first(e.limits.nameLength, fallback.limits.nameLength),
			valueLength: first(e.limits.valueLength, fallback.limits.valueLength),
		},
		labels:     first(e.labels, fallback.labels),
		labelsFrom: fallback,
		rules:      first(e.rules, fallback.rules),
		relabel:    first(e.relabelConfigs, fallback.relabelConfigs),
		counters:   inheritCounters(&e.counters, &fallback.counters),
	}
	if e.labels.written() {
		j.labelsFrom = e
	}
	return j
}

// first returns own if it is written, else inherited.
func first[T interface{ written() bool }](own, inherited T) T {
	if own.written() {
		return own
	}
	return inherited
}

// config is j as rules.Compile wants it.
func (j *judged) config() rules.Config {
	c := rules.Config{
		Limits: rules.Limits{
			BodySize:         j.limits.bodySize.value,
			Samples:          int(j.limits.samples.value),
			Labels:           int(j.limits.labels.value),
			LabelNameLength:  int(j.limits.nameLength.value),
			LabelValueLength: int(j.limits.valueLength.value),
		},
	}
	if j.labels.written() {
		c.Labels = texts(j.labels)
	}
	for _, r := range j.rules.list {
		c.Rules = append(c.Rules, rules.Rule{
			ID:          r.id.text,
			Labels:      texts(r.labels),
			Shapes:      texts(r.shapes),
			Action:      rules.Action(r.action.text),
			Buckets:     int(r.buckets.value),
			Length:      int(r.length.value),
			Replacement: r.replacement.text,
			Gauges:      rules.Gauges(r.gauges.text),
		})
	}
	for _, r := range j.relabel.readable() {
		c.Relabel = append(c.Relabel, r.config)
	}
	return c
}

// texts returns the words themselves, never nil: an empty allowlist is not none.
func texts(w words) []string {
	list := make([]string, len(w.list))
	for i, item := range w.list {
		list[i] = item.text
	}
	return list
}

// fits counts n more rules, which stand at place, and refuses them once there are
// too many.
func (c *compiler) fits(n int, place spot) bool {
	if c.rules += n; c.rules <= maxRules {
		return true
	}
	if c.rules-n <= maxRules {
		c.fault(place, "", "the entries have more than %d rules together, inherited ones included", maxRules)
	}
	return false
}

// compileRules compiles what an entry is judged by.
func (c *compiler) compileRules(j judged) *rules.Set {
	if !c.fits(len(j.rules.list)+len(j.relabel.list), first(j.rules.spot, j.relabel.spot)) {
		return nil
	}
	config := j.config()
	key := fmt.Sprintf("%#v", config)
	if set, known := c.sets[key]; known {
		return set
	}
	set, err := rules.Compile(config)
	if err == nil {
		c.sets[key] = set
		return set
	}
	var faults rules.Faults
	if !errors.As(err, &faults) {
		c.fault(j.rules.spot, "", "%v", err)
	}
	for _, f := range faults {
		c.ruleFault(&j, f)
	}
	return nil
}

// ruleFault places a fault that rules.Compile found.
func (c *compiler) ruleFault(j *judged, f *rules.Fault) {
	if f.Field == "relabel_configs" {
		r := j.relabel.readable()[f.Index]
		c.fault(r.spot, r.where, "%s", message(f.Err))
		return
	}
	if f.Rule < 0 || f.Rule >= len(j.rules.list) {
		c.fault(item(j.labels, f.Index), prefix(j.labelsFrom.where, f.Field), "%s", message(f.Err))
		return
	}
	r := j.rules.list[f.Rule]
	if f.Index < 0 && (r.faulty[f.Field] || f.Field == "labels" && r.faulty["shapes"]) {
		return // reading the field has said what is wrong with it
	}
	c.fault(first(r.place(f), r.spot), r.where, "%s", message(f.Err))
}

// place is where the value stands that f is about; the zero spot if it is not
// written.
func (r *rule) place(f *rules.Fault) spot {
	switch f.Field {
	case "id":
		return r.id.spot
	case "labels":
		return item(r.labels, f.Index)
	case "shapes":
		return item(r.shapes, f.Index)
	case "action":
		return r.action.spot
	case "buckets":
		return r.buckets.spot
	case "length":
		return r.length.spot
	case "gauges":
		return r.gauges.spot
	case "replacement":
		return r.replacement.spot
	}
	return spot{}
}

// item is where the i-th word of a list stands, or else the list.
func item(w words, i int) spot {
	if i >= 0 && i < len(w.list) {
		return w.list[i].spot
	}
	return w.spot
}
