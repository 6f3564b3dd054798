package rules_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/rules"
)

// configs reads relabel_configs as Prometheus does.
func configs(t testing.TB, text string) []*relabel.Config {
	t.Helper()
	var c []*relabel.Config
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRelabelMetric(t *testing.T) {
	key := lbls("job", "nightly", "instance", "db1:9100", "empty", "")
	for _, tc := range []struct {
		name    string
		configs string
		in      []labels.Label
		outcome rules.Outcome
		want    []labels.Label
		reasons string
	}{
		{"nothing matches", "[{source_labels: [x], regex: y, target_label: z}]", lbls("a", "1"), rules.Permitted, lbls("a", "1"), ""},
		{"a label is changed", "[{source_labels: [a], regex: (.)x, target_label: a}]", lbls("a", "1x", "b", "2"), rules.Rewritten, lbls("a", "1", "b", "2"), "relabel:a:1/0:1x"},
		{"a label is removed", "[{action: labeldrop, regex: a}]", lbls("a", "1", "b", "2"), rules.Rewritten, lbls("b", "2"), "relabel:a:1/0:1"},
		{"a label is added, after the others", "[{target_label: a, replacement: x}]", lbls("b", "2"), rules.Rewritten, lbls("b", "2", "a", "x"), "relabel:a:1/0:x"},
		{"a label is renamed", "[{source_labels: [a], target_label: c}, {action: labeldrop, regex: a}]", lbls("a", "1", "b", "2"), rules.Rewritten, lbls("b", "2", "c", "1"), "relabel:a:1/0:1 relabel:c:1/0:1"},
		{"what becomes what it was", "[{source_labels: [a], target_label: t}, {action: labeldrop, regex: a}, {source_labels: [t], target_label: a}, {action: labeldrop, regex: t}]", lbls("a", "1"), rules.Permitted, lbls("a", "1"), ""},
		{"temporary labels do not stay", "[{source_labels: [a], target_label: __tmp}, {source_labels: [__tmp], target_label: b}]", lbls("a", "1"), rules.Rewritten, lbls("a", "1", "b", "1"), "relabel:b:1/0:1"},
		{"illegal names do not stay", "[{action: labelmap, regex: a_(.*), replacement: $1}]", lbls("a_1x", "1", "a_", "2", "a_y", "3"), rules.Rewritten, lbls("a_1x", "1", "a_", "2", "a_y", "3", "y", "3"), "relabel:y:1/0:3"},
		{"drop", "[{action: drop, source_labels: [a], regex: 1}]", lbls("a", "1"), rules.LeftOut, nil, "relabel::1/0:"},
		{"keep", "[{action: keep, source_labels: [a], regex: 1}]", lbls("a", "2"), rules.LeftOut, nil, "relabel::1/0:"},
		{"dropequal", "[{action: dropequal, source_labels: [a], target_label: b}]", lbls("a", "2", "b", "2"), rules.LeftOut, nil, "relabel::1/0:"},
		{"hashmod", "[{action: hashmod, source_labels: [a], target_label: b, modulus: 1}]", lbls("a", "2"), rules.Rewritten, lbls("a", "2", "b", "0"), "relabel:b:1/0:0"},
		{"uppercase", "[{action: uppercase, source_labels: [a], target_label: a}]", lbls("a", "x"), rules.Rewritten, lbls("a", "X"), "relabel:a:1/0:x"},
		{"an empty label is none", "[{source_labels: [a], regex: '', target_label: b, replacement: none}]", lbls("a", ""), rules.Rewritten, lbls("a", "", "b", "none"), "relabel:b:1/0:none"},

		{"the name can be read", "[{source_labels: [__name__], target_label: a}]", nil, rules.Rewritten, lbls("a", "m"), "relabel:a:1/0:m"},
		{"the name decides", "[{action: drop, source_labels: [__name__], regex: m.*}]", lbls("a", "1"), rules.LeftOut, nil, "relabel::1/0:"},
		{"the name stays, whatever is pushed", "[{source_labels: [a], regex: (.*), target_label: $1, replacement: x}, {source_labels: [__name__], target_label: b}]", lbls("a", "__name__"), rules.Rewritten, lbls("a", "__name__", "b", "m"), "relabel:b:1/0:m"},
		{"le and quantile stay", "[{action: labeldrop, regex: '[a-z]+'}]", lbls("le", "1", "quantile", "0.5", "a", "1"), rules.Rewritten, lbls("le", "1", "quantile", "0.5"), "relabel:a:1/0:1"},
		{"le is not added", "[{source_labels: [a], target_label: $1, replacement: x}]", lbls("a", "le"), rules.Permitted, lbls("a", "le"), ""},

		{"the key can be read", "[{source_labels: [instance], regex: (.*):9100, target_label: node}]", lbls("a", "1"), rules.Rewritten, lbls("a", "1", "node", "db1"), "relabel:node:1/0:db1"},
		{"the key decides", "[{action: keep, source_labels: [job, a], regex: nightly;1}]", lbls("a", "2"), rules.LeftOut, nil, "relabel::1/0:"},
		{"the key stays, and is not seen to change", "[{target_label: instance, replacement: x}, {source_labels: [instance], target_label: b}]", nil, rules.Rewritten, lbls("b", "db1:9100"), "relabel:b:1/0:db1:9100"},
		{"the key is not copied into the metric", "[{action: labeldrop, regex: instance}]", lbls("a", "1"), rules.Permitted, lbls("a", "1"), ""},
		{"the key wins", "[{action: keep, source_labels: [instance], regex: db1.*}]", lbls("instance", "db2", "a", "1"), rules.Rewritten, lbls("a", "1"), "relabel:instance:1/0:db2"},
		{"an empty label of the key wins, too", "[{action: keep, source_labels: [empty], regex: ''}]", lbls("empty", "x"), rules.Rewritten, lbls(), "relabel:empty:1/0:x"},
		{"the key's own value in a metric", "[{action: keep, source_labels: [instance], regex: db1.*}]", lbls("instance", "db1:9100"), rules.Permitted, lbls("instance", "db1:9100"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := compile(t, rules.Config{Relabel: configs(t, tc.configs)})
			before := slices.Clone(tc.in)
			v := s.Judge(key, "m", tc.in)
			if v.Outcome != tc.outcome || reasons(v.Findings) != tc.reasons {
				t.Errorf("outcome %d for %q, want %d for %q", v.Outcome, reasons(v.Findings), tc.outcome, tc.reasons)
			}
			if d := cmp.Diff(tc.want, v.Labels); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(before, tc.in); d != "" {
				t.Errorf("the input was changed: %s", d)
			}
			for _, f := range v.Findings {
				if f.Metric != "m" || f.Fix == "" {
					t.Errorf("finding %+v names no metric or no fix", f)
				}
			}
		})
	}
}

func TestRelabelKey(t *testing.T) {
	for _, tc := range []struct {
		name    string
		configs string
		in      []labels.Label
		outcome rules.Outcome
		want    []labels.Label
	}{
		{"a label is changed", "[{source_labels: [instance], regex: (.*):9100, target_label: instance}]", lbls("job", "j", "instance", "a:9100"), rules.Rewritten, lbls("job", "j", "instance", "a")},
		{"a label is renamed", "[{source_labels: [instance], target_label: node}, {action: labeldrop, regex: instance}]", lbls("instance", "a", "job", "j"), rules.Rewritten, lbls("job", "j", "node", "a")},
		{"drop", "[{action: drop, source_labels: [job, instance], regex: j;tmp.*}]", lbls("job", "j", "instance", "tmp7"), rules.Rejected, nil},
		{"keep", "[{action: keep, source_labels: [instance], regex: db.*}]", lbls("job", "j", "instance", "tmp7"), rules.Rejected, nil},
		{"keepequal", "[{action: keepequal, source_labels: [instance], target_label: host}]", lbls("job", "j", "instance", "a", "host", "b"), rules.Rejected, nil},
		{"job stays", "[{action: labelkeep, regex: __name__}]", lbls("job", "j", "instance", "a"), rules.Rewritten, lbls("job", "j")},
		{"job cannot be written", "[{source_labels: [instance], regex: (.*), target_label: $1, replacement: x}]", lbls("job", "j", "instance", "job"), rules.Permitted, lbls("job", "j", "instance", "job")},

		{"a config reads what one before it wrote", "[{source_labels: [instance], regex: '(.*):9100', target_label: __tmp}, {source_labels: [__tmp], regex: (.+), target_label: instance}]", lbls("job", "j", "instance", "a:9100"), rules.Rewritten, lbls("job", "j", "instance", "a")},
		{"drop by what a config before it wrote", "[{source_labels: [instance], target_label: node}, {action: dropequal, source_labels: [instance], target_label: node}]", lbls("job", "j", "instance", "a"), rules.Rejected, nil},
		{"a config reads what one before it removed", "[{action: labeldrop, regex: run}, {source_labels: [run], regex: '', target_label: instance, replacement: x}]", lbls("instance", "a", "job", "j", "run", "1"), rules.Rewritten, lbls("instance", "x", "job", "j")},

		// These wait for the metrics.
		{"keep by a label that the key has not", "[{action: keep, source_labels: [dag_id], regex: x}]", lbls("job", "j"), rules.Permitted, lbls("job", "j")},
		{"keep by the metric's name", "[{action: keep, source_labels: [__name__], regex: x}]", lbls("job", "j"), rules.Permitted, lbls("job", "j")},
		{"drop by a label of the metric, too", "[{action: drop, source_labels: [job, dag_id], regex: j;}]", lbls("job", "j"), rules.Permitted, lbls("job", "j")},
		{"dropequal with a label that the key has not", "[{action: dropequal, source_labels: [instance], target_label: host}]", lbls("job", "j", "instance", ""), rules.Permitted, lbls("job", "j", "instance", "")},
		{"what reads nothing", "[{target_label: cluster, replacement: x}, {action: drop}]", lbls("job", "j"), rules.Permitted, lbls("job", "j")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := compile(t, rules.Config{Relabel: configs(t, tc.configs)}).JudgeKey(tc.in)
			if v.Outcome != tc.outcome {
				t.Errorf("outcome %d, want %d", v.Outcome, tc.outcome)
			}
			if d := cmp.Diff(tc.want, v.Labels); d != "" {
				t.Error(d)
			}
			if (v.Outcome == rules.Permitted) != (len(v.Findings) == 0) {
				t.Errorf("findings %v", v.Findings)
			}
		})
	}
}

