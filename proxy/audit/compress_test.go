package audit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var compressions = []Compression{Gzip, Zstd}

// rotatedLog writes a log of n records that are set aside after each few.
func rotatedLog(t *testing.T, by Compression, n int) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := OpenFile(path, Rotation{MaxSize: 1000, Compress: by})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	numbered(New(f, func(err error) { t.Error(err) }), 0, n)
	return f, path
}

func tendAll(t *testing.T, f *File, times int) {
	t.Helper()
	for range times {
		if err := f.Tend(); err != nil {
			t.Fatal(err)
		}
	}
}

func jobsRead(t *testing.T, path string) string {
	t.Helper()
	var jobs []string
	var skipped Skipped
	for line, err := range Read([]string{path}, &skipped) {
		if err != nil || skipped.Lines > 0 {
			t.Fatal(err, skipped.String())
		}
		jobs = append(jobs, line.Job)
	}
	return strings.Join(jobs, " ")
}

// TestCompressed reads, pages and follows a log whose files are compressed, some, or all
// of them.
func TestCompressed(t *testing.T) {
	for _, by := range compressions {
		f, path := rotatedLog(t, by, 60)
		want := jobsRead(t, path)
		plain, err := Rotated(path)
		if err != nil || len(plain) < 5 || strings.Count(want, " ") != 59 {
			t.Fatal(plain, err)
		}
		for done := range len(plain) + 1 {
			names, err := Rotated(path)
			if err != nil || len(names) != len(plain) {
				t.Fatal(names, err)
			}
			for i, name := range names {
				if isCompressed(name) != (i < done) {
					t.Errorf("after %d: %s", done, name)
				}
			}
			if got := jobsRead(t, path); got != want {
				t.Errorf("%s, %d files: %s", by, done, got)
			}
			page, err := readPage(t.Context(), path, &Filter{}, "", 1000)
			if err != nil || len(page.Records) != 60 {
				t.Errorf("%s, %d files: a page of %d, %v", by, done, len(page.Records), err)
			}
			n := 0
			ctx, stop := context.WithCancel(t.Context())
			if err := Follow(ctx, path, time.Millisecond, &Skipped{}, func(Line) error {
				if n++; n == 60 {
					stop()
				}
				return nil
			}); err != nil || n != 60 {
				t.Errorf("%s, %d files: followed %d, %v", by, done, n, err)
			}
			stop()
			tendAll(t, f, 1)
		}
		if info, err := os.Stat(plain[0] + suffixes[by]); err != nil || info.Mode() != 0o600 {
			t.Error(info, err)
		}
	}
}

// TestADamagedFile damages a compressed file in the midst of a log. All others are read.
func TestADamagedFile(t *testing.T) {
	for _, by := range compressions {
		f, path := rotatedLog(t, by, 60)
		tendAll(t, f, 20)
		names, err := Rotated(path)
		if err != nil || len(names) < 5 {
			t.Fatal(names, err)
		}
		good, err := os.ReadFile(names[1])
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(good)
		flipped[len(good)/2] ^= 0x55
		for how, content := range map[string][]byte{"a bit": flipped, "the end": good[:len(good)/2], "all but the head": good[:4]} {
			if err := os.WriteFile(names[1], content, 0o600); err != nil {
				t.Fatal(err)
			}
			var skipped Skipped
			last, n := Line{}, 0
			for line, err := range Read([]string{path}, &skipped) {
				if err != nil {
					t.Fatalf("%s, %s: %v", by, how, err)
				}
				last, n = line, n+1
			}
			if n < 45 || last.Job != "59" || len(skipped.Damaged) != 1 || !strings.Contains(skipped.String(), names[1]) {
				t.Errorf("%s, %s: %d records, the last is %q; %s", by, how, n, last.Job, skipped.String())
			}
			page, err := readPage(t.Context(), path, &Filter{}, "", 1000)
			if err != nil || len(page.Records) != n || page.Skipped == 0 {
				t.Errorf("%s, %s: a page of %d, %d skipped, %v", by, how, len(page.Records), page.Skipped, err)
			}
			followed, told := 0, Skipped{}
			ctx, stop := context.WithCancel(t.Context())
			if err := Follow(ctx, path, time.Millisecond, &told, func(Line) error {
				if followed++; followed == n {
					stop()
				}
				return nil
			}); err != nil || len(told.Damaged) != 1 {
				t.Errorf("%s, %s: followed %d, %v, %s", by, how, followed, err, told.String())
			}
			stop()
		}
	}
}

