package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// ageing stands for a Pushgateway that knows when each of its groups was pushed
// to last.
type ageing struct {
	mu     sync.Mutex
	pushed map[string]time.Time
}

// upkeeper is a job's clients, and the guard's sweeper and evictions, at once.
type upkeeper struct {
	t    *testing.T
	book *Book
	up   *ageing
	now  func() time.Time
	most int
}

func (u *upkeeper) push(r *rand.Rand) {
	job := fmt.Sprint(r.IntN(3))
	k := key("job", job, "run_id", fmt.Sprint(r.IntN(40)))
	c := push(http.MethodPut, k, Budget{Groups: u.most, Series: 60, StaleAfter: 20 * time.Second, KeepLast: r.IntN(2) == 0}, numbered(1+r.IntN(4))...)
	c.OverBudget = EvictOldest
	if r.IntN(3) == 0 {
		c.Success = []int32{0}
	}
	g, err := u.book.Admit(context.Background(), c)
	switch {
	case errors.As(err, new(*OverBudgetError)), errors.Is(err, ErrBusy):
		return // all the others are taken
	case err != nil:
		u.t.Error(err)
		return
	}
	u.up.mu.Lock()
	u.up.pushed[k.ID()] = u.now()
	u.up.mu.Unlock()
	g.Settle(Applied)
	for _, victim := range g.Evict {
		u.remove(evicting(victim))
	}
}

// remove carries out a DELETE of the guard's own.
func (u *upkeeper) remove(c Claim) {
	g, err := u.book.Admit(context.Background(), c)
	if errors.Is(err, ErrBusy) {
		return
	}
	if err != nil {
		u.t.Error(err)
		return
	}
	if g.Skip {
		g.Settle(Untouched)
		return
	}
	u.up.mu.Lock()
	if at, ok := u.up.pushed[c.Group.ID()]; !ok || c.Sweep && at.After(c.IfOlder) {
		u.t.Errorf("%s was pushed to at %v (%v), and is swept for %v", c.Group, at, ok, c.IfOlder)
	}
	delete(u.up.pushed, c.Group.ID())
	u.up.mu.Unlock()
	g.Settle(Applied)
}

func (u *upkeeper) sweep() {
	now := u.now()
	for _, s := range u.book.Stale(now, 5) {
		u.remove(Claim{Group: s.Key, Raw: s.Key, Method: http.MethodDelete, Sweep: true, IfOlder: now.Add(-s.StaleAfter)})
	}
}

func (u *upkeeper) look(r *rand.Rand) {
	u.book.Jobs(2)
	u.book.Job("1", 3)
	u.book.Totals()
	if r.IntN(20) == 0 {
		u.book.Regovern(func(string) (int, Budget) { return r.IntN(2), Budget{Groups: u.most, StaleAfter: 20 * time.Second} })
	}
	if r.IntN(20) == 0 {
		if err := u.book.Compact(); err != nil {
			u.t.Error(err)
		}
	}
}

// TestSweepsAndEvictionsAtOnce ends with a book that knows what there is, and no
// job with more groups than it may have.
func TestSweepsAndEvictionsAtOnce(t *testing.T) {
	var elapsed atomic.Int64 // each look at the clock is a tenth of a second
	now := func() time.Time { return time.Unix(1_800_000_000, elapsed.Add(int64(100*time.Millisecond))) }
	dir, err := state.Open(t.Context(), t.TempDir(), state.Options{Sync: state.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	b, _, err := Open(dir, Config{Wait: time.Minute, Now: now, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	u := &upkeeper{t: t, book: b, up: &ageing{pushed: map[string]time.Time{}}, now: now, most: 10}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for range 400 {
				switch r.IntN(10) {
				case 0:
					u.sweep()
				case 1:
					u.look(r)
				default:
					u.push(r)
				}
			}
		})
	}
	wg.Wait()
	for job := range 3 { // a group that was spared at the last moment goes with the next that comes
		c := push(http.MethodPut, key("job", fmt.Sprint(job), "run_id", "last"), Budget{Groups: u.most}, "a")
		c.OverBudget = EvictOldest
		g := admit(t, b, c)
		u.up.pushed[c.Group.ID()] = now()
		g.Settle(Applied)
		for _, victim := range g.Evict {
			u.remove(evicting(victim))
		}
	}
	if b.Len() != len(u.up.pushed) {
		t.Errorf("the book knows %d groups, there are %d", b.Len(), len(u.up.pushed))
	}
	for id := range u.up.pushed {
		if !b.Has(wire.KeyOf(id)) {
			t.Errorf("%s is there, and the book does not know", wire.KeyOf(id))
		}
	}
	for _, j := range b.Jobs(9) {
		if j.Groups > u.most {
			t.Errorf("job %s has %d groups", j.Job, j.Groups)
		}
		if groups, series := b.jobs[j.Job].promised.without(nil); groups != 0 || series != 0 {
			t.Errorf("job %s: %d groups of %d series are promised still", j.Job, groups, series)
		}
	}
}