// Relabelling comes first, then the allowlist, the rules and the limits.
func TestRelabelComesFirst(t *testing.T) {
	s := compile(t, rules.Config{
		Limits:  rules.Limits{Labels: 2, LabelValueLength: 5},
		Labels:  []string{"a", "b", "c"},
		Rules:   []rules.Rule{{ID: "r", Labels: []string{"b"}, Action: rules.Replace, Replacement: "x", Gauges: rules.Sum}},
		Relabel: configs(t, "[{source_labels: [long], target_label: b}, {source_labels: [long], target_label: d}, {action: labeldrop, regex: long}]"),
	})
	v := s.Judge(nil, "m", lbls("a", "1", "long", "a long value", "e", "2"))
	if d := cmp.Diff(lbls("a", "1", "b", "x"), v.Labels); d != "" || v.Gauges != rules.Sum {
		t.Errorf("%s %q", d, v.Gauges)
	}
	const want = "relabel:long:1/0:a long value relabel:b:1/0:a long value relabel:d:1/0:a long value allowlist:e:1/0:2 r:b:1/0:a long value allowlist:d:1/0:a long value"
	if got := reasons(v.Findings); got != want {
		t.Errorf("%s", got)
	}
}

func TestReadsKeyAndFoldsKeys(t *testing.T) {
	for text, folds := range map[string]bool{
		"[{action: drop, source_labels: [instance]}]":                             false,
		"[{action: keepequal, source_labels: [a], target_label: b}]":              false,
		"[{target_label: cluster, replacement: x}]":                               false, // metrics only
		"[{source_labels: [__name__], target_label: a}]":                          false,
		"[{source_labels: [instance], target_label: instance, regex: '(.*):.*'}]": true,
		"[{action: labeldrop, regex: instance}]":                                  true,
		"[{action: labelmap, regex: (.), replacement: x_$1}]":                     true,
	} {
		s := compile(t, rules.Config{Relabel: configs(t, text)})
		if !s.ReadsKey() || s.FoldsKeys() != folds {
			t.Errorf("%s: reads %t, folds %t", text, s.ReadsKey(), s.FoldsKeys())
		}
	}
	if compile(t, rules.Config{Labels: []string{}}).ReadsKey() {
		t.Error("an allowlist reads no key")
	}
}

