package ledger

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// nth is a push of the n-th group of job j, of some series beside the two own.
func nth(n, series int, b Budget) Claim {
	c := push(http.MethodPut, key("job", "j", "n", string(rune('a'+n))), b, numbered(series)...)
	c.OverBudget = EvictOldest
	return c
}

func evicting(k wire.Key) Claim {
	return Claim{Group: k, Raw: k, Method: http.MethodDelete, Evict: true}
}

func wantEvicts(t *testing.T, r Ruling, groups ...int) {
	t.Helper()
	var want []wire.Key
	for _, n := range groups {
		want = append(want, nth(n, 0, Budget{}).Group)
	}
	if !slices.EqualFunc(r.Evict, want, wire.Key.Equal) {
		t.Fatalf("evicts %v, want %v", r.Evict, want)
	}
}

// three is a book in which job j has the groups 0, 1 and 2 of 3 series each.
func three(t *testing.T, b Budget) (*Book, *hand) {
	clock := newHand()
	book := clock.book()
	for n := range 3 {
		admit(t, book, nth(n, 1, b)).Settle(Applied)
		clock.wait(time.Minute)
	}
	return book, clock
}

func TestEvictForAGroup(t *testing.T) {
	budget := Budget{Groups: 3}
	b, clock := three(t, budget)
	g := admit(t, b, nth(3, 1, budget))
	wantEvicts(t, g.Ruling, 0)
	second, err := b.Peek(nth(4, 1, budget))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, second, 1) // the first is promised
	if !b.Has(g.Evict[0]) {
		t.Error("the group went before its DELETE")
	}
	g.Settle(Applied)
	e := admit(t, b, evicting(g.Evict[0]))
	if e.Skip {
		t.Errorf("skipped: %d", e.Reason)
	}
	e.Settle(Applied)
	clock.wait(time.Minute)
	g = admit(t, b, nth(4, 1, budget))
	wantEvicts(t, g.Ruling, 1)
	g.Settle(Applied)
}

func TestEvictForSeries(t *testing.T) {
	budget := Budget{Series: 9}
	for series, want := range map[int][]int{1: {0}, 2: {0, 1}, 4: {0, 1}, 5: {0, 1, 2}, 7: {0, 1, 2}} {
		b, _ := three(t, budget)
		r, err := b.Peek(nth(3, series, budget))
		if err != nil || r.Trimmed != nil || r.Held > 9 {
			t.Errorf("%d series: %+v, %v", series, r, err)
		}
		wantEvicts(t, r, want...)
	}
	b, _ := three(t, budget)
	r, err := b.Peek(nth(3, 9, budget))
	if err != nil || !slices.Equal(r.Trimmed, []int{7, 8}) || r.Held != 9 {
		t.Errorf("%+v, %v: more than the budget does not fit, whoever goes", r, err)
	}
	grown, err := b.Peek(nth(0, 3, budget)) // not the group itself, though it is the oldest
	if err != nil || grown.Trimmed != nil {
		t.Errorf("%+v, %v", grown, err)
	}
	wantEvicts(t, grown, 1)
}

// TestNobodyGoesForWhatIsLeftOutAnyway is over another limit, too, or needs more
// than there is.
func TestNobodyGoesForWhatIsLeftOutAnyway(t *testing.T) {
	for name, c := range map[string]struct {
		budget  Budget
		trimmed []int
	}{
		"the guard is full":     {Budget{Series: 11, GuardSeries: 11}, []int{0, 1, 2}},
		"the entry is full":     {Budget{Series: 11, EntrySeries: 11}, []int{0, 1, 2}},
		"nothing new this hour": {Budget{Series: 11, NewSeriesPerHour: 11}, []int{0, 1, 2}},
		"one does not fit":      {Budget{Series: 11}, []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := three(t, Budget{})
			claim := nth(3, 3, c.budget)
			claim.Metrics[1].Samples = 99
			r, err := b.Peek(claim)
			if err != nil || !slices.Equal(r.Trimmed, c.trimmed) {
				t.Fatalf("%+v, %v", r, err)
			}
			if name == "one does not fit" {
				wantEvicts(t, r, 0)
			} else {
				wantEvicts(t, r)
			}
		})
	}
}

func TestOnlyTheJobsOwnOldGroupsGo(t *testing.T) {
	budget := Budget{Groups: 4}
	b, clock := three(t, budget)
	other := push(http.MethodPut, other, budget, "x")
	admit(t, b, other).Settle(Applied)
	admit(t, b, nth(0, 1, budget)).Settle(Applied) // now the youngest
	clock.wait(time.Minute)
	busy := admit(t, b, nth(1, 1, budget)) // taken
	r, err := b.Peek(nth(3, 1, Budget{Groups: 3}))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 2)
	wantOver(t, b, nth(3, 1, Budget{Groups: 1}), GroupsLimit, 4, 1) // one is taken, two are not enough
	busy.Settle(Untouched)
	r, err = b.Peek(nth(3, 1, Budget{Groups: 1}))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 1, 2, 0)
}

