package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/rules"
)

// Counters is how the counters that an entry's jobs push are told from other
// families and added up.
type Counters struct {
	// Route is where increments go: RouteAuto, RouteStatsD, RouteTotals or
	// RouteSnapshot.
	Route Route
	// UnknownFirst is CountFirst or IgnoreFirst.
	UnknownFirst UnknownFirst
	// RunLabels are the names of labels whose value names one run, sorted. They
	// are not changed.
	RunLabels []string
	// Classes say what becomes of a family, the entry's semantics applied. Never
	// nil. Entries that say the same may share one.
	Classes *rules.Classes
}

// Route is where the increments of counters go.
type Route string

// The routes.
const (
	RouteAuto     Route = "auto"     // to StatsD if the guard has a socket for it, else to its totals
	RouteStatsD   Route = "statsd"   // to the StatsD socket
	RouteTotals   Route = "totals"   // to the guard's own totals
	RouteSnapshot Route = "snapshot" // nowhere: counters stay in the snapshot as they came
)

// UnknownFirst is what the first value of a counter counts for where nothing
// shows whether it was counted before.
type UnknownFirst string

// The words for unknown first values.
const (
	CountFirst  UnknownFirst = "count"  // in full: nothing is lost, something may count twice
	IgnoreFirst UnknownFirst = "ignore" // nothing: it is where counting begins
)

// runLabels are the labels that name one run unless the policy lists others.
func runLabels() []string {
	return []string{
		"app_id", "application_id", "attempt", "container_id", "dag_run_id", "execution_id", "job_run_id",
		"pod", "pod_name", "run_id", "task_instance_id", "try_number",
	}
}

// counters reads the counters of an entry, in where's structure.
func (d *decoder) counters(n *yaml.Node, where string) counters {
	var k counters
	d.mapping(n, where, []field{
		{"route", "", func(n *yaml.Node, _ string) {
			k.route = d.oneOf(n, where, "route", string(RouteAuto), string(RouteStatsD), string(RouteTotals), string(RouteSnapshot))
		}},
		{"semantics", "", func(n *yaml.Node, _ string) { k.semantics = d.oneOf(n, where, "semantics", semantics()...) }},
		{"unknown_first", "", func(n *yaml.Node, _ string) {
			k.unknownFirst = d.oneOf(n, where, "unknown_first", string(CountFirst), string(IgnoreFirst))
		}},
		{"run_labels", "", func(n *yaml.Node, where string) { k.runLabels = d.runLabels(n, where) }},
		{"families", "", func(n *yaml.Node, list string) {
			k.families.spot = d.items(n, list, "a list of families", func(i int, item *yaml.Node) {
				if f, ok := d.family(item, prefix(where, fmt.Sprintf("family %d", i+1))); ok {
					k.families.list = append(k.families.list, f)
				}
			})
		}},
	})
	return k
}

// runLabels reads names of labels, and refuses those that name no run.
func (d *decoder) runLabels(n *yaml.Node, where string) words {
	names := d.strings(n, where, "a list of label names")
	for _, name := range names.list {
		switch l := name.text; {
		case l == "instance" || l == "host" || l == "hostname" || strings.HasPrefix(l, "exported_"):
			d.fault(name.spot, where, "%s names a machine, not a run: of runs that share it all but one would be lost", cut(l))
		case l == "job" || l == "le" || l == "quantile" || l == "__name__":
			d.fault(name.spot, where, "%s names no run", l)
		}
	}
	return names
}

// family reads one family of counters; false if it is none. What it lacks is left
// to rules.CompileClasses.
func (d *decoder) family(n *yaml.Node, where string) (family, bool) {
	f := family{where: where, spot: d.at(target(n)), faulty: make(map[string]bool)}
	fields := []field{
		{"metrics", "", func(n *yaml.Node, where string) {
			f.metrics = d.strings(n, where, "a list of patterns of metric family names")
		}},
		{"types", "", func(n *yaml.Node, where string) {
			d.notEmpty(n, where, "type")
			f.types = d.types(n, where)
		}},
		{"as", "", func(n *yaml.Node, _ string) { f.as = d.oneOf(n, where, "as", classes()...) }},
		{"semantics", "", func(n *yaml.Node, _ string) { f.semantics = d.oneOf(n, where, "semantics", semantics()...) }},
	}
	return f, d.noted(n, where, fields, f.faulty)
}

