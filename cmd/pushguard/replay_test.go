package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/record"
)

// Each folder has two policies, pushes, what asks for them, and what is told.
func TestReplayFolders(t *testing.T) {
	folders, err := filepath.Glob("testdata/replay/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	for _, folder := range folders {
		for _, output := range []string{"text", "json"} {
			t.Run(filepath.Base(folder)+"/"+output, func(t *testing.T) {
				t.Chdir(folder)
				code, stdout, stderr := command(t, "replay", "--policy.file=new.yml", "--against=old.yml", "--rules.file=rules.yml",
					"--dashboards=dashboards", "--output="+output, "pushes.jsonl")
				if code != exitFailure || stderr != "" {
					t.Errorf("exit code %d: %s", code, stderr)
				}
				if *update {
					if err := os.WriteFile("want."+output, []byte(stdout), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile("want." + output)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), stdout); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestReplayExitCodes(t *testing.T) {
	t.Chdir("testdata/replay/labels")
	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		stdout string // a part of it
		stderr string
	}{
		{"a policy against itself", []string{"--policy.file=new.yml", "--against=new.yml", "pushes.jsonl"}, 0, "9 pushes: no difference\n", ""},
		{"a difference", []string{"--policy.file=new.yml", "--against=old.yml", "pushes.jsonl"}, 1, "9 pushes: 6 differ, of 3 jobs\n", ""},
		{"a difference that is no fault", []string{"--policy.file=new.yml", "--against=old.yml", "--exit-zero", "pushes.jsonl"}, 0, "9 pushes: 6 differ", ""},
		{"no policy", []string{"pushes.jsonl"}, 2, "", "--policy.file is required"},
		{"no such policy", []string{"--policy.file=gone.yml", "--against=old.yml", "pushes.jsonl"}, 2, "", "--policy.file: read policy: open gone.yml: "},
		{"no such policy to compare with", []string{"--policy.file=new.yml", "--against=gone.yml", "pushes.jsonl"}, 2, "", "--against: read policy: open gone.yml: "},
		{"captures without a second policy", []string{"--policy.file=new.yml", "pushes.jsonl"}, 2, "", "capture 1: no guard has recorded what happened"},
		{"no such file", []string{"--policy.file=new.yml", "--against=old.yml", "nowhere.jsonl"}, 2, "", "open nowhere.jsonl: "},
		{"no capture", []string{"--policy.file=new.yml", "--against=old.yml", "old.yml"}, 2, "", "old.yml: capture 1: "},
		{"no rules", []string{"--policy.file=new.yml", "--against=old.yml", "--rules.file=old.yml", "pushes.jsonl"}, 2, "", "--rules.file: old.yml: no groups of rules"},
		{"no dashboard", []string{"--policy.file=new.yml", "--against=old.yml", "--dashboards=old.yml", "pushes.jsonl"}, 2, "", "--dashboards: old.yml: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := command(t, append([]string{"replay"}, tc.args...)...)
			if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// Stopped, it tells of what was done, and that it is not all.
func TestReplayStopped(t *testing.T) {
	t.Chdir("testdata/replay/labels")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	code := run(ctx, []string{"replay", "--policy.file=new.yml", "--against=old.yml", "pushes.jsonl"}, strings.NewReader(""), &out, &errs)
	if code != exitUsage || !strings.Contains(out.String(), "1 push: 1 differs") || !strings.Contains(errs.String(), "stopped") {
		t.Errorf("exit code %d\n%s%s", code, &out, &errs)
	}
}

func TestWithoutVariables(t *testing.T) {
	for expr, want := range map[string]string{
		`up`:                                     `up`,
		`rate(a[$__rate_interval])`:              `rate(a[5m])`,
		`rate(a[[[every]]])`:                     `rate(a[5m])`,
		`max_over_time(a[${range}:$__interval])`: `max_over_time(a[5m:5m])`,
		`a offset $shift`:                        `a offset 5m`,
		`a{job="$job",b=~"[[b]]|${c:regex}",d='\'$e'}`: `a{job="$job",b=~"[[b]]|${c:regex}",d='\'$e'}`,
		`sum by ($by) ($metric{job="x"})`:              `sum by (grafana_variable) (grafana_variable{job="x"})`,
		`topk by (x) ($n, sum by ($by) (a))`:           `topk by (x) (1, sum by (grafana_variable) (a))`,
		`topk(${n}, a)`:                                `topk(1, a)`,
		`a / $__range_s > [[least:raw]]`:               `a / grafana_variable > grafana_variable`,
	} {
		candidates := withoutVariables(expr)
		if !slices.Contains(candidates, want) {
			t.Errorf("%s may be %q, want %s", expr, candidates, want)
		}
		var q queries
		if q.add("here", candidates...); len(q.read) != 1 {
			t.Errorf("%s cannot be read: %v", expr, q.unread)
		}
	}
}

func TestQueriesThatUse(t *testing.T) {
	label, metric := gone{"load", "rows", "run_id"}, gone{Job: "load", Metric: "rows"}
	for _, tc := range []struct {
		expr                string
		usesLabel, usesName bool
	}{
		{`rows`, false, true},
		{`rows{run_id="7"}`, true, true},
		{`rows{run_id="7",job="other"}`, false, false},
		{`rows{run_id="7",job=~"lo.+"}`, true, true},
		{`rows{run_id="7",job="$job"}`, true, true},
		{`{run_id="7"}`, true, false},
		{`{__name__=~"ro.*",run_id="7"}`, true, true},
		{`others{run_id="7"}`, false, false},
		{`sum by (run_id) (rate(rows[5m]))`, true, true},
		{`sum without (run_id) (rows)`, false, true},
		{`sum by (run_id) (others) + sum(rows)`, false, true},
		{`rows * on (run_id) others`, true, true},
		{`rows * on (table) group_left (run_id) others`, true, true},
		{`label_replace(rows, "a", "$1", "run_id", "(.*)")`, true, true},
		{`label_replace(rows, "run_id", "$1", "b", "(.*)")`, false, true},
		{`label_join(rows, "a", "-", "table", "run_id")`, true, true},
		{`count_over_time((max by (run_id) (rows))[1h:5m])`, true, true},
		{`absent(rows)`, false, true},
	} {
		var q queries
		q.add("here", tc.expr)
		if len(q.read) != 1 {
			t.Errorf("%s: %v", tc.expr, q.unread)
			continue
		}
		if got := len(q.using([]gone{label})) > 0; got != tc.usesLabel {
			t.Errorf("%s uses the label: %v", tc.expr, got)
		}
		if got := len(q.using([]gone{metric})) > 0; got != tc.usesName {
			t.Errorf("%s uses the metric: %v", tc.expr, got)
		}
	}
}

// A query without variables stays as it is, and whatever is written is read or named.
func FuzzWithoutVariables(f *testing.F) {
	for _, seed := range []string{`rate(a{b="$c"}[$__rate_interval])`, `[[`, `"\`, `${a:`, `a[[[b]]]`, "`$a", `$`, `topk($n, a)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		candidates := withoutVariables(expr)
		if !hasVariable(expr) && !slices.Equal(candidates, []string{expr}) {
			t.Errorf("%q became %q", expr, candidates)
		}
		var q queries
		if q.add("here", candidates...); len(q.read)+len(q.unread) != 1 {
			t.Errorf("%q: %d read, %d unread", expr, len(q.read), len(q.unread))
		}
		parsed, err := parser.NewParser(parser.Options{EnableExperimentalFunctions: true}).ParseExpr(expr)
		if err != nil || hasVariable(expr) {
			return
		}
		if want := len(parser.ExtractSelectors(parsed)); len(q.read[0].selectors) != want {
			t.Errorf("%q has %d selectors, read %d", expr, want, len(q.read[0].selectors))
		}
	})
}

func FuzzCaptures(f *testing.F) {
	f.Add(`{"time":"2026-11-28T06:00:00Z","request":{"method":"PUT","target":"/metrics/job/a"}}{"request":{"method":"DELETE","target":"/metrics/job/a"}}`)
	f.Add(`{"time":7}`)
	f.Add(`{"request":`)
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		err := eachCapture(strings.NewReader(text), new(int), func(*record.Line, proxy.Request) error { n++; return nil })
		if n > 0 && err != nil && !strings.HasPrefix(err.Error(), fmt.Sprintf("capture %d: ", n+1)) {
			t.Errorf("after %d captures: %v", n, err)
		}
	})
}
