package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollow reads a log while it is written, rotated every few lines, torn, moved away
// by others and truncated: every record comes once and in order.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := OpenFile(path, Rotation{MaxSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := New(f, func(err error) { t.Error(err) })
	next := 0
	write := func(n int) {
		for range n {
			l.Write(Record{Time: time.Unix(1e9, 0), Outcome: "passed", Samples: next})
			next++
		}
	}
	write(50) // before it begins

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan int)
	done := make(chan error, 1)
	var skipped Skipped
	go func() {
		done <- Follow(ctx, path, time.Millisecond, &skipped, func(line Line) error {
			select {
			case got <- line.Samples:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	seen := 0
	read := func() {
		t.Helper()
		for ; seen < next; seen++ {
			select {
			case n := <-got:
				if n != seen {
					t.Fatalf("record %d, want %d", n, seen)
				}
			case err := <-done:
				t.Fatalf("it ended: %v", err)
			case <-ctx.Done():
				t.Fatalf("record %d did not come", seen)
			}
		}
	}
	read()
	for range 20 {
		write(7)
		read()
	}
	write(100) // many files while nobody looks
	read()
	if _, err := f.Write([]byte("{\"torn\n")); err != nil {
		t.Fatal(err)
	}
	write(1)
	read()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := f.Tend(); err != nil {
		t.Fatal(err)
	}
	write(3)
	read()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if skipped.Lines != 1 {
		t.Errorf("skipped: %s", skipped.String())
	}
}

func TestFollowATruncatedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	long := `{"time":"2026-03-04T05:06:07Z","outcome":"passed","job":"before"}` + "\n"
	if err := os.WriteFile(path, []byte(long+long), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, after := 0, ""
	err := Follow(ctx, path, time.Millisecond, &Skipped{}, func(line Line) error {
		if n++; n == 2 {
			return os.WriteFile(path, []byte(`{"time":"2026-03-04T05:06:07Z","outcome":"passed","job":"after"}`+"\n"), 0o600)
		}
		if n == 3 {
			after = line.Job
			cancel()
		}
		return nil
	})
	if err != nil || after != "after" {
		t.Errorf("%q after %d records, %v", after, n, err)
	}
}
