package audit

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOpenAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for i, job := range []string{"a", "b", "c"} {
		f, _, err := openToAppend(path)
		if err != nil {
			t.Fatal(err)
		}
		New(f, func(err error) { t.Error(err) }).Write(Record{Job: job})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(content), "\n"); n != i+1 || !strings.Contains(string(content), `"job":"a"`) {
			t.Errorf("after opening it %d times the log holds %q", i+1, content)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestTheLastLineIsEnded(t *testing.T) {
	for before, want := range map[string]string{"": "{}\n", "{}\n": "{}\n{}\n", `{"job":"a`: "{\"job\":\"a\n{}\n"} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(path, Rotation{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, f, "{}")
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%q became %q, want %q", before, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("target"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": "target", "dangling": "created"} {
		if err := os.Symlink(at(target), at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{at("link"), at("dangling"), at("pipe"), dir, os.DevNull, at("missing/audit.jsonl")} {
		f, _, err := openToAppend(path)
		if err == nil {
			_ = f.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name %s: %v", path, err)
		}
	}
	if _, err := os.Lstat(at("created")); err == nil {
		t.Error("a file was created through a symbolic link")
	}
}
