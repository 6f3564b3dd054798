// Package shipped proves what lies in deploy and what a release is made of: by the tools
// that read it, and by the binary that it is about.
package shipped

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

const root = "../../../../"

// run runs a program at the root of the repository and returns what it prints to stdout.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, said, err := try(name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, said)
	}
	return out
}

func try(name string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// tool is the path of a tool of one of the module files in deploy, built if need be.
func tool(t *testing.T, modfile, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "go", "tool", "-modfile=deploy/"+modfile, "-n", name))
}

// module is the folder of a module that is only read, held to its checksum.
func module(t *testing.T, version, sum string) string {
	t.Helper()
	var got struct{ Dir, Sum string }
	if err := json.Unmarshal([]byte(run(t, "go", "mod", "download", "-json", version)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Sum != sum {
		t.Fatalf("%s has the checksum %s, want %s", version, got.Sum, sum)
	}
	return got.Dir
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// documents reads the documents of a YAML file.
func documents(t *testing.T, text string) (docs []map[string]any) {
	t.Helper()
	for part := range strings.SplitSeq("\n"+text, "\n---") {
		var doc map[string]any
		if err := yaml.Unmarshal([]byte(part), &doc); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if doc != nil {
			docs = append(docs, doc)
		}
	}
	return docs
}

// at is what lies below a value, by keys of maps and the word 0 for the first of a list.
func at(v any, path ...string) any {
	for _, key := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[key]
		case []any:
			if key != "0" || len(in) == 0 {
				return nil
			}
			v = in[0]
		default:
			return nil
		}
	}
	return v
}

// starts holds a container's command line to the binary: with its files laid into a folder
// of this machine, and its other servers left out, the guard becomes ready.
func starts(t *testing.T, args []any, files map[string]string) {
	t.Helper()
	var flags []string
	for _, arg := range args[1:] { // after serve
		text := arg.(string)
		for inside, here := range files {
			text = strings.ReplaceAll(text, inside, here)
		}
		if strings.HasPrefix(text, "--pushgateway.url=") {
			text = "--pushgateway.url=" + world.Pushgateway(t).URL
		}
		flags = append(flags, text)
	}
	world.Guard(t, world.GuardOptions{Policy: filepath.Join(root, "deploy/policy.example.yml"), Flags: without(flags, "--policy.file=")})
	if policy := valueOf(flags, "--policy.file="); policy != "" {
		run(t, world.Binary(t), "check", policy)
	}
}

func without(flags []string, prefix string) (out []string) {
	for _, f := range flags {
		if !strings.HasPrefix(f, prefix) {
			out = append(out, f)
		}
	}
	return out
}

func valueOf(flags []string, prefix string) string {
	for _, f := range flags {
		if v, ok := strings.CutPrefix(f, prefix); ok {
			return v
		}
	}
	return ""
}
