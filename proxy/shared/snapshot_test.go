package shared_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// TestSnapshotLivesAsLongAsItsFleet has a fleet say so little that its snapshot is about
// to end before there is another: it lives on, and who comes later begins with it.
func TestSnapshotLivesAsLongAsItsFleet(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL(), SnapshotAfter: 500, Lease: time.Hour}
	g := join(t, cfg)
	c := client(t, r)
	var snapshot []string
	written := func() bool {
		var err error
		if snapshot, err = c.Keys(t.Context(), "{pushguard}:snap:*").Result(); err != nil {
			t.Fatal(err)
		}
		chunks, err := c.HGet(t.Context(), "{pushguard}:head", "chunks").Int()
		return err == nil && chunks == 1 && len(snapshot) == 1
	}
	for n := 0; !written(); n++ {
		g.do(t, fmt.Sprint("before ", n))
	}
	g.stop()
	if err := g.log.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.SnapshotAfter = 0
	g = join(t, cfg)
	const left = 10 * time.Minute
	for _, key := range snapshot {
		if err := c.PExpire(t.Context(), key, left).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 100 {
		g.do(t, fmt.Sprint("after ", n))
	}
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if ttl, err := c.PTTL(t.Context(), key).Result(); err != nil || ttl < 24*time.Hour {
			t.Errorf("%s lives for %v more, %v", key, ttl, err)
		}
	}
	if !slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, ":snap:") }) {
		t.Errorf("%q: there is no snapshot any more", keys)
	}
}

// TestSnapshotFails has a Redis take the first key of a snapshot and not the second: the
// guards go on, nothing is left of it, and the one that leads tries again now and then,
// not with every round trip.
func TestSnapshotFails(t *testing.T) {
	r := redistest.Start(t)
	var log said
	g := join(t, shared.Config{URL: r.URL(), SnapshotAfter: 1 << 20, Lease: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := client(t, r)
	if err := c.Do(t.Context(), "ACL", "SETUSER", "default", "-set", "(+set ~*:0)").Err(); err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		g.do(t, strings.Repeat(fmt.Sprint(n%10), 100_000))
	}
	if n := log.count("was not written down"); n != 1 {
		t.Errorf("it was tried, and said, %d times", n)
	}
	if keys, err := c.Keys(t.Context(), "{pushguard}:snap:*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("%q is left, %v", keys, err)
	}
}

// TestShortCommandsTakeNoMore has a guard say little, over and over, as one without pushes
// does: what stands in the Redis is bounded by what that takes there, not by what was said.
func TestShortCommandsTakeNoMore(t *testing.T) {
	r := redistest.Start(t)
	const after = 100_000
	g := join(t, shared.Config{URL: r.URL(), SnapshotAfter: after, Lease: time.Hour})
	c := client(t, r)
	for n := range 6000 {
		g.do(t, "x")
		if n%100 != 0 {
			continue
		}
		if size, err := c.MemoryUsage(t.Context(), "{pushguard}:log", 0).Result(); err != nil || size > 2*after+20_000 {
			t.Fatalf("after %d commands they take %d bytes, with a snapshot each %d, %v", n, size, after, err)
		}
	}
}

// TestJoinBesideSnapshots has guards join while one snapshot takes the place of another,
// over and over: each finds one that is whole.
func TestJoinBesideSnapshots(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL(), SnapshotAfter: 1, Lease: time.Hour}
	g := join(t, cfg)
	busy, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-busy:
				return
			default:
				_ = g.door.Do(t.Context(), []byte("more"), nil)
			}
		}
	}()
	for range 100 {
		late := join(t, cfg)
		late.stop()
		if err := late.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(busy)
	<-ended
}

// TestSaidOnceThroughSnapshots has what a guard said take its place and the answer get lost,
// and the guard stay away until it is thought to have left and its fleet has gone on: with
// one snapshot since, with so many that it begins with one itself, or in another epoch. What
// it said is there once.
func TestSaidOnceThroughSnapshots(t *testing.T) {
	for name, pass := range map[string]func(t *testing.T, g *guard, c *redis.Client){
		"one snapshot": func(t *testing.T, g *guard, c *redis.Client) { snapshots(t, g, c, 1) },
		"several":      func(t *testing.T, g *guard, c *redis.Client) { snapshots(t, g, c, 3) },
		"an epoch": func(t *testing.T, g *guard, c *redis.Client) {
			if err := c.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it has begun one", func() bool { return g.epochs() > 0 && !g.log.Away() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Start(t)
			c, link := client(t, r), r.NewLink(t)
			cfg := shared.Config{URL: r.URL(), Lease: 4 * time.Second, SnapshotAfter: 1 << 20}
			stays := join(t, cfg)
			cfg.URL, cfg.Timeout = link.URL(), 2*time.Second
			away := join(t, cfg)
			away.do(t, "before")
			link.MuteAfter("once")
			away.door.Post([]byte("once"), nil)
			eventually(t, "it is said", func() bool { return slices.Contains(stays.sync(t), "once") })
			link.Cut()
			eventually(t, "it is thought to have left", func() bool { stays.sync(t); return stays.log.Guards() == 1 })
			pass(t, stays, c)
			link.Mend()
			eventually(t, "it is back", func() bool { return !away.log.Away() })
			for away.door.Do(t.Context(), []byte("after"), nil) != nil {
				time.Sleep(10 * time.Millisecond)
			}
			for _, g := range []*guard{stays, away} {
				n := 0
				for _, said := range g.sync(t) {
					if said == "once" {
						n++
					}
				}
				if n != 1 {
					t.Errorf("it is there %d times", n)
				}
			}
		})
	}
}