func TestPinnedGroupsStay(t *testing.T) {
	budget := Budget{Groups: 3, KeepLast: true}
	b, clock := three(t, budget)
	success := nth(0, 1, budget)
	success.Success = []int32{0}
	admit(t, b, success).Settle(Applied)
	for _, n := range []int{1, 2} {
		clock.wait(time.Minute)
		admit(t, b, nth(n, 1, budget)).Settle(Applied)
	}
	g := admit(t, b, nth(3, 1, budget))
	wantEvicts(t, g.Ruling, 1) // 0 is the oldest, and tells of the last success
	g.Settle(Untouched)
	succeeds := nth(3, 1, budget)
	succeeds.Success = []int32{0}
	g = admit(t, b, succeeds) // takes the pin over
	wantEvicts(t, g.Ruling, 0)
	if e := admit(t, b, evicting(g.Evict[0])); e.Reason != Pinned {
		t.Errorf("before the push succeeded: reason %d", e.Reason)
	} else {
		e.Settle(Untouched)
	}
	g.Settle(Untouched)
}

// TestASuccessThatIsLeftOutPinsNothing trims the family that tells of it.
func TestASuccessThatIsLeftOutPinsNothing(t *testing.T) {
	budget := Budget{Series: 3, KeepLast: true}
	b := newHand().book()
	c := push(http.MethodPut, group1, budget, "a", "b")
	c.Families, c.Success = append(c.Families, "last_success"), []int32{1}
	c.Metrics[1].Family = 1
	admit(t, b, c).Settle(Applied)
	if b.find(group1).success {
		t.Error("the group has no such family")
	}
}

// TestEvictWhatIsOver makes up for evictions that nobody came to, with the next push of
// the job.
func TestEvictWhatIsOver(t *testing.T) {
	groups, series := Budget{Groups: 3}, Budget{Series: 9}
	for name, c := range map[string]struct {
		budget  Budget
		then    func(*testing.T, *Book, *hand, Budget)
		pushed  int // and so many series of it
		series  int
		evicted []int
	}{
		"its push has no answer":               {groups, unanswered, 3, 1, []int{0}},
		"nor has that for series":              {series, unanswered, 3, 1, []int{0}},
		"and another comes":                    {groups, unanswered, 1, 1, nil}, // of nobody knows whether there are too many
		"which may not need its room":          {series, unanswered, 1, 1, nil},
		"its push is listed":                   {groups, listedFour, 3, 1, []int{0}},
		"its series are listed":                {series, listedFour, 3, 1, []int{0}},
		"it is listed, and another comes":      {groups, listedFour, 1, 1, []int{0}},
		"one that goes for its own series":     {series, listedFour, 1, 3, []int{0, 2}},
		"nobody came to evict":                 {groups, forgotten, 2, 1, []int{0}},
		"the oldest itself comes":              {groups, forgotten, 0, 1, []int{1}},
		"while another is pushed to":           {groups, pushing, 3, 1, []int{0}},
		"it is being evicted":                  {groups, func(t *testing.T, b *Book, _ *hand, o Budget) { admit(t, b, nth(3, 1, o)).Settle(Applied) }, 3, 1, nil},
		"it is being deleted":                  {groups, deleting, 3, 1, nil},
		"what one replaces is not there twice": {Budget{Series: 12}, replacing, 3, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, clock := three(t, Budget{})
			c.then(t, b, clock, c.budget)
			g := admit(t, b, nth(c.pushed, c.series, c.budget))
			wantEvicts(t, g.Ruling, c.evicted...)
			g.Settle(Applied)
			for _, k := range g.Evict {
				admit(t, b, evicting(k)).Settle(Applied)
			}
			if j, _ := b.Job("j", 9); len(c.evicted) > 0 && (c.budget.Groups > 0 && j.Groups > c.budget.Groups || c.budget.Series > 0 && j.Series > c.budget.Series) {
				t.Errorf("%+v is left", j)
			}
		})
	}
}

