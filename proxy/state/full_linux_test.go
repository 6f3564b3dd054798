package state

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// mountEnv says that the test runs where it may mount.
const mountEnv = "PUSHGUARD_STATE_MOUNT"

// ownMounts runs the test again in a process whose mounts are its own, and
// returns true in that one. Where that is not allowed the test is skipped; where
// the environment says CI=true it fails.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountEnv) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mountEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) {
		const advice = "no mounts of its own: run it as root, or allow user namespaces"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice, err)
		}
		t.Skip(advice, err)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// smallDisk returns a directory with 1 MiB for files.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=64"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestAFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	disk := smallDisk(t)
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
	fill(t, ballast)
	record := string(make([]byte, 1000))
	var err error
	for err == nil {
		err = l.Commit(t.Context(), l.Append([]byte(record)))
	}
	wantError(t, err, syscall.ENOSPC, "ledger is not written")
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

	fill(t, ballast)
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
