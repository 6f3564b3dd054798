package ledger

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

func sweep(k wire.Key, olderThan time.Time) Claim {
	return Claim{Group: k, Raw: rawA, Method: http.MethodDelete, Folds: true, Sweep: true, IfOlder: olderThan}
}

func TestSweep(t *testing.T) {
	start := newHand().now
	succeeds := put(group1).under(Budget{KeepLast: true})
	succeeds.Families, succeeds.Success = []string{"last_success"}, []int32{0}
	succeeds.bring(0, 1, "", "")
	for name, c := range map[string]struct {
		before []Claim
		o      Outcome
		older  time.Time
		want   Reason
	}{
		"there is none":                 {want: Gone},
		"at its time":                   {before: []Claim{put(group1)}, older: start},
		"pushed to after":               {before: []Claim{put(group1)}, older: start.Add(-time.Nanosecond), want: Fresh},
		"whenever":                      {before: []Claim{put(group1)}},
		"another key wrote it last":     {before: []Claim{put(group1)}, older: start.Add(time.Hour)},
		"it only ever failed":           {before: []Claim{put(group1)}, o: Refused, older: start},
		"nobody knows whether":          {before: []Claim{put(group1)}, o: Unknown, older: start.Add(-1), want: Fresh},
		"the job's newest":              {before: []Claim{put(group1).under(Budget{KeepLast: true})}, want: Pinned},
		"the job's last success":        {before: []Claim{succeeds, put(rawB).under(Budget{KeepLast: true})}, want: Pinned},
		"neither newest nor successful": {before: []Claim{put(group1), put(rawB).under(Budget{KeepLast: true})}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newHand().book()
			for _, p := range c.before {
				if c.o == 0 {
					c.o = Applied
				}
				admit(t, b, p).Settle(c.o)
			}
			g := admit(t, b, sweep(group1, c.older))
			if g.Reason != c.want || g.Skip != (c.want != 0) {
				t.Errorf("%+v, want %d", g.Ruling, c.want)
			}
			had := b.Has(group1)
			g.Settle(Applied)
			if b.Has(group1) != (had && c.want != 0) {
				t.Errorf("Has = %v", b.Has(group1))
			}
		})
	}
}

func TestOvertaken(t *testing.T) {
	b := newHand().book()
	claim := put(group1)
	claim.Raw = rawA
	admit(t, b, claim).Settle(Applied)
	g := admit(t, b, Claim{Group: group1, Raw: rawB, Method: http.MethodDelete, Folds: true})
	if !g.Skip || g.Reason != Overtaken {
		t.Errorf("%+v", g.Ruling)
	}
}

func TestWhatMakesAGroupYoung(t *testing.T) {
	for o, young := range map[Outcome]bool{Applied: true, Unknown: true, Refused: false, Untouched: false} {
		clock := newHand()
		b := clock.book()
		admit(t, b, put(group1)).Settle(Applied)
		before := clock.now
		clock.wait(time.Minute)
		g := admit(t, b, put(group1))
		clock.wait(time.Minute)
		g.Settle(o)
		want := before
		if young {
			want = clock.now
		}
		if got, _ := b.Oldest("j"); !got.Pushed.Equal(want) || got.Failed {
			t.Errorf("outcome %d: %+v, want %v", o, got, want)
		}
	}
}

func TestAFailureIsAnAgeWhereThereIsNoOther(t *testing.T) {
	clock := newHand()
	b := clock.book()
	for range 2 { // the last counts
		clock.wait(time.Minute)
		admit(t, b, put(group1)).Settle(Refused)
		if got, _ := b.Oldest("j"); !got.Pushed.Equal(clock.now) || !got.Failed {
			t.Errorf("%+v", got)
		}
	}
	admit(t, b, put(group1)).Settle(Applied)
	if got, _ := b.Oldest("j"); got.Failed {
		t.Errorf("%+v", got)
	}
	if _, ok := b.Oldest("nobody"); ok {
		t.Error("a job without groups has an oldest")
	}
}

func TestStaleOverAllJobs(t *testing.T) {
	clock := newHand()
	b := clock.book()
	start := clock.now
	for n := range 9 {
		job := n % 3
		admit(t, b, groupOf(fmt.Sprint(job), n).under(Budget{StaleAfter: time.Duration(job) * time.Hour})).Settle(Applied)
		clock.wait(time.Minute)
	}
	at := func(hours time.Duration, n int) (out []string) {
		for _, s := range b.Stale(start.Add(hours*time.Hour+4*time.Minute), n) {
			n, _ := s.Key.Get("n")
			out = append(out, s.Job+"/"+n)
			if s.StaleAfter != time.Duration(s.Job[0]-'0')*time.Hour {
				t.Errorf("%+v", s)
			}
		}
		return out
	}
	for _, c := range []struct {
		hours time.Duration
		n     int
		want  []string
	}{
		{0, 99, nil},
		{1, 99, []string{"1/1", "1/4"}},
		{2, 99, []string{"1/1", "2/2", "1/4", "1/7"}},
		{3, 99, []string{"1/1", "2/2", "1/4", "2/5", "1/7", "2/8"}},
		{3, 3, []string{"1/1", "2/2", "1/4"}},
		{3, 0, nil},
	} {
		if got := at(c.hours, c.n); !slices.Equal(got, c.want) {
			t.Errorf("after %d hours: %v, want %v", c.hours, got, c.want)
		}
	}
	taken := admit(t, b, groupOf("1", 1))
	if got := at(1, 9); len(got) != 0 { // and its terms have no end now
		t.Errorf("%v", got)
	}
	taken.Settle(Untouched)
	b.Regovern(func(string) (int, Budget) { return 0, Budget{StaleAfter: time.Minute, KeepLast: true} })
	if got := b.Stale(start.Add(time.Hour), 99); len(got) != 6 { // but for one pinned of each job
		t.Errorf("%v", got)
	}
}

