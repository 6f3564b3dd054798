package record

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pushguard/pushguard/proxy/state/statetest"
)

// TestAFullDisk records while a disk fills, and once there is room: what could be written
// only in part costs no other push, and what was lost is told in the next line.
func TestAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "64k")
	ballast := filepath.Join(disk, "ballast")
	r := open(t, Config{Path: filepath.Join(disk, "recorded.jsonl")})
	r.write(pushed(t, "/metrics/job/a", "a 1\n"))
	statetest.Fill(t, ballast)
	const lost = 3
	for r.lost.Load() < lost {
		r.write(pushed(t, "/metrics/job/a", "a 1\n"))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.write(pushed(t, "/metrics/job/b", "a 1\n"))
	entries, torn := readAll(t, r.cfg.Path)
	if n := r.written.Load(); torn != 1 || uint64(len(entries)) != n {
		t.Errorf("%d torn and %d read of %d that were written", torn, len(entries), n)
	}
	if last := entries[len(entries)-1]; last.Dropped != lost {
		t.Errorf("%d are told of that were not recorded, want %d: %s", last.Dropped, lost, last.Request.Target)
	}
}
