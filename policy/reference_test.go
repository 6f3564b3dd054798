package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// part is a section of docs/policy-reference.md: a type of what is written, and where in
// a file it stands, with %s for some of its keys, as a mapping in one line.
type part struct{ title, kind, about, stands, least string }

// parts are all of them. least is what it takes to be one without a fault.
var parts = []part{
	{"Top level", "file", "policy.md", "%s", "version: v1"},
	{"auth", "auth", "policy.md#auth", "{version: v1, auth: %s}", "users_file: users"},
	{"Entry", "entry", "policy.md#entry", "{version: v1, auth: {users_file: users}, budget: {series: 100000}, jobs: [%s]}", "job: load"},
	{"Guard's budget", "guardBudget", "policy.md#the-guards-budget", "{version: v1, budget: %s}", ""},
	{"budget", "budget", "policy.md#budgets", "{version: v1, budget: {series: 100000}, jobs: [{job: load, budget: %s}]}", ""},
	{"entry_budget", "entryBudget", "policy.md#entry-budgets", "{version: v1, default: {entry_budget: %s}}", ""},
	{"limits", "limits", "policy.md#limits", "{version: v1, default: {limits: %s}}", ""},
	{"rules", "rule", "policy.md#rule", "{version: v1, default: {rules: [%s]}}", "id: a, labels: [a], action: drop"},
	{"relabel_configs", "relabelConfig", "policy.md#relabelling", "{version: v1, default: {relabel_configs: [%s]}}", "source_labels: [a], target_label: b"},
	{"counters", "counters", "policy.md#counters", "{version: v1, default: {counters: %s}}", ""},
	{"families", "family", "policy.md#counters", "{version: v1, default: {counters: {families: [%s]}}}", "metrics: [a], as: counter"},
	{"tests", "test", "policy.md#tests", "{version: v1, tests: [%s]}", "name: a, job: load, pushes: [{push: 'rows 1', want: {status: 200}}]"},
	{"pushes", "testPush", "policy.md#tests", "{version: v1, tests: [{name: a, pushes: [%s]}]}", "job: load, push: 'rows 1', want: {status: 200}"},
	{"want", "testWant", "policy.md#tests", "{version: v1, tests: [{name: a, job: load, push: 'rows 1', want: %s}]}", "status: 200"},
	{"left", "testLeft", "policy.md#tests", "{version: v1, tests: [{name: a, job: load, push: 'rows 1', want: {left: %s}}]}", "series: 1"},
	{"Test file", "testFile", "policy.md#test-files", "%s", "version: v1, tests: [{name: a, job: load, push: 'rows 1', want: {status: 200}}]"},
}

