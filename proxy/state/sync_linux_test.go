package state

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// TestASyncThatFailsOnce: the system tells once what it could not write.
func TestASyncThatFailsOnce(t *testing.T) {
	d := open(t, t.TempDir(), Options{Sync: SyncNever, Interval: time.Hour})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	fails, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // which nobody can sync
	if err != nil {
		t.Fatal(err)
	}
	well := l.file
	defer well.Close()
	l.io.Lock()
	l.mu.Lock()
	l.file = fails
	l.mu.Unlock()
	compacted := make(chan error, 1)
	go func() { compacted <- l.Compact(emits("all")) }()
	eventually(t, "a generation is begun", func() bool { return len(files(t, d.path, ".2.log")) == 1 })
	eventually(t, "the first sync has failed, and the second waits for the writer", func() bool {
		return waits("state.(*Log).rotate")
	})
	if err := syscall.Dup3(int(well.Fd()), int(fails.Fd()), syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	l.io.Unlock()
	wantError(t, <-compacted, syscall.EINVAL)
	wantError(t, l.Err(), syscall.EINVAL)
	if err := l.Compact(emits("all")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := restored(t, d.path, "ledger")
	want(t, got, "all")
}

// waits reports whether a goroutine waits for a lock in a function.
func waits(in string) bool {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	return slices.ContainsFunc(bytes.Split(all, []byte("\n\n")), func(one []byte) bool {
		head, calls, _ := bytes.Cut(one, []byte("\n"))
		return bytes.Contains(head, []byte("[sync.Mutex.Lock")) && bytes.Contains(calls, []byte(in))
	})
}

// TestWhatIsRestoredIsSynced: what a process that died had written and not synced must not
// be lost by a loss of power that what comes after it outlives.
func TestWhatIsRestoredIsSynced(t *testing.T) {
	before, dir := t.TempDir(), in(t.TempDir(), "state")
	d := open(t, before, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	file := in(dir, "ledger.1.log")
	switch dirty, err := dirtyPages(t, file); {
	case err != nil:
		t.Skipf("cachestat: %v", err)
	case dirty == 0:
		t.Skip("the file system does not tell what it has yet to write")
	}
	_, records := openLog(t, open(t, dir, Options{Interval: time.Hour}), "ledger", LogOptions{})
	want(t, records, "a")
	if dirty, _ := dirtyPages(t, file); dirty > 0 {
		t.Errorf("%d pages are not synced", dirty)
	}
}

// dirtyPages is how many pages of a file the system has yet to write.
func dirtyPages(t *testing.T, path string) (uint64, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const cachestat = 451 // on every architecture
	var all [2]uint64     // from 0, to the end
	var stat struct{ cached, dirty, writeback, evicted, recently uint64 }
	_, _, errno := syscall.Syscall6(cachestat, f.Fd(), uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&stat)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return stat.dirty + stat.writeback, nil
}
