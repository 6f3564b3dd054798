package counter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to be that " + what)
		}
	}
}

// TestApartSumsAreExact has the same sources push to guards that are by themselves, now
// to this one, now to that: what they count is in the end what one guard counts that
// hears all of it in time, also of runs that began anew meanwhile.
func TestApartSumsAreExact(t *testing.T) {
	out := &Series{Name: "x_total", Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			redis := redistest.Start(t)
			cfg := shared.Config{URL: redis.URL(), Timeout: 3 * time.Second, Degrade: true}
			guards := []*sharer{newSharer(t, cfg), newSharer(t, cfg), newSharer(t, cfg)}
			model, totals := NewBook(Config{Now: guards[0].log.Now}), NewTotals(TotalsConfig{Now: guards[0].log.Now})
			r := rand.New(rand.NewPCG(seed, 5))
			grown := map[uint64]float64{}
			next := func() (Push, []Reading) {
				n := r.Uint64N(6)
				if grown[n] += float64(1 + r.IntN(9)); n >= 3 && r.IntN(8) == 0 {
					grown[n] = float64(r.IntN(3)) // it began anew
				}
				read := Reading{Identity: Identity{n, 1}, Source: []Source{Created, Process, Run}[n/2], Output: out, Value: grown[n]}
				if read.Source != Run {
					read.Began = 1000 + int64(n)
				}
				return Push{Group: Identity{1, n}, Method: "POST", Body: fmt.Append(nil, r.Int())}, []Reading{read}
			}
			redis.Pause()
			for _, g := range guards {
				eventually(t, "each is by itself", g.log.Alone)
			}
			var last time.Time
			for range 60 {
				g := guards[r.IntN(3)]
				push, readings := next()
				last = redistest.After(g.book.shared.door, last, func() { commitOf(t, g.book, g.totals, push, readings) })
				commitOf(t, model, totals, push, readings)
			}
			redis.Resume()
			want := values(totals.Page(t.Context(), ""))
			for i, g := range guards {
				eventually(t, "it is back", func() bool { return !g.log.Away() })
				g.saved(t)
				if diff := cmp.Diff(want, values(g.totals.Page(t.Context(), ""))); diff != "" {
					t.Errorf("guard %d: %s", i, diff)
				}
			}
		})
	}
}

// TestApartLate has one guard cut off while a source pushes to it and to another: what
// the other has counted since is not counted again when it is back, and no idempotency
// key counts twice.
func TestApartLate(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Degrade: true}
	stays := newSharer(t, cfg)
	link := redis.NewLink(t)
	cfg.URL = link.URL()
	cut := newSharer(t, cfg)
	out := &Series{Name: "x_total", Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
	push := func(g *sharer, value float64, key string) {
		t.Helper()
		commitOf(t, g.book, g.totals, Push{Group: Identity{1, 1}, Method: "POST", IdempotencyKey: key, Body: fmt.Append(nil, value)},
			[]Reading{{Identity: Identity{1, 1}, Source: Run, Output: out, Value: value}})
	}
	push(stays, 5, "")
	if err := cut.book.shared.door.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	eventually(t, "one is by itself", cut.log.Alone)
	push(cut, 10, "")
	push(cut, 100, "once")
	// The seconds of the clock tell the later from the earlier.
	a, _ := cut.book.shared.door.Alone()
	for then := a.Clock(); !stays.log.Now().After(then.Add(time.Second)); time.Sleep(10 * time.Millisecond) {
		stays.saved(t)
	}
	push(stays, 100, "once")
	push(stays, 120, "")
	link.Mend()
	eventually(t, "it is back", func() bool { return !cut.log.Away() })
	for i, g := range []*sharer{cut, stays} {
		g.saved(t)
		for _, v := range values(g.totals.Page(t.Context(), "")) {
			if v != 120 {
				t.Errorf("guard %d says %v, want 120", i, v)
			}
		}
	}
}
