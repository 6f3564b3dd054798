package ledger

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// inventory is all that a book knows, in words. What has run out counts as gone.
func inventory(b *Book) string {
	var out strings.Builder
	fmt.Fprintln(&out, b.size, b.live, b.series, b.slack, b.lent, b.families)
	for _, id := range slices.Sorted(maps.Keys(b.entries)) {
		e := b.entries[id]
		fmt.Fprintln(&out, "entry", id, e.series, e.jobs, e.guaranteed, e.newJobs.sum(day, b.clock.at), e.terms)
	}
	for _, name := range slices.Sorted(maps.Keys(b.jobs)) {
		j := b.jobs[name]
		fmt.Fprintln(&out, "job", name, j.entry, j.series, j.groups, j.live, j.users, maps.Collect(j.values.all()), j.values.labels.counts(), j.families, *j.terms,
			j.hour.sum(hour, b.clock.at), j.day.sum(day, b.clock.at), j.pushes.sum(minute, b.clock.at), j.promised.series)
		for g := j.ages.first(); g != nil; g = g.newer {
			fmt.Fprintln(&out, "  group", g.id, g.at, g.success, g.failed, g.unsure, g.slack, g.content, g.last)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.totals)) {
		g := b.totals[id]
		fmt.Fprintln(&out, "totals", id, g.content, g.job.name, *g.sums)
	}
	fmt.Fprintln(&out, "idle", slices.Sorted(maps.Keys(b.idles.accounts)))
	return out.String()
}

// foreseeTest is a book, and what the policy says at the time.
type foreseeTest struct {
	book    *Book
	now     time.Time
	entries map[string]int
	terms   map[string]Budget
}

var foreseenKeys = []wire.Key{
	key("job", "a"), key("job", "a", "k", "1"), key("job", "a", "k", "2"),
	key("job", "b"), key("job", "b", "k", "1"), key("job", "b", "k", ""),
}

func (f *foreseeTest) reload(t *rapid.T) {
	most := func(name string, n int) int { return rapid.SampledFrom([]int{0, n, 2 * n}).Draw(t, name) }
	f.entries, f.terms = map[string]int{}, map[string]Budget{}
	guarantees := []int{0, most("guaranteed", 6), most("guaranteed", 9)}
	for _, job := range []string{"a", "b", "ab"} {
		e := rapid.IntRange(1, 2).Draw(t, "entry")
		f.entries[job] = e
		f.terms[job] = Budget{
			Series: most("series", 9), Borrow: most("borrow", 3), Groups: most("groups", 2), LabelValues: most("values", 2),
			NewSeriesPerHour: most("hour", 12), NewSeriesPerDay: most("day", 20), PushesPerMinute: most("pushes", 4),
			EntrySeries: most("entry", 14), EntryJobs: most("jobs", 2), NewJobsPerDay: most("new jobs", 2),
			Guaranteed: guarantees[e], Reserved: guarantees[1] + guarantees[2],
			GuardSeries: most("guard", 25), GuardGroups: most("guard groups", 4),
			KeepLast: rapid.Bool().Draw(t, "keep"),
		}
	}
	f.book.Regovern(func(job string) (int, Budget) { return f.entries[job], f.terms[job] })
}

// claims are a push and what it adds up.
func (f *foreseeTest) claims(t *rapid.T) (push, sums Claim) {
	k := rapid.SampledFrom(foreseenKeys).Draw(t, "group")
	job := rapid.SampledFrom([]string{k.Job(), k.Job(), "ab"}).Draw(t, "payer")
	draw := func(method string, words ...OverBudget) Claim {
		c := collapsing(method, k, f.terms[job], drawMetrics(t)...)
		c.Job, c.Entry, c.OverBudget = job, f.entries[job], rapid.SampledFrom(words).Draw(t, "word")
		c.Raw = k
		return c
	}
	push = draw(rapid.SampledFrom([]string{http.MethodPut, http.MethodPost}).Draw(t, "method"), Trim, Reject, Collapse, EvictOldest)
	if push.Folds = rapid.Bool().Draw(t, "folds"); push.Folds {
		push.Raw = k.With(labels.Label{Name: "run", Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "run")})
	}
	if rapid.Bool().Draw(t, "success") {
		push.Families, push.Success = append(push.Families, "s"), []int32{int32(len(push.Families))}
	}
	sums = draw(http.MethodPost, Collapse, Reject)
	sums.Totals, sums.Budget.PushesPerMinute = true, 0
	return push, sums
}

// way is how a push and its counters go: the one settled before the others are
// admitted, as in a forecast, or after.
type way struct {
	push, sums Claim
	first      bool
	outcome    Outcome
}

// told is all that the book says of it.
type told struct {
	Push, Sums       string
	Series, Groups   int
	NewHour, NewDay  int
	PushErr, SumsErr error
}

func (w *way) run(admit func(c Claim, before *Grant) (*Grant, error), evict func(*Grant)) (out told, grants []*Grant) {
	grant, err := admit(w.push, nil)
	if out.PushErr = err; err != nil {
		return out, nil
	}
	out.Push = fmt.Sprint(grant.Ruling)
	settle := func() {
		grant.Settle(w.outcome)
		if w.outcome == Applied {
			evict(grant)
		}
	}
	if w.first {
		settle()
	}
	sums, err := admit(w.sums, grant)
	if out.SumsErr = err; err == nil {
		out.Sums = fmt.Sprint(sums.Ruling)
		sums.Settle(map[bool]Outcome{true: Applied, false: Untouched}[w.outcome == Applied])
		grants = append(grants, sums)
	}
	if !w.first {
		settle()
	}
	return out, append(grants, grant)
}

