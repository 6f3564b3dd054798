package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	const base = `version: v1
budget: {series: 100}
default: {mode: report, owner: platform, rules: [{id: ids, labels: [run_id], action: drop}]}
jobs:
- {job: a, budget: {series: 5}}
- {job: b, owner: data, mode: enforce, stale_after: 6h, labels: [x]}
- {job: c}
- {job: d}
`
	for _, test := range []struct {
		name    string
		replace []string // pairs
		want    []string
	}{
		{"nothing", nil, nil},
		{"a comment", []string{"jobs:", "# ours\njobs:"}, nil},
		{"the guard's budget", []string{"series: 100", "series: 200, groups: 7"}, []string{"budget series: 100 → 200", "budget groups: none → 7"}},
		{"folding", []string{"jobs:", "fold_jobs: [uuid]\njobs:"}, []string{"fold_jobs: none → [uuid]"}},
		{
			"one entry",
			[]string{"mode: enforce, stale_after: 6h, labels: [x]", "mode: open, stale_after: 7d, labels: [x, y], budget: {series: 9, until: 2030-01-31}, limits: {sample_limit: 8}"},
			[]string{
				`job "b": mode: enforce → open`, `job "b": budget series: none → 9`, `job "b": budget until: for ever → 2030-01-31`,
				`job "b": stale_after: 6h → 1w`, `job "b": sample_limit: none → 8`, `job "b": labels: [x] → [x, y]`,
			},
		},
		{"who owns", []string{"owner: data", "owner: ml"}, []string{`job "b": owner: data → ml`}},
		{"what is inherited, once", []string{"mode: report", "mode: enforce"}, []string{"default: mode: report → enforce"}},
		{"what one inherits no more", []string{"{job: c}", "{job: c, mode: enforce}"}, []string{`job "c": mode: report → enforce`}},
		{
			"rules",
			[]string{"action: drop}", "action: drop}, {id: p, labels: [path], shapes: [uuid], action: bucket, buckets: 7}"},
			[]string{"default: rules: ids: drop labels [run_id] → ids: drop labels [run_id]; p: bucket buckets 7 labels [path] shapes [uuid]"},
		},
		{
			"counters and relabelling",
			[]string{"{job: c}", "{job: c, counters: {route: snapshot, families: [{metrics: [m], as: drop}]}, relabel_configs: [{action: labeldrop, regex: x}]}"},
			[]string{
				`job "c": relabel_configs: none → labeldrop [] by "x" modulus 0 to "" "$1" with ";"`,
				`job "c": counters route: auto → snapshot`, `job "c": counters families: none → [m] as drop`,
			},
		},
		{"added", []string{"- {job: c}", "- {job: new, mode: enforce}\n- {job: c}"}, []string{`job "new": added (owner platform, mode enforce)`}},
		{"removed", []string{"- {job: c}\n", ""}, []string{`job "c": removed`}},
		{"moved down", []string{"- {job: c}\n", "", "- {job: d}\n", "- {job: d}\n- {job: c}\n"}, []string{`job "d": moved behind job "b"`}},
		{"moved to the top", []string{"- {job: d}\n", "", "jobs:\n", "jobs:\n- {job: d}\n"}, []string{`job "d": moved to the top`}},
		{"text that is no text", []string{"owner: data", `owner: "a\u202eb"`}, []string{"job \"b\": owner: data → a\ufffdb"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parse(t, strings.NewReplacer(test.replace...).Replace(base)).Diff(parse(t, base))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDiffIsBounded(t *testing.T) {
	jobs := func(n int) *Policy {
		s := "version: v1\njobs:\n- {job: wide, labels: [" + strings.Repeat("x", 2*n) + "]}\n"
		for i := range n {
			s += fmt.Sprintf("- {job: j%d}\n", i)
		}
		return parse(t, s)
	}
	for _, test := range []struct {
		jobs, want int
		last       string
	}{
		{maxChanges - 1, maxChanges, `job "j98": added (owner nobody, mode report)`},
		{maxChanges, maxChanges + 1, "and 1 more"},
		{500, maxChanges + 1, "and 401 more"},
	} {
		got := jobs(test.jobs).Diff(jobs(0))
		if len(got) != test.want || got[len(got)-1] != test.last {
			t.Errorf("%d jobs: %d changes, the last %q; want %d and %q", test.jobs, len(got), got[len(got)-1], test.want, test.last)
		}
		for _, c := range got {
			if n := len([]rune(c)); n > maxChange+1 {
				t.Errorf("a change of %d characters", n)
			}
		}
	}
}

// Of a list that is too long to be told whole, what is no more and what is new.
func TestDiffTellsWhatALongListChanges(t *testing.T) {
	rules, labels := "", ""
	for i := range 40 {
		rules += fmt.Sprintf("{id: rule%d, labels: [label%d], action: drop}, ", i, i)
		labels += fmt.Sprintf("label%d, ", i)
	}
	base := "version: v1\ndefault: {rules: [" + rules + "], labels: [" + labels + "]}\n"
	for _, test := range []struct{ from, to, want string }{
		{"{id: rule20, labels: [label20]", "{id: rule20, labels: [label20, x]", "rules: …; rule20: drop labels [label20]; … → …; rule20: drop labels [label20, x]; …"},
		{"{id: rule0, labels: [label0], action: drop}, ", "", "rules: rule0: drop labels [label0]; … → …"},
		{"rules: [", "rules: [{id: first, labels: [x], action: keep}, ", "rules: … → first: keep labels [x]; …"},
		{"], labels: [", "{id: last, labels: [x], action: keep}], labels: [", "rules: … → …; last: keep labels [x]"},
		{" label7, ", " ", "labels: …, label7, … → …, …"},
	} {
		got := parse(t, strings.Replace(base, test.from, test.to, 1)).Diff(parse(t, base))
		if diff := cmp.Diff([]string{"default: " + test.want}, got); diff != "" {
			t.Errorf("%s becomes %s: -want +got:\n%s", test.from, test.to, diff)
		}
	}
}

// Whatever the order, those that did not move are in order, and moving fewer would
// not do: checked against trying every subset.
func TestRising(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.Permutation([]int{1, 2, 3, 4, 5, 6, 7}).Draw(t, "list")
		list = list[:rapid.IntRange(0, len(list)).Draw(t, "length")]
		most := 0
		for set := range 1 << len(list) {
			var part []int
			for i, v := range list {
				if set>>i&1 == 1 {
					part = append(part, v)
				}
			}
			if slices.IsSorted(part) {
				most = max(most, len(part))
			}
		}
		var stay []int
		for i, s := range rising(list) {
			if s {
				stay = append(stay, list[i])
			}
		}
		if !slices.IsSorted(stay) || len(stay) != most {
			t.Errorf("%v: %v stay, want %d in order", list, stay, most)
		}
	})
}

// Every key of an entry that the schema knows makes a difference.
func TestDiffSeesEveryKey(t *testing.T) {
	const plain = "version: v1\nbudget: {series: 99}\njobs:\n- {job: a, budget: {series: 1}%s}\n"
	for _, key := range []string{
		"owner: x", "push: ['*']", "mode: open", "entry_budget: {series: 1}", "entry_budget: {jobs: 1}", "entry_budget: {new_jobs_per_day: 1}",
		"on_over_budget: reject", "stale_after: 1h", "keep_last_success: true", "merge: replace", "on_refuse: accept",
		"limits: {body_size_limit: 1}", "limits: {sample_limit: 1}", "limits: {label_limit: 1}", "limits: {label_name_length_limit: 1}",
		"limits: {label_value_length_limit: 1}", "labels: []", "rules: [{id: a, action: drop, labels: [b]}]",
		"relabel_configs: [{action: labeldrop, regex: b}]", "counters: {route: totals}", "counters: {semantics: delta}",
		"counters: {unknown_first: ignore}", "counters: {run_labels: [r]}", "counters: {families: [{metrics: [m], as: drop}]}",
	} {
		p := parse(t, fmt.Sprintf(plain, ", "+key))
		if got := p.Diff(parse(t, fmt.Sprintf(plain, ""))); len(got) != 1 {
			t.Errorf("%s: %q, want one change", key, got)
		}
	}
}

// A stamp changes with everything that is read, and with nothing else.
func TestStamp(t *testing.T) {
	dir := folder(t, map[string]string{"a.yml": "version: v1\n", "README": ""})
	beside := dir + "/users"
	last := Stamp(dir, []string{beside})
	for _, step := range []struct {
		name, file, content string
		changes             bool
	}{
		{"a file", "a.yml", "version: v1\n#\n", true},
		{"the same again", "a.yml", "version: v1\n#\n", false},
		{"another file", "b.yml", "", true},
		{"what is not read", "README", "x", false},
		{"the file beside", "users", "", true},
		{"what it holds", "users", "x", true},
	} {
		if err := os.WriteFile(dir+"/"+step.file, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		now := Stamp(dir, []string{beside})
		if (now != last) != step.changes {
			t.Errorf("%s: changed %t, want %t", step.name, now != last, step.changes)
		}
		last = now
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if Stamp(dir, []string{beside}) == last {
		t.Error("a folder that is gone has the stamp of the one before")
	}
}
