package shared_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// apart has guards that may go on by themselves.
func apart(redis *redistest.Redis) shared.Config {
	return shared.Config{URL: redis.URL(), Timeout: 3 * time.Second, Degrade: true}
}

func (g *guard) alone() bool {
	_, ok := g.door.Alone()
	return ok
}

// TestApart has three guards go on by themselves, and come back to a Redis that hung,
// or to an empty one: all know what each did, in the order of its times, before
// anything that came later.
func TestApart(t *testing.T) {
	for _, tc := range []struct {
		name       string
		begin, end func(*redistest.Redis)
	}{
		{"hangs", (*redistest.Redis).Pause, (*redistest.Redis).Resume},
		{"killed", (*redistest.Redis).Kill, (*redistest.Redis).Restart},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			guards := []*guard{join(t, apart(redis)), join(t, apart(redis)), join(t, apart(redis))}
			guards[0].do(t, "before")
			for _, g := range guards {
				eventually(t, "each knows of all", func() bool { return len(g.sync(t)) == 1 && g.log.Guards() == 3 })
			}
			want := []string{"before"}
			tc.begin(redis)
			ranks := map[int]bool{}
			for _, g := range guards {
				eventually(t, "each is by itself", g.alone)
				a, _ := g.door.Alone()
				if ranks[a.Rank] = true; a.Guards != 3 || a.Rank > 2 {
					t.Errorf("a guard is %d of %d", a.Rank, a.Guards)
				}
				if g.log.Leads() {
					t.Error("a guard that is by itself leads")
				}
			}
			if len(ranks) != 3 {
				t.Errorf("the guards are of ranks %v", ranks)
			}
			if err := guards[1].door.Do(t.Context(), []byte("asked"), nil); !errors.Is(err, shared.ErrAway) {
				t.Errorf("Do of a guard that is by itself: %v", err)
			}
			var last time.Time
			for n := range 30 {
				g, body := guards[n%3], fmt.Sprintf("by %d: %02d", n%3, n)
				last = redistest.After(g.door, last, func() { g.door.Post([]byte(body), nil) })
				want = append(want, body)
			}
			tc.end(redis)
			eventually(t, "none is by itself", func() bool { return !guards[0].log.Away() && !guards[1].log.Away() && !guards[2].log.Away() })
			guards[2].do(t, "after")
			for i, g := range guards {
				got := g.sync(t)
				if len(got) != 32 || got[31] != "after" {
					t.Fatalf("guard %d knows %d: %q", i, len(got), got)
				}
				if !slices.Equal(got[:31], want) {
					t.Errorf("guard %d has another order: %q", i, got)
				}
			}
		})
	}
}

// TestApartQueued has a guard say things while it waits for a Redis that hangs, until it
// goes on by itself: they come before all that is done afterwards, by whom ever.
func TestApartQueued(t *testing.T) {
	redis := redistest.Start(t)
	a, b := join(t, apart(redis)), join(t, apart(redis))
	for _, g := range []*guard{a, b} {
		eventually(t, "each knows of both", func() bool { g.sync(t); return g.log.Guards() == 2 })
	}
	var want []string
	var last time.Time
	say := func(g *guard, body string) {
		last = redistest.After(g.door, last, func() { g.door.Post([]byte(body), nil) })
		want = append(want, body)
	}
	redis.Pause()
	for n := 0; !a.alone(); n++ {
		say(a, fmt.Sprint("before ", n))
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "both are by themselves", b.alone)
	say(b, "of the other")
	say(a, "of the same")
	redis.Resume()
	eventually(t, "none is by itself", func() bool { return !a.log.Away() && !b.log.Away() })
	for i, g := range []*guard{a, b} {
		eventually(t, "all is known", func() bool { return len(g.sync(t)) == len(want) })
		if got := g.all(); !slices.Equal(got, want) {
			t.Errorf("guard %d has another order: %q", i, got)
		}
	}
}

// TestApartSome cuts one guard off: it hands in what it did once it is back, and those
// that were not wait for that no longer than it takes.
func TestApartSome(t *testing.T) {
	redis := redistest.Start(t)
	cfg := apart(redis)
	cfg.Timeout = patience
	stays := join(t, cfg)
	link := redis.NewLink(t)
	cfg.URL = link.URL()
	cut := join(t, cfg)
	link.Cut()
	eventually(t, "one is by itself", cut.alone)
	cut.door.Post([]byte("alone"), nil)
	stays.do(t, "together")
	link.Mend()
	eventually(t, "it is back", func() bool { return slices.Contains(stays.sync(t), "alone") })
	cut.do(t, "again")
	if got, want := stays.sync(t), []string{"together", "alone", "again"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestApartLimit is at, under and over what a guard may keep that is by itself.
func TestApartLimit(t *testing.T) {
	redis := redistest.Start(t)
	cfg := apart(redis)
	cfg.Timeout = patience
	cfg.OutageBytes = 100
	g := join(t, cfg)
	redis.Kill()
	eventually(t, "it is by itself", g.alone)
	for _, tc := range []struct {
		more  int
		alone bool
	}{{99, true}, {1, false}, {1, false}} {
		g.door.Post([]byte(strings.Repeat("x", tc.more)), nil)
		if got := g.alone(); got != tc.alone {
			t.Errorf("after %d bytes more it is by itself: %v", tc.more, got)
		}
	}
	redis.Restart()
	eventually(t, "it is back", func() bool { return !g.log.Away() })
	if got := g.sync(t); len(got) != 3 {
		t.Errorf("%d commands are there, want 3", len(got))
	}
	redis.Kill()
	eventually(t, "it is by itself again", g.alone)
}
