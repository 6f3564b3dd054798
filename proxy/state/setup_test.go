package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/leaktest"
)

// childEnv names the part that this binary plays as a child of a test.
const childEnv = "PUSHGUARD_STATE_CHILD"

func TestMain(m *testing.M) {
	if part := os.Getenv(childEnv); part != "" {
		children[part](os.Args[1:])
		return
	}
	leaktest.Main(m)
}

// open takes the directory and gives it up when the test ends.
func open(t testing.TB, path string, o Options) *Dir {
	t.Helper()
	d, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// openLog opens the log and returns the records that were restored.
func openLog(t testing.TB, d *Dir, name string, o LogOptions) (*Log, []string) {
	t.Helper()
	var records []string
	l, err := d.Log(name, o, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, records
}

// commit appends the records as one and waits until they are safe.
func commit(t testing.TB, l *Log, records ...string) {
	t.Helper()
	if err := l.Commit(t.Context(), l.Append(bytesOf(records...)...)); err != nil {
		t.Fatal(err)
	}
}

// sizes are how many bytes the snapshot of a log has, and the logs that are restored
// after it.
func sizes(l *Log) (snapshot, logs int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base, l.logLen()
}

// needsCompact reports whether a compaction of a log is due.
func needsCompact(l *Log) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.needsCompact()
}

func bytesOf(records ...string) [][]byte {
	out := make([][]byte, 0, len(records))
	for _, r := range records {
		out = append(out, []byte(r))
	}
	return out
}

// emits returns an emit that writes the records.
func emits(records ...string) func(func([]byte) error) error {
	return func(write func([]byte) error) error {
		for _, r := range records {
			if err := write([]byte(r)); err != nil {
				return err
			}
		}
		return nil
	}
}

// restored opens the log in the directory, alone, and closes it again.
func restored(t testing.TB, path, name string) ([]string, []Damage) {
	t.Helper()
	d := open(t, path, Options{})
	_, records := openLog(t, d, name, LogOptions{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return records, d.Damage()
}

func want(t testing.TB, got []string, records ...string) {
	t.Helper()
	if diff := cmp.Diff(records, got); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// files returns the names of the files in the directory that end so.
func files(t testing.TB, dir, suffix string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, fileMode); err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, is error, parts ...string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) {
		t.Fatalf("error %v, want %v", err, is)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func in(dir string, name ...string) string {
	return filepath.Join(append([]string{dir}, name...)...)
}
