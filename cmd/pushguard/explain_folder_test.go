package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What an explanation quotes of a folder stands in the file that it names.
func TestExplainNamesTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"teams/a-data.yml":   "version: v1\njobs:\n- {job: load}\n",
		"teams/platform.yml": "default:\n  mode: enforce\n  rules:\n  - {id: ids, labels: [run_id], action: drop}\n  counters:\n    families:\n    - {metrics: [rows], as: drop}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for output, want := range map[string][]string{
		"text": {"teams/a-data.yml:3: load", "teams/platform.yml:4: ids", "teams/platform.yml:7: rows"},
		"json": {`"file": "teams/a-data.yml"`, `"file": "teams/platform.yml"`},
	} {
		var out, errs bytes.Buffer
		push := strings.NewReader("a{run_id=\"7\"} 1\nrows 2\n")
		code := run(t.Context(), []string{"explain", "--policy.file=teams", "--job=load", "--output=" + output}, push, &out, &errs)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, &errs)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%q is not in\n%s", w, &out)
			}
		}
	}
}

// What decides of all jobs together is a line, unless a flag is below it.
func TestExplainNamesTheGuardsBudget(t *testing.T) {
	path := write(t, "policy.yml", "version: v1\nbudget:\n  series: 60\n  groups: 9\ndefault:\n  mode: enforce\n  on_over_budget: reject\n")
	for flag, want := range map[string]bool{"--limits.series=1000": true, "--limits.series=59": false} {
		var out, errs bytes.Buffer
		push := strings.NewReader(strings.Join(manyGauges(70), ""))
		code := run(t.Context(), []string{"explain", "--policy.file=" + path, "--job=load", flag}, push, &out, &errs)
		if code != 1 || !strings.Contains(out.String(), "over series of the guard") || !strings.Contains(out.String(), path+":7: on_over_budget: reject") {
			t.Errorf("%s: exit code %d, %s%s", flag, code, &errs, &out)
		}
		if got := strings.Contains(out.String(), path+":3: "); got != want {
			t.Errorf("%s: the line is named: %t, want %t\n%s", flag, got, want, &out)
		}
	}
}

func manyGauges(n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("depth{queue=\"%d\"} 1\n", i))
	}
	return lines
}
