package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// apart are guards that go on by themselves, and the upstream that they push to, as a
// model that shares nothing with the book.
type apart struct {
	guards []*sharer
	r      *rand.Rand
	budget Budget
	held   map[string]map[string]map[uint64]bool // group → family → metrics
	last   time.Time
}

func newApart(t *testing.T, redis *redistest.Redis, seed uint64, budget Budget) *apart {
	a := &apart{r: rand.New(rand.NewPCG(seed, 9)), budget: budget, held: map[string]map[string]map[uint64]bool{}}
	for range 3 {
		a.guards = append(a.guards, newSharer(t, shared.Config{URL: redis.URL(), Timeout: 3 * time.Second, Degrade: true}, 30*time.Second))
	}
	return a
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to be that " + what)
		}
	}
}

func (a *apart) all(t *testing.T, what string, of func(*sharer) bool) {
	t.Helper()
	eventually(t, what, func() bool { return !slices.ContainsFunc(a.guards, func(g *sharer) bool { return !of(g) }) })
}

// claim is of one of three groups, with metrics of many.
func (a *apart) claim(kinds int) (c Claim, group string) {
	group = fmt.Sprint(a.r.IntN(3))
	key := wire.NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: "run", Value: group})
	c = Claim{Group: key, Raw: key, Method: []string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodDelete}[a.r.IntN(4)], Budget: a.budget, OverBudget: OverBudget(1 + a.r.IntN(2))}
	if c.Method == http.MethodDelete {
		return c, group
	}
	for f := range 1 + a.r.IntN(3) {
		c.Families = append(c.Families, fmt.Sprint("f", f))
		for n := range kinds {
			if a.r.IntN(3) == 0 {
				c.Metrics = append(c.Metrics, MetricClaim{
					Fingerprint: uint64(f)<<32 | uint64(n+1), Family: int32(f), Samples: 1, Values: c.AddValues([]wire.LabelValue{{Label: 7, Value: uint64(100 + n)}}),
				})
			}
		}
	}
	return c, group
}

// push has a guard push, and the upstream do as it is told.
func (a *apart) push(t *testing.T, g *sharer, c Claim, group string) {
	t.Helper()
	grant, err := g.book.Admit(t.Context(), c)
	if err != nil {
		if !errors.As(err, new(*OverBudgetError)) {
			t.Fatalf("Admit: %v", err)
		}
		return
	}
	if c.Method == http.MethodDelete || grant.Method == http.MethodPut {
		delete(a.held, group)
	}
	if c.Method != http.MethodDelete {
		a.apply(c, grant, group)
	}
	grant.Settle(Applied)
}

func (a *apart) apply(c Claim, grant *Grant, group string) {
	if a.held[group] == nil {
		a.held[group] = map[string]map[uint64]bool{}
	}
	for f, name := range c.Families {
		brought, passes := 0, map[uint64]bool{}
		for m := range c.Metrics {
			if int(c.Metrics[m].Family) == f {
				if brought++; !slices.Contains(grant.Trimmed, m) {
					passes[c.Metrics[m].Fingerprint] = true
				}
			}
		}
		if brought == 0 || len(passes) > 0 {
			a.held[group][name] = passes
		}
	}
}

// series are those of the upstream, with its own two of each group.
func (a *apart) series() int {
	n := ownSeries * len(a.held)
	for _, families := range a.held {
		for _, metrics := range families {
			n += len(metrics)
		}
	}
	return n
}

// TestApartWithinBudget has guards go on by themselves while the Redis hangs, or until
// one that is empty comes: all together never bring more than the budget, and once it is
// back each knows exactly what the upstream has.
func TestApartWithinBudget(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			redis := redistest.Start(t)
			budget := Budget{Series: 29, Groups: 3, LabelValues: 11, GuardSeries: 40, StaleAfter: time.Hour}
			a := newApart(t, redis, seed, budget)
			for n := range 5 { // some is left of the budget
				c, group := a.claim(4)
				c.OverBudget = Trim
				a.push(t, a.guards[n%3], c, group)
			}
			for _, g := range a.guards {
				g.sync(t)
			}
			a.all(t, "all know of all", func(g *sharer) bool { return g.log.Guards() == 3 })
			begin, end := redis.Pause, redis.Resume
			if seed%2 == 0 {
				begin, end = redis.Kill, redis.Restart
			}
			begin()
			a.all(t, "each is by itself", func(g *sharer) bool { return g.log.Alone() })
			a.apart(t)
			end()
			a.all(t, "all are back", func(g *sharer) bool { return !g.log.Away() })
			first := a.guards[0].saved(t)
			for i, g := range a.guards {
				if g.saved(t) != first {
					t.Errorf("guard %d knows something else than the first", i)
				}
				if held := g.book.Held("j"); held != a.series() || g.book.Len() != len(a.held) {
					t.Errorf("guard %d knows of %d series in %d groups, and there are %d in %d", i, held, g.book.Len(), a.series(), len(a.held))
				}
			}
		})
	}
}

