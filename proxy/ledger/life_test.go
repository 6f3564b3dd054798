package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// lifeTest drives a book and its model.
type lifeTest struct {
	*life
	book *Book
	dir  *state.Dir // nil: nothing is kept
	path string
	// restored is when the book was, if it had anything.
	restored int64
}

func drawTerms(t *rapid.T) map[string]Budget {
	n := func(low, high int, name string) int { return rapid.IntRange(low, high).Draw(t, name) }
	guard := Budget{GuardSeries: n(6, 24, "guard"), GuardGroups: n(2, 6, "guard groups")}
	a, b := guard, guard
	a.Guaranteed, b.Guaranteed = n(0, 6, "guaranteed a"), n(0, 3, "guaranteed b")*n(0, 1, "any")
	guard.Reserved = a.Guaranteed + b.Guaranteed
	out := map[string]Budget{}
	for _, job := range []string{"a", "b", "c"} {
		c := a
		if job != "a" {
			c = b
		}
		c.Reserved = guard.Reserved
		c.Series, c.Borrow, c.Groups = n(2, 10, "series"), n(0, 3, "borrow"), n(1, 3, "groups")
		c.NewSeriesPerHour, c.NewSeriesPerDay = n(2, 30, "hour"), n(2, 60, "day")
		c.PushesPerMinute, c.NewJobsPerDay = n(1, 8, "pushes"), n(1, 4, "new jobs")
		c.EntrySeries, c.EntryJobs = n(2, 20, "entry"), n(1, 2, "jobs")
		c.StaleAfter, c.KeepLast = time.Duration(n(1, 4, "stale"))*time.Hour, n(0, 1, "keep") == 1
		out[job] = c
	}
	return out
}

func newLife(t *rapid.T) *lifeTest {
	l := &lifeTest{life: &life{
		wall: 1_800_000_000, now: 1_800_000_000, brought: map[string][]event{}, pushes: map[string][]event{}, newJobs: map[int][]event{},
		gone: map[string]int64{}, promised: map[int]lifePromise{}, terms: drawTerms(t),
	}}
	for _, k := range lifeKeys {
		l.groups = append(l.groups, &lifeGroup{job: k.Job(), content: map[string]bool{}})
	}
	return l
}

func (l *lifeTest) config() Config {
	return Config{Secret: [16]byte{1}, Now: func() time.Time { return time.Unix(l.wall, 0) }}
}

func (l *lifeTest) actions() map[string]func(*rapid.T) {
	group := rapid.IntRange(0, len(lifeKeys)-1)
	push := func(t *rapid.T) { l.push(t, group.Draw(t, "group")) }
	settle := func(t *rapid.T) { l.end(t, group.Draw(t, "group")) }
	return map[string]func(*rapid.T){
		"push": push, "push more": push, "settle": settle, "settle more": settle,
		"delete": func(t *rapid.T) { l.delete(t, group.Draw(t, "group")) },
		"wait":   l.wait, "load": l.load,
		"regovern": func(t *rapid.T) {
			l.terms = drawTerms(t)
			l.regovern()
		},
		"wipe": func(*rapid.T) {
			l.book.Wipe()
			for i := range l.groups {
				l.remove(i)
			}
		},
		"": l.check,
	}
}

func (l *lifeTest) regovern() {
	l.book.Regovern(func(job string) (int, Budget) { return lifeEntries[job], l.terms[job] })
}

func TestLifeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t)
		l.book = NewBook(l.config())
		l.book.Totals() // the first look at the clock
		t.Repeat(l.actions())
	})
}

// TestLifeWithRestarts lets the process end, at any time, and begin anew.
func TestLifeWithRestarts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t)
		path, err := os.MkdirTemp("", "ledger")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(path)
		l.path = path
		l.open(t)
		defer func() { _ = l.dir.Close() }()
		actions := l.actions()
		actions["restart"] = l.restart
		actions["compact"] = func(t *rapid.T) {
			if err := l.book.Compact(); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(actions)
	})
}

func (l *lifeTest) open(t *rapid.T) {
	var err error
	if l.dir, err = state.Open(context.Background(), l.path, state.Options{Sync: state.SyncNever}); err != nil {
		t.Fatal(err)
	}
	if l.book, _, err = Open(l.dir, l.config()); err != nil {
		t.Fatal(err)
	}
	l.regovern()
}

// restart forgets what is under way, and what is promised. Groups are as old as
// they were, or up to a minute younger.
func (l *lifeTest) restart(t *rapid.T) {
	if err := l.dir.Close(); err != nil {
		t.Fatal(err)
	}
	l.open(t)
	l.pushes, l.promised = map[string][]event{}, map[int]lifePromise{}
	for i, g := range l.groups {
		g.push = nil
		if !g.exists {
			continue
		}
		restored, ok := l.book.Group(lifeKeys[i])
		at := restored.Pushed.Unix()
		if !ok || at < min(g.at, l.wall) || at > min(g.at+touchEvery, l.wall) {
			t.Fatalf("%s was pushed to at %d, and is restored with %d, %v, at %d", lifeKeys[i], g.at, at, ok, l.wall)
		}
		g.at = at
	}
	l.restored = 0
	if l.book.Len() > 0 {
		l.restored = l.wall
	}
	l.order = nil
	for _, job := range []string{"a", "b", "c"} { // of the same minute, the order may be another
		r, _ := l.book.Job(job, 9)
		for _, g := range r.Oldest {
			l.order = append(l.order, slices.IndexFunc(lifeKeys, g.Key.Equal))
		}
	}
	l.sort()
}

