package ledger

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// hand is a clock that is moved by hand.
type hand struct{ now time.Time }

func newHand() *hand { return &hand{time.Unix(1_800_000_000, 0)} }

func (h *hand) read() time.Time         { return h.now }
func (h *hand) wait(d time.Duration)    { h.now = h.now.Add(d) }
func (h *hand) book() *Book             { return NewBook(Config{Now: h.read}) }
func groupOf(job string, n int) Claim   { return put(key("job", job, "n", fmt.Sprint(n))) }
func put(k wire.Key) Claim              { return Claim{Group: k, Raw: k, Method: http.MethodPut} }
func (c Claim) under(b Budget) Claim    { c.Budget = b; return c }
func (c Claim) word(o OverBudget) Claim { c.OverBudget = o; return c }

// wantOver checks that a claim is refused for one limit, or passes if that is 0.
func wantOver(t *testing.T, b *Book, c Claim, limit Limit, count, most int) {
	t.Helper()
	_, err := b.Peek(c)
	var over *OverBudgetError
	switch {
	case limit == 0:
		if err != nil {
			t.Fatalf("Peek = %v", err)
		}
	case !errors.As(err, &over):
		t.Fatalf("Peek = %v, want to be over %s", err, limit)
	case over.Excess[0].Over != limit || over.Excess[0].Count != count || over.Excess[0].Max != most || over.Excess[0].Metric != -1:
		t.Fatalf("%+v, want to be over %s with %d of %d", over.Excess[0], limit, count, most)
	}
}

func TestGroupsOfAJob(t *testing.T) {
	b, budget := newHand().book(), Budget{Groups: 2}
	for n := range 2 {
		wantOver(t, b, groupOf("j", n).under(budget), 0, 0, 0)
		admit(t, b, groupOf("j", n).under(budget)).Settle(Applied)
	}
	for _, word := range []OverBudget{Trim, Reject, Collapse} {
		wantOver(t, b, groupOf("j", 3).under(budget).word(word), GroupsLimit, 3, 2)
	}
	wantOver(t, b, groupOf("j", 0).under(budget), 0, 0, 0)
	wantOver(t, b, groupOf("other", 0).under(budget), 0, 0, 0)
	wantOver(t, b, groupOf("j", 3).under(Budget{}), 0, 0, 0)
}

func TestAGroupUnderWayCounts(t *testing.T) {
	b, budget := newHand().book(), Budget{Groups: 1, GuardGroups: 1, EntryJobs: 1}
	g := admit(t, b, groupOf("j", 0).under(budget))
	wantOver(t, b, groupOf("j", 1).under(Budget{Groups: 1}), GroupsLimit, 2, 1)
	wantOver(t, b, groupOf("k", 1).under(Budget{GuardGroups: 1}), GuardGroupsLimit, 2, 1)
	wantOver(t, b, groupOf("k", 1).under(Budget{EntryJobs: 1}), EntryJobsLimit, 2, 1)
	g.Settle(Untouched)
	wantOver(t, b, groupOf("k", 1).under(budget), 0, 0, 0)
}

func TestGroupsOfTheGuard(t *testing.T) {
	b, budget := newHand().book(), Budget{GuardGroups: 2}
	admit(t, b, groupOf("j", 0).under(budget)).Settle(Applied)
	admit(t, b, groupOf("k", 0).under(budget)).Settle(Refused) // it exists
	wantOver(t, b, groupOf("l", 0).under(budget).word(EvictOldest), GuardGroupsLimit, 3, 2)
	wantOver(t, b, groupOf("k", 0).under(budget), 0, 0, 0)
}

func TestJobsOfAnEntry(t *testing.T) {
	b, budget := newHand().book(), Budget{EntryJobs: 2}
	admit(t, b, groupOf("j", 0).under(budget)).Settle(Applied)
	admit(t, b, groupOf("k", 0).under(budget)).Settle(Applied)
	wantOver(t, b, groupOf("l", 0).under(budget), EntryJobsLimit, 3, 2)
	wantOver(t, b, groupOf("k", 1).under(budget), 0, 0, 0)
	elsewhere := groupOf("l", 0).under(budget)
	elsewhere.Entry = 1
	wantOver(t, b, elsewhere, 0, 0, 0)
	d := groupOf("j", 0)
	d.Method = http.MethodDelete
	admit(t, b, d).Settle(Applied)
	wantOver(t, b, groupOf("l", 0).under(budget), 0, 0, 0)
}