// TestWhatIsOverGrowsStale: where no push of the job comes any more, evictions that nobody
// came to are made up for as soon as the oldest is stale, and no group goes before.
func TestWhatIsOverGrowsStale(t *testing.T) {
	const life = time.Hour
	for name, then := range map[string]func(*testing.T, *Book, *hand, Budget){
		"its push has no answer": unanswered, "its push is listed": listedFour, "nobody came to evict": forgotten,
	} {
		for _, budget := range []Budget{{Groups: 3, StaleAfter: life}, {Series: 9, StaleAfter: life}} {
			b, clock := three(t, budget)
			oldest := clock.now.Add(-3 * time.Minute)
			then(t, b, clock, budget)
			clock.wait(oldest.Add(life - time.Second).Sub(clock.now))
			if stale := b.Stale(clock.now, 9); len(stale) > 0 {
				t.Errorf("%s, %+v: %v are stale too early", name, budget, stale)
			}
			clock.wait(time.Second)
			if stale := b.Stale(clock.now, 9); len(stale) != 1 || !stale[0].Key.Equal(nth(0, 0, budget).Group) {
				t.Errorf("%s, %+v: %v are stale, want the oldest", name, budget, stale)
			}
		}
	}
}

func unanswered(t *testing.T, b *Book, _ *hand, budget Budget) {
	g := admit(t, b, nth(3, 1, budget))
	wantEvicts(t, g.Ruling, 0)
	g.Settle(Unknown)
}

// listedFour is what a guard finds that has begun anew.
func listedFour(t *testing.T, b *Book, clock *hand, budget Budget) {
	var groups []Group
	for n := range 4 {
		p := wire.GroupPrinter{Seed: 1}
		p.Family("x")
		k := nth(n, 0, Budget{}).Group
		p.Metric(append(k.Labels(), key("v", "0").Labels()...), 1)
		groups = append(groups, Group{Key: k, Families: p.Finish(k), Budget: budget, Pushed: clock.now.Add(time.Duration(n-3) * time.Minute)})
	}
	if err := b.loadAll(func() ([]Group, error) { return groups, nil }); err != nil {
		t.Fatal(err)
	}
}

// forgotten is a push that was applied, and whose evictions nobody came to do.
func forgotten(t *testing.T, b *Book, clock *hand, budget Budget) {
	admit(t, b, nth(3, 1, budget)).Settle(Applied)
	clock.wait(promiseTime * time.Second)
}

func pushing(t *testing.T, b *Book, clock *hand, budget Budget) {
	forgotten(t, b, clock, budget)
	admit(t, b, nth(2, 1, Budget{}))
}

// deleting has the one group that is too many be deleted right now.
func deleting(t *testing.T, b *Book, clock *hand, budget Budget) {
	forgotten(t, b, clock, budget)
	k := nth(1, 0, budget).Group
	admit(t, b, Claim{Group: k, Raw: k, Method: http.MethodDelete})
}

// replacing has a push under way that brings other series in place of those of its group.
func replacing(t *testing.T, b *Book, _ *hand, budget Budget) {
	admit(t, b, nth(3, 1, budget)).Settle(Applied)
	c := nth(1, 0, budget)
	c.Families = []string{"y"}
	c.Metrics = []MetricClaim{{Fingerprint: 7, Samples: 1}}
	if g := admit(t, b, c); g.Trimmed != nil || b.Held("j") != 13 {
		t.Fatalf("%+v with %d held", g.Ruling, b.Held("j"))
	}
}

// TestPromisesEnd in every way there is, after which the group may be chosen
// again, and is not to be evicted for the push that it was promised to.
func TestPromisesEnd(t *testing.T) {
	budget := Budget{Groups: 3}
	for name, c := range map[string]struct {
		outcome Outcome // of the push
		then    func(*testing.T, *Book, *hand)
		stands  bool
	}{
		"kept":              {outcome: Applied, stands: true},
		"refused":           {outcome: Refused},
		"untouched":         {outcome: Untouched},
		"unknown":           {outcome: Unknown},
		"in time":           {outcome: Applied, then: func(_ *testing.T, _ *Book, h *hand) { h.wait(59 * time.Second) }, stands: true},
		"nobody carries on": {outcome: Applied, then: func(_ *testing.T, _ *Book, h *hand) { h.wait(60 * time.Second) }},
		"pushed to": {outcome: Applied, then: func(t *testing.T, b *Book, _ *hand) {
			admit(t, b, nth(0, 1, budget)).Settle(Untouched)
		}},
		"its DELETE failed": {outcome: Applied, then: func(t *testing.T, b *Book, _ *hand) {
			admit(t, b, evicting(nth(0, 0, budget).Group)).Settle(Unknown)
		}},
		"it moved": {outcome: Applied, then: func(t *testing.T, b *Book, _ *hand) {
			moved := nth(0, 1, budget)
			moved.Job = "elsewhere"
			admit(t, b, moved).Settle(Applied)
		}},
		"it is gone": {outcome: Applied, then: func(_ *testing.T, b *Book, _ *hand) { b.Wipe() }},
	} {
		t.Run(name, func(t *testing.T) {
			b, clock := three(t, budget)
			g := admit(t, b, nth(3, 1, budget))
			wantEvicts(t, g.Ruling, 0)
			g.Settle(c.outcome)
			if c.then != nil {
				c.then(t, b, clock)
			}
			j := b.jobs["j"]
			if j != nil {
				j.promised.expire(b.clock.at)
				b.Totals()
				j.promised.expire(b.clock.at)
				if groups, series := j.promised.without(nil); (groups == 1) != c.stands || (series == 3) != c.stands {
					t.Errorf("%d groups of %d series are promised", groups, series)
				}
			}
			e := admit(t, b, evicting(nth(0, 0, budget).Group))
			if e.Skip == c.stands {
				t.Errorf("reason %d", e.Reason)
			}
			e.Settle(Untouched)
		})
	}
}

