package rules_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

const uuid = "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a"

// lbls makes labels of names and values in turn.
func lbls(pairs ...string) []labels.Label {
	ls := make([]labels.Label, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return ls
}

func compile(t testing.TB, c rules.Config) *rules.Set {
	t.Helper()
	s, err := rules.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reasons shortens findings to id:label:count/limit:sample.
func reasons(fs []finding.Finding) string {
	var out []string
	for _, f := range fs {
		out = append(out, fmt.Sprintf("%s:%s:%d/%d:%s", f.ID, f.Label, f.Count, f.Limit, f.Sample))
	}
	return strings.Join(out, " ")
}

func TestJudge(t *testing.T) {
	drop := func(id string, names ...string) rules.Rule {
		return rules.Rule{ID: id, Labels: names, Action: rules.Drop}
	}
	for _, tc := range []struct {
		name    string
		config  rules.Config
		in      []labels.Label
		outcome rules.Outcome
		want    []labels.Label
		reasons string
	}{
		{"no rules", rules.Config{}, lbls("a", "1"), rules.Permitted, lbls("a", "1"), ""},
		{"no labels", rules.Config{Labels: []string{}}, nil, rules.Permitted, nil, ""},

		{"label_limit at", rules.Config{Limits: rules.Limits{Labels: 2}}, lbls("a", "1", "b", "2"), rules.Permitted, lbls("a", "1", "b", "2"), ""},
		{"label_limit over", rules.Config{Limits: rules.Limits{Labels: 1}}, lbls("a", "1", "b", "2"), rules.Rejected, nil, "label_limit::2/1:"},
		{"label_name_length_limit at", rules.Config{Limits: rules.Limits{LabelNameLength: 3}}, lbls("abc", "1"), rules.Permitted, lbls("abc", "1"), ""},
		{"label_name_length_limit over", rules.Config{Limits: rules.Limits{LabelNameLength: 3}}, lbls("abcd", "1"), rules.Rejected, nil, "label_name_length_limit:abcd:4/3:"},
		{"label_value_length_limit at, in bytes", rules.Config{Limits: rules.Limits{LabelValueLength: 4}}, lbls("a", "éé"), rules.Permitted, lbls("a", "éé"), ""},
		{"label_value_length_limit over", rules.Config{Limits: rules.Limits{LabelValueLength: 3}}, lbls("a", "éé"), rules.Rejected, nil, "label_value_length_limit:a:4/3:éé"},
		{"limits are for what the allowlist leaves", rules.Config{Limits: rules.Limits{Labels: 1}, Labels: []string{"a"}}, lbls("a", "1", "b", "2"), rules.Rewritten, lbls("a", "1"), "allowlist:b:1/0:2"},
		{"limits are for what the rules leave", rules.Config{Limits: rules.Limits{LabelNameLength: 1, LabelValueLength: 3}, Rules: []rules.Rule{drop("r", "bb"), {ID: "c", Labels: []string{"c"}, Action: rules.Replace, Replacement: "x"}}}, lbls("a", "1", "bb", "2", "c", "long"), rules.Rewritten, lbls("a", "1", "c", "x"), "r:bb:1/0:2 c:c:1/0:long"},
		{"what the rules leave is over a limit", rules.Config{Limits: rules.Limits{Labels: 1}, Rules: []rules.Rule{drop("r", "b")}}, lbls("a", "1", "b", "2", "c", "3"), rules.Rejected, nil, "label_limit::2/1:"},
		{"what a rule writes is over a limit", rules.Config{Limits: rules.Limits{LabelValueLength: 3}, Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Replace, Replacement: "long"}}}, lbls("a", "1"), rules.Rejected, nil, "label_value_length_limit:a:4/3:long"},
		{"reject comes before the limits", rules.Config{Limits: rules.Limits{Labels: 1}, Rules: []rules.Rule{{ID: "no", Labels: []string{"b"}, Action: rules.Reject}}}, lbls("a", "1", "b", "2"), rules.Rejected, nil, "no:b:1/0:2"},
		{"limits hold for le and job too", rules.Config{Limits: rules.Limits{LabelValueLength: 3}}, lbls("job", "nightly"), rules.Rejected, nil, "label_value_length_limit:job:7/3:nightly"},

		{"allowlist", rules.Config{Labels: []string{"a", "x_.*"}}, lbls("a", "1", "b", "2", "x_y", "3"), rules.Rewritten, lbls("a", "1", "x_y", "3"), "allowlist:b:1/0:2"},
		{"allowlist is anchored", rules.Config{Labels: []string{"a", "b.?"}}, lbls("aa", "1", "xb", "2", "bb", "3"), rules.Rewritten, lbls("bb", "3"), "allowlist:aa:1/0:1 allowlist:xb:1/0:2"},
		{"empty allowlist", rules.Config{Labels: []string{}}, lbls("job", "j", "a", "1", "le", "1", "quantile", "0.5"), rules.Rewritten, lbls("job", "j", "le", "1", "quantile", "0.5"), "allowlist:a:1/0:1"},
		{"allowlist comes before keep", rules.Config{Labels: []string{"b"}, Rules: []rules.Rule{{ID: "k", Labels: []string{"a"}, Action: rules.Keep}}}, lbls("a", "1", "b", "2"), rules.Rewritten, lbls("b", "2"), "allowlist:a:1/0:1"},

		{"drop by name", rules.Config{Rules: []rules.Rule{drop("r", "b")}}, lbls("a", "1", "b", "2", "c", "3"), rules.Rewritten, lbls("a", "1", "c", "3"), "r:b:1/0:2"},
		{"drop by shape", rules.Config{Rules: []rules.Rule{{ID: "ids", Shapes: []string{"uuid"}, Action: rules.Drop}}}, lbls("a", "1", "b", uuid), rules.Rewritten, lbls("a", "1"), "ids:b:1/0:3f2b8c1e…"},
		{"drop by name and shape", rules.Config{Rules: []rules.Rule{{ID: "ids", Labels: []string{"b", "c"}, Shapes: []string{"uuid"}, Action: rules.Drop}}}, lbls("a", uuid, "b", uuid, "c", "x"), rules.Rewritten, lbls("a", uuid, "c", "x"), "ids:b:1/0:3f2b8c1e…"},
		{"a value of two shapes has each", rules.Config{Rules: []rules.Rule{{ID: "ints", Shapes: []string{"big_int"}, Action: rules.Drop}}}, lbls("a", "1690000000"), rules.Rewritten, lbls(), "ints:a:1/0:1690…"},
		{"template", rules.Config{Rules: []rules.Rule{{ID: "t", Labels: []string{"pod", "path"}, Action: rules.Template}}}, lbls("pod", "etl-7d9f8b6c5-x2k9z", "path", "/a", "x", uuid), rules.Rewritten, lbls("pod", "etl", "path", "/a", "x", uuid), "t:pod:1/0:etl-7d9f8b6c5-x2k9z"},
		{"template without a shape leaves it to the next rule", rules.Config{Rules: []rules.Rule{{ID: "t", Labels: []string{"a"}, Shapes: []string{"uuid"}, Action: rules.Template}, drop("d", "a")}}, lbls("a", "x"), rules.Rewritten, lbls(), "d:a:1/0:x"},
		{"template of a normal form", rules.Config{Rules: []rules.Rule{{ID: "t", Shapes: []string{"all"}, Action: rules.Template}}}, lbls("a", "https://example.com"), rules.Permitted, lbls("a", "https://example.com"), ""},
		{"replace", rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Replace, Replacement: "x"}}}, lbls("a", "alice@example.com"), rules.Rewritten, lbls("a", "x"), "r:a:1/0:a…@…"},
		{"replace by what it is", rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Replace, Replacement: "x"}}}, lbls("a", "x"), rules.Permitted, lbls("a", "x"), ""},
		{"truncate", rules.Config{Rules: []rules.Rule{{ID: "t", Labels: []string{"a", "b", "c"}, Action: rules.Truncate, Length: 3}}}, lbls("a", "abc", "b", "abcd", "c", ""), rules.Rewritten, lbls("a", "abc", "b", "abc", "c", ""), "t:b:1/0:abcd"},
		{"truncate cuts no character in two", rules.Config{Rules: []rules.Rule{{ID: "t", Labels: []string{".*"}, Action: rules.Truncate, Length: 5}}}, lbls("a", "ééé", "b", "aé€x", "c", "a😀😀"), rules.Rewritten, lbls("a", "éé", "b", "aé", "c", "a😀"), "t:a:1/0:ééé t:b:1/0:aé€x t:c:1/0:a😀😀"},
		{"truncate to less than a character", rules.Config{Rules: []rules.Rule{{ID: "t", Labels: []string{".*"}, Action: rules.Truncate, Length: 1}}}, lbls("a", "é", "b", "bé"), rules.Rewritten, lbls("b", "b"), "t:a:1/0:é t:b:1/0:bé"},
		{"keep ends the matching", rules.Config{Rules: []rules.Rule{{ID: "k", Labels: []string{"a"}, Action: rules.Keep}, drop("d", ".*")}}, lbls("a", "1", "b", "2"), rules.Rewritten, lbls("a", "1"), "d:b:1/0:2"},
		{"the first match wins", rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Replace, Replacement: "x"}, drop("d", "a")}}, lbls("a", "1"), rules.Rewritten, lbls("a", "x"), "r:a:1/0:1"},
		{"reject", rules.Config{Rules: []rules.Rule{{ID: "no", Shapes: []string{"email"}, Action: rules.Reject}}}, lbls("a", "bob@example.com", "b", "1", "c", "al@example.com"), rules.Rejected, nil, "no:a:1/0:b…@… no:c:1/0:a…@…"},
		{"only the refusal's reasons", rules.Config{Rules: []rules.Rule{drop("d", "a", "c"), {ID: "no", Labels: []string{"b"}, Action: rules.Reject}}}, lbls("a", "1", "b", "2", "c", "3"), rules.Rejected, nil, "no:b:1/0:2"},
		{"the protocol's labels are never touched", rules.Config{Rules: []rules.Rule{{ID: "no", Labels: []string{".*"}, Action: rules.Reject}}}, lbls("job", uuid, "le", "0.00001", "quantile", "0.99999"), rules.Permitted, lbls("job", uuid, "le", "0.00001", "quantile", "0.99999"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := compile(t, tc.config)
			before := slices.Clone(tc.in)
			v := s.Judge(nil, "m", tc.in)
			if v.Outcome != tc.outcome {
				t.Errorf("outcome %d, want %d", v.Outcome, tc.outcome)
			}
			if d := cmp.Diff(tc.want, v.Labels); d != "" {
				t.Error(d)
			}
			if got := reasons(v.Findings); got != tc.reasons {
				t.Errorf("reasons %q, want %q", got, tc.reasons)
			}
			for _, f := range v.Findings {
				if f.Metric != "m" || f.Fix == "" {
					t.Errorf("finding %+v names no metric or no fix", f)
				}
			}
			if d := cmp.Diff(before, tc.in); d != "" {
				t.Errorf("the input was changed: %s", d)
			}
			key := s.JudgeKey(tc.in)
			if key.Outcome != tc.outcome || reasons(key.Findings) != tc.reasons {
				t.Errorf("a grouping key is judged otherwise: %+v", key)
			}
			for _, f := range key.Findings {
				if f.Metric != "" {
					t.Errorf("finding of a key names the metric %q", f.Metric)
				}
			}
		})
	}
}

