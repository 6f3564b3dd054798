package policy

import (
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/rules"
)

// file reads one file of the policy.
func (d *decoder) file(root *yaml.Node) file {
	f := file{spot: d.at(root), fallback: entry{where: "default"}}
	isPolicy := d.mapping(root, "", []field{
		{"version", "", func(n *yaml.Node, _ string) {
			f.versioned = true
			f.version = d.oneOf(n, "", "version", "v1")
		}},
		{"auth", "", func(n *yaml.Node, where string) { f.auth = d.auth(n, where) }},
		{"budget", "", func(n *yaml.Node, where string) { f.budget = d.guardBudget(n, where) }},
		{"fold_jobs", "", func(n *yaml.Node, where string) { f.foldJobs = d.shapes(n, where) }},
		{"default", "", func(n *yaml.Node, where string) { f.fallback = d.entry(n, where) }},
		{"jobs", "", func(n *yaml.Node, where string) {
			d.items(n, where, "a list of entries", func(i int, item *yaml.Node) {
				f.jobs = append(f.jobs, d.jobEntry(item, i))
			})
		}},
		{"tests", "", func(n *yaml.Node, where string) { f.tests = d.tests(n, where) }},
	})
	f.versioned = f.versioned || !isPolicy
	return f
}

// jobEntry reads the i-th entry of jobs.
func (d *decoder) jobEntry(n *yaml.Node, i int) entry {
	where := fmt.Sprintf("entry %d of jobs", i+1)
	if name := value(n, "job"); name != "" {
		where = fmt.Sprintf("job %q", cut(name))
	}
	var job word
	e := d.entry(n, where, field{"job", "want a pattern of job names", func(n *yaml.Node, where string) {
		job = d.name(n, where)
	}})
	e.job = job
	return e
}

// entry reads what default and the entries of jobs have in common, and the
// fields in own.
func (d *decoder) entry(n *yaml.Node, where string, own ...field) entry {
	e := entry{where: where, spot: d.at(target(n))}
	d.mapping(n, where, append(own, []field{
		{"owner", "", func(n *yaml.Node, where string) { e.owner = d.string(n, where) }},
		{"push", "", func(n *yaml.Node, where string) { e.push = d.strings(n, where, "a list of names of users") }},
		{"mode", "", func(n *yaml.Node, _ string) {
			e.mode = d.oneOf(n, where, "mode", string(Open), string(Report), string(Enforce))
		}},
		{"budget", "", func(n *yaml.Node, where string) { e.budget = d.budget(n, where) }},
		{"entry_budget", "", func(n *yaml.Node, where string) { e.entryBudget = d.entryBudget(n, where) }},
		{"on_over_budget", "", func(n *yaml.Node, _ string) {
			e.onOverBudget = d.oneOf(n, where, "on_over_budget", string(Trim), string(RejectPush), string(Collapse), string(EvictOldest))
		}},
		{"stale_after", "", func(n *yaml.Node, where string) {
			e.staleAfter = d.span(n, where, "a duration such as 6h or 7d, or 0 for never")
		}},
		{"keep_last_success", "", func(n *yaml.Node, where string) { e.keepLastSuccess = d.truth(n, where) }},
		{"merge", "", func(n *yaml.Node, _ string) {
			e.merge = d.oneOf(n, where, "merge", string(MergeFamilies), string(MergeReplace))
		}},
		{"on_refuse", "", func(n *yaml.Node, _ string) { e.onRefuse = d.oneOf(n, where, "on_refuse", "reject", accept) }},
		{"limits", "", func(n *yaml.Node, where string) { e.limits = d.limits(n, where) }},
		{"relabel_configs", "", func(n *yaml.Node, list string) { e.relabelConfigs = d.relabelConfigs(n, list, where) }},
		{"labels", "", func(n *yaml.Node, where string) {
			e.labels = d.strings(n, where, "a list of patterns of label names")
		}},
		{"rules", "", func(n *yaml.Node, list string) {
			e.rules.spot = d.items(n, list, "a list of rules", func(i int, item *yaml.Node) {
				if r, ok := d.rule(item, where, i); ok {
					e.rules.list = append(e.rules.list, r)
				}
			})
		}},
		{"counters", "", func(n *yaml.Node, where string) { e.counters = d.counters(n, where) }},
	}...))
	return e
}

