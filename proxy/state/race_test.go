package state

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyAtOnce appends, commits, compacts, looks on and at last closes, all
// at once, and restores what was committed.
func TestManyAtOnce(t *testing.T) {
	const appenders = 8
	dir := t.TempDir()
	d := open(t, dir, Options{Interval: time.Millisecond})
	l, _ := openLog(t, d, "ledger", LogOptions{CompactAfter: 1})
	var mu sync.Mutex
	var state, safe [appenders]int
	var all sync.WaitGroup
	enough := make(chan struct{})
	for i := range appenders {
		all.Go(func() {
			for n := 1; ; n++ {
				mu.Lock()
				state[i] = n
				add := l.Append
				if i%2 == 0 {
					add = l.Add
				}
				p := add(fmt.Appendf(nil, "%d %d", i, n), fmt.Appendf(nil, "%d %d", i, n))
				mu.Unlock()
				if i%2 == 0 && l.Write(p) {
					safe[i] = n
				}
				switch err := l.Commit(t.Context(), p); {
				case errors.Is(err, ErrClosed):
					return
				case err != nil:
					t.Error(err)
					return
				}
				safe[i] = n
				if i == 0 && n == 200 {
					close(enough)
				}
			}
		})
	}
	all.Go(func() {
		for range l.Due() {
			err := l.Compact(func(write func([]byte) error) error {
				for i := range state {
					mu.Lock()
					n := state[i]
					mu.Unlock()
					if err := write(fmt.Appendf(nil, "%d %d", i, n)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 100 {
			needsCompact(l)
			sizes(l)
			if err := l.Err(); err != nil {
				t.Error(err)
			}
			d.Damage()
		}
	})
	<-enough
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	records, damage := restored(t, dir, "ledger")
	var last [appenders]int
	for _, r := range records {
		i, n, _ := strings.Cut(r, " ")
		worker, _ := strconv.Atoi(i)
		last[worker], _ = strconv.Atoi(n)
	}
	for i := range last {
		if last[i] < safe[i] || len(damage) > 0 {
			t.Errorf("appender %d: %d restored, %d committed; damage %v", i, last[i], safe[i], damage)
		}
	}
}
