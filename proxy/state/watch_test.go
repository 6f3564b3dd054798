package state

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestFilesThatGoAreMissed(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".bak") },
		"replaced": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".new", b, fileMode)
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			return err
		},
		"cut": func(path string) error { return os.Truncate(path, headerLen) },
	} {
		for _, file := range []string{"ledger.2.log", "ledger.2.snapshot"} {
			for _, s := range []Sync{SyncInterval, SyncNever} {
				t.Run(name+" "+file+" "+s.String(), func(t *testing.T) { miss(t, file, s, harm) })
			}
		}
	}
}

func miss(t *testing.T, file string, s Sync, harm func(path string) error) {
	dir := t.TempDir()
	d := open(t, dir, Options{Interval: time.Millisecond, Sync: s})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	if err := l.Compact(emits("a")); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "b")
	if err := harm(in(dir, file)); err != nil {
		t.Fatal(err)
	}
	<-l.Due()
	wantError(t, l.Err(), nil, file)
	err := l.Compact(func(write func([]byte) error) error {
		time.Sleep(10 * time.Millisecond) // it is looked at meanwhile
		return emits("a", "b")(write)
	})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, l, "c")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, damage := restored(t, dir, "ledger")
	want(t, got, "a", "b", "c")
	if len(damage) > 0 {
		t.Error(damage)
	}
}

func TestSyncAlwaysMissesItsFileAtOnce(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{Sync: SyncAlways, Interval: time.Hour})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	if err := os.Remove(in(dir, "ledger.1.log")); err != nil {
		t.Fatal(err)
	}
	wantError(t, l.Commit(t.Context(), l.Append([]byte("b"))), os.ErrNotExist, "ledger.1.log")
	if err := l.Compact(emits("a", "b")); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	got, _ := restored(t, dir, "ledger")
	want(t, got, "a", "b")
}

// TestALostLockIsNotHealed since another process may own what is there now.
func TestALostLockIsNotHealed(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{Interval: time.Millisecond})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	if err := os.Remove(in(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	<-l.Due()
	wantError(t, l.Err(), nil, "lock file was removed")
	other := open(t, dir, Options{})
	theirs, got := openLog(t, other, "ledger", LogOptions{})
	want(t, got, "a")
	commit(t, theirs, "b")
	wantError(t, l.Compact(emits("x")), nil, "lock file was removed or replaced")
	wantError(t, d.Close(), nil, "lock file")
	_ = other.Close()
	got, _ = restored(t, dir, "ledger")
	want(t, got, "a", "b")
}

func TestADirectoryThatIsGone(t *testing.T) {
	dir := in(t.TempDir(), "state")
	d := open(t, dir, Options{Interval: time.Millisecond})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	<-l.Due()
	wantError(t, l.Compact(emits("x")), nil, dir)
	p := l.Append([]byte("a"))
	wantError(t, l.Commit(t.Context(), p), nil, "not written")
}

// TestADirectoryOutOfReach cannot be looked at for a while, as one whose permissions are
// taken away: the log says why, and is whole again afterwards.
func TestADirectoryOutOfReach(t *testing.T) {
	dir := in(t.TempDir(), "state")
	d := open(t, dir, Options{Interval: time.Hour})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	write(t, dir, nil)
	l.check()
	wantError(t, l.Err(), syscall.ENOTDIR, "lock file cannot be looked at")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(emits("a")); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "b")
}