func TestRelabelFaults(t *testing.T) {
	for _, tc := range []struct{ config, want string }{
		{"{action: replace}", "relabel_configs[0]: relabel configuration for replace action requires 'target_label' value"},
		{"{action: hashmod, source_labels: [a], target_label: b}", "relabel_configs[0]: relabel configuration for hashmod requires non-zero modulus"},
		{"{target_label: 'a.b', replacement: x}", `relabel_configs[0]: "a.b" is invalid 'target_label'`},
		{"{target_label: __name__, replacement: x}", "relabel_configs[0]: target_label __name__ cannot be written"},
		{"{target_label: job, replacement: x}", "relabel_configs[0]: target_label job cannot be written"},
		{"{action: uppercase, source_labels: [a], target_label: le}", "relabel_configs[0]: target_label le cannot be written"},
		{"{action: labelmap, regex: x, replacement: __name__}", "relabel_configs[0]: replacement __name__ cannot be written"},
		{"{action: labeldrop, regex: __.*}", `relabel_configs[0]: regex "__.*" matches __name__, which always stays: narrow it`},
		{"{action: labelkeep, regex: a|b}", `relabel_configs[0]: regex "a|b" does not match __name__, which always stays: put __name__| before it`},
	} {
		_, err := rules.Compile(rules.Config{Relabel: configs(t, "["+tc.config+"]")})
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.config, err, tc.want)
		}
	}
	_, err := rules.Compile(rules.Config{Relabel: []*relabel.Config{{Action: relabel.Drop}}})
	if err == nil || err.Error() != "relabel_configs[0]: regex is missing" {
		t.Errorf("without a regex: %v", err)
	}
	_, err = rules.Compile(rules.Config{Relabel: []*relabel.Config{{Action: "replaces", Regex: relabel.MustNewRegexp("")}}})
	if err == nil || err.Error() != `relabel_configs[0]: unknown action "replaces"` {
		t.Errorf("with a wrong action: %v", err)
	}
}

