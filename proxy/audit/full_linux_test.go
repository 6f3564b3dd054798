package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pushguard/pushguard/proxy/state/statetest"
)

// TestOpenOnAFullDisk opens a log whose last line a full disk has torn: the guard starts
// all the same, and goes on with a line of its own once there is room.
func TestOpenOnAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "64k")
	path, ballast := filepath.Join(disk, "audit.jsonl"), filepath.Join(disk, "ballast")
	l, err := Start(path, Rotation{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Time: full.Time, Job: "first", Outcome: "passed"}
	l.Write(r)
	statetest.Fill(t, ballast)
	for l.Lost() == 0 {
		l.Write(r)
	}
	if l, err = Start(path, Rotation{}, nil); err != nil {
		t.Fatal(err)
	}
	l.Write(r)
	if err := l.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.Job = "last"
	l.Write(r)
	var last Line
	var skipped Skipped
	for line, err := range Read([]string{path}, &skipped) {
		if err != nil {
			t.Fatal(err)
		}
		last = line
	}
	if skipped.Lines != 1 || last.Job != "last" {
		t.Errorf("%q came last, %s", last.Job, skipped.String())
	}
}

// TestNoFilesLeft rotates on a disk that takes no further file: what is written stays
// where it is looked for, and the limit of bytes holds, which makes room for the next.
func TestNoFilesLeft(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "1m")
	path := filepath.Join(disk, "audit.jsonl")
	f, err := OpenFile(path, Rotation{MaxSize: 1000, KeepBytes: 4000})
	if err != nil {
		t.Fatal(err)
	}
	n, line := 0, strings.Repeat("x", 94)
	write := func(lines int) {
		for range lines {
			put(t, f, fmt.Sprintf("%05d%s", n, line))
			n++
		}
	}
	write(20)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(disk, fmt.Sprint(i)), nil, 0o600)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	for range 100 {
		write(5)
		_ = f.Tend() // which says that there was no file
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		lines, files := content(t, path)
		if size := 100 * len(lines); size > 5000 {
			t.Fatalf("%d bytes in %d files, limit 4000 and what a Tend is late", size, files+1)
		}
		for i, line := range lines {
			if want := fmt.Sprintf("%05d", n-len(lines)+i); line[:5] != want {
				t.Fatalf("line %s, want %s", line[:5], want)
			}
		}
	}
}
