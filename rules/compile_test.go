package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

func TestCompileFaults(t *testing.T) {
	one := func(r rules.Rule) rules.Config { return rules.Config{Rules: []rules.Rule{r}} }
	drop := func(patterns ...string) rules.Config {
		return one(rules.Rule{ID: "r", Labels: patterns, Action: rules.Drop})
	}
	for _, tc := range []struct {
		name string
		in   rules.Config
		want []string
	}{
		{"negative limits", rules.Config{Limits: rules.Limits{BodySize: -1, Samples: -2, Labels: -3, LabelNameLength: -4, LabelValueLength: -5}}, []string{
			"body_size_limit: limit -1 is negative", "sample_limit: limit -2 is", "label_limit: limit -3 is",
			"label_name_length_limit: limit -4 is", "label_value_length_limit: limit -5 is",
		}},
		{"bad pattern in the allowlist", rules.Config{Labels: []string{"ok", "a(", ""}}, []string{"labels[1]: bad pattern: error parsing regexp: missing closing )", "labels[2]: empty pattern"}},
		{"bad pattern in a rule", drop("ok", "*"), []string{"rules[0]: labels[1]: bad pattern"}},
		{"pattern that is one only inside the anchors", drop("a)|(b"), []string{"rules[0]: labels[0]: bad pattern"}},
		{"job", drop("job"), []string{`rules[0]: labels[0]: pattern "job" matches nothing a rule may touch`}},
		{"le and quantile", drop("x", "le|quantile"), []string{`rules[0]: labels[1]: pattern "le|quantile" matches nothing`}},
		{"__name__", drop("__name__"), []string{"rules[0]: labels[0]: pattern"}},
		{"no id", one(rules.Rule{Labels: []string{"a"}, Action: rules.Drop}), []string{"rules[0]: id: id is missing"}},
		{"an id of two lines", one(rules.Rule{ID: "a\nb", Labels: []string{"a"}, Action: rules.Drop}), []string{`rules[0]: id: bad id "a\nb"`}},
		{"an id over 64 bytes", one(rules.Rule{ID: strings.Repeat("i", 65), Labels: []string{"a"}, Action: rules.Drop}), []string{"rules[0]: id: bad id"}},
		{"the id of a finding", one(rules.Rule{ID: finding.Protocol, Labels: []string{"a"}, Action: rules.Drop}), []string{`rules[0]: id: id "protocol" is taken`}},
		{"an id twice", rules.Config{Rules: []rules.Rule{
			{ID: "a", Labels: []string{"a"}, Action: rules.Drop}, {ID: "a", Labels: []string{"b"}, Action: rules.Drop},
		}}, []string{`rules[1]: id: duplicate rule id "a": rule 1 has it`}},
		{"no action", one(rules.Rule{ID: "r", Labels: []string{"a"}}), []string{"rules[0]: action: action is missing: want drop, template, bucket, truncate, replace, event, reject or keep"}},
		{"unknown action", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: "Drop"}), []string{`rules[0]: action: unknown action "Drop": want drop`}},
		{"misspelt shape", one(rules.Rule{ID: "r", Shapes: []string{"uuid", "uid"}, Action: rules.Drop}), []string{`rules[0]: shapes[1]: unknown shape "uid" (did you mean uuid?)`}},
		{"shape unlike any", one(rules.Rule{ID: "r", Shapes: []string{"credit_card"}, Action: rules.Drop}), []string{`rules[0]: shapes[0]: unknown shape "credit_card": want all or some of airflow_run_id, uuid`}},
		{"empty shape", one(rules.Rule{ID: "r", Shapes: []string{""}, Action: rules.Drop}), []string{`rules[0]: shapes[0]: unknown shape ""`}},
		{"replace by nothing", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Replace}), []string{"rules[0]: replacement: replacement is missing"}},
		{"replace by no UTF-8", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Replace, Replacement: "\xff"}), []string{"rules[0]: replacement: replacement"}},
		{"replacement for another action", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Drop, Replacement: "x"}), []string{"rules[0]: replacement: replacement is for action replace, not drop"}},
		{"bucket into nothing", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Bucket}), []string{"rules[0]: buckets: buckets is missing: action bucket wants how many"}},
		{"bucket into less than nothing", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Bucket, Buckets: -1}), []string{"rules[0]: buckets: buckets -1: want 1 or more"}},
		{"truncate to nothing", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Truncate}), []string{"rules[0]: length: length is missing: action truncate wants how many"}},
		{"truncate to less than nothing", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Truncate, Length: -1}), []string{"rules[0]: length: length -1: want 1 or more"}},
		{"buckets and length for other actions", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Template, Buckets: 5, Length: 6}), []string{
			"rules[0]: buckets: buckets is for action bucket, not template", "rules[0]: length: length is for action truncate, not template",
		}},
		{"a word for gauges that nobody knows", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Drop, Gauges: "avg"}), []string{`rules[0]: gauges: unknown gauges "avg": want last, max, min or sum`}},
		{"a word for gauges that stay", one(rules.Rule{ID: "r", Labels: []string{"a"}, Action: rules.Keep, Gauges: rules.Sum}), []string{"rules[0]: gauges: gauges is for actions that change a label, not keep"}},
		{"neither labels nor shapes", one(rules.Rule{ID: "r", Action: rules.Drop}), []string{"rules[0]: labels: the rule says neither labels nor shapes"}},
		{"template with nothing to match", one(rules.Rule{ID: "r", Action: rules.Template}), []string{"rules[0]: labels: the rule says neither"}},
		{"every fault, not the first", rules.Config{
			Limits: rules.Limits{Samples: -1}, Labels: []string{"("},
			Rules: []rules.Rule{{}, {ID: "x", Labels: []string{"*"}, Shapes: []string{"uid"}, Action: "delete", Replacement: "x"}},
		}, []string{
			"sample_limit: ", "labels[0]: bad", "rules[0]: id: ", "rules[0]: action: ", "rules[0]: labels: ",
			"rules[1]: action: ", "rules[1]: labels[0]: ", "rules[1]: shapes[0]: ",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, err := rules.Compile(tc.in)
			if set != nil || err == nil {
				t.Fatalf("no fault: %v, %v", set, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("%d faults, want %d:\n%v", len(lines), len(tc.want), err)
			}
			for i, want := range tc.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("fault %d: %q, want %q", i, lines[i], want)
				}
			}
		})
	}
}