func TestCompileLeavesRelabelConfigsAlone(t *testing.T) {
	in := configs(t, "[{target_label: a, replacement: x}]")
	compile(t, rules.Config{Relabel: in})
	if in[0].NameValidationScheme != model.UnsetValidation {
		t.Errorf("%+v", in[0])
	}
}

var someConfigs = []string{
	"{source_labels: [a], target_label: b}", "{source_labels: [a, instance], target_label: $1, replacement: x}",
	"{source_labels: [__name__], target_label: a}", "{target_label: instance, replacement: x}",
	"{action: labeldrop, regex: a|instance|job}", "{action: labelkeep, regex: __name__|b|le}",
	"{action: labelmap, regex: (.*), replacement: x_$1}", "{action: labelmap, regex: (.), replacement: $1e}",
	"{action: hashmod, source_labels: [a, job], target_label: a, modulus: 7}", "{action: lowercase, source_labels: [b], target_label: a}",
	"{action: drop, source_labels: [a], regex: drop}", "{action: keep, source_labels: [instance], regex: .*1}",
}

// Whatever the configs: the name, the key, le and quantile stay, and a label
// that a config left behind is legal. Where nothing fixed is in the way,
// Prometheus itself says what becomes of a metric.
func TestRelabelProperties(t *testing.T) {
	legal := regexp.MustCompile("^[a-zA-Z_][a-zA-Z0-9_]*$")
	values := []string{"", "1", "x", "drop", "le", "job", "__name__", "a", "instance", "X1"}
	draw := func(t *rapid.T, names ...string) []labels.Label {
		var ls []labels.Label
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(t, "names") {
			ls = append(ls, labels.Label{Name: name, Value: rapid.SampledFrom(values).Draw(t, name)})
		}
		return ls
	}
	rapid.Check(t, func(t *rapid.T) {
		var parsed []*relabel.Config
		text := "[" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(someConfigs), 1, 4).Draw(t, "configs"), ", ") + "]"
		if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		s, err := rules.Compile(rules.Config{Relabel: parsed})
		if err != nil {
			t.Fatal(err)
		}
		key, in := append(lbls("job", "j"), draw(t, "instance", "c")...), draw(t, "a", "b", "d", "le", "quantile", "x_a")
		v := s.Judge(key, "m", in)
		if d := cmp.Diff(v, s.Judge(key, "m", in)); d != "" {
			t.Fatalf("judged otherwise the second time: %s", d)
		}
		if v.Outcome == rules.LeftOut {
			return
		}
		got := map[string]string{}
		for _, l := range v.Labels {
			if _, twice := got[l.Name]; twice || !legal.MatchString(l.Name) {
				t.Errorf("label %q is illegal or there twice", l.Name)
			}
			got[l.Name] = l.Value
		}
		for _, l := range in {
			if value, there := got[l.Name]; (l.Name == "le" || l.Name == "quantile") && (!there || value != l.Value) {
				t.Errorf("%s was touched", l.Name)
			}
		}
		for _, l := range append(key, labels.Label{Name: "__name__"}) {
			if _, there := got[l.Name]; there {
				t.Errorf("%s was copied into the metric", l.Name)
			}
		}
	})
}

