package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := in(t.TempDir(), "made")
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	if err := l.Compact(emits("a")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Secret("seed"); err != nil {
		t.Fatal(err)
	}
	sub, err := d.Sub("tree")
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, dir, 0o700)
	wantMode(t, sub, 0o700)
	for _, name := range []string{"LOCK", "VERSION", "seed.secret", "ledger.2.log", "ledger.2.snapshot"} {
		wantMode(t, in(dir, name), 0o600)
	}
}

func TestAnExistingDirectoryKeepsItsMode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	wantMode(t, dir, 0o755)
	wantMode(t, in(dir, "LOCK"), 0o600)
}

func wantMode(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != mode {
		t.Errorf("%s has mode %o, want %o", path, got, mode)
	}
}

func TestTheSecondOwnerIsToldWhoIsTheFirst(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	host, _ := os.Hostname()
	_, err := Open(t.Context(), dir, Options{Wait: 2 * lockRetry})
	wantError(t, err, ErrLocked, dir, "pid "+strconv.Itoa(os.Getpid()), host, "since 20", "waited 100ms")
	_, err = Open(t.Context(), dir, Options{})
	wantError(t, err, ErrLocked)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(nil)
	_, err = Open(ctx, dir, Options{Wait: time.Hour})
	wantError(t, err, context.Canceled, "pid ")
	open(t, t.TempDir(), Options{}) // another directory is another lock
}

func TestTheSecondOwnerWaits(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, Options{})
	l, _ := openLog(t, first, "ledger", LogOptions{})
	opened := make(chan error)
	go func() {
		second, err := Open(t.Context(), dir, Options{Wait: time.Hour})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	commit(t, l, "still mine")
	select {
	case err := <-opened:
		t.Fatalf("opened beside the first: %v", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestOnlyOneOfManyOwns(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	owners, wins := 0, 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				d, err := Open(t.Context(), dir, Options{})
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if owners++; owners > 1 {
					t.Error("two own the directory")
				}
				wins++
				mu.Unlock()
				mu.Lock()
				owners--
				mu.Unlock()
				_ = d.Close()
			}
		})
	}
	all.Wait()
	if wins == 0 {
		t.Error("nobody ever owned it")
	}
}

func TestAKilledOwnerHasItNoMore(t *testing.T) {
	dir := t.TempDir()
	child := start(t, "own", dir)
	child.line(t)
	_, err := Open(t.Context(), dir, Options{})
	wantError(t, err, ErrLocked, "pid "+strconv.Itoa(child.cmd.Process.Pid))
	child.kill(t)
	open(t, dir, Options{})
}

func TestAnotherVersionIsRefusedUntouched(t *testing.T) {
	for name, text := range map[string]string{
		"newer": "pushguard state 2\n", "older": "pushguard state 0\n", "garbage": "\x00\xff", "empty": "", "longer": versionText + "x",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, in(dir, versionName), []byte(text))
			write(t, in(dir, "ledger.7.log"), []byte("what it holds"))
			_, err := Open(t.Context(), dir, Options{})
			wantError(t, err, ErrVersion, fmt.Sprintf("%q", text), "hint: ")
			wantTree(t, dir, map[string]string{versionName: text, "ledger.7.log": "what it holds"})
		})
	}
}

func TestADirectoryOfOthersIsRefusedUntouched(t *testing.T) {
	dir := t.TempDir()
	write(t, in(dir, "passwd"), []byte("root"))
	_, err := Open(t.Context(), dir, Options{})
	wantError(t, err, ErrVersion, `"passwd"`, versionName)
	wantTree(t, dir, map[string]string{"passwd": "root"})
}

func TestAFreshVolumeIsEmptyEnough(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lost+found", ".snapshot"} {
		if err := os.Mkdir(in(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, in(dir, versionName+tmp), []byte("pushg")) // of a start that was killed
	open(t, dir, Options{})
	if got := string(read(t, in(dir, versionName))); got != versionText {
		t.Errorf("version %q", got)
	}
}

func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	names := files(t, dir, "")
	if len(names) != len(want) {
		t.Errorf("files %q, want %d", names, len(want))
	}
	for name, content := range want {
		if got := string(read(t, in(dir, name))); got != content {
			t.Errorf("%s: %q, want %q", name, got, content)
		}
	}
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	target := in(t.TempDir(), "target")
	for _, name := range []string{"LOCK", "VERSION", "ledger.1.log", "ledger.1.snapshot", "seed.secret"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if name != "LOCK" && name != "VERSION" {
				write(t, in(dir, versionName), []byte(versionText))
			}
			write(t, target, []byte(versionText))
			if err := os.Symlink(target, in(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := useAll(t, dir); !errors.Is(err, syscall.ELOOP) {
				t.Errorf("error %v", err)
			}
			if got := string(read(t, target)); got != versionText {
				t.Errorf("the target became %q", got)
			}
		})
	}
}