func (l *lifeTest) wait(t *rapid.T) {
	by := rapid.SampledFrom([]int64{1, 30, 61, 600, 3601, 7200, 86400, -3600}).Draw(t, "by")
	if l.dir != nil {
		by = max(by, -by) // by how much the clock was set back nobody remembers
	}
	l.wall += by
	l.now += max(0, by)
	l.book.Totals() // a look at the clock
}

func (l *lifeTest) push(t *rapid.T, i int) {
	g := l.groups[i]
	values := rapid.SliceOfDistinct(rapid.SampledFrom(numbered(6)), rapid.ID[string]).Draw(t, "values")
	c := push(http.MethodPut, lifeKeys[i], l.terms[g.job], values...)
	c.Entry, c.OverBudget = lifeEntries[g.job], rapid.SampledFrom([]OverBudget{Trim, Reject, EvictOldest}).Draw(t, "word")
	success := rapid.Bool().Draw(t, "success")
	if success { // told by a family without metrics, which holds nothing
		c.Families, c.Success = append(c.Families, "s"), []int32{0, 1}
	}
	if g.push != nil {
		if _, err := l.book.Admit(context.Background(), c); !errors.Is(err, ErrBusy) {
			t.Fatalf("Admit of a group that is taken = %v", err)
		}
		return
	}
	l.expire()
	want := l.rule(i, values, c.OverBudget, len(c.Success) > 0)
	peeked, peekErr := l.book.Peek(c)
	grant, err := l.book.Admit(context.Background(), c)
	if fmt.Sprint(peekErr) != fmt.Sprint(err) {
		t.Fatalf("Peek = %v, Admit = %v", peekErr, err)
	}
	var over *OverBudgetError
	var rate *RateError
	switch {
	case errors.As(err, &over) && over.Excess[0].Over == want.refused:
		return
	case errors.As(err, &rate) && want.refused == PushesPerMinuteLimit:
		return
	case err != nil || want.refused != 0:
		t.Fatalf("Admit = %v, want to be refused for %s", err, want.refused)
	}
	var evict []wire.Key
	for _, k := range want.evict {
		evict = append(evict, lifeKeys[k])
		l.promised[k] = lifePromise{grant, 1 << 62}
	}
	if !slices.Equal(grant.Trimmed, want.trimmed) || !slices.EqualFunc(grant.Evict, evict, wire.Key.Equal) || fmt.Sprint(peeked) != fmt.Sprint(grant.Ruling) {
		t.Fatalf("trimmed %v, evicts %v, want %v, %v; peeked %+v", grant.Trimmed, grant.Evict, want.trimmed, evict, peeked)
	}
	delete(l.promised, i)
	g.push = &lifePush{grant: grant, pushed: map[string]bool{}, at: l.now, fresh: want.fresh, made: !g.exists, newJob: want.newJob}
	for _, v := range want.passes {
		g.push.pushed[v] = true
	}
	g.push.success = success && len(want.passes) > 0
	l.brought[g.job] = append(l.brought[g.job], event{l.now, want.fresh})
	l.pushes[g.job] = append(l.pushes[g.job], event{l.now, 1})
	if want.newJob {
		l.newJobs[c.Entry] = append(l.newJobs[c.Entry], event{l.now, 1})
	}
}

func (l *lifeTest) end(t *rapid.T, i int) {
	g := l.groups[i]
	if g.push == nil {
		t.Skip()
	}
	o := rapid.SampledFrom([]Outcome{Applied, Applied, Refused, Untouched, Unknown}).Draw(t, "outcome")
	grant := g.push.grant
	l.settle(i, o)
	grant.Settle(o)
}

// delete is a client's, a sweep or an eviction.
func (l *lifeTest) delete(t *rapid.T, i int) {
	g := l.groups[i]
	if g.push != nil {
		t.Skip()
	}
	c := Claim{Group: lifeKeys[i], Raw: lifeKeys[i], Method: http.MethodDelete}
	want := Reason(0)
	_, promised := l.promised[i]
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
	case 1:
		c.Sweep, c.IfOlder = true, time.Unix(l.wall-rapid.Int64Range(0, 7200).Draw(t, "age"), 0)
		switch {
		case !g.exists:
			want = Gone
		case g.at > c.IfOlder.Unix():
			want = Fresh
		case l.pinned(g.job) == i:
			want = Pinned
		}
	case 2:
		c.Evict = true
		switch {
		case !g.exists:
			want = Gone
		case !promised:
			want = Spared
		case l.pinned(g.job) == i:
			want = Pinned
		}
	}
	grant, err := l.book.Admit(context.Background(), c)
	if err != nil || grant.Reason != want || grant.Skip != (want != 0) {
		t.Fatalf("Admit = %v, %+v, want %d", err, grant, want)
	}
	if grant.Skip {
		if want == Pinned {
			delete(l.promised, i)
		}
		grant.Settle(Untouched)
		return
	}
	g.push = &lifePush{grant: grant}
}