// TestACrashWhileCompressing leaves what a guard that was killed can leave: a file in
// part, and one beside its original. Nothing is read twice, or lost, and the next guard
// finishes it.
func TestACrashWhileCompressing(t *testing.T) {
	for _, by := range compressions {
		f, path := rotatedLog(t, by, 60)
		want := jobsRead(t, path)
		names, err := Rotated(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := compressFile(names[0], names[0]+suffixes[by], by); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(names[1]+suffixes[by]+unfinished, []byte("in part"), 0o600); err != nil {
			t.Fatal(err)
		}
		gone := path + ".20260101T000000.000000000Z" // it was deleted while it was compressed
		if err := os.WriteFile(gone+suffixes[by]+unfinished, []byte("in part"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := jobsRead(t, path); got != want {
			t.Errorf("%s after the crash: %s", by, got)
		}
		_ = f.Close()
		next, err := OpenFile(path, Rotation{Compress: by})
		if err != nil {
			t.Fatal(err)
		}
		tendAll(t, next, len(names)+1)
		_ = next.Close()
		left, err := filepath.Glob(path + ".*")
		if err != nil || len(left) != len(names) {
			t.Errorf("%s: %q", by, left)
		}
		if got := jobsRead(t, path); got != want {
			t.Errorf("%s afterwards: %s", by, got)
		}
	}
}

// TestCompressionThatFails is tried again, but not with every Tend.
func TestCompressionThatFails(t *testing.T) {
	f, path := rotatedLog(t, Zstd, 60)
	names, err := Rotated(path)
	if err != nil {
		t.Fatal(err)
	}
	inTheWay := names[0] + suffixes[Zstd] + unfinished
	if err := os.MkdirAll(inTheWay+"/full", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Tend(); err == nil {
		t.Error("it was compressed")
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ago  time.Duration
		done bool
	}{{0, false}, {compressAgain / 2, false}, {compressAgain, true}} {
		f.failed = f.failed.Add(-c.ago)
		tendAll(t, f, 1)
		if _, err := os.Stat(names[0] + suffixes[Zstd]); (err == nil) != c.done {
			t.Errorf("%v after it failed: %v", c.ago, err)
		}
	}
}

// TestRetentionCountsCompressed keeps as many bytes as compressed files have.
func TestRetentionCountsCompressed(t *testing.T) {
	f, path := rotatedLog(t, Gzip, 60)
	tendAll(t, f, 20)
	before, err := Rotated(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	next, err := OpenFile(path, Rotation{KeepFiles: 3, Compress: Gzip})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	after, err := Rotated(path)
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before[len(before)-3:]) {
		t.Errorf("%q of %q, %v", after, before, err)
	}
	if size := Size([]string{path}); size <= 0 || size > 2000 {
		t.Errorf("%d bytes", size)
	}
}

func TestDecompressRefuses(t *testing.T) {
	for _, text := range []string{"\x1f\x8b", "\x1f\x8bno gzip", "\x28\xb5\x2f\xfd\xff\xff\xff"} {
		var skipped Skipped
		failed := false
		for _, err := range Scan(bytes.NewReader([]byte(text)), "x", &skipped) {
			failed = err != nil
		}
		if !failed {
			t.Errorf("%q was read", text)
		}
	}
}