// types reads a list of declared types.
func (d *decoder) types(n *yaml.Node, where string) words {
	list := []word{}
	place := d.items(n, where, "a list of types", func(_ int, item *yaml.Node) {
		if w := d.oneOf(item, where, "type", typeNames()...); w.written() {
			list = append(list, w)
		}
	})
	return words{place, list}
}

func semantics() []string {
	return []string{string(rules.Auto), string(rules.Cumulative), string(rules.Delta), string(rules.Latest)}
}

func classes() []string {
	return []string{string(rules.ClassCounter), string(rules.ClassSnapshot), string(rules.ClassEvent), string(rules.ClassDrop)}
}

func typeNames() []string { return []string{"counter", "gauge", "histogram", "summary", "untyped"} }

// inheritCounters fills in what k does not say itself.
func inheritCounters(k, fallback *counters) counters {
	return counters{
		route:        first(k.route, fallback.route),
		semantics:    first(k.semantics, fallback.semantics),
		unknownFirst: first(k.unknownFirst, fallback.unknownFirst),
		runLabels:    first(k.runLabels, fallback.runLabels),
		families:     first(k.families, fallback.families),
	}
}

// counters compiles what an entry says of counters, after inheritance.
func (c *compiler) counters(k counters) Counters {
	running := Counters{
		Route:        Route(cmp.Or(k.route.text, string(RouteAuto))),
		UnknownFirst: UnknownFirst(cmp.Or(k.unknownFirst.text, string(CountFirst))),
		RunLabels:    runLabels(),
		Classes:      c.compileClasses(k),
	}
	if k.runLabels.written() {
		running.RunLabels = texts(k.runLabels)
		slices.Sort(running.RunLabels)
	}
	return running
}

// config is k as rules.CompileClasses wants it.
func (k *counters) config() rules.ClassConfig {
	config := rules.ClassConfig{Semantics: rules.Semantics(k.semantics.text)}
	for _, f := range k.families.list {
		rule := rules.FamilyRule{
			Metrics:   texts(f.metrics),
			As:        rules.Class(f.as.text),
			Semantics: rules.Semantics(f.semantics.text),
		}
		for _, t := range f.types.list {
			rule.Types = append(rule.Types, dto.MetricType(dto.MetricType_value[strings.ToUpper(t.text)]))
		}
		config.Families = append(config.Families, rule)
	}
	return config
}

// compileClasses compiles which families are counters.
func (c *compiler) compileClasses(k counters) *rules.Classes {
	if !c.fits(len(k.families.list), k.families.spot) {
		return nil
	}
	config := k.config()
	key := fmt.Sprintf("%#v", config)
	if known := c.classes[key]; known != nil {
		return known
	}
	compiled, err := rules.CompileClasses(config)
	if err == nil {
		c.classes[key] = compiled
		return compiled
	}
	var faults rules.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			c.familyFault(&k, f)
		}
	}
	return nil
}

// familyFault places a fault that rules.CompileClasses found.
func (c *compiler) familyFault(k *counters, f *rules.Fault) {
	if f.Rule < 0 {
		c.fault(k.semantics.spot, "counters", "%s", message(f.Err))
		return
	}
	written := k.families.list[f.Rule]
	if f.Index < 0 && written.faulty[f.Field] {
		return // reading the field has said what is wrong with it
	}
	place := spot{}
	switch f.Field {
	case "metrics":
		place = item(written.metrics, f.Index)
	case "as":
		place = written.as.spot
	case "semantics":
		place = written.semantics.spot
	}
	c.fault(first(place, written.spot), written.where, "%s", message(f.Err))
}
