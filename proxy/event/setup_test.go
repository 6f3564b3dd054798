package event

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/leaktest"
)

// childEnv has this binary play a guard that is killed: one with its state in that
// directory, whose records go to the target and begin with a number. A record's time
// is so many nanoseconds after the beginning as its number.
const (
	childEnv  = "PUSHGUARD_EVENT_CHILD"
	targetEnv = "PUSHGUARD_EVENT_TARGET"
	firstEnv  = "PUSHGUARD_EVENT_FIRST"
	begunEnv  = "PUSHGUARD_EVENT_BEGUN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		addForEver(dir, os.Getenv(targetEnv), os.Getenv(firstEnv), os.Getenv(begunEnv))
		return
	}
	leaktest.Main(m)
}

// noon is when all records of the tests are from.
var noon = time.Date(2026, 11, 28, 12, 0, 0, 123456789, time.UTC)

// within is longer than anything a test waits for.
const within = 60 * time.Second

// id is a record's id that tells its number.
func id(n int) (id ID) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func eventually(t testing.TB, condition func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = condition(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// openedSpool opens a spool in the directory.
func openedSpool(t testing.TB, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(dir, limit, func(what string) { t.Log("damage:", what) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drained takes what is in a queue, without waiting for more.
func drained(t testing.TB, q *queue, done bool) []string {
	t.Helper()
	var out []string
	for {
		if n, _ := q.size(); n == 0 {
			return out
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		items, err := q.next(ctx, batchLimits{records: 1, most: 7, bytes: 1 << 20})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			out = append(out, string(i.json))
		}
		if done {
			if err := q.done(items); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// settle waits until the disk has what was added.
func settle(t testing.TB, s *spool) {
	t.Helper()
	if err := s.commit(t.Context(), s.position()); err != nil {
		t.Fatal(err)
	}
}