func TestFaultsCanBePlaced(t *testing.T) {
	_, err := rules.Compile(rules.Config{
		Labels: []string{"ok", "("},
		Rules:  []rules.Rule{{ID: "a", Shapes: []string{"uuid", "uid"}, Action: rules.Drop}},
	})
	var faults rules.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("%T", err)
	}
	type place struct {
		Rule  int
		Field string
		Index int
	}
	var got []place
	for _, f := range faults {
		got = append(got, place{f.Rule, f.Field, f.Index})
	}
	if d := cmp.Diff([]place{{-1, "labels", 1}, {0, "shapes", 1}}, got); d != "" {
		t.Error(d)
	}
	var first *rules.Fault
	if !errors.As(err, &first) || first != faults[0] {
		t.Errorf("errors.As finds %v", first)
	}
}

func TestCompileAccepts(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   rules.Config
	}{
		{"nothing", rules.Config{}},
		{"an empty allowlist", rules.Config{Labels: []string{}}},
		{"job in the allowlist", rules.Config{Labels: []string{"job", "le"}}},
		{"a pattern that also matches job", rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"job|run", ".*"}, Action: rules.Drop}}}},
		{"an id of 64 bytes", rules.Config{Rules: []rules.Rule{{ID: strings.Repeat("i", 64), Labels: []string{"a"}, Action: rules.Drop}}}},
		{"all beside a name", rules.Config{Rules: []rules.Rule{{ID: "r", Shapes: []string{"all", "uuid"}, Action: rules.Keep}}}},
		{"buckets and length at their least", rules.Config{Rules: []rules.Rule{
			{ID: "b", Labels: []string{"a"}, Action: rules.Bucket, Buckets: 1, Gauges: rules.Sum},
			{ID: "t", Labels: []string{"a"}, Action: rules.Truncate, Length: 1, Gauges: rules.Last},
		}}},
		{"template by names alone", rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Template}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if set, err := rules.Compile(tc.in); err != nil || set == nil {
				t.Error(err)
			}
		})
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("a|b", "uuid", "drop", "", "id")
	f.Add("(?i)x", "all", "replace", "\xff", "\n")
	f.Add("a)|(b", "uid", "template", "x", "protocol")
	f.Add(`\Qa`, "", "", "", "")
	f.Fuzz(func(t *testing.T, pattern, shape, action, replacement, id string) {
		set, err := rules.Compile(rules.Config{
			Labels: []string{pattern},
			Rules:  []rules.Rule{{ID: id, Labels: []string{pattern}, Shapes: []string{shape}, Action: rules.Action(action), Replacement: replacement}},
		})
		if (set == nil) == (err == nil) {
			t.Fatalf("%v, %v", set, err)
		}
		if set != nil {
			set.Judge(nil, "m", lbls("a", "b", "run_id", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a"))
		}
	})
}
