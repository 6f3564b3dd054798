package counter

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The scenarios that a guard meets most, from pushes to totals. Where they are
// not decidable the default stands, as documented.

func TestParallelRunsOfOneGroupAddUp(t *testing.T) {
	c := newClock()
	b, totals := NewBook(Config{Now: c.Now}), NewTotals(TotalsConfig{Now: c.Now})
	var all sync.WaitGroup
	var serial sync.Mutex // pushes of one group are the caller's to serialise
	for run := range 25 {
		all.Go(func() {
			for n := range 40 {
				var i Increments
				created := c.now.UnixNano() + int64(run*40+n) + 1
				serial.Lock()
				if err := b.Difference(&i, []Reading{value("job=j", Created, created, 1)}, Push{Group: groupOf("job=j").Identity()}); err != nil {
					t.Error(err)
				}
				if err := i.Commit(context.Background(), totals); err != nil {
					t.Error(err)
				}
				serial.Unlock()
			}
		})
	}
	all.Wait()
	if got := totalOf(totals, "failures_total", "job=j"); got != 1000 {
		t.Errorf("1000 parallel pushes of 1 = %v", got)
	}
}

func TestGroupsCommitInParallel(t *testing.T) {
	c := newClock()
	b, totals := NewBook(Config{Now: c.Now, Baselines: 100}), NewTotals(TotalsConfig{Now: c.Now})
	var all sync.WaitGroup
	for run := range 50 {
		all.Go(func() {
			group := fmt.Sprintf("job=j,run=%d", run)
			p := Push{Group: groupOf(group).Identity(), Method: "PUT", Client: "c", IdempotencyKey: group}
			var i Increments
			for v := 1.0; v <= 20; v++ {
				p.IdempotencyKey = fmt.Sprint(group, v)
				for _, push := range []Push{p, p} {
					if err := b.Difference(&i, []Reading{value(group, Created, c.now.UnixNano()+1, v)}, push); err != nil {
						t.Error(err)
					}
					if err := i.Commit(context.Background(), totals); err != nil {
						t.Error(err)
					}
				}
				b.Lost(p)
				totals.Page(context.Background(), "prometheus").Done()
				b.Stats()
			}
		})
	}
	all.Wait()
	if got := totalOf(totals, "failures_total", "job=j"); got != 50*20 {
		t.Errorf("50 runs that count to 20 = %v", got)
	}
}

func TestScenarios(t *testing.T) {
	c := newClock()
	now := c.now.UnixNano() + 1
	semantics := func(r Reading, s Semantics) Reading { r.Semantics = s; return r }
	for _, tc := range []struct {
		name   string
		pushes []Reading
		want   float64
	}{
		{"periodic with created", []Reading{
			value("job=j", Created, now, 5), value("job=j", Created, now, 15), value("job=j", Created, now, 25),
		}, 25},
		{"the answer lost after commit, and a retry", []Reading{
			value("job=j", Created, now, 7), value("job=j", Created, now, 7),
		}, 7},
		{"a restart, both runs end at 3", []Reading{
			value("job=j", Created, now, 3), value("job=j", Created, now+1, 3),
		}, 6},
		{"created before fork: not decidable, one source", []Reading{
			value("job=j", Created, now, 1), value("job=j", Created, now, 1), value("job=j", Created, now, 1),
		}, 1},
		{"ten anonymous pushes of 1", []Reading{
			value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1),
			value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1), value("job=j", Anonymous, 0, 1),
		}, 10},
		{"anonymous periodic: not decidable, added whole", []Reading{
			value("job=j", Anonymous, 0, 5), value("job=j", Anonymous, 0, 15), value("job=j", Anonymous, 0, 25),
		}, 45},
		{"anonymous periodic that the policy calls cumulative", []Reading{
			semantics(value("job=j", Anonymous, 0, 5), Cumulative), semantics(value("job=j", Anonymous, 0, 15), Cumulative), semantics(value("job=j", Anonymous, 0, 25), Cumulative),
		}, 25},
		{"a run label, periodic with a retry", []Reading{
			value("job=j", Run, 0, 5), value("job=j", Run, 0, 15), value("job=j", Run, 0, 15), value("job=j", Run, 0, 25),
		}, 25},
		{"a late push with created", []Reading{
			value("job=j", Created, now, 9), value("job=j", Created, now, 4), value("job=j", Created, now, 10),
		}, 10},
		{"a process that counts from nothing again", []Reading{
			value("job=j", Process, now, 9), value("job=j", Process, now, 4), value("job=j", Process, now, 6),
		}, 15},
		{"one process after another", []Reading{
			value("job=j", Process, now, 9), value("job=j", Process, now+1, 9),
		}, 18},
		{"increments with created", []Reading{
			semantics(value("job=j", Created, now, 2), Delta), semantics(value("job=j", Created, now, 2), Delta),
		}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, totals := NewBook(Config{Now: c.Now}), NewTotals(TotalsConfig{Now: c.Now})
			for _, r := range tc.pushes {
				var i Increments
				if err := b.Difference(&i, []Reading{r}, Push{Group: groupOf("job=j").Identity()}); err != nil {
					t.Fatal(err)
				}
				if err := i.Commit(context.Background(), totals); err != nil {
					t.Fatal(err)
				}
			}
			if got := totalOf(totals, "failures_total", "job=j"); got != tc.want {
				t.Errorf("total = %v, want %v", got, tc.want)
			}
		})
	}
}

