package state

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAppendsGoOnDuringACompaction(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "old")
	err := l.Compact(func(write func([]byte) error) error {
		commit(t, l, "during", "it")
		if err := write([]byte("snapshot")); err != nil {
			return err
		}
		l.Append([]byte("later"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, l, "after")
	if got := files(t, dir, ""); len(got) != 4 {
		t.Errorf("files %q", got)
	}
	_ = d.Close()
	got, _ := restored(t, dir, "ledger")
	want(t, got, "snapshot", "during", "it", "later", "after")
}

func TestACompactionThatFailsLeavesTheLog(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "a")
	refuse := errors.New("not today")
	err := l.Compact(func(write func([]byte) error) error {
		commit(t, l, "b")
		_ = write([]byte("half"))
		return refuse
	})
	wantError(t, err, refuse, "ledger")
	wantError(t, err, ErrGrows, "ledger")
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	commit(t, l, "c")
	_ = d.Close()
	got, damage := restored(t, dir, "ledger")
	want(t, got, "a", "b", "c")
	if len(damage) > 0 || len(files(t, dir, "snapshot")) > 0 {
		t.Error(damage, files(t, dir, ""))
	}
}

// TestASnapshotIsOfWhatWasAppended holds up the writer at the end of emit: the
// snapshot must not be there before what it may have seen.
func TestASnapshotIsOfWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	done := make(chan error)
	held := make(chan struct{})
	go func() {
		done <- l.Compact(func(write func([]byte) error) error {
			l.io.Lock()
			l.Append([]byte("a and b"))
			close(held)
			return write([]byte("a"))
		})
	}()
	<-held
	release := sync.OnceFunc(l.io.Unlock)
	defer release()
	eventually(t, "the snapshot is written", func() bool {
		info, err := os.Stat(in(dir, "ledger.2.snapshot.tmp"))
		return err != nil || info.Size() > headerLen
	})
	for range 100 {
		if got := files(t, dir, ".snapshot"); len(got) > 0 {
			t.Fatalf("files %q", got)
		}
		time.Sleep(100 * time.Microsecond)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	got, _ := restored(t, dir, "ledger")
	want(t, got, "a", "a and b")
}

func TestWhenACompactionIsDue(t *testing.T) {
	d := open(t, t.TempDir(), Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{CompactAfter: 1000})
	frame := int64(frameLen + 1 + 100)
	record := strings.Repeat("x", 100)
	for _, logs := sizes(l); logs+frame <= 1000; _, logs = sizes(l) {
		commit(t, l, record)
	}
	if needsCompact(l) || len(l.Due()) > 0 {
		t.Error("due at the limit")
	}
	commit(t, l, record)
	<-l.Due()
	if !needsCompact(l) {
		t.Error("not due over the limit")
	}
	if err := l.Compact(emits(strings.Repeat("y", 5000))); err != nil {
		t.Fatal(err)
	}
	if needsCompact(l) || len(l.Due()) > 0 {
		t.Error("due after a compaction")
	}
	base, logs := sizes(l)
	if base < 5000 || logs != headerLen {
		t.Errorf("%d and %d bytes", base, logs)
	}
	for ; logs+frame <= base; _, logs = sizes(l) {
		commit(t, l, record)
	}
	if needsCompact(l) {
		t.Error("due at the size of the snapshot")
	}
	commit(t, l, record)
	<-l.Due()
}

// TestManyStartsMakeACompactionDue since each start makes a file.
func TestManyStartsMakeACompactionDue(t *testing.T) {
	dir := t.TempDir()
	var records []string
	for i := range maxFiles {
		d := open(t, dir, Options{})
		l, got := openLog(t, d, "ledger", LogOptions{})
		want(t, got, records...)
		if needsCompact(l) {
			t.Errorf("due after %d starts", i)
		}
		records = append(records, fmt.Sprint(i))
		commit(t, l, records[i])
		_ = d.Close()
	}
	for range 20 { // a start that appends nothing leaves nothing
		d := open(t, dir, Options{})
		l, _ := openLog(t, d, "ledger", LogOptions{})
		if !needsCompact(l) {
			t.Error("not due")
		}
		if got := files(t, dir, ".log"); len(got) != maxFiles+1 {
			t.Errorf("files %q", got)
		}
		_ = d.Close()
	}
}

// TestAFailedCompactionIsDueAgain though not at once.
func TestAFailedCompactionIsDueAgain(t *testing.T) {
	d := open(t, t.TempDir(), Options{Interval: time.Millisecond})
	l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: 90})
	l.Append(make([]byte, 100))
	refuse := errors.New("not yet")
	for range 5 {
		<-l.Due()
		wantError(t, l.Compact(func(func([]byte) error) error { return refuse }), refuse)
	}
	l.mu.Lock()
	pause := l.pause
	l.mu.Unlock()
	if pause != 16*time.Millisecond {
		t.Errorf("the pause after 5 failures is %v", pause)
	}
	<-l.Due()
	if err := l.Compact(emits("a")); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "")
}

func TestAFailedCompactionIsNotDueAtOnce(t *testing.T) {
	d := open(t, t.TempDir(), Options{Interval: time.Hour})
	l, _ := openLog(t, d, "ledger", LogOptions{MaxPending: 90})
	l.Append(make([]byte, 100))
	<-l.Due()
	refuse := errors.New("not yet")
	wantError(t, l.Compact(func(func([]byte) error) error { return refuse }), refuse)
	l.mu.Lock()
	l.remind()
	l.mu.Unlock()
	if len(l.Due()) > 0 {
		t.Error("it is due")
	}
	if l.pause != maxPause {
		t.Errorf("the pause is %v", l.pause)
	}
}