// snapshots has a guard say so much that it writes so many.
func snapshots(t *testing.T, g *guard, c *redis.Client, n int) {
	t.Helper()
	for range n {
		before := c.HGet(t.Context(), "{pushguard}:head", "snap").Val()
		for c.HGet(t.Context(), "{pushguard}:head", "snap").Val() == before {
			g.do(t, strings.Repeat("much ", 50_000))
		}
	}
}

// TestSnapshotIsWrittenAgain has a Redis lose the snapshot alone, as one that evicts: the
// guard that leads writes it again before there is anything new to write down, nobody who
// is there notices, and who comes later knows all.
func TestSnapshotIsWrittenAgain(t *testing.T) {
	r := redistest.Start(t)
	c := client(t, r)
	cfg := shared.Config{URL: r.URL(), Lease: 3 * time.Second}
	a, b := join(t, cfg), join(t, cfg)
	a.do(t, "one")
	b.do(t, "two")
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	epochs := func() float64 { return a.epochs() + b.epochs() }
	eventually(t, "both are back", func() bool { return epochs() > 0 && !a.log.Away() && !b.log.Away() })
	snapshot := func() []string {
		keys, err := c.Keys(t.Context(), "{pushguard}:snap:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	before := epochs()
	if n, err := c.Del(t.Context(), snapshot()...).Result(); err != nil || n != 1 {
		t.Fatalf("%d keys were a snapshot, %v", n, err)
	}
	eventually(t, "it is written again", func() bool { return len(snapshot()) == 1 })
	if epochs() != before {
		t.Error("the guards gave the Redis all that they know")
	}
	a.do(t, "three")
	if got := join(t, cfg).sync(t); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("who comes later knows %q", got)
	}
}

// TestSnapshotsThatNobodyReadsGo has a Redis forget time and again, and then refuse half of
// what publishes a snapshot: no more of them stay than the one that guards read, and one
// that is about to be.
func TestSnapshotsThatNobodyReadsGo(t *testing.T) {
	r := redistest.Start(t)
	c := client(t, r)
	cfg := shared.Config{URL: r.URL(), SnapshotAfter: 500, Lease: 3 * time.Second}
	a, b := join(t, cfg), join(t, cfg)
	snapshots := func() int {
		keys, err := c.Keys(t.Context(), "{pushguard}:snap:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	for n := range 3 {
		a.do(t, "some")
		before := a.epochs() + b.epochs()
		if err := c.Del(t.Context(), "{pushguard}:"+[]string{"log", "head", "guards"}[n]).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both are back", func() bool { return a.epochs()+b.epochs() > before && !a.log.Away() && !b.log.Away() })
	}
	eventually(t, "one is left", func() bool { return snapshots() == 1 })
	if err := c.Do(t.Context(), "ACL", "SETUSER", "default", "-xtrim").Err(); err != nil {
		t.Fatal(err)
	}
	head := func() string { return c.HGet(t.Context(), "{pushguard}:head", "snap").Val() }
	for range 3 {
		before := head()
		eventually(t, "another is written", func() bool {
			a.do(t, strings.Repeat("x", 100))
			return head() != before
		})
	}
	if n := snapshots(); n > 2 {
		t.Errorf("there are %d snapshots", n)
	}
	if got := join(t, cfg).sync(t); len(got) != len(a.sync(t)) {
		t.Errorf("who comes later knows %d, not %d", len(got), len(a.sync(t)))
	}
}

// TestSnapshotGone has somebody delete a snapshot: who comes then is told what it is.
func TestSnapshotGone(t *testing.T) {
	r := redistest.Start(t)
	c := client(t, r)
	g := join(t, shared.Config{URL: r.URL(), SnapshotAfter: 500, Lease: time.Hour})
	var keys []string
	for n := 0; len(keys) == 0; n++ {
		g.do(t, fmt.Sprint("command ", n))
		keys, _ = c.Keys(t.Context(), "{pushguard}:snap:*").Result()
	}
	g.stop()
	if err := c.HSet(t.Context(), "{pushguard}:head", "chunks", 1000).Err(); err != nil {
		t.Fatal(err)
	}
	late, err := shared.Open(t.Context(), shared.Config{URL: r.URL(), Timeout: patience, Election: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	late.Room(&list{})
	if err := late.Join(t.Context(), func() {}); err == nil || !strings.Contains(err.Error(), "maxmemory-policy") {
		t.Errorf("Join: %v", err)
	}
	_ = late.Close() // it has no place from which it could say farewell
}
