package ledger

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"github.com/pushguard/pushguard/proxy/wire"
)

// push is a claim of one family x for a group, with one metric for each value of
// the label v.
func push(method string, group wire.Key, budget Budget, values ...string) Claim {
	c := Claim{Group: group, Raw: group, Method: method, Budget: budget, Families: []string{"x"}}
	for _, v := range values {
		c.bring(0, 1, "v", v)
	}
	return c
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

var other = key("job", "other", "instance", "i")

func TestEachLimit(t *testing.T) {
	for name, c := range map[string]struct {
		budget Budget
		before *Claim // of another group
		want   Limit
		room   int // metrics that fit
		count  int // said to be held with all of 6 metrics
	}{
		"series":           {Budget{Series: 6}, nil, SeriesLimit, 4, 8},
		"label values":     {Budget{LabelValues: 4}, nil, LabelValuesLimit, 4, 6},
		"series of a job":  {Budget{Series: 8}, &Claim{Group: key("job", "j", "k", "v"), Metrics: nil}, SeriesLimit, 4, 10},
		"entry":            {Budget{EntrySeries: 8}, &Claim{Group: other}, EntrySeriesLimit, 4, 10},
		"guard":            {Budget{GuardSeries: 8}, &Claim{Group: other, Entry: 7}, GuardSeriesLimit, 4, 10},
		"remainder":        {Budget{GuardSeries: 10, Guaranteed: 1, Reserved: 5}, nil, RemainderLimit, 4, 7},
		"guaranteed":       {Budget{GuardSeries: 10, Guaranteed: 4, Reserved: 8}, nil, RemainderLimit, 4, 4},
		"borrowed":         {Budget{Series: 4, Borrow: 2, GuardSeries: 9}, nil, SeriesLimit, 4, 8},
		"not to borrow":    {Budget{Series: 6, Borrow: 3, GuardSeries: 9, Guaranteed: 6, Reserved: 9}, nil, SeriesLimit, 4, 8},
		"new in an hour":   {Budget{NewSeriesPerHour: 8}, &Claim{Group: key("job", "j", "k", "v")}, NewSeriesPerHourLimit, 4, 10},
		"new in a day":     {Budget{NewSeriesPerDay: 8}, &Claim{Group: key("job", "j", "k", "v")}, NewSeriesPerDayLimit, 4, 10},
		"the first passed": {Budget{Series: 6, EntrySeries: 6, GuardSeries: 6}, nil, SeriesLimit, 4, 8},
	} {
		for n := c.room - 1; n <= c.room+2; n++ {
			for _, over := range []OverBudget{0, Trim, Reject} {
				t.Run(fmt.Sprintf("%s/%d/%d", name, n, over), func(t *testing.T) {
					b := NewBook(Config{})
					if c.before != nil {
						c.before.Raw, c.before.Method = c.before.Group, http.MethodPut
						admit(t, b, *c.before).Settle(Applied)
					}
					claim := push(http.MethodPut, group1, c.budget, numbered(n)...)
					claim.OverBudget = over
					checkLimit(t, b, claim, c.want, c.room, c.count-(6-n))
				})
			}
		}
	}
}

func checkLimit(t *testing.T, b *Book, c Claim, limit Limit, room, count int) {
	t.Helper()
	n, before := len(c.Metrics), b.Series()
	peeked, peekErr := b.Peek(c)
	if b.Series() != before || len(b.jobs) > 1 {
		t.Error("Peek booked something")
	}
	g, err := b.Admit(t.Context(), c)
	if !reflect.DeepEqual(err, peekErr) {
		t.Errorf("Peek = %v, Admit = %v", peekErr, err)
	}
	if c.OverBudget == Reject && n > room {
		var over *OverBudgetError
		if !errors.As(err, &over) || over.Excess[0].Over != limit || over.Excess[0].Count != count {
			t.Fatalf("Admit = %v, %+v", err, over)
		}
		if b.Series() != before || b.Has(c.Group) {
			t.Error("a refused push is booked")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(peeked, g.Ruling) {
		t.Errorf("Peek says %+v, Admit %+v", peeked, g.Ruling)
	}
	if got := b.Series() - before; got != min(n, room)+ownSeries {
		t.Errorf("%d series are booked, want %d", got, min(n, room)+ownSeries)
	}
	var wantTrimmed []int
	for i := room; i < n; i++ {
		wantTrimmed = append(wantTrimmed, i)
	}
	if !reflect.DeepEqual(g.Trimmed, wantTrimmed) {
		t.Errorf("trimmed %v, want %v", g.Trimmed, wantTrimmed)
	}
	if n > room {
		x := g.Excess[0]
		if len(g.Excess) != 1 || x.Over != limit || x.Metric != room || x.Metrics != n-room || x.Count != count {
			t.Errorf("excess %+v", g.Excess)
		}
	} else if g.Excess != nil {
		t.Errorf("excess %+v", g.Excess)
	}
	g.Settle(Applied)
	again, err := b.Peek(c)
	if err != nil || !reflect.DeepEqual(again.Trimmed, wantTrimmed) {
		t.Errorf("pushed again: trimmed %v, want %v, %v", again.Trimmed, wantTrimmed, err)
	}
}

func TestNewGroupOverBudgetIsRefusedWhateverTheWord(t *testing.T) {
	for max, refused := range map[int]bool{1: true, 2: false} {
		b := NewBook(Config{})
		_, err := b.Admit(t.Context(), push(http.MethodPut, group1, Budget{Series: max}))
		var over *OverBudgetError
		if errors.As(err, &over) != refused {
			t.Fatalf("budget %d: %v", max, err)
		}
		if refused && (over.Excess[0].Metric != -1 || over.Excess[0].Count != 2 || len(b.groups)+len(b.jobs) != 0) {
			t.Errorf("%+v, %d groups, %d jobs", over, len(b.groups), len(b.jobs))
		}
	}
}

func TestWhatTheGroupHoldsPasses(t *testing.T) {
	b := NewBook(Config{})
	put := func(budget Budget, values ...string) *Grant {
		return admit(t, b, push(http.MethodPut, group1, budget, values...))
	}
	put(Budget{}, "a", "b", "c").Settle(Applied)
	tight := Budget{Series: 3, LabelValues: 1, EntrySeries: 1, GuardSeries: 1}
	g := put(tight, "new", "c", "b", "a")
	if !reflect.DeepEqual(g.Trimmed, []int{0}) || g.Held != 5 || g.Max != 3 || !g.Near {
		t.Errorf("under a lowered budget: %+v", g.Ruling)
	}
	g.Settle(Applied)
	if b.Over("j") != 2 || b.Held("j") != 5 {
		t.Errorf("over %d, held %d", b.Over("j"), b.Held("j"))
	}
}

func TestASlotIsGivenBackOnlyWhenApplied(t *testing.T) {
	budget := Budget{Series: 7}
	for outcome, fits := range map[Outcome]bool{Applied: true, Refused: false, Untouched: false, Unknown: false} {
		b := NewBook(Config{})
		admit(t, b, push(http.MethodPut, group1, budget, "a", "b")).Settle(Applied)
		g := admit(t, b, push(http.MethodPut, group1, budget, "a"))
		if b.Held("j") != 4 {
			t.Errorf("%d series are held while the push is under way, want 4", b.Held("j"))
		}
		g.Settle(outcome)
		r, err := b.Peek(push(http.MethodPost, key("job", "j", "k", "1"), budget, "x", "y"))
		if err != nil || (len(r.Trimmed) == 0) != fits {
			t.Errorf("outcome %d: trimmed %v, %v", outcome, r.Trimmed, err)
		}
	}
}

// TestAPushIsHeldToWhatThereIsOnceItIsApplied exchanges all that a job at its
// budget holds. Until the upstream has answered, others find both booked.
func TestAPushIsHeldToWhatThereIsOnceItIsApplied(t *testing.T) {
	b, budget := NewBook(Config{}), Budget{Series: 4}
	admit(t, b, push(http.MethodPut, group1, budget, "a", "b")).Settle(Applied)
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		if r, err := b.Peek(push(method, group1, budget, "c", "d", "e")); err != nil || !reflect.DeepEqual(r.Trimmed, []int{2}) {
			t.Errorf("%s: trimmed %v, %v", method, r.Trimmed, err)
		}
	}
	g := admit(t, b, push(http.MethodPut, group1, budget, "c", "d"))
	if g.Trimmed != nil || g.Held != 4 || b.Held("j") != 6 {
		t.Errorf("trimmed %v, %d held once applied, %d booked", g.Trimmed, g.Held, b.Held("j"))
	}
	g.Settle(Applied)
	if b.Held("j") != 4 {
		t.Errorf("%d held", b.Held("j"))
	}
}

// TestNothingIsKnownAfterAnUnknownOutcome: of what the group held and what was
// pushed only one is there, so that both together do not pass.
func TestNothingIsKnownAfterAnUnknownOutcome(t *testing.T) {
	b, budget := NewBook(Config{}), Budget{Series: 4}
	admit(t, b, push(http.MethodPut, group1, budget, "a", "b")).Settle(Applied)
	admit(t, b, push(http.MethodPut, group1, budget, "c", "d")).Settle(Unknown)
	if r, err := b.Peek(push(http.MethodPut, group1, budget, "a", "b", "c", "d")); err != nil || !reflect.DeepEqual(r.Trimmed, []int{2, 3}) {
		t.Errorf("trimmed %v, %v", r.Trimmed, err)
	}
	if r, err := b.Peek(push(http.MethodPut, group1, budget, "c", "d")); err != nil || r.Trimmed != nil {
		t.Errorf("pushed again: trimmed %v, %v", r.Trimmed, err)
	}
}

func TestAGrownHistogramPaysForItsGrowth(t *testing.T) {
	b := NewBook(Config{})
	histogram := func(samples int32) Claim {
		c := push(http.MethodPut, group1, Budget{Series: 10}, "h")
		c.Metrics[0].Samples = samples
		return c
	}
	admit(t, b, histogram(5)).Settle(Applied)
	for samples, fits := range map[int32]bool{4: true, 5: true, 8: true, 9: false} {
		r, err := b.Peek(histogram(samples))
		if err != nil || (len(r.Trimmed) == 0) != fits {
			t.Errorf("%d series: trimmed %v, %v", samples, r.Trimmed, err)
		}
	}
	admit(t, b, histogram(4)).Settle(Applied)
	if b.Held("j") != 6 {
		t.Errorf("%d series are held, want 6", b.Held("j"))
	}
}

func TestATrimmedFamilyIsNotWritten(t *testing.T) {
	b, budget := NewBook(Config{}), Budget{Series: 3}
	admit(t, b, push(http.MethodPost, group1, budget, "a")).Settle(Applied)
	admit(t, b, push(http.MethodPost, group1, budget, "b")).Settle(Applied)
	if r, err := b.Peek(push(http.MethodPost, group1, budget, "a")); err != nil || r.Trimmed != nil {
		t.Errorf("trimmed %v, %v: the push of b came without its family", r.Trimmed, err)
	}
}

func TestNear(t *testing.T) {
	for n, want := range map[int]bool{5: false, 6: true, 7: true, 8: true} {
		r, err := NewBook(Config{}).Peek(push(http.MethodPut, group1, Budget{Series: 10}, numbered(n)...))
		if err != nil || r.Near != want || r.Held != n+2 || r.Max != 10 {
			t.Errorf("%d metrics: %+v, %v", n, r, err)
		}
	}
	if r, _ := NewBook(Config{}).Peek(push(http.MethodPut, group1, Budget{}, numbered(9)...)); r.Near {
		t.Error("near no budget")
	}
}

func TestExcessNamesTheLabel(t *testing.T) {
	c := push(http.MethodPut, group1, Budget{LabelValues: 1}, "a", "b", "b2")
	c.Metrics[1].Values = c.AddValues(append([]wire.LabelValue{{Label: 5, Value: 6}}, c.ValuesOf(&c.Metrics[1])...))
	r, err := NewBook(Config{}).Peek(c)
	if err != nil || len(r.Excess) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if x := r.Excess[0]; x.Metric != 1 || x.Value != 1 || x.Count != 3 || x.Max != 1 || x.Metrics != 2 {
		t.Errorf("%+v", x)
	}
}

func TestJobsMayMove(t *testing.T) {
	b := NewBook(Config{})
	claim := push(http.MethodPut, group1, Budget{}, "a", "b")
	claim.Job, claim.Entry = "old", 1
	admit(t, b, claim).Settle(Applied)
	claim.Job, claim.Entry, claim.Budget = "folded", 2, Budget{Series: 4, LabelValues: 2, EntrySeries: 4}
	g := admit(t, b, claim)
	if g.Trimmed != nil || g.Held != 4 {
		t.Errorf("%+v", g.Ruling)
	}
	g.Settle(Applied)
	if b.Held("old") != 0 || len(b.jobs) != 1 || b.entry(1).series != 0 || b.entry(2).series != 4 {
		t.Errorf("%d held by the old job, %d jobs, entries %v", b.Held("old"), len(b.jobs), b.entries)
	}
	if r, _ := b.Peek(push(http.MethodPut, key("job", "folded", "k", "v"), Budget{LabelValues: 2}, "a", "new")); len(r.Trimmed) != 1 {
		t.Errorf("trimmed %v: a is known and new is not", r.Trimmed)
	}
	b.Regovern(func(string) (int, Budget) { return 3, Budget{Series: 1} })
	if b.entry(3).series != 4 || b.Over("folded") != 3 {
		t.Errorf("entries %v, over %d", b.entries, b.Over("folded"))
	}
	oldest, _ := b.Oldest("folded")
	want := []JobUse{{Job: "folded", Entry: 3, Series: 4, Over: 3, Groups: 1, OldestPush: oldest.Pushed, LastPush: oldest.Pushed}}
	if got := b.Jobs(5); !reflect.DeepEqual(got, want) || len(b.Jobs(0)) != 0 {
		t.Errorf("jobs %v, want %v", got, want)
	}
	admit(t, b, Claim{Group: group1, Raw: group1, Method: http.MethodDelete}).Settle(Applied)
	if len(b.jobs)+b.entry(3).jobs+b.entry(3).series+b.Series() != 0 {
		t.Errorf("%d jobs, entries %v and %d series are left", len(b.jobs), b.entries, b.Series())
	}
}

func TestLoadAdmitsWhatExists(t *testing.T) {
	b := NewBook(Config{})
	fp, values := wire.Print(1, group1, key("v", "a").Labels(), nil)
	load(t, b, Group{Key: group1, Budget: Budget{Series: 3}, Families: []wire.FamilyPrint{
		{Name: "x", Metrics: []wire.MetricPrint{{Fingerprint: fp, Samples: 5}, {Fingerprint: 1, Samples: 1}}, Values: values},
	}})
	if b.Held("j") != 8 || b.Over("j") != 5 {
		t.Errorf("held %d, over %d", b.Held("j"), b.Over("j"))
	}
	r, err := b.Peek(push(http.MethodPut, group1, Budget{Series: 3, LabelValues: 1}, "a", "new"))
	if err != nil || !reflect.DeepEqual(r.Trimmed, []int{1}) || r.Excess[0].Over != LabelValuesLimit {
		t.Errorf("%+v, %v", r, err)
	}
	load(t, b)
	if b.Held("j") != 0 || len(b.jobs) != 0 {
		t.Errorf("held %d", b.Held("j"))
	}
}

func TestClaimsOutOfRange(t *testing.T) {
	c := push(http.MethodPut, group1, Budget{}, "a")
	for _, f := range []int32{-1, 1} {
		c.Metrics[0].Family = f
		if _, err := NewBook(Config{}).Admit(t.Context(), c); err == nil {
			t.Errorf("family %d of 1 was admitted", f)
		}
	}
}

// TestAFamilyThatIsTrimmedWholeFreesNothing posts two families: the one that
// label_values keeps out stays upstream as it was, and leaves no room.
func TestAFamilyThatIsTrimmedWholeFreesNothing(t *testing.T) {
	b, budget := NewBook(Config{}), Budget{Series: 4, LabelValues: 1}
	c := func(values ...string) Claim {
		c := Claim{Group: group1, Raw: group1, Method: http.MethodPost, Budget: budget, Families: []string{"f", "g"}}
		for i, v := range values {
			c.bring(int32(i), 1, "v", v)
		}
		return c
	}
	admit(t, b, c("1")).Settle(Applied)
	g := admit(t, b, c("2", "1"))
	if !reflect.DeepEqual(g.Trimmed, []int{0}) || g.Held != 4 {
		t.Errorf("trimmed %v, %d held", g.Trimmed, g.Held)
	}
	g.Settle(Applied)
	if r, err := b.Peek(c("2", "1")); err != nil || !reflect.DeepEqual(r.Trimmed, []int{0}) || r.Held != 4 {
		t.Errorf("again: %+v, %v", r, err)
	}
}

// A family of which nothing is left leaves no trace in those beside it, in whatever
// order their names are kept: what passed once is not new when it comes again.
func TestTrimmedFamiliesBetweenOthers(t *testing.T) {
	b, group := NewBook(Config{}), key("job", "j")
	c := Claim{Group: group, Raw: group, Method: http.MethodPut, Budget: Budget{Series: 22}}
	for i, name := range numbered(40) {
		c.Families = append(c.Families, "family_"+name)
		c.bring(int32(i), 1, "v", name)
	}
	for range 3 {
		g := admit(t, b, c)
		if got, want := g.Held, c.Budget.Series; got != want || len(g.Trimmed) != 20 || g.Trimmed[0] != 20 {
			t.Errorf("%d series held, want %d; trimmed: %v", got, want, g.Trimmed)
		}
		g.Settle(Applied)
	}
	if got := b.jobs["j"].hour.sum(hour, b.clock.at); got != 22 {
		t.Errorf("%d series were new, want 22", got)
	}
}
