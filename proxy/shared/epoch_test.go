package shared_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// TestFarthestEnds has the guard end that is about to give an empty Redis what it knows:
// another one does so.
func TestFarthestEnds(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL()}
	guards := map[string]*guard{}
	for range 2 {
		g := join(t, cfg)
		guards[string(g.door.Guard())] = g
	}
	for name, g := range guards {
		g.do(t, name)
	}
	for _, g := range guards {
		g.sync(t)
	}
	r.Kill()
	for _, g := range guards {
		eventually(t, "each notices", g.log.Away)
	}
	r.Restart()
	c := client(t, r)
	var said map[string]string
	eventually(t, "both have said how far they have come", func() bool {
		said, _ = c.HGetAll(t.Context(), "{pushguard}:election").Result()
		return len(said) == 2
	})
	var farthest, place string
	for name, text := range said {
		at := fmt.Sprintf("%020s", strings.Fields(text)[0])
		if at > place || at == place && name > farthest {
			farthest, place = name, at
		}
	}
	guards[farthest].stop()
	delete(guards, farthest)
	for name, g := range guards {
		eventually(t, "the other one is back", func() bool { return !g.log.Away() })
		if got := g.sync(t); len(got) != 2 || !slices.Contains(got, name) || !slices.Contains(got, farthest) {
			t.Errorf("%q", got)
		}
	}
}

// TestWhoComesToARedisThatHasForgotten has a guard start as soon as a Redis is there again
// that has forgotten all, or what came last: it begins with what the one knows that was
// there, and nothing is lost that either was told was done.
func TestWhoComesToARedisThatHasForgotten(t *testing.T) {
	restart := func(r *redistest.Redis) { r.Kill(); r.Restart() }
	for _, tc := range []struct {
		name   string
		forget func(t *testing.T, r *redistest.Redis)
	}{
		{"restarts", func(_ *testing.T, r *redistest.Redis) { restart(r) }},
		{"is emptied", func(t *testing.T, r *redistest.Redis) { client(t, r).FlushAll(t.Context()) }},
		{"restarts without the last", func(_ *testing.T, r *redistest.Redis) { restart(r) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Start(t, "--dir", t.TempDir())
			cfg := shared.Config{URL: r.URL(), Election: 5 * time.Second}
			a := join(t, cfg)
			a.do(t, "first")
			if strings.Contains(tc.name, "without") {
				if err := client(t, r).Save(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
			}
			a.do(t, "last")
			tc.forget(t, r)
			b := join(t, cfg)
			if b.log.Secret() != a.log.Secret() {
				t.Error("a guard that came later has a secret of its own")
			}
			b.do(t, "news")
			eventually(t, "the one that was there is back", func() bool { return !a.log.Away() })
			a.do(t, "on")
			want := []string{"first", "last", "news", "on"}
			if got := a.sync(t); !slices.Equal(got, want) {
				t.Errorf("the one that was there knows %q", got)
			}
			if got := b.sync(t); !slices.Equal(got, want) {
				t.Errorf("the one that came knows %q", got)
			}
		})
	}
}

// TestTwoRedisesAtOnce has a guard go on with a Redis that the other one has left for its
// replica: what it said there nobody has when it comes after, and it says so.
func TestTwoRedisesAtOnce(t *testing.T) {
	r := redistest.Start(t, "--dir", t.TempDir())
	stays, goes := r.NewLink(t), r.NewLink(t)
	var log said
	a := join(t, shared.Config{URL: stays.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b := join(t, shared.Config{URL: goes.URL()})
	a.do(t, "both")
	b.sync(t)
	if err := client(t, r).Save(t.Context()).Err(); err != nil { // what the replica has
		t.Fatal(err)
	}
	goes.Cut()
	eventually(t, "the one that goes notices", b.log.Away)
	a.do(t, "of the one that stays")
	stays.Cut()
	eventually(t, "the one that stays notices", a.log.Away)
	r.Kill()
	r.Restart()
	goes.Mend()
	eventually(t, "the one that goes is there", func() bool { return !b.log.Away() })
	for n := range 10 {
		b.do(t, fmt.Sprint("of the one that goes ", n))
	}
	stays.Mend()
	eventually(t, "the one that stays comes after", func() bool { return !a.log.Away() })
	if got, want := a.sync(t), b.sync(t); !slices.Equal(got, want) {
		t.Errorf("one knows %q, and the other %q", got, want)
	}
	if n := log.count("has not all that this guard had said"); n != 1 {
		t.Errorf("it was said %d times that something is lost", n)
	}
}

// TestRedisForgetsAgain has a Redis start twice with what it had written down before the
// first time, as one that is killed over and over: what it has then is of an epoch that the
// guards have left, and nothing is lost that they were told was done.
func TestRedisForgetsAgain(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t, "--dir", t.TempDir())
	cfg := shared.Config{URL: r.URL(), Election: 5 * time.Second}
	a, b := join(t, cfg), join(t, cfg)
	a.do(t, "written down")
	if err := client(t, r).Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{"written down"}
	for _, more := range []string{"before the first", "before the second"} {
		a.do(t, more)
		b.do(t, more)
		want = append(want, more, more)
		r.Kill()
		eventually(t, "both notice", func() bool { return a.log.Away() && b.log.Away() })
		r.Restart()
		eventually(t, "both are back", func() bool { return !a.log.Away() && !b.log.Away() })
		for _, g := range []*guard{a, b} {
			if got := g.sync(t); !slices.Equal(got, want) {
				t.Errorf("%s: %q", more, got)
			}
		}
	}
	if got := join(t, cfg).sync(t); !slices.Equal(got, want) {
		t.Errorf("the one that came knows %q", got)
	}
}

// TestRedisEvicts has a Redis lose one of the keys that guards share, as one does that makes
// room: they go on with all that they were told was done, and know the same.
func TestRedisEvicts(t *testing.T) {
	for _, key := range []string{"head", "log", "guards"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			r := redistest.Start(t)
			cfg := shared.Config{URL: r.URL(), SnapshotAfter: 500}
			a, b := join(t, cfg), join(t, cfg)
			var want []string
			for n := range 30 {
				for _, g := range []*guard{a, b} {
					want = append(want, fmt.Sprint(g.door.Guard(), n))
					g.do(t, want[len(want)-1])
				}
			}
			epochs := func() float64 { return a.epochs() + b.epochs() }
			if err := client(t, r).Del(t.Context(), "{pushguard}:"+key).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "both are back", func() bool { return epochs() > 0 && !a.log.Away() && !b.log.Away() })
			for _, g := range []*guard{a, b} {
				want = append(want, string(g.door.Guard()))
				g.do(t, want[len(want)-1])
			}
			for _, g := range []*guard{a, b, join(t, cfg)} {
				if got := g.sync(t); !slices.Equal(got, want) {
					t.Errorf("%d are known, want %d", len(got), len(want))
				}
			}
		})
	}
}