// with is the part with an example in the place of its least keys, as a whole document.
func (p part) with(t *testing.T, example string) string {
	t.Helper()
	keys := map[string]string{}
	var order []string
	for _, source := range []string{example, p.least} {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(braced(source)), &doc); err != nil {
			t.Fatalf("%v in %s", err, source)
		}
		for i := 0; i < len(doc.Content[0].Content); i += 2 {
			key := doc.Content[0].Content[i].Value
			if _, ok := keys[key]; !ok {
				value, _ := yaml.Marshal(flowed(doc.Content[0].Content[i+1]))
				order, keys[key] = append(order, key), strings.TrimSpace(string(value))
			}
		}
	}
	written := make([]string, len(order))
	for i, key := range order {
		written[i] = key + ": " + keys[key]
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte(exampleUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	document := fmt.Sprintf(p.stands, "{"+strings.Join(written, ", ")+"}")
	return strings.ReplaceAll(document, "users_file: users", "users_file: "+users)
}

// exampleUsers are those whom examples name.
var exampleUsers = func() string {
	var file strings.Builder
	for i, name := range []string{"data", "airflow", "prometheus", "grafana", "platform"} {
		fmt.Fprintf(&file, "%s:sha256:%064x\n", name, i+1)
	}
	return file.String()
}()

// flowed has a value written in one line.
func flowed(n *yaml.Node) *yaml.Node {
	n.Style |= yaml.FlowStyle
	return n
}

func braced(keys string) string {
	if strings.HasPrefix(keys, "{") {
		return keys
	}
	return "{" + keys + "}"
}

// An example of the reference is accepted, and has the key that it is of.
func TestReferenceExamplesAreAccepted(t *testing.T) {
	m := readManual(t)
	for _, p := range parts {
		for _, f := range m[p.kind][1:] {
			t.Run(p.kind+"/"+f.key, func(t *testing.T) {
				var keys map[string]any
				if err := yaml.Unmarshal([]byte(braced(f.example)), &keys); err != nil {
					t.Fatal(err)
				}
				if _, ok := keys[f.key]; !ok {
					t.Errorf("%q does not show %s", f.example, f.key)
				}
				if err := p.accepts(p.with(t, f.example)); err != nil {
					t.Errorf("%v in\n%s", err, p.with(t, f.example))
				}
			})
		}
	}
}

func (p part) accepts(document string) error {
	if p.kind == "testFile" {
		_, _, err := parseTests("p", []byte(document))
		return err
	}
	_, err := Parse("p", []byte(document))
	return err
}

// What the reference says a key is by default comes to the same as leaving it out, and
// its example does not.
func TestReferenceDefaultsAreTrue(t *testing.T) {
	m, checked := readManual(t), 0
	for _, p := range parts {
		if strings.HasPrefix(p.kind, "test") {
			continue
		}
		left := parse(t, p.with(t, "{}"))
		for _, f := range m[p.kind][1:] {
			if f.value == "" {
				continue
			}
			checked++
			written := fmt.Sprintf("%s: %s", f.key, f.value)
			if f.value == ";" || strings.HasPrefix(f.value, "(") {
				written = fmt.Sprintf("%s: '%s'", f.key, f.value)
			}
			if got := parse(t, p.with(t, written)).Diff(left); len(got) > 0 {
				t.Errorf("%s: %s is not the default: %v", p.kind, written, got)
			}
			if got := parse(t, p.with(t, f.example)).Diff(left); len(got) == 0 {
				t.Errorf("%s: %s changes nothing", p.kind, f.example)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d defaults were tried", checked)
	}
}

// docs/policy-reference.md is what written.go and written_tests.go say.
func TestReferenceIsMadeOfTheTypes(t *testing.T) {
	m := readManual(t)
	var page strings.Builder
	page.WriteString(`<!-- Made by go test ./policy -update from written.go and written_tests.go. -->
# Every key of the policy file

[policy.md](policy.md) explains; this page lists. *Left out* is what a key comes to that
neither the entry nor ` + "`default`" + ` says. An example is a key in its place, as a mapping in one
line where it takes more than one. A test has pushguard read each example, and holds each
value of the policy under *left out* to leaving the key out.
`)
	for _, p := range parts {
		fmt.Fprintf(&page, "\n## %s\n\n%s [More](%s).\n\n| key | type | left out | |\n|---|---|---|---|\n", p.title, m.linked(m.doc(p.kind)), p.about)
		for _, f := range m[p.kind][1:] {
			fmt.Fprintf(&page, "| `%s` | %s | %s | %s<br>`%s` |\n", f.key, m.inWords(t, p.kind, f), f.leftOut(), m.linked(f.text), strings.ReplaceAll(f.example, "|", `\|`))
		}
	}
	mustBe(t, "../docs/policy-reference.md", []byte(page.String()))
}

func (f manualField) leftOut() string {
	switch {
	case f.want == "required":
		return "required"
	case f.value != "":
		return "`" + f.value + "`"
	}
	return f.unset
}

var anchored = regexp.MustCompile(`\]\(#([^)]+)\)`)

// linked has links lead from the reference, to its own sections where it has them.
func (m manual) linked(text string) string {
	return anchored.ReplaceAllStringFunc(text, func(link string) string {
		anchor := anchored.FindStringSubmatch(link)[1]
		for _, p := range parts {
			if strings.ToLower(p.title) == anchor {
				return link
			}
		}
		return "](policy.md#" + anchor + ")"
	})
}

// inWords is what a key takes.
func (m manual) inWords(t *testing.T, owner string, f manualField) string {
	t.Helper()
	if policy, ok := asked[owner+"."+f.key]; ok {
		return "`" + strings.Join(accepted(t, policy), "` `") + "`"
	}
	for _, p := range parts {
		link := fmt.Sprintf("[%s](#%s)", p.title, strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(p.title), " ", "-"), "'", ""))
		switch strings.TrimPrefix(f.kind, "[]") {
		case p.kind:
			if strings.HasPrefix(f.kind, "[]") {
				return "list of " + link
			}
			return link
		case p.kind + "List", strings.TrimSuffix(p.kind, "Config") + "List":
			return "list of " + link
		}
	}
	words := map[string]string{
		"number": "whole number", "number positive": "whole number from 1", "number size": "bytes", "words shapes": "shapes, or `all`",
		"words": "list of texts", "words types": "list of types", "word": "text", "word text": "text", "word scalar": "text or number",
		"truth": "`true` `false`", "span": "duration", "date": "day", "pairs": "mapping of texts",
	}
	if in := words[strings.TrimSpace(f.kind+" "+strings.TrimSuffix(f.want, "required"))]; in != "" {
		return in
	}
	t.Errorf("no word for %s %s", f.kind, f.want)
	return ""
}