func (f *foreseeTest) use(job string) JobUse {
	r, _ := f.book.Job(job, 0)
	return r.JobUse
}

func (f *foreseeTest) push(t *rapid.T) {
	w := &way{first: rapid.Bool().Draw(t, "settled first")}
	w.push, w.sums = f.claims(t)
	w.outcome = rapid.SampledFrom([]Outcome{Applied, Applied, Applied, Refused, Untouched, Unknown}).Draw(t, "outcome")
	before, was := f.use(w.push.Job), inventory(f.book)
	foreseen, grants := w.run(f.book.Foresee, func(*Grant) {})
	if now := inventory(f.book); now != was {
		t.Fatalf("what was foreseen is booked:\n%s\nbefore:\n%s", now, was)
	}
	for _, g := range grants {
		c := g.Change()
		foreseen.Series, foreseen.Groups = foreseen.Series+c.Series, foreseen.Groups+c.Groups
		foreseen.NewHour, foreseen.NewDay = foreseen.NewHour+c.New, foreseen.NewDay+c.New
	}
	done, _ := w.run(
		func(c Claim, _ *Grant) (*Grant, error) { return f.book.Admit(context.Background(), c) },
		func(g *Grant) { f.evict(t, g) })
	switch {
	case done.PushErr != nil:
	case done.SumsErr != nil: // whose totals may have come to another payer all the same
		foreseen.Series, foreseen.Groups, foreseen.NewHour, foreseen.NewDay = 0, 0, 0, 0
	default:
		after := f.use(w.push.Job)
		done.Series, done.Groups = after.Series-before.Series, after.Groups-before.Groups
		done.NewHour, done.NewDay = after.NewThisHour-before.NewThisHour, after.NewThisDay-before.NewThisDay
	}
	if fmt.Sprintf("%+v", foreseen) != fmt.Sprintf("%+v", done) {
		t.Fatalf("%+v\nforeseen %+v\nadmitted %+v\nbook:\n%s", w, foreseen, done, was)
	}
}

func (f *foreseeTest) evict(t *rapid.T, g *Grant) {
	for _, k := range g.Evict {
		grant, err := f.book.Admit(context.Background(), Claim{Group: k, Raw: k, Method: http.MethodDelete, Evict: true})
		if err != nil || grant.Skip {
			t.Fatalf("%s is not evicted: %v", k, err)
		}
		grant.Settle(Applied)
	}
}

func (f *foreseeTest) remove(t *rapid.T) {
	k := rapid.SampledFrom(foreseenKeys).Draw(t, "group")
	c := Claim{
		Group: k, Raw: k, Method: http.MethodDelete, Folds: rapid.Bool().Draw(t, "folds"),
		Sweep: rapid.Bool().Draw(t, "sweep"), IfOlder: f.now.Add(-time.Duration(rapid.IntRange(0, 600).Draw(t, "age")) * time.Second),
	}
	job := k.Job()
	before, was := f.use(job), inventory(f.book)
	foreseen, err := f.book.Foresee(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	foreseen.Settle(Applied)
	if now := inventory(f.book); now != was {
		t.Fatalf("what was foreseen is booked:\n%s\nbefore:\n%s", now, was)
	}
	payer := ""
	if g := f.book.find(k); g != nil {
		payer = g.job.name
	}
	grant, err := f.book.Admit(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	grant.Settle(Applied)
	after := f.use(job)
	if fmt.Sprint(grant.Ruling) != fmt.Sprint(foreseen.Ruling) {
		t.Fatalf("foreseen %+v, admitted %+v", foreseen.Ruling, grant.Ruling)
	}
	if got := (Change{Series: after.Series - before.Series, Groups: after.Groups - before.Groups}); payer == job && got != foreseen.Change() {
		t.Fatalf("foreseen %+v, admitted %+v", foreseen.Change(), got)
	}
}

// TestForesee: what is foreseen of a push and of what it adds up is what Admit then
// says and Settle books, and changes nothing.
func TestForesee(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &foreseeTest{now: time.Unix(1e9, 0)}
		f.book = NewBook(Config{Now: func() time.Time { return f.now }})
		f.reload(t)
		t.Repeat(map[string]func(*rapid.T){
			"push":   f.push,
			"again":  f.push,
			"delete": f.remove,
			"reload": f.reload,
			"wait": func(t *rapid.T) {
				f.now = f.now.Add(rapid.SampledFrom([]time.Duration{0, 20 * time.Second, 10 * time.Minute, 2 * time.Hour}).Draw(t, "for"))
				f.book.Totals()
			},
		})
	})
}

// TestForeseenRoomIsShared: what a push takes up is not there for its counters.
func TestForeseenRoomIsShared(t *testing.T) {
	b := NewBook(Config{})
	c, budget := totals(group1, "t", "x", "y", "z"), Budget{Series: 6}
	c.Budget, c.OverBudget = budget, Collapse
	before, err := b.Foresee(push(http.MethodPut, group1, budget, "a", "b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := b.Foresee(c, nil)
	if err != nil || len(alone.Trimmed) != 0 {
		t.Fatalf("%+v, %v", alone, err)
	}
	after, err := b.Foresee(c, before)
	if err != nil || !slices.Equal(after.Trimmed, []int{2}) || after.Held != 6 {
		t.Fatalf("%+v, %v", after, err)
	}
	for _, g := range []*Grant{alone, after, before} {
		g.Settle(Applied)
	}
	if b.Series() != 0 || b.Len() != 0 {
		t.Errorf("%d series of %d groups are booked", b.Series(), b.Len())
	}
}