// load lists groups in any state; those that are taken as they are.
func (l *lifeTest) load(t *rapid.T) {
	var listing []Group
	for i, g := range l.groups {
		if g.push != nil {
			continue
		}
		if !rapid.Bool().Draw(t, "listed") {
			l.remove(i)
			continue
		}
		listed := Group{Key: lifeKeys[i], Entry: lifeEntries[g.job], Budget: l.terms[g.job], Success: rapid.Bool().Draw(t, "success")}
		p := wire.GroupPrinter{Seed: 1}
		p.Family("x")
		g.content = map[string]bool{}
		for _, v := range rapid.SliceOfDistinct(rapid.SampledFrom(numbered(6)), rapid.ID[string]).Draw(t, "values") {
			p.Metric(append(lifeKeys[i].Labels(), key("v", v).Labels()...), 1)
			g.content[v] = true
		}
		listed.Families = p.Finish(lifeKeys[i])
		at := int64(0)
		if age := rapid.Int64Range(-100, 10000).Draw(t, "age"); age < 9000 {
			at = l.wall - age
			listed.Pushed = time.Unix(at, 0)
		}
		if !g.exists {
			g.at = 0
			l.order = append(l.order, i)
			if at != 0 && at < l.restored {
				at = min(at+touchEvery, l.restored)
			}
		}
		if at == 0 && g.at == 0 {
			at = l.wall
		}
		g.at = min(l.wall, max(g.at, at))
		g.exists, g.unsure, g.failed, g.success, g.most = true, false, false, listed.Success, len(g.content)
		listing = append(listing, listed)
	}
	if err := l.book.loadAll(func() ([]Group, error) { return listing, nil }); err != nil {
		t.Fatal(err)
	}
	l.sort()
}

func (l *lifeTest) check(t *rapid.T) {
	l.sort()
	total, live := 0, 0
	for job, terms := range l.terms {
		ofJob := func(k int) bool { return l.groups[k].job == job }
		held := l.sum((*lifeGroup).booked, ofJob)
		total += held
		var want []wire.Key
		for _, k := range l.order {
			if ofJob(k) {
				want = append(want, lifeKeys[k])
			}
		}
		live += len(want)
		r, _ := l.book.Job(job, 9)
		var got []wire.Key
		older := 0
		for _, g := range r.Oldest {
			i := slices.IndexFunc(lifeKeys, g.Key.Equal)
			m := l.groups[i]
			older += g.Series
			if g.Series != m.booked() || g.Pushed.Unix() != m.at || g.Failed != m.failed || g.Pinned != (i == l.pinned(job)) || g.Over != (older > terms.Series) {
				t.Fatalf("%s: %+v, want %+v", g.Key, g, m)
			}
			got = append(got, g.Key)
		}
		if !slices.EqualFunc(got, want, wire.Key.Equal) {
			t.Fatalf("job %s has the groups %v, want %v", job, got, want)
		}
		if l.book.Held(job) != held || r.Series != held || r.Groups != len(want) {
			t.Fatalf("job %s holds %d, %+v, want %d", job, l.book.Held(job), r, held)
		}
		if hour, day := within(l.brought[job], l.now, 60), within(l.brought[job], l.now, 1440); r.NewThisHour != hour || r.NewThisDay != day {
			t.Fatalf("job %s: %d and %d are new, want %d and %d", job, r.NewThisHour, r.NewThisDay, hour, day)
		}
	}
	if sums := l.book.Totals(); sums.Series != total || sums.Groups != live {
		t.Fatalf("%+v, want %d series of %d groups", sums, total, live)
	}
	l.checkStale(t)
}

func (l *lifeTest) checkStale(t *rapid.T) {
	want := map[string]bool{}
	for i, g := range l.groups {
		terms := l.terms[g.job]
		if !l.awaitsEviction(i) && g.exists && g.push == nil && i != l.pinned(g.job) && g.at+int64(terms.StaleAfter/time.Second) <= l.wall {
			want[lifeKeys[i].ID()] = true
		}
	}
	all := l.book.Stale(time.Unix(l.wall, 0), 99)
	for n, s := range all {
		if !want[s.Key.ID()] || n > 0 && s.Pushed.Before(all[n-1].Pushed) {
			t.Fatalf("stale are %v, want %v", all, want)
		}
	}
	if len(all) != len(want) {
		t.Fatalf("stale are %v, want %v", all, want)
	}
}
