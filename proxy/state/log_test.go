package state

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogIsRestoredInOrder(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir, Options{Sync: s})
			l, got := openLog(t, d, "ledger", LogOptions{})
			want(t, got)
			commit(t, l, "a", "", "b")
			commit(t, l, "c")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(t, dir, Options{Sync: s})
			l, got = openLog(t, d, "ledger", LogOptions{})
			want(t, got, "a", "", "b", "c")
			commit(t, l, "d")
			if err := l.Compact(emits("x", "y")); err != nil {
				t.Fatal(err)
			}
			commit(t, l, "z")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			got, damage := restored(t, dir, "ledger")
			want(t, got, "x", "y", "z")
			if len(damage) > 0 {
				t.Errorf("damage: %v", damage)
			}
		})
	}
}

// TestWrite has what was added be written by who added it, unless another writes or it is
// to be synced, and committed in the end whoever writes it.
func TestWrite(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir, Options{Sync: s, Interval: time.Hour})
			l, _ := openLog(t, d, "ledger", LogOptions{})
			p := l.Add([]byte("a"))
			if got := l.Write(p); got != (s != SyncAlways) {
				t.Errorf("written: %t", got)
			}
			if _, logs := sizes(l); (logs > headerLen) != (s != SyncAlways) {
				t.Errorf("%d bytes are written", logs)
			}
			if err := l.Commit(t.Context(), p); err != nil {
				t.Fatal(err)
			}

			l.Add([]byte("b"))
			commit(t, l, "c")

			l.io.Lock() // as who writes
			if p = l.Add([]byte("d")); l.Write(p) {
				t.Error("written while another writes")
			}
			done := make(chan error)
			go func() { done <- l.Commit(t.Context(), p) }()
			l.io.Unlock()
			if err := <-done; err != nil {
				t.Fatal(err)
			}

			p = l.Add([]byte("e"))
			if err := l.Compact(emits("x", "e")); err != nil {
				t.Fatal(err)
			}
			if !l.Write(p) {
				t.Error("a compaction has left it pending")
			}

			l.Add([]byte("f"))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if l.Write(l.Add([]byte("g"))) {
				t.Error("written once closed")
			}
			got, _ := restored(t, dir, "ledger")
			want(t, got, "x", "e", "e", "f")
		})
	}
}

// TestWriteOfALogThatFailed reports what was added while nothing is written as not
// committed, until a compaction has it.
func TestWriteOfALogThatFailed(t *testing.T) {
	d := open(t, t.TempDir(), Options{Interval: time.Hour})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	l.mu.Lock()
	l.fail(errStalled)
	l.mu.Unlock()
	p := l.Add([]byte("a"))
	if l.Write(p) {
		t.Error("written by a log that has failed")
	}
	wantError(t, l.Commit(t.Context(), p), errStalled)
	if err := l.Compact(emits("a")); err != nil {
		t.Fatal(err)
	}
	if !l.Write(p) {
		t.Error("not committed by the compaction")
	}
}

func TestAnAppendOfNothingIsNothing(t *testing.T) {
	d := open(t, t.TempDir(), Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	if err := errors.Join(l.Commit(t.Context(), 0), l.Commit(t.Context(), l.Append())); err != nil {
		t.Error(err)
	}
	if _, logs := sizes(l); logs != headerLen {
		t.Errorf("%d bytes", logs)
	}
}

// TestMemoryOfABatch: that of a large one is not kept for the next, as that of a small one
// is.
func TestMemoryOfABatch(t *testing.T) {
	l, _ := openLog(t, open(t, t.TempDir(), Options{}), "ledger", LogOptions{})
	kept := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return max(cap(l.pending), cap(l.spare))
	}
	commit(t, l, "a")
	if kept() == 0 {
		t.Error("nothing is kept of a small batch")
	}
	commit(t, l, strings.Repeat("a", maxSpare))
	if n := kept(); n > maxSpare {
		t.Errorf("%d bytes are kept, want at most %d", n, maxSpare)
	}
}

func TestARestoreThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	commit(t, l, "b")
	_ = d.Close()
	path := in(dir, "ledger.1.log")
	b := append(read(t, path), "torn"...)
	write(t, path, b)
	write(t, in(dir, "ledger.2.log.tmp"), nil)
	before := files(t, dir, "")

	d = open(t, dir, Options{})
	refuse := errors.New("what is this")
	_, err := d.Log("ledger", LogOptions{}, func([]byte) error { return refuse })
	wantError(t, err, refuse, "ledger.1.log", "record at 64")
	if diff := cmp.Diff(before, files(t, dir, "")); diff != "" || string(read(t, path)) != string(b) {
		t.Errorf("changed:\n%s", diff)
	}
	_, records := openLog(t, d, "ledger", LogOptions{}) // it may be tried again
	want(t, records, "a", "b")
}