func (a *apart) apart(t *testing.T) {
	t.Helper()
	for range 60 {
		g := a.guards[a.r.IntN(3)]
		c, group := a.claim(16)
		a.last = redistest.After(g.book.shared.door, a.last, func() { a.push(t, g, c, group) })
		if n := a.series(); n > a.budget.Series {
			t.Fatalf("there are %d series, of %d", n, a.budget.Series)
		}
		if n := len(a.held); n > a.budget.Groups {
			t.Fatalf("there are %d groups, of %d", n, a.budget.Groups)
		}
	}
}

// TestApartPasses has a job at its budget go on as ever while its guards are by
// themselves, whichever it pushes to: what its groups held passes, and nothing new.
func TestApartPasses(t *testing.T) {
	redis := redistest.Start(t)
	a := newApart(t, redis, 1, Budget{})
	key := wire.NewKey(labels.Label{Name: "job", Value: "j"})
	claim := func(prints ...uint64) Claim {
		c := Claim{Group: key, Raw: key, Method: http.MethodPut, Budget: Budget{Series: 5}, OverBudget: Trim, Families: []string{"f"}}
		for _, p := range prints {
			c.Metrics = append(c.Metrics, MetricClaim{Fingerprint: p, Samples: 1})
		}
		return c
	}
	settled := func(g *sharer, c Claim) Ruling {
		grant, err := g.book.Admit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		grant.Settle(Applied)
		return grant.Ruling
	}
	settled(a.guards[0], claim(1, 2, 3))
	for _, g := range a.guards {
		g.sync(t)
	}
	redis.Kill()
	a.all(t, "each is by itself", func(g *sharer) bool { return g.log.Alone() })
	for i, g := range a.guards {
		for range 3 {
			if got := settled(g, claim(1, 2, 3)); len(got.Trimmed) != 0 {
				t.Errorf("guard %d left out what was held: %+v", i, got)
			}
		}
		if got := settled(g, claim(1, 2)); len(got.Trimmed) != 0 {
			t.Errorf("guard %d: %+v", i, got)
		}
		// What was let go of another guard may bring again.
		if got := settled(g, claim(1, 2, 4)); !slices.Equal(got.Trimmed, []int{2}) {
			t.Errorf("guard %d, of something new: %+v", i, got)
		}
		if ruling, err := g.book.Peek(claim(1, 2, 3, 4)); err != nil || !slices.Equal(ruling.Trimmed, []int{3}) {
			t.Errorf("guard %d foresees %+v, %v", i, ruling, err)
		}
	}
	redis.Restart()
	a.all(t, "all are back", func(g *sharer) bool { return !g.log.Away() })
	for _, g := range a.guards {
		g.sync(t)
		if held := g.book.Held("j"); held != 4 {
			t.Errorf("%d series are held, want 4", held)
		}
	}
}

// TestApartWaits has a push wait for a group that another guard has when the Redis goes
// away: its guard goes on by itself, and does not wait for what it cannot hear of.
func TestApartWaits(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Timeout: 3 * time.Second, Lease: time.Hour, Degrade: true}
	has, waits := newSharer(t, cfg, time.Minute), newSharer(t, cfg, time.Minute)
	claim := push(http.MethodPut, group1, Budget{}, "a")
	if _, err := has.book.Admit(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	admitted := make(chan error, 1)
	go func() {
		_, err := waits.book.Admit(t.Context(), claim)
		admitted <- err
	}()
	eventually(t, "it waits", func() bool {
		waits.book.mu.Lock()
		defer waits.book.mu.Unlock()
		g := findIn(waits.book.table(false), claim.Group)
		return g != nil && g.turn != nil && len(g.turn.waiting) == 1
	})
	redis.Kill()
	if err := <-admitted; err != nil {
		t.Errorf("a push that waited as the Redis went away: %v", err)
	}
}

// TestShares has guards share what is left: all of it, and not one more.
func TestShares(t *testing.T) {
	for _, tc := range []struct{ held, limit, guards int }{{0, 30, 3}, {10, 30, 3}, {1, 30, 4}, {30, 30, 3}, {29, 30, 3}, {40, 30, 3}} {
		sum := 0
		for rank := range tc.guards {
			a := &alone{Alone: shared.Alone{Guards: tc.guards, Rank: rank}}
			sum += max(0, a.share(tc.held, tc.limit)-tc.held)
		}
		if want := max(0, tc.limit-tc.held); sum != want {
			t.Errorf("%d of %d, %d guards: they share %d, want %d", tc.held, tc.limit, tc.guards, sum, want)
		}
	}
	none := &alone{Alone: shared.Alone{Guards: 3, Rank: 2}}
	if none.share(5, 0) != 0 || none.share(0, 2) != 1 {
		t.Errorf("no limit is %d, and the share of none of it %d", none.share(5, 0), none.share(0, 2))
	}
}
