package ledger

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// totals is a claim of totals of a family, with one metric for each value.
func totals(k wire.Key, family string, values ...string) Claim {
	c := Claim{Group: k, Raw: k, Method: http.MethodPost, Totals: true, OverBudget: Trim, Families: []string{family}}
	for _, v := range values {
		c.bring(0, 1, "t", v)
	}
	return c
}

func putOf(k wire.Key, family string, values ...string) Claim {
	c := totals(k, family, values...)
	c.Totals, c.Method = false, http.MethodPut
	return c
}

// TestTotalsAddAndReplaceNothing: they cost series and are no group, whatever is
// done to the group of their key.
func TestTotalsAddAndReplaceNothing(t *testing.T) {
	b := newHand().book()
	admit(t, b, totals(group1, "done", "a")).Settle(Applied)
	admit(t, b, totals(group1, "done", "b")).Settle(Applied)
	admit(t, b, totals(group1, "done", "a")).Settle(Applied)
	if b.Series() != 2 || b.Len() != 0 || b.Has(group1) {
		t.Fatalf("%d series, %d groups", b.Series(), b.Len())
	}
	admit(t, b, putOf(group1, "rows", "x")).Settle(Applied)
	if b.Series() != 2+1+ownSeries || b.Len() != 1 {
		t.Fatalf("with a group: %d series, %d groups", b.Series(), b.Len())
	}
	admit(t, b, putOf(group1, "rows")).Settle(Applied)
	admit(t, b, Claim{Group: group1, Raw: group1, Method: http.MethodDelete}).Settle(Applied)
	if err := b.loadAll(func() ([]Group, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	b.Wipe()
	if b.Series() != 2 || b.Len() != 0 {
		t.Errorf("after a DELETE, a listing without it and a wipe: %d series, %d groups", b.Series(), b.Len())
	}
}

// TestTotalsAreHeldToTheBudget beside the job's groups, at, under and over.
func TestTotalsAreHeldToTheBudget(t *testing.T) {
	for series, trimmed := range map[int]int{5: 1, 6: 0, 7: 0} {
		b, budget := newHand().book(), Budget{Series: series}
		admit(t, b, putOf(group1, "rows", "x").under(budget)).Settle(Applied) // 3
		g := admit(t, b, totals(group1, "done", "a", "b", "c").under(budget))
		if len(g.Trimmed) != trimmed {
			t.Errorf("budget of %d: %v trimmed, want %d", series, g.Trimmed, trimmed)
		}
		g.Settle(Applied)
		g = admit(t, b, totals(group1, "done", "a", "b").under(Budget{Series: 1}))
		if len(g.Trimmed) != 0 {
			t.Errorf("known totals were trimmed: %v", g.Trimmed)
		}
		g.Settle(Applied)
	}
}

func TestTotalsThatWereNotAddedCostNothing(t *testing.T) {
	b := newHand().book()
	g := admit(t, b, totals(group1, "done", "a", "b"))
	if b.Series() != 2 {
		t.Errorf("booked: %d", b.Series())
	}
	g.Settle(Untouched)
	if b.Series() != 0 || len(b.totals) != 0 {
		t.Errorf("%d series, %d groups of totals are left", b.Series(), len(b.totals))
	}
}

// TestTotalsCountAsNew in the windows, and a push of theirs as none.
func TestTotalsCountAsNew(t *testing.T) {
	b, budget := newHand().book(), Budget{NewSeriesPerHour: 2, PushesPerMinute: 1}
	admit(t, b, totals(group1, "done", "a").under(budget)).Settle(Applied)
	admit(t, b, totals(group1, "done", "a").under(budget)).Settle(Applied)
	g := admit(t, b, totals(group1, "done", "a", "b", "c").under(budget))
	if len(g.Trimmed) != 1 {
		t.Errorf("%v trimmed, want one", g.Trimmed)
	}
	g.Settle(Applied)
}

// TestTotalsGoByTime: what nobody names for StaleAfter is gone within as long
// again, and what is named stays.
func TestTotalsGoByTime(t *testing.T) {
	clock := newHand()
	b, budget := clock.book(), Budget{StaleAfter: time.Hour}
	admit(t, b, totals(group1, "done", "a", "b").under(budget)).Settle(Applied)
	for range 9 {
		clock.wait(15 * time.Minute)
		admit(t, b, totals(group1, "done", "a").under(budget)).Settle(Applied)
		b.Stale(clock.now, 10)
	}
	if b.Series() != 1 {
		t.Errorf("%d series are held, want that which is named", b.Series())
	}
	clock.wait(2 * time.Hour)
	b.Stale(clock.now, 10)
	clock.wait(time.Hour)
	b.Stale(clock.now, 10)
	if b.Series() != 0 || len(b.totals) != 0 {
		t.Errorf("%d series, %d groups of totals are left", b.Series(), len(b.totals))
	}
	admit(t, b, totals(group1, "done", "a")).Settle(Applied)
	clock.wait(1000 * time.Hour)
	b.Stale(clock.now, 10)
	if b.Series() != 1 {
		t.Error("without StaleAfter they went, too")
	}
}

func TestHeldByOthers(t *testing.T) {
	b := newHand().book()
	mine, theirs := key("job", "mine"), key("job", "theirs")
	check := func(when string, want bool) {
		t.Helper()
		if got := b.HeldByOthers("rows", "mine"); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	check("nobody has it", false)
	admit(t, b, putOf(mine, "rows", "x")).Settle(Applied)
	check("the job itself has it", false)
	admit(t, b, totals(theirs, "rows", "x")).Settle(Applied)
	check("another has it as totals", false)
	if b.Holds(theirs, "rows") || !b.Holds(mine, "rows") || b.Holds(mine, "other") {
		t.Error("Holds takes one for the other")
	}
	g := admit(t, b, putOf(theirs, "rows", "x"))
	check("another is about to", true)
	g.Settle(Untouched)
	check("it did not", false)
	admit(t, b, putOf(theirs, "rows", "x")).Settle(Applied)
	check("another has it", true)
	if !b.HeldByOthers("rows") {
		t.Error("some job has it")
	}
	if b.HeldByOthers("rows", "mine", "theirs", "nobody's") {
		t.Error("nobody else has it")
	}
	moved := putOf(theirs, "rows", "x")
	moved.Job = "mine"
	admit(t, b, moved).Settle(Applied)
	check("the group is the job's own now", false)
	admit(t, b, Claim{Group: theirs, Raw: theirs, Method: http.MethodDelete}).Settle(Applied)
	b.Wipe()
	if len(b.families) != 0 {
		t.Errorf("families are left: %v", b.families)
	}
}

// TestTotalsInParallel adds under one key from many goroutines, with the races
// that -race looks for, and nothing is lost or billed twice.
func TestTotalsInParallel(t *testing.T) {
	b := NewBook(Config{Wait: time.Minute})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				g, err := b.Admit(t.Context(), totals(group1, "done", fmt.Sprint((w*7+i)%40)).under(Budget{StaleAfter: time.Hour}))
				if err != nil {
					t.Error(errors.Join(errors.New("admit"), err))
					return
				}
				g.Settle(Applied)
				b.Stale(time.Now(), 3)
			}
		})
	}
	wg.Wait()
	if b.Series() != 40 {
		t.Errorf("%d series, want 40", b.Series())
	}
}

// What totals hold already is counted once, whatever collapses into it.
func TestTotalsThatCollapseAgainCostNothing(t *testing.T) {
	b := NewBook(Config{})
	for i, tc := range []struct {
		metrics []plainMetric
		fits    int // of them, as they are
	}{
		{oneLabel("a", "b", "c", "d"), 2},
		{oneLabel("a", "e"), 1},
		{oneLabel("f", "g"), 0},
	} {
		c := collapsing(http.MethodPost, group1, Budget{Series: 3}, tc.metrics...)
		c.Totals = true
		g := admit(t, b, c)
		if collapsed := len(tc.metrics) - tc.fits; g.Held != 3 || len(g.Collapsed) != collapsed || g.Trimmed != nil || g.Excess[0].Count != 3+collapsed {
			t.Errorf("push %d: %+v", i, g.Ruling)
		}
		g.Settle(Applied)
		if b.Held("j") != 3 {
			t.Errorf("push %d: %d held", i, b.Held("j"))
		}
	}
}