func (d *decoder) limits(n *yaml.Node, where string) limits {
	var l limits
	d.mapping(n, where, []field{
		{"body_size_limit", "", func(n *yaml.Node, where string) { l.bodySize = d.size(n, where) }},
		{"sample_limit", "", func(n *yaml.Node, where string) { l.samples = d.number(n, where) }},
		{"label_limit", "", func(n *yaml.Node, where string) { l.labels = d.number(n, where) }},
		{"label_name_length_limit", "", func(n *yaml.Node, where string) { l.nameLength = d.number(n, where) }},
		{"label_value_length_limit", "", func(n *yaml.Node, where string) { l.valueLength = d.number(n, where) }},
	})
	return l
}

// rule reads the i-th rule of an entry; false if it is none. What a rule lacks
// is left to rules.Compile.
func (d *decoder) rule(n *yaml.Node, where string, i int) (rule, bool) {
	name := fmt.Sprintf("rule %d", i+1)
	if id := value(n, "id"); id != "" {
		name = fmt.Sprintf("rule %q", cut(id))
	}
	r := rule{where: prefix(where, name), spot: d.at(target(n)), faulty: make(map[string]bool)}
	fields := []field{
		{"id", "", func(n *yaml.Node, where string) { r.id = d.name(n, where) }},
		{"labels", "", func(n *yaml.Node, where string) {
			d.notEmpty(n, where, "label name")
			r.labels = d.strings(n, where, "a list of patterns of label names")
		}},
		{"shapes", "", func(n *yaml.Node, where string) {
			d.notEmpty(n, where, "value")
			r.shapes = d.shapes(n, where)
		}},
		{"action", "", func(n *yaml.Node, _ string) { r.action = d.oneOf(n, r.where, "action", actions()...) }},
		{"buckets", "", func(n *yaml.Node, where string) { r.buckets = d.positive(n, where) }},
		{"length", "", func(n *yaml.Node, where string) { r.length = d.positive(n, where) }},
		{"replacement", "", func(n *yaml.Node, where string) { r.replacement = d.name(n, where) }},
		{"gauges", "", func(n *yaml.Node, _ string) { r.gauges = d.oneOf(n, r.where, "gauges", gauges()...) }},
	}
	return r, d.noted(n, r.where, fields, r.faulty)
}

// noted is mapping, and notes in faulty which of the fields could not be read: all of
// them if n is no mapping.
func (d *decoder) noted(n *yaml.Node, where string, fields []field, faulty map[string]bool) bool {
	for i := range fields {
		f := fields[i]
		fields[i].read = func(n *yaml.Node, where string) {
			before := len(d.faults)
			f.read(n, where)
			faulty[f.name] = len(d.faults) > before
		}
	}
	isMapping := d.mapping(n, where, fields)
	for _, f := range fields {
		faulty[f.name] = faulty[f.name] || !isMapping
	}
	return isMapping
}

func actions() []string {
	return []string{
		string(rules.Drop), string(rules.Template), string(rules.Bucket), string(rules.Truncate),
		string(rules.Replace), string(rules.Event), string(rules.Reject), string(rules.Keep),
	}
}

func gauges() []string {
	return []string{string(rules.Last), string(rules.Max), string(rules.Min), string(rules.Sum)}
}

// shapes reads a list of shapes, or the word all.
func (d *decoder) shapes(n *yaml.Node, where string) words {
	if t := target(n); t.Kind == yaml.ScalarNode && t.Value == "all" {
		w := d.string(n, where)
		return words{w.spot, []word{w}}
	}
	return d.strings(n, where, "a list of shapes or the word all")
}

// notEmpty refuses the empty list where leaving it out means everything: who
// writes one means nothing, or has not finished.
func (d *decoder) notEmpty(n *yaml.Node, where, noun string) {
	if t := target(n); t.Kind == yaml.SequenceNode && len(t.Content) == 0 {
		d.fault(d.at(t), where, "is empty: leave it out to match every %s", noun)
	}
}