func TestFixes(t *testing.T) {
	for _, tc := range []struct {
		rule rules.Rule
		want string
	}{
		{rules.Rule{Labels: []string{"a"}, Action: rules.Drop}, "leave the label out"},
		{rules.Rule{Shapes: []string{"all"}, Action: rules.Drop}, "leave the label out: values of shape uuid have no bound"},
		{rules.Rule{Shapes: []string{"uuid"}, Action: rules.Reject}, "push without the label: values of shape uuid have no bound"},
		{rules.Rule{Labels: []string{"a"}, Action: rules.Template}, `push the value "<uuid>": values of shape uuid have no bound`},
		{rules.Rule{Labels: []string{"a"}, Action: rules.Replace, Replacement: "x"}, `push the value "x"`},
		{rules.Rule{Labels: []string{"a"}, Action: rules.Truncate, Length: 5}, `push the value "3f2b8"`},
	} {
		tc.rule.ID = "r"
		v := compile(t, rules.Config{Rules: []rules.Rule{tc.rule}}).Judge(nil, "m", lbls("a", uuid))
		if got := v.Findings[0].Fix; got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.rule, got, tc.want)
		}
	}
}

func TestFindingsOfHugeNamesStaySmall(t *testing.T) {
	s := compile(t, rules.Config{Labels: []string{}})
	huge := strings.Repeat("é", 1<<20)
	f := s.Judge(nil, huge, lbls(huge, huge)).Findings[0]
	if n := len(f.Metric) + len(f.Label) + len(f.Sample); n > 300 {
		t.Errorf("%d bytes", n)
	}
}

