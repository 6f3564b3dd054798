package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test start itself again as the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("AUDIT_TEST_WRITE"); path != "" {
		writeUntilKilled(path)
	}
	os.Exit(m.Run())
}

var killed = Rotation{MaxSize: 4000, KeepFiles: 1_000_000, KeepBytes: 1 << 30}

// writeUntilKilled writes numbered records and says of each that it is written.
func writeUntilKilled(path string) {
	from := os.Getenv("AUDIT_TEST_FROM")
	f, err := OpenFile(path, killed)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l := New(f, func(err error) { fmt.Println(err) })
	var n int
	_, _ = fmt.Sscan(from, &n)
	for ; ; n++ {
		l.Write(Record{Time: time.Now(), Job: fmt.Sprint("n", n)})
		fmt.Println("n", n)
	}
}

// content is all lines of a log, its rotated files first.
func content(t *testing.T, path string) (lines []string, files int) {
	t.Helper()
	rotated, err := Rotated(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(rotated, path) {
		b, err := os.ReadFile(name)
		if err != nil && name != path {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return lines, len(rotated)
}

// TestKill kills a process that rotates every few dozen lines, again and again:
// every record that it said was written is there, in a file that is found.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	next := 0
	for round := range 15 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITE="+path, fmt.Sprint("AUDIT_TEST_FROM=", next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for i := range 300 + 37*round {
			if !said.Scan() || !strings.HasPrefix(said.Text(), "n ") {
				t.Fatalf("line %d of the child: %q", i, said.Text())
			}
		}
		_ = cmd.Process.Kill()
		last := said.Text()
		for said.Scan() {
			if strings.HasPrefix(said.Text(), "n ") && strings.Count(said.Text(), " ") == 1 {
				last = said.Text()
			}
		}
		_ = cmd.Wait()
		if _, err := fmt.Sscanf(last, "n %d", &next); err != nil {
			t.Fatal(err)
		}
		next++
		holdNumbers(t, path, next)
	}
	if _, files := content(t, path); files < 50 {
		t.Errorf("%d rotated files: that was no test of rotation", files)
	}
}

func holdNumbers(t *testing.T, path string, said int) {
	t.Helper()
	lines, _ := content(t, path)
	seen := map[string]bool{}
	for _, line := range lines {
		if _, job, ok := strings.Cut(line, `"job":"n`); ok {
			n, _, _ := strings.Cut(job, `"`)
			seen[n] = true
		}
	}
	for n := range said {
		if !seen[fmt.Sprint(n)] {
			t.Fatalf("record %d was written and is not there", n)
		}
	}
}

// at is a file of a clock that the test sets.
func at(t *testing.T, r Rotation, now *time.Time) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := OpenFile(path, r)
	if err != nil {
		t.Fatal(err)
	}
	f.now = func() time.Time { return *now }
	t.Cleanup(func() { _ = f.Close() })
	return f, path
}

func put(t *testing.T, f *File, line string) {
	t.Helper()
	if _, err := f.Write([]byte(line + "\n")); err != nil {
		t.Fatal(err)
	}
}

