package policy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/rules"
)

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse("policy.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFirstMatchGoverns(t *testing.T) {
	p := parse(t, `
version: v1
jobs:
- job: nightly_special
- job: nightly_.*
- job: a|b
- job: (?i)loud
- job: plain.dot
- job: weekly\.load
- job: héllo.*
- job: late
- job: .+_final
`)
	for _, test := range []struct{ job, want string }{
		{"nightly_special", "nightly_special"},
		{"nightly_special_2", "nightly_.*"},
		{"nightly_", "nightly_.*"},
		{"nightly_x\ny", "nightly_.*"}, // a job name may hold a newline
		{"nightly_x_final", "nightly_.*"},
		{"my_nightly_x", "default"},
		{"a", "a|b"},
		{"b", "a|b"},
		{"ab", "default"},
		{"ax", "default"},
		{"LOUD", "(?i)loud"},
		{"plain.dot", "plain.dot"},
		{"plain-dot", "plain.dot"},
		{"weekly.load", `weekly\.load`},
		{"weekly-load", "default"},
		{"héllo!", "héllo.*"},
		{"late", "late"},
		{"later", "default"},
		{"the_final", ".+_final"},
		{"_final", "default"},
		{"", "default"},
		{"\xff", "default"},
	} {
		if got := p.Entry(test.job).Name; got != test.want {
			t.Errorf("job %q: governed by %q, want %q", test.job, got, test.want)
		}
	}
}

func TestPlainNameAfterPattern(t *testing.T) {
	p := parse(t, "version: v1\njobs:\n- job: b.*\n- job: a\n- job: '[ac]'\n")
	for job, want := range map[string]string{"a": "a", "b": "b.*", "c": "[ac]"} {
		if got := p.Entry(job).Name; got != want {
			t.Errorf("job %q: governed by %q, want %q", job, got, want)
		}
	}
}

// The index over plain names and prefixes must say what trying every pattern in
// order says.
func TestEntryAgreesWithTryingInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab]{0,2}(\.|\[ab\]|a\?|b\*|\(a\|b\)|)[ab]{1,2}`), 1, 8, rapid.ID[string]).Draw(t, "patterns")
		text := "version: v1\njobs:\n"
		for _, p := range patterns {
			text += fmt.Sprintf("- job: %q\n", p)
		}
		p, err := Parse("p", []byte(text))
		if err != nil && !strings.Contains(err.Error(), "never governs") {
			t.Fatal(err)
		}
		if err != nil {
			t.Skip("an entry without a job")
		}
		for _, job := range rapid.SliceOfN(rapid.StringMatching(`[ab]{0,5}`), 1, 20).Draw(t, "jobs") {
			want := "default"
			for _, pattern := range patterns {
				if regexp.MustCompile(`\A(?:` + pattern + `)\z`).MatchString(job) {
					want = pattern
					break
				}
			}
			if got := p.Entry(job).Name; got != want {
				t.Fatalf("job %q: governed by %q, want %q", job, got, want)
			}
		}
	})
}

func TestOwnerAndModeAreInherited(t *testing.T) {
	p := parse(t, `version: v1
default:
  owner: platform
  mode: enforce
jobs:
- job: a
- job: b
  owner: data-eng
- job: c
  mode: open
- job: d
  owner: ""
`)
	type row struct {
		Name, Owner string
		Mode        Mode
		Line, ID    int
	}
	var got []row
	for _, e := range p.Entries() {
		got = append(got, row{e.Name, e.Owner, e.Mode, e.Line, e.ID})
	}
	want := []row{
		{"a", "platform", Enforce, 6, 0},
		{"b", "data-eng", Enforce, 7, 1},
		{"c", "platform", Open, 9, 2},
		{"d", "", Enforce, 11, 3},
		{"default", "platform", Enforce, 3, 4},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestNoDefaultReportsEverythingAndOwnsNothing(t *testing.T) {
	for _, text := range []string{"version: v1", "version: v1\ndefault: {}"} {
		e := parse(t, text).Entry("any")
		if e.Name != "default" || e.Mode != Report || e.Owner != "" || e.Rules == nil {
			t.Errorf("%q: got %+v", text, e)
		}
	}
}

// What an entry is judged by, seen at the point where it goes to the rules.
func TestLimitsLabelsAndRulesAreInherited(t *testing.T) {
	d := &decoder{source: "p"}
	f := d.file(d.document([]byte(`version: v1
default:
  limits: {body_size_limit: 2KiB, sample_limit: 20, label_limit: 3, label_name_length_limit: 4, label_value_length_limit: 5}
  labels: [one]
  rules:
  - {id: first, shapes: all, action: template}
jobs:
- job: inherits
- job: overrides
  limits: {sample_limit: 0, label_limit: 7}
  labels: []
  rules: []
- job: replaces
  limits: {body_size_limit: 1MiB}
  labels: [two, three]
  rules:
  - {id: second, labels: [x, y], action: replace, replacement: z, gauges: max}
`)))
	if len(d.faults) > 0 {
		t.Fatal(d.faults)
	}
	got := make([]string, len(f.jobs))
	for i := range f.jobs {
		j := inherit(&f.jobs[i], &f.fallback)
		got[i] = fmt.Sprintf("%q", fmt.Sprintf("%+v", j.config()))
	}
	want := []string{
		`"{Limits:{BodySize:2048 Samples:20 Labels:3 LabelNameLength:4 LabelValueLength:5} Labels:[one] Rules:[{ID:first Labels:[] Shapes:[all] Action:template Replacement: Buckets:0 Length:0 Gauges:}] Relabel:[]}"`,
		`"{Limits:{BodySize:2048 Samples:0 Labels:7 LabelNameLength:4 LabelValueLength:5} Labels:[] Rules:[] Relabel:[]}"`,
		`"{Limits:{BodySize:1048576 Samples:20 Labels:3 LabelNameLength:4 LabelValueLength:5} Labels:[two three] Rules:[{ID:second Labels:[x y] Shapes:[] Action:replace Replacement:z Buckets:0 Length:0 Gauges:max}] Relabel:[]}"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configs (-want +got):\n%s", diff)
	}
}