func TestAFileOfANewerVersionIsRefusedUntouched(t *testing.T) {
	for _, name := range []string{"ledger.2.log", "ledger.2.snapshot"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir, Options{})
			l, _ := openLog(t, d, "ledger", LogOptions{})
			if err := l.Compact(emits("a")); err != nil {
				t.Fatal(err)
			}
			commit(t, l, "b")
			_ = d.Close()
			path := in(dir, name)
			b := read(t, path)
			b[8] = version + 1
			binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
			write(t, path, b)

			d = open(t, dir, Options{})
			_, err := d.Log("ledger", LogOptions{}, func([]byte) error { return nil })
			wantError(t, err, ErrVersion, name, "version 2")
			if string(read(t, path)) != string(b) {
				t.Error("it was changed")
			}
		})
	}
}

func TestALogUnderAnotherNameIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	b := read(t, in(dir, "ledger.1.log"))
	for name, file := range map[string]string{"counter": "counter.1.log", "later": "later.2.log", "short": "short.1.snapshot"} {
		write(t, in(dir, file), b)
		_, err := d.Log(name, LogOptions{}, func([]byte) error { return nil })
		wantError(t, err, nil, file, `log of "ledger" in generation 1`)
		if string(read(t, in(dir, file))) != string(b) {
			t.Errorf("%s was changed", file)
		}
	}
}

func TestTheLargestUnit(t *testing.T) {
	if testing.Short() {
		t.Skip("it is large")
	}
	for _, tc := range []struct {
		size int
		ok   bool
	}{{maxUnit - 5, true}, {maxUnit - 4, true}, {maxUnit - 3, false}} { // 4 bytes say the length
		dir := t.TempDir()
		d := open(t, dir, Options{Sync: SyncNever})
		l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: 2 * maxUnit})
		record := make([]byte, tc.size)
		record[tc.size-1] = 7
		err := l.Commit(t.Context(), l.Append(record))
		compactErr := l.Compact(func(write func([]byte) error) error { return write(record) })
		if (err == nil) != tc.ok || (compactErr == nil) != tc.ok {
			t.Fatalf("%d bytes: %v, %v", tc.size, err, compactErr)
		}
		_ = d.Close()
		if !tc.ok {
			wantError(t, err, errTooLarge, "limit 67108864")
			wantError(t, compactErr, errTooLarge)
			continue
		}
		got, damage := restored(t, dir, "ledger")
		if len(got) != 1 || got[0] != string(record) || len(damage) > 0 {
			t.Errorf("%d bytes: %d records, damage %v", tc.size, len(got), damage)
		}
	}
}

// TestAStalledDisk holds up the writer as a disk does that takes nothing.
func TestAStalledDisk(t *testing.T) {
	const limit = 4 * (frameLen + 1 + 100)
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: limit})
	commit(t, l, "before")
	record := make([]byte, 100)
	l.io.Lock()
	release := sync.OnceFunc(l.io.Unlock)
	defer release()
	var last Position
	for range 4 {
		last = l.Append(record)
	}
	if err := l.Err(); err != nil {
		t.Fatalf("failed at the limit: %v", err)
	}
	over := l.Append(record)
	wantError(t, l.Err(), errStalled, "ledger", strconv.Itoa(limit))
	for range 1000 {
		l.Append(record)
	}
	wantError(t, l.Commit(t.Context(), last), errStalled)
	wantError(t, l.Commit(t.Context(), over), errStalled)
	if cap(l.pending) > 0 {
		t.Errorf("%d bytes are kept", cap(l.pending))
	}
	<-l.Due()
	release()

	if err := l.Compact(emits("all of it")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Err(), l.Commit(t.Context(), over)); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "after")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, damage := restored(t, dir, "ledger")
	want(t, got, "all of it", "after")
	if len(damage) > 0 {
		t.Error(damage)
	}
}