// Configs that touch nothing fixed do what Prometheus does with them.
func TestRelabelAgreesWithPrometheus(t *testing.T) {
	harmless := []string{someConfigs[0], someConfigs[2], someConfigs[8], someConfigs[9], someConfigs[10], "{action: labeldrop, regex: b}", "{action: labelmap, regex: (a|b), replacement: y_$1}"}
	rapid.Check(t, func(t *rapid.T) {
		var parsed []*relabel.Config
		text := "[" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(harmless), 1, 5).Draw(t, "configs"), ", ") + "]"
		if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		s, err := rules.Compile(rules.Config{Relabel: parsed})
		if err != nil {
			t.Fatal(err)
		}
		var in []labels.Label
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "d"}), rapid.ID[string]).Draw(t, "names") {
			in = append(in, labels.Label{Name: name, Value: rapid.SampledFrom([]string{"1", "X", "drop"}).Draw(t, name)})
		}
		lb := labels.NewBuilder(labels.New(append(lbls("__name__", "m", "job", "j"), in...)...))
		for _, c := range parsed {
			if err := c.Validate(model.LegacyValidation); err != nil {
				t.Fatal(err)
			}
		}
		kept := relabel.ProcessBuilder(lb, parsed...)
		v := s.Judge(lbls("job", "j"), "m", in)
		if kept == (v.Outcome == rules.LeftOut) {
			t.Fatalf("Prometheus keeps it: %t, we say %d", kept, v.Outcome)
		}
		if !kept {
			return
		}
		got := labels.New(append(lbls("__name__", "m", "job", "j"), v.Labels...)...)
		if want := lb.Labels(); !labels.Equal(got, want) {
			t.Errorf("%s: %v, Prometheus has %v", fmt.Sprint(in), got, want)
		}
	})
}

func FuzzRelabel(f *testing.F) {
	f.Add("(.*)", "a", "$1", "replace", "1")
	f.Add("(a)|(b)", "${1}x", "", "labelmap", "\xff")
	f.Add("0", "0", "0", "replaces", "0")
	f.Add("__name__|.", "", "$1", "labelkeep", "")
	f.Fuzz(func(t *testing.T, regex, target, replacement, action, value string) {
		re, err := relabel.NewRegexp(regex)
		if err != nil {
			return
		}
		s, err := rules.Compile(rules.Config{Relabel: []*relabel.Config{{
			SourceLabels: model.LabelNames{"a"}, Separator: ";", Regex: re, Modulus: 3,
			TargetLabel: target, Replacement: replacement, Action: relabel.Action(action),
		}}})
		if err != nil {
			return
		}
		in := lbls("a", value, "le", "1", "b", "2")
		v := s.Judge(lbls("job", "j"), "m", in)
		if v.Outcome != rules.LeftOut && !slices.Contains(v.Labels, in[1]) {
			t.Errorf("le is gone: %v", v.Labels)
		}
		if v := s.JudgeKey(lbls("job", "j", "a", value)); v.Outcome != rules.Rejected && v.Labels[0].Value != "j" {
			t.Errorf("job is gone: %v", v.Labels)
		}
	})
}