func TestListedTimes(t *testing.T) {
	clock := newHand()
	b, now := clock.book(), clock.now
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	k := func(n int) wire.Key { return groupOf("j", n).Group }
	load(t, b,
		Group{Key: k(0), Pushed: ago(time.Hour), Failed: ago(time.Minute)},
		Group{Key: k(1), Failed: ago(2 * time.Hour)},
		Group{Key: k(2)},
		Group{Key: k(3), Pushed: now.Add(time.Hour)}, // another clock
		Group{Key: k(4), Pushed: ago(1500 * time.Millisecond)},
	)
	r, _ := b.Job("j", 9)
	var got []string
	for _, g := range r.Oldest {
		n, _ := g.Key.Get("n")
		got = append(got, fmt.Sprintf("%s %s %v", n, now.Sub(g.Pushed), g.Failed))
	}
	want := []string{"1 2h0m0s true", "0 1h0m0s false", "4 1s false", "2 0s false", "3 0s false"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	clock.wait(time.Minute)
	load(t, b, Group{Key: k(0), Pushed: ago(2 * time.Hour)}, Group{Key: k(1), Pushed: now}, Group{Key: k(2)})
	r, _ = b.Job("j", 9)
	if len(r.Oldest) != 3 || !r.Oldest[0].Pushed.Equal(ago(time.Hour)) || !r.Oldest[1].Pushed.Equal(now) || r.Oldest[1].Failed || r.Oldest[2].Failed || !r.Oldest[2].Pushed.Equal(now) {
		t.Errorf("%+v", r.Oldest)
	}
}

// TestAClockThatJumpsBack pushes in an order that the clock does not show.
func TestAClockThatJumpsBack(t *testing.T) {
	clock := newHand()
	b := clock.book()
	admit(t, b, groupOf("j", 0).under(Budget{StaleAfter: time.Hour})).Settle(Applied)
	clock.wait(-24 * time.Hour)
	admit(t, b, groupOf("j", 1).under(Budget{StaleAfter: time.Hour})).Settle(Applied)
	r, _ := b.Job("j", 9)
	if n, _ := r.Oldest[0].Key.Get("n"); n != "0" || !r.Oldest[0].Pushed.Equal(clock.now) {
		t.Errorf("%+v", r.Oldest)
	}
	if got := b.Stale(clock.now.Add(time.Hour), 9); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestReports(t *testing.T) {
	clock := newHand()
	b := clock.book()
	budget := Budget{Series: 7, KeepLast: true, Guaranteed: 2, Reserved: 2}
	for n := range 3 {
		c := push(http.MethodPut, groupOf("j", n).Group, Budget{}, "a").under(Budget{KeepLast: true})
		c.Entry = 4
		admit(t, b, c).Settle(Applied)
		clock.wait(time.Minute)
	}
	admit(t, b, put(other)).Settle(Applied)
	b.Regovern(func(string) (int, Budget) { return 4, budget })
	first := newHand().now
	want := JobUse{Job: "j", Entry: 4, Series: 9, Over: 2, Groups: 3, NewThisHour: 9, NewThisDay: 9, OldestPush: first, LastPush: first.Add(2 * time.Minute)}
	r, ok := b.Job("j", 2)
	if !ok || r.JobUse != want || len(r.Oldest) != 2 {
		t.Errorf("%+v", r)
	}
	r, _ = b.Job("j", 9)
	for n, g := range r.Oldest {
		want := GroupUse{Key: groupOf("j", n).Group, Series: 3, Pushed: first.Add(time.Duration(n) * time.Minute), Pinned: n == 2, Over: n == 2}
		if !reflect.DeepEqual(g, want) {
			t.Errorf("%+v, want %+v", g, want)
		}
	}
	if got := b.Totals(); got != (Totals{Series: 11, Groups: 4, Jobs: 2, Lent: 9}) {
		t.Errorf("%+v", got)
	}
	if got := b.Jobs(1); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
	if got := b.Jobs(9); len(got) != 2 || got[1].Job != "other" {
		t.Errorf("%+v", got)
	}
	if _, ok := b.Job("nobody", 9); ok {
		t.Error("a job that nobody knows is known")
	}
}

func TestJobsAreTheLargest(t *testing.T) {
	b := newHand().book()
	for n := range 50 {
		admit(t, b, push(http.MethodPut, key("job", fmt.Sprint(n)), Budget{}, numbered(n*7%50)...)).Settle(Applied)
	}
	for _, n := range []int{0, 1, 7, 50, 60} {
		got := b.Jobs(n)
		if len(got) != min(n, 50) {
			t.Fatalf("%d jobs, want %d", len(got), n)
		}
		for i, j := range got {
			if j.Series != 51-i {
				t.Errorf("the %d-th holds %d", i, j.Series)
			}
		}
	}
}