func TestRotation(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		rotation Rotation
		step     time.Duration // between the 10 lines of 10 bytes
		rotated  int
		lines    int
	}{
		"nothing is set":         {Rotation{}, day, 0, 10},
		"at the size":            {Rotation{MaxSize: 50}, 0, 1, 10},
		"under the size":         {Rotation{MaxSize: 100}, 0, 0, 10},
		"over the size":          {Rotation{MaxSize: 49}, 0, 2, 10},
		"every line is over":     {Rotation{MaxSize: 5}, 0, 9, 10},
		"at the age":             {Rotation{MaxAge: 5 * time.Hour}, time.Hour, 1, 10},
		"over the age":           {Rotation{MaxAge: 5*time.Hour - 1}, time.Hour, 1, 10},
		"under the age":          {Rotation{MaxAge: 9*time.Hour + 1}, time.Hour, 0, 10},
		"files are kept":         {Rotation{MaxSize: 10, KeepFiles: 9}, 0, 9, 10},
		"a file too many":        {Rotation{MaxSize: 10, KeepFiles: 8}, 0, 8, 9},
		"bytes are kept":         {Rotation{MaxSize: 10, KeepBytes: 100}, 0, 9, 10},
		"a byte too many":        {Rotation{MaxSize: 10, KeepBytes: 99}, 0, 8, 9},
		"what is young is kept":  {Rotation{MaxSize: 10, KeepAge: 8 * time.Hour}, time.Hour, 9, 10},
		"what is older is not":   {Rotation{MaxSize: 10, KeepAge: 8*time.Hour - 1}, time.Hour, 8, 9},
		"the clock is set back":  {Rotation{MaxSize: 10}, -time.Hour, 9, 10},
		"the clock stands still": {Rotation{MaxSize: 10, KeepFiles: 3}, 0, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
			f, path := at(t, c.rotation, &now)
			for i := range 10 {
				put(t, f, fmt.Sprintf("line %04d", i))
				now = now.Add(c.step)
			}
			lines, files := content(t, path)
			if files != c.rotated || len(lines) != c.lines {
				t.Errorf("%d rotated files and %d lines, want %d and %d", files, len(lines), c.rotated, c.lines)
			}
			for i, line := range lines {
				if want := fmt.Sprintf("line %04d", 10-c.lines+i); line != want {
					t.Errorf("line %d is %q, want %q", i, line, want)
				}
			}
		})
	}
}

// What a guard that was killed left is limited when the next starts, and files that
// are not the log's own are left alone.
func TestRetentionAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	others := []string{".1", ".gz", ".20260304T050607Z", ".20260304T050607.000000000Z.bz2", "20260304T050607.000000000Z"}
	for _, end := range append(others, ".20260304T050607.000000001Z", ".20260304T050607.000000002Z", ".20260304T050607.000000003Z") {
		if err := os.WriteFile(path+end, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFile(path, Rotation{KeepFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rotated, err := Rotated(path)
	if err != nil || len(rotated) != 1 || !strings.HasSuffix(rotated[0], "3Z") {
		t.Errorf("%v, %v", rotated, err)
	}
	for _, end := range others {
		if _, err := os.Stat(path + end); err != nil {
			t.Error(err)
		}
	}
}

func TestOthersRotateToo(t *testing.T) {
	now := time.Now()
	f, path := at(t, Rotation{MaxSize: 1000}, &now)
	put(t, f, "before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	put(t, f, "meanwhile")
	if err := f.Tend(); err != nil {
		t.Fatal(err)
	}
	put(t, f, "after")
	if err := os.Truncate(path, 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	put(t, f, "anew")
	for name, want := range map[string]string{path + ".1": "before\nmeanwhile\n", path: "anew\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// A file that cannot be set aside is written to all the same, and Tend says why.
func TestStuck(t *testing.T) {
	now := time.Now()
	f, path := at(t, Rotation{MaxSize: 10}, &now)
	put(t, f, "line 0001")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	put(t, f, "line 0002")
	if err := f.Tend(); err == nil {
		t.Error("a symbolic link was followed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Tend(); err != nil {
		t.Error(err)
	}
	put(t, f, "line 0003")
	for name, want := range map[string]string{path + ".1": "line 0001\nline 0002\n", path: "line 0003\n"} {
		if got, _ := os.ReadFile(name); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What would go to a file that nobody can find is lost, and is said to be, until the
// directory is there again.
func TestTheDirectoryIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(dir, "audit.jsonl")
	mkdir := func() {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	l, err := Start(path, Rotation{MaxSize: 1000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Job: "a", Outcome: "passed", Time: time.Now()}
	l.Write(r)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	l.Write(r)
	if n, err := l.Lost(), l.Err(); n != 1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%d lost, %v", n, err)
	}
	mkdir()
	l.Reopen()
	l.Write(r)
	if lines, _ := content(t, path); len(lines) != 1 || l.Lost() != 1 || l.Err() != nil {
		t.Errorf("%d lines, %d lost, %v", len(lines), l.Lost(), l.Err())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The age of a file is that of its first line, also after a restart.
func TestAgeOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	old := time.Now().Add(-25 * time.Hour)
	var b bytes.Buffer
	New(&b, nil).Write(Record{Time: old})
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, Rotation{MaxAge: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Tend(); err != nil {
		t.Fatal(err)
	}
	if rotated, err := Rotated(path); err != nil || len(rotated) != 1 {
		t.Errorf("%v, %v", rotated, err)
	}
}