// Two tasks at 5 and 7, then one at 9, are 14, not 21.
func TestSourcesAreDifferencedBeforeTheyAreAdded(t *testing.T) {
	c := newClock()
	b, totals := NewBook(Config{Now: c.Now}), NewTotals(TotalsConfig{Now: c.Now})
	push := func(readings ...Reading) {
		var i Increments
		if err := b.Difference(&i, readings, Push{Group: groupOf("job=j").Identity()}); err != nil {
			t.Fatal(err)
		}
		if err := i.Commit(context.Background(), totals); err != nil {
			t.Fatal(err)
		}
	}
	task := func(name string, v float64) Reading {
		return Reading{Identity: identity("job=j", "x_total", "task="+name), Source: Created, Began: c.now.UnixNano() + 1, Output: failures, Value: v}
	}
	push(task("a", 5), task("b", 7))
	push(task("a", 7), task("b", 7))
	if got := totalOf(totals, "failures_total", "job=j"); got != 14 {
		t.Errorf("total = %v, want 14", got)
	}
}

func TestWhatIsNotCommittedDidNotHappen(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	var i Increments
	r := value("job=j", Created, c.now.UnixNano()+1, 5)
	for range 3 {
		if err := b.Difference(&i, []Reading{r}, Push{Group: groupOf("job=j").Identity(), IdempotencyKey: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := pushed(t, b, "job=j", r); got != 5 {
		t.Errorf("after three refused pushes one adds %v, want 5", got)
	}
}

func TestACommitWithoutSinkAdvancesBaselines(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	var i Increments
	if err := b.Difference(&i, []Reading{value("job=j", Run, 0, 5)}, Push{Group: groupOf("job=j").Identity()}); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if got := pushed(t, b, "job=j", value("job=j", Run, 0, 8)); got != 3 {
		t.Errorf("the push after adds %v, want 3", got)
	}
	if got := b.Stats().Increments[Run]; got != 1 {
		t.Errorf("increments that left = %d, want 1", got)
	}
}

func TestDeleteDropsTheBaselinesOfOneGroup(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	read := func(group, metric string, v float64) Reading {
		r := value(group, Run, 0, v)
		r.Identity = identity(group, "x_total", metric)
		return r
	}
	for _, group := range []string{"job=j", "job=k"} {
		pushed(t, b, group, read(group, "a=1", 5), read(group, "a=2", 5), read(group, "a=3", 5))
	}
	for _, group := range []string{"job=j", "job=unknown"} {
		if err := b.Forget(context.Background(), groupOf(group).Identity()); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Stats().Baselines; got != 3 {
		t.Errorf("baselines = %d, want 3", got)
	}
	if got := pushed(t, b, "job=j", read("job=j", "a=1", 5)); got != 5 {
		t.Errorf("the deleted group adds %v, want 5", got)
	}
	if got := pushed(t, b, "job=k", read("job=k", "a=1", 5)); got != 0 {
		t.Errorf("the other group adds %v, want 0", got)
	}
}

func TestFirstReadings(t *testing.T) {
	for _, tc := range []struct {
		name   string
		source Source
		began  time.Duration // ago, when the book was made
		ignore bool
		want   float64
		reason Reason
	}{
		{"created after the guard started", Created, -time.Second, false, 5, First},
		{"created after, whatever the policy says of others", Created, -time.Second, true, 5, First},
		{"created before", Created, time.Second, false, 5, Counted},
		{"created before, ignored", Created, time.Second, true, 0, Ignored},
		{"process started after", Process, -time.Second, true, 5, First},
		{"process started before", Process, time.Second, true, 0, Ignored},
		{"run", Run, 0, false, 5, Counted},
		{"run, ignored", Run, 0, true, 0, Ignored},
		{"anonymous", Anonymous, 0, true, 5, Added},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newClock()
			b := NewBook(Config{Now: c.Now})
			began := int64(0)
			if tc.began != 0 {
				began = c.ago(tc.began)
			}
			c.advance(time.Minute)
			p := Push{Group: groupOf("job=j").Identity(), IgnoreUnknown: tc.ignore}
			var i Increments
			if err := b.Difference(&i, []Reading{value("job=j", tc.source, began, 5)}, p); err != nil {
				t.Fatal(err)
			}
			sink := &summing{}
			if err := i.Commit(context.Background(), sink); err != nil {
				t.Fatal(err)
			}
			if sink.sum != tc.want || i.Reason(0) != tc.reason {
				t.Errorf("added %v (%v), want %v (%v)", sink.sum, i.Reason(0), tc.want, tc.reason)
			}
			ambiguous := uint64(0)
			if tc.reason == Counted || tc.reason == Ignored {
				ambiguous = 1
			}
			if got := b.Stats().Ambiguous[tc.source]; got != ambiguous {
				t.Errorf("ambiguous = %d, want %d", got, ambiguous)
			}
			if tc.source == Anonymous {
				return
			}
			if got := pushedAs(t, b, p, value("job=j", tc.source, began, 7)); got != 2 {
				t.Errorf("the next adds %v, want 2", got)
			}
		})
	}
}

func TestStatsSayWhatHappened(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	now := c.now.UnixNano() + 1
	p := Push{Group: groupOf("job=j").Identity(), IdempotencyKey: "k"}
	pushedAs(t, b, p, value("job=j", Created, now, 5))
	pushedAs(t, b, p, value("job=j", Created, now, 5)) // a retry
	pushed(t, b, "job=j", value("job=j", Created, now, 5))
	pushed(t, b, "job=j", value("job=j", Created, now, 4))
	pushed(t, b, "job=j", value("job=j", Run, 0, 5))
	pushed(t, b, "job=j", value("job=j", Run, 0, 4))
	pushed(t, b, "job=j", value("job=j", Anonymous, 0, 4))
	pushed(t, b, "job=j", took(Process, now, 1, -1, 1, 1, 1))
	want := BookStats{
		Increments: map[Source]uint64{Created: 1, Process: 1, Run: 2, Anonymous: 1},
		Ambiguous:  map[Source]uint64{Created: 0, Process: 0, Run: 1, Anonymous: 0},
		Resets:     1, Late: 1, NegativeSums: 1, Retries: 1, Baselines: 3, Remembered: 1,
	}
	if diff := cmp.Diff(want, b.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}
