package event

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state/statetest"
)

// TestAFullDisk is full in the midst of a write. Once there is room again, nothing of that
// write is found behind what comes later, and what it was to write is there.
func TestAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t) {
		return
	}
	disk := statetest.SmallDisk(t, "1m")
	dir, ballast := filepath.Join(disk, "spool"), filepath.Join(disk, "ballast")
	must(t, os.Mkdir(dir, 0o700))
	s := openedSpool(t, dir, 1<<20)
	q := newQueue(Limits{}, s, new(drops).note)
	q.add(facts, []byte("before"))
	settle(t, s)
	statetest.Fill(t, ballast)
	large := bytes.Repeat([]byte("x"), 8<<10) // more than is left of a page
	q.add(facts, large)
	if err := s.commit(t.Context(), s.position()); err == nil {
		t.Fatal("there is room")
	}
	must(t, os.Remove(ballast))
	s.mu.Lock()
	s.retry = time.Time{} // not later
	s.mu.Unlock()
	q.add(facts, []byte("after"))
	settle(t, s)
	must(t, s.close())
	s, err := openSpool(dir, 1<<20, func(what string) { t.Errorf("damaged: %s", what) })
	must(t, err)
	defer s.close()
	if got := drained(t, newQueue(Limits{}, s, new(drops).note), false); !cmp.Equal(got, []string{"before", string(large), "after"}) {
		t.Errorf("%.100q come", got)
	}
}