func TestAPromiseToOneThatIsBeingDeletedStands(t *testing.T) {
	budget := Budget{Groups: 3}
	b, clock := three(t, budget)
	g := admit(t, b, nth(3, 1, budget))
	g.Settle(Applied)
	e := admit(t, b, evicting(g.Evict[0]))
	clock.wait(time.Hour)
	r, err := b.Peek(nth(4, 1, budget))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 1)
	e.Settle(Applied)
	if r, err = b.Peek(nth(4, 1, budget)); err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 1)
}

func TestAPromiseOfAnotherPushIsItsOwn(t *testing.T) {
	budget := Budget{Groups: 3}
	b, _ := three(t, budget)
	first := admit(t, b, nth(3, 1, budget)) // promises 0
	admit(t, b, nth(0, 1, budget)).Settle(Untouched)
	second := admit(t, b, nth(4, 1, budget)) // promises 0 and 1
	wantEvicts(t, second.Ruling, 0, 1)
	first.Settle(Refused)
	second.Settle(Applied)
	if e := admit(t, b, evicting(first.Evict[0])); e.Skip {
		t.Errorf("reason %d", e.Reason)
	}
}

// TestAResyncFindsMoreThanThereMayBe evicts down to the budget.
func TestAResyncFindsMoreThanThereMayBe(t *testing.T) {
	b, _ := three(t, Budget{})
	r, err := b.Peek(nth(3, 1, Budget{Groups: 2}))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 0, 1)
	wantOver(t, b, nth(3, 1, Budget{Groups: 2}).word(Trim), GroupsLimit, 4, 2)
}

// TestWhatWasEvictedDoesNotComeBack has a Pushgateway list a group that it has said to have
// deleted, as it does while pushes are ahead of the DELETE.
func TestWhatWasEvictedDoesNotComeBack(t *testing.T) {
	budget := Budget{Groups: 3}
	b, clock := three(t, budget)
	var listed []Group
	for n := range 3 {
		listed = append(listed, Group{Key: nth(n, 1, budget).Group, Pushed: clock.now})
	}
	g := admit(t, b, nth(3, 1, budget))
	g.Settle(Applied)
	admit(t, b, evicting(g.Evict[0])).Settle(Applied)
	load := func(more ...Group) {
		t.Helper()
		if err := b.Load(func() ([]Group, func(wire.Key) bool, error) { return append(more, listed...), nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	listed[0].Pushed = clock.now.Add(-time.Second) // one that was restored may be taken for younger
	load(Group{Key: g.group.key(), Pushed: clock.now})
	if b.Has(g.Evict[0]) {
		t.Error("it is there again")
	}
	r, err := b.Peek(nth(4, 1, budget))
	if err != nil {
		t.Fatal(err)
	}
	wantEvicts(t, r, 1)

	clock.wait(2 * latelyTime * time.Second)
	load(Group{Key: nth(3, 1, budget).Group, Pushed: clock.now})
	if !b.Has(nth(0, 1, budget).Group) {
		t.Error("it is listed for long, and not there")
	}
}

// TestLately has evictions be known for as long as latelyTime at the least, twice as long at
// the most, and not once the clock was set back.
func TestLately(t *testing.T) {
	var l lately
	l.add("a", 1000)
	for _, at := range []second{1000, 1000 + latelyTime - 1, 1000 + latelyTime, 1000 + 2*latelyTime - 1} {
		if l.known(at)["a"] == nil {
			t.Errorf("not known at %d", at)
		}
	}
	if len(l.known(1000+2*latelyTime)) != 0 {
		t.Error("known for too long")
	}
	l.add("b", 1025)
	if l.known(1019); len(l.known(1025)) != 0 {
		t.Error("known after the clock was set back")
	}
}
