package state

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/pushguard/pushguard/proxy/state/statetest"
)

func TestAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "1m")
	dir, ballast := in(disk, "state"), in(disk, "ballast")
	for _, s := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		t.Run(s.String(), func(t *testing.T) {
			defer os.RemoveAll(dir)
			defer os.Remove(ballast)
			fullDisk(t, dir, ballast, s)
		})
	}
}

func fullDisk(t *testing.T, dir, ballast string, s Sync) {
	d := open(t, dir, Options{Sync: s})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "before")
	statetest.Fill(t, ballast)
	record := string(make([]byte, 1000))
	var err error
	for err == nil {
		err = l.Commit(t.Context(), l.Append([]byte(record)))
	}
	wantError(t, err, syscall.ENOSPC, "ledger is not written", "ledger.1.log: ")
	wantError(t, l.Err(), syscall.ENOSPC)
	<-l.Due()
	var last Position
	for range 10_000 {
		last = l.Append([]byte(record))
	}
	wantError(t, l.Commit(t.Context(), last), syscall.ENOSPC)
	if l.pending != nil {
		t.Errorf("%d bytes are kept", len(l.pending))
	}
	wantError(t, l.Compact(emits(record)), syscall.ENOSPC)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(emits("all")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Err(), l.Commit(t.Context(), last)); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "after")

	statetest.Fill(t, ballast)
	big := string(make([]byte, 8<<10)) // more than the last page of the log has room for
	wantError(t, l.Commit(t.Context(), l.Append([]byte(big))), syscall.ENOSPC)
	wantError(t, l.Compact(emits(big)), syscall.ENOSPC)
	commitAfterRestart(t, d, dir, ballast)
}

// commitAfterRestart starts while the disk is full, with a torn file too.
func commitAfterRestart(t *testing.T, d *Dir, dir, ballast string) {
	t.Helper()
	wantError(t, d.Close(), syscall.ENOSPC)
	logs := files(t, dir, ".log")
	if len(logs) != 1 {
		t.Fatalf("files %q", logs)
	}
	path := in(dir, logs[0])
	b := read(t, path)
	if err := os.Truncate(path, int64(len(b)-1)); err != nil {
		t.Fatal(err)
	}

	d = open(t, dir, Options{})
	l, got := openLog(t, d, "ledger", LogOptions{})
	want(t, got, "all")
	wantError(t, l.Err(), syscall.ENOSPC)
	g := d.Damage()
	if len(g) != 1 || g[0].File != path || !errors.Is(g[0].Err, syscall.ENOSPC) {
		t.Fatalf("damage: %v", g)
	}
	p := l.Append([]byte("in memory"))
	wantError(t, l.Commit(t.Context(), p), syscall.ENOSPC)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	<-l.Due()
	if err := l.Compact(emits("all", "in memory")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, d.Damage()[0].SetAside); string(got) != string(b[:len(b)-1]) {
		t.Errorf("set aside: %q", got)
	}
	if err := l.Commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "after")
	_ = d.Close()
	got, damage := restored(t, dir, "ledger")
	want(t, got, "all", "in memory", "after")
	if len(damage) > 0 {
		t.Error(damage)
	}
}

// TestDiscardOnAFullDisk has nothing to keep any more when the disk is full: nothing of
// before is restored, and the room that its files took is enough to go on.
func TestDiscardOnAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "1m")
	dir, ballast := in(disk, "state"), in(disk, "ballast")
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "spool", LogOptions{})
	commit(t, l, "before")
	if err := l.Compact(emits("before")); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "behind")
	if err := l.Discard(); err != nil { // it has not failed
		t.Fatal(err)
	}
	commit(t, l, "further behind")
	statetest.Fill(t, ballast)
	big := string(make([]byte, 8<<10)) // more than the last page of the log has room for
	wantError(t, l.Commit(t.Context(), l.Append([]byte(big))), syscall.ENOSPC)
	if err := l.Discard(); err != nil {
		t.Fatal(err)
	}
	wantError(t, l.Err(), syscall.ENOSPC)
	if left := files(t, dir, ""); len(left) != 2 { // LOCK and VERSION
		t.Errorf("left are %q", left)
	}
	if err := l.Compact(emits()); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "after")
	_ = d.Close()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	got, damage := restored(t, dir, "spool")
	want(t, got, "after")
	if len(damage) > 0 {
		t.Error(damage)
	}
}