func TestPermittedReturnsTheInputAndAllocatesNothing(t *testing.T) {
	s := compile(t, rules.Config{
		Limits: rules.Limits{Labels: 9, LabelNameLength: 99, LabelValueLength: 99},
		Labels: []string{"instance", "dag_.*", "status"},
		Rules:  []rules.Rule{{ID: "all", Shapes: []string{"all"}, Action: rules.Template}},
	})
	in := lbls("instance", "worker-12", "dag_id", "load_users", "status", "success", "le", "0.00005")
	if v := s.Judge(nil, "m", in); v.Outcome != rules.Permitted || &v.Labels[0] != &in[0] {
		t.Errorf("%+v", v)
	}
	if n := testing.AllocsPerRun(100, func() { s.Judge(nil, "m", in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestJudgePush(t *testing.T) {
	s := compile(t, rules.Config{Limits: rules.Limits{Samples: 100}})
	for samples, want := range map[int]string{0: "", 99: "", 100: "", 101: "sample_limit::101/100:"} {
		if got := reasons(s.JudgePush(samples)); got != want {
			t.Errorf("%d samples: %q, want %q", samples, got, want)
		}
	}
	if got := compile(t, rules.Config{}).JudgePush(1 << 30); got != nil {
		t.Errorf("no limit, and %v", got)
	}
}

func TestLimits(t *testing.T) {
	want := rules.Limits{BodySize: 1, Samples: 2, Labels: 3, LabelNameLength: 4, LabelValueLength: 5}
	s := compile(t, rules.Config{Limits: want})
	if got := s.Limits(); got != want || s.BodySizeLimit() != 1 {
		t.Errorf("%+v, %d", got, s.BodySizeLimit())
	}
}

func TestFoldsKeys(t *testing.T) {
	rule := func(a rules.Action) rules.Config {
		r := rules.Rule{ID: "r", Labels: []string{"a"}, Action: a}
		switch a {
		case rules.Replace:
			r.Replacement = "x"
		case rules.Bucket:
			r.Buckets = 2
		case rules.Truncate:
			r.Length = 2
		}
		return rules.Config{Rules: []rules.Rule{r}}
	}
	for _, tc := range []struct {
		name   string
		config rules.Config
		want   bool
	}{
		{"nothing", rules.Config{}, false},
		{"limits", rules.Config{Limits: rules.Limits{Labels: 1}}, false},
		{"an allowlist", rules.Config{Labels: []string{"a"}}, true},
		{"an empty allowlist", rules.Config{Labels: []string{}}, true},
		{"drop", rule(rules.Drop), true},
		{"template", rule(rules.Template), true},
		{"bucket", rule(rules.Bucket), true},
		{"truncate", rule(rules.Truncate), true},
		{"replace", rule(rules.Replace), true},
		{"reject", rule(rules.Reject), false},
		{"keep", rule(rules.Keep), false},
	} {
		if got := compile(t, tc.config).FoldsKeys(); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

var (
	someNames  = []string{"job", "le", "quantile", "instance", "run_id", "pod", "path", "a", "b", "dag_id"}
	somePats   = []string{"instance", "run_id", ".*_id", "a|b", "[a-c]", ".+", "p(od|ath)"}
	someValues = []string{"", "x", uuid, "load_users", "etl-7d9f8b6c5-x2k9z", "export_20260101_1690000000", "/a/b/c/d", "alice@example.com", "0.00001", "1690000000", "https://example.com/x?y"}
)

func drawConfig(t *rapid.T) rules.Config {
	var c rules.Config
	if rapid.Bool().Draw(t, "listed") {
		c.Labels = rapid.SliceOfN(rapid.SampledFrom(somePats), 0, 3).Draw(t, "allowlist")
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
		r := rules.Rule{ID: fmt.Sprint("r", i), Action: rapid.SampledFrom([]rules.Action{rules.Drop, rules.Template, rules.Bucket, rules.Truncate, rules.Replace, rules.Reject, rules.Keep}).Draw(t, "action")}
		r.Labels = rapid.SliceOfN(rapid.SampledFrom(somePats), 0, 2).Draw(t, "labels")
		r.Shapes = rapid.SliceOfN(rapid.SampledFrom([]string{"uuid", "email", "path", "epoch", "all"}), 0, 2).Draw(t, "shapes")
		if len(r.Labels)+len(r.Shapes) == 0 {
			r.Shapes = []string{"all"}
		}
		switch r.Action {
		case rules.Replace:
			r.Replacement = "replaced"
		case rules.Bucket:
			r.Buckets = rapid.IntRange(1, 20).Draw(t, "buckets")
		case rules.Truncate:
			r.Length = rapid.IntRange(1, 9).Draw(t, "length")
		}
		c.Rules = append(c.Rules, r)
	}
	return c
}

func TestJudgeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		s, err := rules.Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		var in []labels.Label
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(someNames), rapid.ID[string]).Draw(t, "names") {
			in = append(in, labels.Label{Name: name, Value: rapid.SampledFrom(someValues).Draw(t, name)})
		}
		before := slices.Clone(in)
		v := s.Judge(nil, "m", in)

		if d := cmp.Diff(before, in); d != "" {
			t.Fatalf("the input was changed: %s", d)
		}
		if d := cmp.Diff(v, s.Judge(nil, "m", in)); d != "" {
			t.Fatalf("judged otherwise the second time: %s", d)
		}
		if v.Outcome == rules.Rejected {
			if v.Labels != nil || len(v.Findings) == 0 {
				t.Fatalf("rejected with labels or without a reason: %+v", v)
			}
			return
		}
		checkOutput(t, c, in, v)

		// A later rule may match what an earlier one wrote; one rule settles it.
		if again := s.Judge(nil, "m", v.Labels); len(c.Rules) <= 1 && again.Outcome != rules.Permitted {
			t.Errorf("judging what was let through changes it again: %+v", again)
		}
	})
}

// checkOutput holds a verdict that lets labels through to what any policy
// promises.
func checkOutput(t *rapid.T, c rules.Config, in []labels.Label, v rules.Verdict) {
	out := map[string]string{}
	for _, l := range v.Labels {
		if _, twice := out[l.Name]; twice {
			t.Errorf("%s twice", l.Name)
		}
		out[l.Name] = l.Value
	}
	changed, rest := 0, v.Labels
	for _, l := range in {
		value, there := out[l.Name]
		protected := l.Name == "job" || l.Name == "le" || l.Name == "quantile"
		if protected && (!there || value != l.Value) {
			t.Errorf("%s was touched", l.Name)
		}
		if there && !protected && !listed(c.Labels, l.Name) {
			t.Errorf("%s is not listed", l.Name)
		}
		if there {
			if len(rest) == 0 || rest[0].Name != l.Name {
				t.Fatalf("not the order of the input, or a new name: %v of %v", v.Labels, in)
			}
			rest = rest[1:]
		}
		if !there || value != l.Value {
			changed++
		}
	}
	if len(rest) > 0 {
		t.Errorf("labels out of nowhere: %v", rest)
	}
	if changed != len(v.Findings) || (changed > 0) != (v.Outcome == rules.Rewritten) {
		t.Errorf("%d labels changed, %d findings, outcome %d", changed, len(v.Findings), v.Outcome)
	}
}

func listed(allowlist []string, name string) bool {
	if allowlist == nil {
		return true
	}
	for _, p := range allowlist {
		if regexp.MustCompile("^(?s:" + p + ")$").MatchString(name) {
			return true
		}
	}
	return false
}

func BenchmarkJudge(b *testing.B) {
	s := compile(b, rules.Config{
		Limits: rules.Limits{Labels: 30, LabelValueLength: 200},
		Labels: []string{"instance", "dag_id", "task_id", "status", "run_id"},
		Rules:  []rules.Rule{{ID: "ids", Shapes: []string{"all"}, Action: rules.Drop}},
	})
	for _, bm := range []struct {
		name string
		in   []labels.Label
	}{
		{"permitted", lbls("instance", "worker-12", "dag_id", "load_users", "task_id", "extract", "status", "success")},
		{"dropped", lbls("instance", "worker-12", "dag_id", "load_users", "run_id", uuid, "status", "success")},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(nil, "m", bm.in)
			}
		})
	}
}
