package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The policies that are shipped for one kind of jobs each are what learn drafts of a
// capture of that kind, from jobs on, and keep their own tests.
func TestShippedPoliciesAreLearned(t *testing.T) {
	for kind, tests := range map[string]string{"airflow": "2", "spark": "2", "cronjobs": "2"} {
		t.Run(kind, func(t *testing.T) {
			file := "../../deploy/policy." + kind + ".yml"
			shipped, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var learned, errs, out bytes.Buffer
			if code := run(t.Context(), []string{"learn", "--from=../../policy/learn/testdata/" + kind + ".prom"}, nil, &learned, &errs); code != 0 {
				t.Fatalf("learn: exit code %d: %s", code, &errs)
			}
			if diff := cmp.Diff(jobsOf(t, learned.String()), jobsOf(t, string(shipped))); diff != "" {
				t.Errorf("(-learned +shipped)\n%s", diff)
			}
			errs.Reset()
			if code := run(t.Context(), []string{"check", file}, nil, &out, &errs); code != 0 || errs.Len() > 0 {
				t.Errorf("check: exit code %d: %s", code, &errs)
			}
			if code := run(t.Context(), []string{"test", file}, nil, &out, &errs); code != 0 || !strings.HasSuffix(out.String(), tests+" tests: "+tests+" passed, 0 failed\n") {
				t.Errorf("test: exit code %d: %s%s", code, &out, &errs)
			}
		})
	}
}

// jobsOf is a policy from jobs to tests.
func jobsOf(t *testing.T, policy string) string {
	_, jobs, ok := strings.Cut(policy, "\njobs:\n")
	if !ok {
		t.Fatalf("no jobs in\n%s", policy)
	}
	jobs, _, _ = strings.Cut(jobs, "\n# pushguard test runs these.\n")
	return strings.TrimSpace(jobs)
}
