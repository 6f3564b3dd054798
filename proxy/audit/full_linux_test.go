package audit

import (
	"errors"
	"os"
	"path/filepath"
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
