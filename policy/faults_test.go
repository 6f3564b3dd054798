package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/bad/*.golden, the tables of docs/policy.md and deploy/policy.schema.json anew; read the difference before believing it")

// Every testdata/bad/NAME.yml has in NAME.golden the faults it must be refused
// with, all of them, at their places.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad policies", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("policy.yml", data)
			if faults := Faults(nil); !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("want faults, got %v", err)
			}
			golden := strings.TrimSuffix(file, ".yml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no good policies", err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What would be unwieldy as a file: each at its limit and over it.
func TestCaps(t *testing.T) {
	jobs := func(n int) string {
		s := "version: v1\njobs:\n"
		for i := range n {
			s += fmt.Sprintf("- job: j%d\n", i)
		}
		return s
	}
	padded := func(size int) string {
		s := "version: v1\n#"
		return s + strings.Repeat("x", size-len(s))
	}
	nested := func(depth int) string {
		return "version: v1\njobs: " + strings.Repeat("[", depth) + strings.Repeat("]", depth)
	}
	shared := func(jobs int) string {
		s := "version: v1\njobs:\n- {job: a, labels: &l [" + strings.Repeat("x,", 1000) + "]}\n"
		for i := range jobs {
			s += fmt.Sprintf("- {job: j%d, labels: *l}\n", i)
		}
		return s
	}
	inherited := func(jobs int) string {
		s := "version: v1\ndefault:\n  rules:\n"
		for i := range 1000 {
			s += fmt.Sprintf("  - {id: r%d, labels: [x], action: drop}\n", i)
		}
		s += "jobs:\n"
		for i := range jobs {
			s += fmt.Sprintf("- {job: j%d}\n", i)
		}
		return s
	}
	for _, test := range []struct{ name, policy, want string }{
		{"file of 1 MiB", padded(1 << 20), ""},
		{"file over 1 MiB", padded(1<<20 + 1), "p:1:1: the file is larger than 1048576 bytes"},
		{"deep but for the parser", nested(32), "p:2:8: entry 1 of jobs: want a mapping, got a list"},
		{"too deep", nested(33), "p:2:39: not YAML: while increasing flow level: exceeded max depth of 32"},
		{"10,000 jobs", jobs(10_000), ""},
		{"10,001 jobs", jobs(10_001), "p:10003:3: more than 10000 entries in jobs"},
		{"aliases that expand to less than 2^18 values", shared(250), ""},
		{"aliases that expand to more", shared(300), "p:3:1: jobs: the file expands to more than 262144 values\n" +
			"p:3:20: job \"j259\": labels: the file expands to more than 262144 values"},
		{"100,000 rules", inherited(99), ""},
		{"more rules", inherited(100), "p:4:3: the entries have more than 100000 rules together, inherited ones included"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if _, err := Parse("p", []byte(test.policy)); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %.300s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yml")
	if _, err := Load(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
	if err := os.WriteFile(file, []byte("version: v3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.HasPrefix(err.Error(), file+":1:10: ") {
		t.Errorf("bad file: got %v", err)
	}
}