// TestRedisRefuses has guards come back to a Redis that does not take what they know, as of
// a user with too few rights: the log says why, once, and once it takes it they go on.
func TestRedisRefuses(t *testing.T) {
	r := redistest.Start(t)
	var log said
	g := join(t, shared.Config{URL: r.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	g.do(t, "before")
	c := client(t, r)
	if err := c.Do(t.Context(), "ACL", "SETUSER", "default", "-set").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has tried twice", func() bool { return log.count("is given what this one knows") >= 3 })
	if n := log.count("no permissions to run the 'set' command"); n != 1 {
		t.Errorf("the reason was said %d times", n)
	}
	if err := c.Do(t.Context(), "ACL", "SETUSER", "default", "+set").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return !g.log.Away() })
	g.do(t, "after")
	if got := g.sync(t); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("%q", got)
	}
}

// epochs is how often a guard gave a Redis what it knew.
func (g *guard) epochs() float64 {
	for _, c := range g.log.Collectors() {
		if n, ok := c.(prometheus.Counter); ok && strings.Contains(n.Desc().String(), "pushguard_shared_epochs_total") {
			return testutil.ToFloat64(n)
		}
	}
	return -1
}

// TestBegunAnew has a guard come back to a Redis that was emptied while it was cut off, in
// which another one has begun anew: what they say is by unlike secrets, so its part ends.
func TestBegunAnew(t *testing.T) {
	r := redistest.Start(t)
	link := r.NewLink(t)
	log, err := shared.Open(t.Context(), shared.Config{URL: link.URL(), Timeout: patience, Election: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{log: log}
	g.door = log.Room(g)
	joined, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- log.Join(t.Context(), func() { close(joined) }) }()
	<-joined
	g.do(t, "before")
	link.Cut()
	eventually(t, "it notices", log.Away)
	if err := client(t, r).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	other := join(t, shared.Config{URL: r.URL()})
	other.do(t, "anew")
	link.Mend()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "has begun anew") {
			t.Errorf("its part ended with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it takes part, by another secret")
	}
	if err := g.door.Do(t.Context(), []byte("more"), nil); err == nil {
		t.Error("a guard whose part has ended was answered")
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if got := other.sync(t); !slices.Equal(got, []string{"anew"}) {
		t.Errorf("%q", got)
	}
}