func TestNewJobsPerDay(t *testing.T) {
	clock := newHand()
	b, budget := clock.book(), Budget{NewJobsPerDay: 2}
	remove := func(job string) {
		d := groupOf(job, 0)
		d.Method = http.MethodDelete
		admit(t, b, d).Settle(Applied)
	}
	admit(t, b, groupOf("j", 0).under(budget)).Settle(Applied)
	admit(t, b, groupOf("ghost", 0).under(budget)).Settle(Untouched) // was never there
	admit(t, b, groupOf("k", 0).under(budget)).Settle(Applied)
	wantOver(t, b, groupOf("l", 0).under(budget), NewJobsPerDayLimit, 3, 2)
	remove("j")
	clock.wait(23 * time.Hour)
	wantOver(t, b, groupOf("j", 0).under(budget), 0, 0, 0) // is known
	wantOver(t, b, groupOf("l", 0).under(budget), NewJobsPerDayLimit, 3, 2)
	clock.wait(time.Hour + 24*time.Minute)
	admit(t, b, groupOf("l", 0).under(budget)).Settle(Applied)
	admit(t, b, groupOf("m", 0).under(budget)).Settle(Applied)
	wantOver(t, b, groupOf("j", 0).under(budget), NewJobsPerDayLimit, 3, 2) // is new again
	wantOver(t, b, groupOf("k", 1).under(budget), 0, 0, 0)
}

func TestAJobIsKnownForADay(t *testing.T) {
	a := account{seen: 1000}
	for at, want := range map[int64]bool{1000: true, 1000 + 86399: true, 1000 + 86400: false} {
		if a.known(at) != want {
			t.Errorf("%d s later: known is %v", at-1000, !want)
		}
	}
}

func TestPushesPerMinute(t *testing.T) {
	clock := newHand()
	b, budget := clock.book(), Budget{PushesPerMinute: 3}
	for range 3 {
		admit(t, b, groupOf("j", 0).under(budget)).Settle(Applied)
		clock.wait(10 * time.Second)
	}
	var rate *RateError
	for range 5 { // those that are refused do not count
		if _, err := b.Admit(t.Context(), groupOf("j", 1).under(budget)); !errors.As(err, &rate) {
			t.Fatalf("Admit = %v", err)
		}
	}
	if rate.Job != "j" || rate.Max != 3 || rate.RetryAfter != 31*time.Second {
		t.Errorf("%+v", rate)
	}
	d := groupOf("j", 0).under(budget)
	d.Method = http.MethodDelete
	admit(t, b, d).Settle(Untouched)
	clock.wait(rate.RetryAfter - time.Second)
	if _, err := b.Peek(groupOf("j", 1).under(budget)); !errors.As(err, &rate) {
		t.Errorf("Peek = %v a second too early", err)
	}
	clock.wait(time.Second)
	admit(t, b, groupOf("j", 1).under(budget)).Settle(Applied)
	if _, err := b.Peek(groupOf("k", 1).under(budget)); err != nil {
		t.Errorf("another job: %v", err)
	}
}

func TestRefusalsNameTheirLimit(t *testing.T) {
	for limit := range Limit(20) {
		over := &OverBudgetError{Job: "j", Excess: []Excess{{Over: limit, Count: 3, Max: 2}}}
		known := limit >= SeriesLimit && limit <= RemainderLimit
		if want := fmt.Sprintf(`job "j" is over its budget of %s: 3, limit: 2`, limit); over.Error() != want || (limit.String() != "none") != known {
			t.Errorf("limit %d: %s", limit, over)
		}
	}
	if got := (&RateError{Job: "j", Max: 5}).Error(); got != `job "j" pushes too often, limit: 5 a minute` {
		t.Error(got)
	}
}

// TestWhatIsNewCounts books at Admit, and gives back what did not come about.
func TestWhatIsNewCounts(t *testing.T) {
	for outcome, want := range map[Outcome]int{Applied: 5, Unknown: 5, Refused: 2, Untouched: 0} {
		b := newHand().book()
		g := admit(t, b, push(http.MethodPut, group1, Budget{}, "a", "b", "c"))
		if r, _ := b.Job("j", 0); r.NewThisHour != 5 || r.NewThisDay != 5 {
			t.Errorf("%+v while the push is under way", r)
		}
		g.Settle(outcome)
		if r, _ := b.Job("j", 0); r.NewThisHour != want || r.NewThisDay != want {
			t.Errorf("outcome %d: %+v, want %d", outcome, r, want)
		}
	}
	b := newHand().book()
	admit(t, b, push(http.MethodPut, group1, Budget{}, "a", "b", "c")).Settle(Applied)
	for range 3 { // as often as it comes
		admit(t, b, push(http.MethodPut, group1, Budget{}, "a", "b", "c")).Settle(Applied)
	}
	admit(t, b, push(http.MethodPut, group1, Budget{}, "d")).Settle(Refused)
	admit(t, b, push(http.MethodPut, group1, Budget{}, "d")).Settle(Unknown)
	admit(t, b, push(http.MethodPut, group1, Budget{}, "d")).Settle(Applied) // counted already
	if r, _ := b.Job("j", 0); r.NewThisHour != 6 {
		t.Errorf("%d are new, want 6", r.NewThisHour)
	}
}