// useAll opens the directory, a log and a secret.
func useAll(t *testing.T, dir string) error {
	d, err := Open(t.Context(), dir, Options{})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Log("ledger", LogOptions{}, func([]byte) error { return nil })
	_, _, secretErr := d.Secret("seed")
	return errors.Join(err, secretErr)
}

func TestNames(t *testing.T) {
	d := open(t, t.TempDir(), Options{})
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"a", true},
		{"a-1_b", true},
		{strings.Repeat("x", nameLen-1), true},
		{strings.Repeat("x", nameLen), true},
		{strings.Repeat("x", nameLen+1), false},
		{"", false},
		{"..", false},
		{"a/b", false},
		{"a.b", false},
		{"1a", false},
		{"A", false},
		{"a\n", false},
	} {
		_, logErr := d.Log(tc.name, LogOptions{}, func([]byte) error { return nil })
		_, _, secretErr := d.Secret(tc.name)
		_, subErr := d.Sub(tc.name)
		for _, err := range []error{logErr, secretErr, subErr} {
			if (err == nil) != tc.ok {
				t.Errorf("name %q: error %v", tc.name, err)
			}
		}
	}
}

func TestALogIsOpenedOnce(t *testing.T) {
	d := open(t, t.TempDir(), Options{})
	openLog(t, d, "ledger", LogOptions{})
	_, err := d.Log("ledger", LogOptions{}, nil)
	wantError(t, err, nil, "ledger", "open already")
}

func TestAClosedDirectoryIsClosed(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := d.Log("ledger", LogOptions{}, nil)
	wantError(t, err, ErrClosed)
	_, _, err = d.Secret("seed")
	wantError(t, err, ErrClosed)
	open(t, dir, Options{})
}

func TestSync(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		var got Sync = -1
		if err := got.Set(s.String()); err != nil || got != s {
			t.Errorf("%v became %v: %v", s, got, err)
		}
	}
	var s Sync
	wantError(t, s.Set("Always"), nil, "Always", "always, interval or never")
	if got := Sync(7).String(); got != "Sync(7)" {
		t.Error(got)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	first, fresh, err := d.Secret("seed")
	if err != nil || !fresh || first == [32]byte{} {
		t.Fatalf("%x, fresh %v: %v", first, fresh, err)
	}
	if other, _, _ := d.Secret("other"); other == first {
		t.Error("two names, one secret")
	}
	_ = d.Close()
	d = open(t, dir, Options{})
	again, fresh, err := d.Secret("seed")
	if err != nil || fresh || again != first {
		t.Errorf("%x, fresh %v: %v; was %x", again, fresh, err, first)
	}
	if len(d.Damage()) > 0 {
		t.Error(d.Damage())
	}
}

// TestADamagedSecretIsSetAside flips each byte of a secret's file, and cuts it
// everywhere.
func TestADamagedSecretIsSetAside(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	path := in(dir, "seed.secret")
	before, _, _ := d.Secret("seed")
	whole := read(t, path)
	damage := func(b []byte) {
		t.Helper()
		write(t, path, b)
		after, fresh, err := d.Secret("seed")
		if err != nil || !fresh || after == before {
			t.Fatalf("fresh %v: %v", fresh, err)
		}
		last := d.Damage()[len(d.Damage())-1]
		if last.File != path || last.Bytes != int64(len(b)) {
			t.Fatalf("damage: %v", last)
		}
		if got := read(t, last.SetAside); string(got) != string(b) {
			t.Fatalf("set aside: %x, was %x", got, b)
		}
		_ = os.Remove(last.SetAside)
	}
	for i := range whole {
		flipped := append([]byte(nil), whole...)
		flipped[i] ^= 1
		damage(flipped)
		damage(whole[:i])
	}
	damage(append(append([]byte(nil), whole...), 0))
}

func TestDamagedSecretsDoNotReplaceEachOther(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	for _, text := range []string{"one", "two", "three"} {
		write(t, in(dir, "seed.secret"), []byte(text))
		if _, fresh, err := d.Secret("seed"); err != nil || !fresh {
			t.Fatalf("fresh %v: %v", fresh, err)
		}
	}
	for i, name := range []string{"seed.secret.damaged", "seed.secret.damaged-2", "seed.secret.damaged-3"} {
		if got := d.Damage()[i]; filepath.Base(got.SetAside) != name {
			t.Errorf("damage %d: %v", i, got)
		}
	}
}

func TestASecretOfAnotherNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	if _, _, err := d.Secret("seed"); err != nil {
		t.Fatal(err)
	}
	b := read(t, in(dir, "seed.secret"))
	write(t, in(dir, "other.secret"), b)
	_, _, err := d.Secret("other")
	wantError(t, err, nil, `secret of "seed"`)
	if got := read(t, in(dir, "other.secret")); string(got) != string(b) {
		t.Error("it was changed")
	}
}
