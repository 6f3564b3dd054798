package policy

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// testFile reads a whole file of tests.
func (d *decoder) testFile(root *yaml.Node) testFile {
	var f testFile
	d.mapping(root, "", []field{
		{"version", "want version: v1", func(n *yaml.Node, _ string) { f.version = d.oneOf(n, "", "version", "v1") }},
		{"policy", "", func(n *yaml.Node, where string) { f.policy = d.name(n, where) }},
		{"tests", "want a list of tests", func(n *yaml.Node, where string) { f.tests = d.tests(n, where) }},
	})
	return f
}

func (d *decoder) tests(n *yaml.Node, where string) []test {
	var out []test
	d.items(n, where, "a list of tests", func(i int, item *yaml.Node) { out = append(out, d.test(item, i)) })
	return out
}

// test reads the i-th test.
func (d *decoder) test(n *yaml.Node, i int) test {
	where := fmt.Sprintf("test %d", i+1)
	if name := value(n, "name"); name != "" {
		where = fmt.Sprintf("test %q", cut(name))
	}
	t := test{spot: d.at(target(n))}
	t.only = d.testPush(n, where, []field{
		{"name", "say what the policy promises", func(n *yaml.Node, where string) { t.name = d.name(n, where) }},
		{"start", "", func(n *yaml.Node, where string) { t.start = d.date(n, where) }},
		{"statsd", "", func(n *yaml.Node, where string) { t.statsd = d.truth(n, where) }},
		{"pushes", "", func(n *yaml.Node, list string) {
			d.items(n, list, "a list of pushes", func(i int, item *yaml.Node) {
				t.pushes = append(t.pushes, d.testPush(item, prefix(where, fmt.Sprintf("push %d", i+1)), nil))
			})
		}},
	})
	if target(n).Kind == yaml.MappingNode {
		d.checkTest(&t, where)
	}
	return t
}

// testPush reads a push, and the fields in own.
func (d *decoder) testPush(n *yaml.Node, where string, own []field) testPush {
	p := testPush{spot: d.at(target(n)), faulty: make(map[string]bool)}
	d.noted(n, where, append(own, []field{
		{"at", "", func(n *yaml.Node, where string) { p.at = d.span(n, where, "a duration such as 5m or 8d") }},
		{"job", "", func(n *yaml.Node, where string) { p.job = d.name(n, where) }},
		{"grouping", "", func(n *yaml.Node, where string) { p.grouping = d.pairs(n, where) }},
		{"method", "", func(n *yaml.Node, _ string) {
			p.method = d.oneOf(n, where, "method", http.MethodPut, http.MethodPost, http.MethodDelete)
		}},
		{"headers", "", func(n *yaml.Node, where string) { p.headers = d.pairs(n, where) }},
		{"push", "", func(n *yaml.Node, where string) { p.push = d.lines(n, where) }},
		{"want", "", func(n *yaml.Node, where string) { p.want = d.testWant(n, where) }},
	}...), p.faulty)
	return p
}

func (d *decoder) testWant(n *yaml.Node, where string) testWant {
	w := testWant{spot: d.at(target(n))}
	outcome := func(to *word, noun string) func(*yaml.Node, string) {
		return func(n *yaml.Node, _ string) {
			*to = d.oneOf(n, where, noun, "passed", "changed", "refused", "skipped", "failed")
		}
	}
	series := func(to *word) func(*yaml.Node, string) {
		return func(n *yaml.Node, where string) { *to = d.series(n, where) }
	}
	d.mapping(n, where, []field{
		{"outcome", "", outcome(&w.outcome, "outcome")},
		{"would", "", outcome(&w.would, "would")},
		{"findings", "", func(n *yaml.Node, where string) { w.findings = d.strings(n, where, "a list of ids of findings") }},
		{"group", "", func(n *yaml.Node, where string) { w.group = d.pairs(n, where) }},
		{"metrics", "", series(&w.metrics)},
		{"increments", "", series(&w.increments)},
		{"left", "", func(n *yaml.Node, where string) { w.left = d.testLeft(n, where) }},
		{"status", "", func(n *yaml.Node, where string) { w.status = d.positive(n, where) }},
		{"answer", "", func(n *yaml.Node, where string) { w.answer = d.lines(n, where) }},
		{"page", "", series(&w.page)},
	})
	if t := target(n); t.Kind == yaml.MappingNode && len(t.Content) == 0 {
		d.fault(w.spot, where, "is empty: nothing is expected")
	}
	return w
}

func (d *decoder) testLeft(n *yaml.Node, where string) testLeft {
	var l testLeft
	d.mapping(n, where, []field{
		{"series", "", func(n *yaml.Node, where string) { l.series = d.number(n, where) }},
		{"groups", "", func(n *yaml.Node, where string) { l.groups = d.number(n, where) }},
	})
	return l
}

// pairs reads a mapping of strings.
func (d *decoder) pairs(n *yaml.Node, where string) pairs {
	n = d.follow(n)
	if n.Kind != yaml.MappingNode {
		d.fault(d.at(n), where, "want a mapping of strings, got %s", describe(n))
		return pairs{}
	}
	out := pairs{spot: d.at(n), list: []pair{}}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := d.name(n.Content[i], where)
		if line := seen[name.text]; line > 0 {
			d.fault(name.spot, where, "duplicate key %q: first on line %d", cut(name.text), line)
			continue
		}
		seen[name.text] = name.line
		out.list = append(out.list, pair{name, d.string(n.Content[i+1], prefix(where, name.text))})
	}
	return out
}

// lines reads a string of one line or several.
func (d *decoder) lines(n *yaml.Node, where string) word {
	n = d.follow(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.fault(d.at(n), where, "want a string, got %s", describe(n))
		return word{}
	}
	strange := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' }
	if strings.ContainsFunc(n.Value, strange) {
		d.fault(d.at(n), where, "control character in %q", cut(n.Value))
		return word{}
	}
	return word{d.at(n), n.Value}
}

// series reads series in the text format.
func (d *decoder) series(n *yaml.Node, where string) word {
	w := d.lines(n, where)
	if _, err := ParseSeries(w.text); err != nil {
		d.fault(w.spot, where, "%v", err)
		return word{}
	}
	return w
}
