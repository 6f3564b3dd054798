package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of tests in a folder holds the whole policy to what it says: default stands
// in another file.
func TestTestOfAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	const test = "version: v1\ntests:\n- {name: %s, job: load, push: 'a{run_id=\"1\"} 1', want: {outcome: changed}}\n"
	for name, content := range map[string]string{
		"teams/data.yml":      "version: v1\njobs: [{job: load}]\n",
		"teams/data_test.yml": strings.Replace(test, "%s", "of a file", 1),
		"teams/all_test.yml":  strings.Replace(test, "%s", "of the folder", 1) + "policy: .\n",
		"teams/platform.yml": "default: {mode: enforce, rules: [{id: ids, labels: [run_id], action: drop}]}\n" +
			strings.TrimPrefix(strings.Replace(test, "%s", "in the policy", 1), "version: v1\n"),
		"others_test.yml": "version: v1\npolicy: nowhere.yml\ntests: []\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, stderr := command(t, "test", "teams")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	for _, name := range []string{"of a file", "of the folder", "in the policy", "3 tests: 3 passed"} {
		if !strings.Contains(stdout, name) {
			t.Errorf("%q is not in\n%s", name, stdout)
		}
	}
}