func TestNewGroupOverTheWindowIsRefused(t *testing.T) {
	for _, b := range []Budget{{NewSeriesPerHour: 1}, {NewSeriesPerDay: 1}} {
		limit := NewSeriesPerHourLimit
		if b.NewSeriesPerDay > 0 {
			limit = NewSeriesPerDayLimit
		}
		wantOver(t, newHand().book(), put(group1).under(b), limit, 2, 1)
	}
}

// TestWindowsOutliveTheirGroups spends a day's new series, and asks again after
// all that may make a book forget.
func TestWindowsOutliveTheirGroups(t *testing.T) {
	budget := Budget{NewSeriesPerHour: 5, NewSeriesPerDay: 5}
	for name, happens := range map[string]func(*testing.T, *Book, *hand){
		"a DELETE": func(t *testing.T, b *Book, _ *hand) {
			admit(t, b, Claim{Group: group1, Raw: group1, Method: http.MethodDelete}).Settle(Applied)
		},
		"a wipe":                func(_ *testing.T, b *Book, _ *hand) { b.Wipe() },
		"a listing":             func(t *testing.T, b *Book, _ *hand) { load(t, b) },
		"a new policy":          func(_ *testing.T, b *Book, _ *hand) { b.Regovern(func(string) (int, Budget) { return 5, budget }) },
		"a step back":           func(_ *testing.T, _ *Book, c *hand) { c.wait(-48 * time.Hour) },
		"an hour less a minute": func(_ *testing.T, _ *Book, c *hand) { c.wait(59 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := newHand()
			b := clock.book()
			admit(t, b, push(http.MethodPut, group1, budget, "a", "b", "c")).Settle(Applied)
			happens(t, b, clock)
			if r, _ := b.Job("j", 0); r.NewThisHour != 5 || r.NewThisDay != 5 {
				t.Errorf("%+v", r)
			}
			if _, err := b.Peek(groupOf("j", 1).under(budget)); !errors.As(err, new(*OverBudgetError)) {
				t.Errorf("Peek = %v", err)
			}
		})
	}
}

// TestIdleJobsAreBounded pushes and deletes ever new jobs.
func TestIdleJobsAreBounded(t *testing.T) {
	clock := newHand()
	b := clock.book()
	for i := range maxIdle + 10 {
		c := groupOf(fmt.Sprint(i), 0)
		admit(t, b, c).Settle(Applied)
		c.Method = http.MethodDelete
		admit(t, b, c).Settle(Applied)
	}
	if got := b.Totals(); got.Idle != maxIdle || got.Forgotten != 10 || got.Jobs != 0 {
		t.Errorf("%+v", got)
	}
	if _, known := b.Job("9", 0); known {
		t.Error("the oldest is known")
	}
	if _, known := b.Job("10", 0); !known {
		t.Error("the oldest that fits is not known")
	}
	clock.wait(24*time.Hour + 24*time.Minute)
	if got := b.Totals(); got.Idle != 0 || got.Forgotten != 10 || len(b.idles.accounts) != 0 {
		t.Errorf("a day later: %+v", got)
	}
}