// No allowlist permits every label, an empty one only job.
func TestAllowlistAbsentIsNotEmpty(t *testing.T) {
	for text, wantNil := range map[string]bool{
		"version: v1":                        true,
		"version: v1\ndefault: {labels: []}": false,
	} {
		d := &decoder{source: "p"}
		f := d.file(d.document([]byte(text)))
		j := inherit(&f.fallback, &f.fallback)
		if got := j.config().Labels == nil; got != wantNil {
			t.Errorf("%q: nil allowlist is %t, want %t", text, got, wantNil)
		}
	}
}

func TestEntriesThatSayTheSameShareTheirRules(t *testing.T) {
	p := parse(t, "version: v1\njobs:\n- {job: a, owner: x}\n- {job: b, mode: open}\n- {job: c, limits: {label_limit: 1}}\n")
	e := p.Entries()
	if e[0].Rules != e[1].Rules || e[0].Rules != e[3].Rules {
		t.Error("entries with equal rules do not share them")
	}
	if e[0].Rules == e[2].Rules {
		t.Error("entries with unlike limits share their rules")
	}
}

func TestFoldJob(t *testing.T) {
	for _, test := range []struct{ fold, job, want string }{
		{"", "load_application_1690000000000_0001", "load_application_1690000000000_0001"},
		{"fold_jobs: []", "load_application_1690000000000_0001", "load_application_1690000000000_0001"},
		{"fold_jobs: [trailing_spark_app]", "load_application_1690000000000_0001", "load"},
		{"fold_jobs: [trailing_spark_app]", "load_20260101", "load_20260101"},
		{"fold_jobs: [trailing_spark_app, trailing_time]", "load_20260101_application_1690000000000_0001", "load"},
		{"fold_jobs: [trailing_time]", "load" + strings.Repeat("_20260101", 40), "load"},
		{"fold_jobs: [trailing_time]", "x_20260101", "x_20260101"}, // too little would be left
		{"fold_jobs: all", "alice@example.com", "<email>"},
		{"fold_jobs: all", "", ""},
	} {
		p := parse(t, "version: v1\n"+test.fold+"\n")
		if got := p.FoldJob(test.job); got != test.want {
			t.Errorf("%s: job %q is folded to %q, want %q", test.fold, test.job, got, test.want)
		}
	}
}

func FuzzFoldJob(f *testing.F) {
	all, some := parse(f, "{version: v1, fold_jobs: all}"), parse(f, "{version: v1, fold_jobs: [trailing_time, k8s_job_pod]}")
	for _, job := range []string{"", "x_20260101_20260102", "etl-28412345-x2k9z", "\xff-x2k9z", "a@b.co", "0.0000/dt=2026"} {
		f.Add(job)
	}
	f.Fuzz(func(t *testing.T, job string) {
		for _, p := range []*Policy{all, some} {
			folded := p.FoldJob(job)
			if (folded == "") != (job == "") {
				t.Errorf("job %q is folded to %q", job, folded)
			}
			if again := p.FoldJob(folded); again != folded {
				t.Errorf("job %q is folded to %q, and that to %q", job, folded, again)
			}
		}
	})
}

func TestDigest(t *testing.T) {
	// printf 'version: v1' | sha256sum | cut -c-12
	const want = "793111870e8d"
	if got := parse(t, "version: v1").Digest(); got != want {
		t.Errorf("digest %q, want %q", got, want)
	}
	if parse(t, "version: v1\n").Digest() == want {
		t.Error("another file has the same digest")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "500000": 500000, "0B": 0, "7B": 7, "1KiB": 1 << 10, "1KB": 1 << 10, "10MiB": 10 << 20, "10MB": 10 << 20,
		"1GiB": 1 << 30, "2147483647": 1<<31 - 1, "2147483647B": 1<<31 - 1,
	} {
		d := &decoder{source: "p"}
		f := d.file(d.document([]byte("{version: v1, default: {limits: {body_size_limit: " + text + "}}}")))
		if got := f.fallback.limits.bodySize.value; len(d.faults) > 0 || got != want {
			t.Errorf("%s: got %d %v, want %d", text, got, d.faults, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"testdata/bad", "testdata/good", "../deploy"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			if data, err := os.ReadFile(dir + "/" + file.Name()); err == nil && strings.HasSuffix(file.Name(), ".yml") {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p", data)
		if err == nil {
			if p.Entry("any") == nil || p.Digest() == "" {
				t.Fatal("an accepted policy without an entry or a digest")
			}
			for _, e := range p.Entries() {
				if e.StaleAfter < 0 || e.Guaranteed() < 0 || e.Counters.Classes.Of(rules.Family{Name: "x"}).Class == "" {
					t.Fatalf("accepted: %+v", e)
				}
			}
			return
		}
		faults, ok := err.(Faults)
		if !ok || len(faults) == 0 {
			t.Fatalf("not Faults: %v", err)
		}
		lines := strings.Split(string(data), "\n")
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > len(lines) {
				t.Fatalf("%v: line outside of the file's %d", fault, len(lines))
			}
			if width := len(lines[fault.Line-1]); fault.Column < 1 || fault.Column > width+1 {
				t.Fatalf("%v: column outside of the line's %d bytes", fault, width)
			}
			if fault.Msg == "" || strings.Contains(fault.Msg, "\n") {
				t.Fatalf("%v: a message is one line", fault)
			}
		}
	})
}