// TestAStallWhileHealing lets the log fail again before the compaction that
// would heal it is done.
func TestAStallWhileHealing(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: 100})
	commit(t, l, "before")
	l.Append(make([]byte, 100))
	wantError(t, l.Err(), errStalled)
	err := l.Compact(func(write func([]byte) error) error {
		p := l.Append([]byte("behind the gap"))
		wantError(t, l.Commit(t.Context(), p), errStalled)
		l.Append(make([]byte, 100))
		return write([]byte("half of it"))
	})
	wantError(t, err, errStalled, "not compacted")
	wantError(t, l.Err(), errStalled)
	if n := strings.Count(l.Err().Error(), "is not written"); n != 1 {
		t.Errorf("error %q", l.Err())
	}
	wantError(t, d.Close(), errStalled)
	got, damage := restored(t, dir, "ledger")
	want(t, got, "before")
	if len(damage) > 0 || len(files(t, dir, ".snapshot")) > 0 {
		t.Error(damage, files(t, dir, ""))
	}
}

// TestACrashWhileHealing restores what was committed before the log failed, and
// nothing of what came after the gap.
func TestACrashWhileHealing(t *testing.T) {
	dir, crashed := t.TempDir(), in(t.TempDir(), "crashed")
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: 100})
	commit(t, l, "before")
	l.Append(make([]byte, 100))
	wantError(t, l.Err(), errStalled)
	err := l.Compact(func(write func([]byte) error) error {
		p := l.Append([]byte("behind the gap"))
		eventually(t, "it is written", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.written >= p
		})
		wantError(t, l.Commit(t.Context(), p), errStalled)
		if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
			return err
		}
		return write([]byte("all"))
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	got, _ := restored(t, crashed, "ledger")
	want(t, got, "before")
	got, _ = restored(t, dir, "ledger")
	want(t, got, "all", "behind the gap")
}

// TestALogBehindAGap is what such a crash leaves, before and after the snapshot
// has its name.
func TestALogBehindAGap(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "before")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	h := header{kind: logKind, gap: true, gen: 2, mark: l.mark, name: "ledger"}
	behind := l.mark.appendFrame(h.bytes(), []byte("behind"))
	write(t, in(dir, "ledger.2.log"), behind)
	got, _ := restored(t, dir, "ledger")
	want(t, got, "before")

	write(t, in(dir, "ledger.9.log"), l.mark.appendFrame(header{kind: logKind, gap: true, gen: 9, mark: l.mark, name: "ledger"}.bytes(), []byte("behind")))
	snapshot := l.mark.appendFrame(header{kind: snapshotKind, gen: 9, mark: l.mark, name: "ledger"}.bytes(), []byte("all"))
	write(t, in(dir, "ledger.9.snapshot"), l.mark.appendFrame(snapshot))
	got, damage := restored(t, dir, "ledger")
	want(t, got, "all", "behind")
	if len(damage) > 0 {
		t.Error(damage)
	}
}

func TestClosing(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{Sync: SyncNever})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	p := l.Append([]byte("a"))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(t.Context(), p); err != nil {
		t.Errorf("what was appended before: %v", err)
	}
	wantError(t, l.Commit(t.Context(), l.Append([]byte("b"))), ErrClosed)
	wantError(t, l.Compact(emits("c")), ErrClosed)
	if _, ok := <-l.Due(); ok {
		t.Error("something is due")
	}
	got, _ := restored(t, dir, "ledger")
	want(t, got, "a")
}

func TestClosingEndsACompaction(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	begun, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- l.Compact(func(write func([]byte) error) error {
			close(begun)
			for {
				if err := write(make([]byte, 1000)); err != nil {
					return err
				}
			}
		})
	}()
	<-begun
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-ended, ErrClosed)
	got, damage := restored(t, dir, "ledger")
	want(t, got, "a")
	if len(damage) > 0 || len(files(t, dir, tmp)) > 0 {
		t.Error(damage, files(t, dir, ""))
	}
}

// TestClosingWhileACompactionSettles: it waits for a record that nobody has asked to be
// written yet.
func TestClosingWhileACompactionSettles(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{Sync: SyncAlways})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	l.compacting.Lock() // by a Compact that has emitted all
	l.Add([]byte("a"))
	closed, settled := make(chan error, 1), make(chan error, 1)
	go func() { closed <- d.Close() }()
	eventually(t, "the log is being closed", func() bool { return errors.Is(l.mayCompact(), ErrClosed) })
	go func() { settled <- l.settle(false) }()
	select {
	case err := <-settled:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the compaction and the closing wait for one another")
	}
	l.compacting.Unlock()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	got, _ := restored(t, dir, "ledger")
	want(t, got, "a")
}

func TestACommitEndsWithItsContext(t *testing.T) {
	d := open(t, t.TempDir(), Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	l.io.Lock()
	defer l.io.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, l.Commit(ctx, l.Append([]byte("a"))), context.Canceled)
}