// TestGuaranteesHold lets the jobs of three entries push what they like, with
// outcomes nobody knows. An entry gets what it is guaranteed, whatever others hold,
// and what is there never passes the guard's limit.
func TestGuaranteesHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		guarantees := []int{rapid.IntRange(0, 8).Draw(t, "first"), rapid.IntRange(0, 8).Draw(t, "second"), 0}
		reserved := guarantees[0] + guarantees[1]
		guard := max(1, reserved+rapid.IntRange(0, 8).Draw(t, "remainder"))
		b, pending := newHand().book(), map[string]func(){}
		truth := map[string]map[string]int{} // group → family → series
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			entry := rapid.IntRange(0, 2).Draw(t, "entry")
			k := key("job", fmt.Sprint(entry), "k", rapid.SampledFrom([]string{"1", "2"}).Draw(t, "group"))
			if end := pending[k.ID()]; end != nil {
				end()
				delete(pending, k.ID())
				continue
			}
			values := rapid.SliceOfDistinct(rapid.SampledFrom(numbered(12)), rapid.ID[string]).Draw(t, "values")
			c := push(rapid.SampledFrom([]string{http.MethodPut, http.MethodPost}).Draw(t, "method"), k,
				Budget{Guaranteed: guarantees[entry], Reserved: reserved, GuardSeries: guard}, values...)
			c.Families[0], c.Entry = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "family"), entry
			held := b.Held(fmt.Sprint(entry))
			g, err := b.Admit(t.Context(), c)
			if within := held+len(values)+ownSeries <= guarantees[entry]; within && (err != nil || len(g.Trimmed) > 0) {
				t.Fatalf("entry %d holds %d and may %d, but for %v: %v, %+v", entry, held, guarantees[entry], values, err, g)
			}
			if err != nil {
				continue
			}
			o := rapid.SampledFrom([]Outcome{Applied, Refused, Untouched, Unknown, Unknown}).Draw(t, "outcome")
			done := o == Applied || o == Unknown && rapid.Bool().Draw(t, "done")
			pending[k.ID()] = func() {
				if has := truth[k.ID()]; done && (has == nil || c.Method == http.MethodPut) || o == Refused && has == nil {
					truth[k.ID()] = map[string]int{"": ownSeries}
				}
				if written := len(values) > len(g.Trimmed) || len(values) == 0; done && written {
					truth[k.ID()][c.Families[0]] = len(values) - len(g.Trimmed)
				}
				g.Settle(o)
			}
			sum := 0
			for _, families := range truth {
				for _, n := range families {
					sum += n
				}
			}
			if sum > guard {
				t.Fatalf("%d series are there, limit %d", sum, guard)
			}
		}
	})
}

// TestWhatIsLentOutIsPaidBack raises a guarantee while others hold the remainder.
func TestWhatIsLentOutIsPaidBack(t *testing.T) {
	b := newHand().book()
	borrower := func(values ...string) Claim {
		return push(http.MethodPut, key("job", "b"), Budget{GuardSeries: 10, Reserved: 6}, values...)
	}
	owner := func(values ...string) Claim {
		c := push(http.MethodPut, key("job", "o"), Budget{GuardSeries: 10, Guaranteed: 6, Reserved: 6}, values...)
		c.Entry = 1
		return c
	}
	admit(t, b, push(http.MethodPut, key("job", "b"), Budget{GuardSeries: 10}, numbered(6)...)).Settle(Applied)
	g := admit(t, b, owner(numbered(4)...))
	if !slices.Equal(g.Trimmed, []int{0, 1, 2, 3}) || g.Excess[0].Over != GuardSeriesLimit {
		t.Errorf("%+v: all 10 are held", g.Ruling)
	}
	g.Settle(Applied)
	if r, err := b.Peek(borrower(append(numbered(6), "x")...)); err != nil || !slices.Equal(r.Trimmed, []int{6}) || r.Excess[0].Over != RemainderLimit || b.Totals().Lent != 8 {
		t.Errorf("%+v, %v: what is held stays, and nothing new", r, err)
	}
	admit(t, b, borrower("0", "1")).Settle(Applied) // pays back
	if r, err := b.Peek(owner(numbered(5)...)); err != nil || !slices.Equal(r.Trimmed, []int{4}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestWhatCannotBeThereAtOnce is booked for the job, and not for all.
func TestWhatCannotBeThereAtOnce(t *testing.T) {
	b, k := newHand().book(), key("job", "o")
	admit(t, b, push(http.MethodPut, key("job", "b"), Budget{GuardSeries: 12}, numbered(4)...)).Settle(Applied)
	owner := func(method string, values ...string) Claim {
		c := push(method, k, Budget{GuardSeries: 12, Guaranteed: 8, Reserved: 8}, values...)
		c.Entry = 1
		return c
	}
	admit(t, b, owner(http.MethodPut, "0", "1")).Settle(Applied)
	admit(t, b, owner(http.MethodPut, "2", "3")).Settle(Unknown)
	if b.Series() != 12 || b.slack != 2 {
		t.Fatalf("%d series, %d of them at most beside the others", b.Series(), b.slack)
	}
	// Of its own, too, only one or the other is there; but then it is replaced, and
	// with 6 of the borrower's there is room for 6.
	if r, err := b.Peek(owner(http.MethodPut, "2", "3", "4", "5", "6", "7")); err != nil || !slices.Equal(r.Trimmed, []int{4, 5}) {
		t.Errorf("%+v, %v", r, err)
	}
	more := owner(http.MethodPost, "a")
	more.Families = []string{"y"}
	admit(t, b, more.under(Budget{})).Settle(Applied)
	if b.Series() != 13 || b.slack != 2 {
		t.Errorf("%d series, %d of them at most beside the others", b.Series(), b.slack)
	}
	admit(t, b, owner(http.MethodPost, "2").under(Budget{})).Settle(Applied)
	if b.Series() != 10 || b.slack != 0 {
		t.Errorf("%d series, %d of them at most beside the others", b.Series(), b.slack)
	}
}
