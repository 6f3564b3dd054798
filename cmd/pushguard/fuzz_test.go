package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script by which every fuzz target runs: what a target finds fails it and is
// printed; one that finds nothing is interrupted and passes; a target that is asked for
// and not there is no pass.
func TestFuzzScript(t *testing.T) {
	dir := t.TempDir()
	for name, from := range map[string]string{
		"testdata/fuzz.sh":  "../../testdata/fuzz.sh",
		"go.mod":            "../../go.mod",
		"room/room_test.go": "testdata/fuzzed/room_test.go",
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, target, time string
		passes             bool
		says               []string
	}{
		{"nothing is found", "FuzzSound", "1s", true, []string{"room FuzzSound: fuzz: elapsed:", "execs: "}},
		{"an input is found", "FuzzBroken", "10m", false, []string{"room FuzzBroken found something:", "Failing input written to testdata/fuzz/FuzzBroken/", "go test fuzz v1\nstring("}},
		{"a seed fails", "FuzzSeed", "10m", false, []string{"room FuzzSeed found something:", "failure while testing seed corpus entry: FuzzSeed/seed#0"}},
		{"there is no such target", "FuzzGone", "1s", false, []string{"there is no FuzzGone"}},
		{"a time that is none", "FuzzSound", "1000x", false, []string{"1000x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("bash", filepath.Join(dir, "testdata/fuzz.sh"), tt.target)
			cmd.Env = append(os.Environ(), "FUZZTIME="+tt.time)
			out, err := cmd.CombinedOutput()
			if passed := err == nil; passed != tt.passes {
				t.Errorf("passed: %t, %v", passed, err)
			}
			for _, says := range tt.says {
				if !strings.Contains(string(out), says) {
					t.Errorf("no %q in\n%s", says, out)
				}
			}
		})
	}
}
