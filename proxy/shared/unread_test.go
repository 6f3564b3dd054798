package shared_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// unread is how often a guard could not read something, by reason.
func (g *guard) unread(t *testing.T) (damaged, unknown int) {
	t.Helper()
	for _, c := range g.log.Collectors() {
		if v, ok := c.(*prometheus.CounterVec); ok {
			return int(testutil.ToFloat64(v.WithLabelValues("damaged"))), int(testutil.ToFloat64(v.WithLabelValues("unknown")))
		}
	}
	t.Fatal("nothing counts what cannot be read")
	return 0, 0
}

func (g *guard) wantUnread(t *testing.T, damaged, unknown int) {
	t.Helper()
	if d, u := g.unread(t); d != damaged || u != unknown {
		t.Errorf("%d were damaged and %d unknown, want %d and %d", d, u, damaged, unknown)
	}
}

// client speaks to a Redis as somebody who is no guard.
func client(t *testing.T, r *redistest.Redis) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(options)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// write puts a batch into the order in the name of a guard, by the script that guards
// use.
func write(t *testing.T, c *redis.Client, name string, body string) {
	t.Helper()
	call(t, c, "seq", "mark", name, body)
}

// call calls that script for a guard that has come to a place, and returns what it says.
func call(t *testing.T, c *redis.Client, place, mark, name, body string) []any {
	t.Helper()
	script, err := os.ReadFile("append.lua")
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"{pushguard}:head", "{pushguard}:log", "{pushguard}:guards"}
	head, err := c.HMGet(t.Context(), keys[0], "epoch", place, mark).Result()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Eval(t.Context(), string(script), keys, head[0], head[1], head[2], name, 1, body, 500, 60_000, 1<<20).Slice()
	if err != nil || got[0] != "ok" {
		t.Fatalf("%v, %v", got, err)
	}
	return got
}

// said is a log that a test reads.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, string(p))
	return len(p), nil
}

func (s *said) count(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

// TestDamagedStands has a Redis with entries that no guard wrote so: all guards pass over
// them, also one that comes later, say so, but once in a flood, and go on as one.
func TestDamagedStands(t *testing.T) {
	r := redistest.Start(t)
	var log said
	cfg := shared.Config{URL: r.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil)), Lease: time.Hour}
	a, b := join(t, cfg), join(t, shared.Config{URL: r.URL(), Lease: time.Hour})
	a.do(t, "before")
	c := client(t, r)
	for i, body := range []string{"garbage", "\x00", "\x01\x02\x03\x04\x01a\x07rest", strings.Repeat("\xff", 3000)} {
		write(t, c, string(rune('p'+i)), body)
	}
	b.do(t, "after")
	late := join(t, shared.Config{URL: r.URL(), Lease: time.Hour})
	for _, g := range []*guard{a, b, late} {
		if diff := cmp.Diff([]string{"before", "after"}, g.sync(t)); diff != "" {
			t.Error(diff)
		}
		g.wantUnread(t, 4, 0)
	}
	if n := log.count("otherwise than it was written"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}

// TestDamagedIsSaidAgain has what a guard writes be damaged on its way: no guard
// carries that out, and then all do what it said, once.
func TestDamagedIsSaidAgain(t *testing.T) {
	r := redistest.Start(t)
	link := r.NewLink(t)
	a, b := join(t, shared.Config{URL: link.URL(), Lease: time.Hour}), join(t, shared.Config{URL: r.URL(), Lease: time.Hour})
	link.Change("say this", "say that", 2)
	a.do(t, "say this")
	b.do(t, "and then")
	for _, g := range []*guard{a, b} {
		if diff := cmp.Diff([]string{"say this", "and then"}, g.sync(t)); diff != "" {
			t.Error(diff)
		}
		g.wantUnread(t, 2, 0)
	}
	// A Redis that has it otherwise for good is one that does not answer.
	link.Change("say more", "say less", 1_000_000)
	if err := a.door.Do(t.Context(), []byte("say more"), nil); !errors.Is(err, shared.ErrAway) {
		t.Errorf("Do of what is always damaged: %v", err)
	}
	link.Change("", "", 0)
	eventually(t, "it is back", func() bool { return !a.log.Away() })
	if got := a.sync(t); !slices.Equal(got, []string{"say this", "and then", "say more"}) {
		t.Errorf("%q", got)
	}
}

// TestUnknownOfOneVersion has a guard say what its version cannot read: it is told so,
// all pass over it alike, and go on.
func TestUnknownOfOneVersion(t *testing.T) {
	r := redistest.Start(t)
	a, b := join(t, shared.Config{URL: r.URL()}), join(t, shared.Config{URL: r.URL()})
	a.do(t, "before")
	if err := a.door.Do(t.Context(), []byte("?"), nil); !errors.Is(err, errUnread) {
		t.Errorf("Do of what nobody can read: %v", err)
	}
	if _, err := a.door.Keep(t.Context(), []byte("?"), nil); !errors.Is(err, errUnread) {
		t.Errorf("Keep of what nobody can read: %v", err)
	}
	b.do(t, "after")
	for _, g := range []*guard{a, b} {
		if got := g.sync(t); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("%q", got)
		}
		g.wantUnread(t, 0, 2)
	}
}

// versioned is a guard of a version, with the end of its part.
func versioned(t *testing.T, r *redistest.Redis, version string, rooms int) (g *guard, ended chan error) {
	t.Helper()
	log, err := shared.Open(t.Context(), shared.Config{URL: r.URL(), Version: version, Timeout: patience, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	g, ended = &guard{log: log}, make(chan error, 1)
	for range rooms {
		g.door = log.Room(g)
	}
	ctx, cancel := context.WithCancel(context.Background())
	joined := make(chan struct{})
	go func() { ended <- log.Join(ctx, func() { close(joined) }) }()
	t.Cleanup(cancel)
	<-joined
	return g, ended
}

func wantVersionFault(t *testing.T, ended chan error, want string) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, shared.ErrVersion) || !strings.Contains(err.Error(), want) {
			t.Errorf("its part ended with %v, want %q", err, want)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it still takes part")
	}
}

func (g *guard) versions() float64 {
	for _, c := range g.log.Collectors() {
		if f, ok := c.(prometheus.GaugeFunc); ok && strings.Contains(f.Desc().String(), "pushguard_shared_versions") {
			return testutil.ToFloat64(f)
		}
	}
	return -1
}

// TestHistoryIsNoNews has a guard come when others have left, of which one was of another
// version: its log names none of them, and that of another version which is there, once.
func TestHistoryIsNoNews(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL(), Version: "1.0", Lease: time.Hour}
	stays := join(t, cfg)
	for _, version := range []string{"0.9", "1.0"} {
		cfg.Version = version
		gone := join(t, cfg)
		gone.do(t, version)
		gone.stop()
		if err := gone.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they have left", func() bool { stays.sync(t); return stays.log.Guards() == 1 })
	var log said
	cfg.Version, cfg.Logger = "1.1", slog.New(slog.NewTextHandler(&log, nil))
	late := join(t, cfg)
	late.sync(t)
	if left, other := log.count("has left the fleet"), log.count("is of another version"); left != 0 || other != 1 {
		t.Errorf("%d have left and %d are of another version: %q", left, other, log.lines)
	}
	stays.stop()
	if err := stays.log.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is alone", func() bool { late.sync(t); return late.log.Guards() == 1 })
	if n := log.count("has left the fleet"); n != 1 {
		t.Errorf("%d have left: %q", n, log.lines)
	}
}

// TestNewerVersion upgrades guards one after another: both versions share what both
// know, and once the newer one says what the older cannot read, the older one's part
// ends, also that of one that comes later, and the newer goes on with all there is.
func TestNewerVersion(t *testing.T) {
	r := redistest.Start(t)
	older, ended := versioned(t, r, "1.0", 1)
	newer, _ := versioned(t, r, "1.1", 2)
	older.do(t, "both")
	eventually(t, "each knows of two versions", func() bool { return older.versions() == 2 && newer.versions() == 2 })
	newer.do(t, "news")
	wantVersionFault(t, ended, `of version "1.1", says what this one, of version "1.0", cannot read`)
	if err := older.door.Do(t.Context(), []byte("more"), nil); err == nil {
		t.Error("a guard whose part has ended was answered")
	}
	if err := older.log.Close(); err != nil {
		t.Error(err)
	}
	newer.do(t, "on")
	if got := newer.sync(t); !slices.Equal(got, []string{"both", "news", "on"}) {
		t.Errorf("%q", got)
	}
	log, err := shared.Open(t.Context(), shared.Config{URL: r.URL(), Version: "1.0", Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	log.Room(&list{})
	again := make(chan error, 1)
	go func() { again <- log.Join(t.Context(), func() {}) }()
	wantVersionFault(t, again, "cannot read")
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}

// TestNewerFormat has a Redis with what guards of another format share: no guard joins,
// and one that was there before takes part no longer.
func TestNewerFormat(t *testing.T) {
	r := redistest.Start(t)
	g, ended := versioned(t, r, "1.0", 1)
	g.do(t, "before")
	c := client(t, r)
	if err := c.HSet(t.Context(), "{pushguard}:head", "format", "newer", "epoch", "another").Err(); err != nil {
		t.Fatal(err)
	}
	wantVersionFault(t, ended, `format "newer"`)
	_, err := shared.Open(t.Context(), shared.Config{URL: r.URL(), Timeout: patience})
	if !errors.Is(err, shared.ErrVersion) {
		t.Errorf("Open: %v", err)
	}
}

// TestStrangeEntry has somebody write to the stream of the guards what is no entry at
// all. They go on once the keys are deleted, with all they know.
func TestStrangeEntry(t *testing.T) {
	r := redistest.Start(t)
	a, b := join(t, shared.Config{URL: r.URL()}), join(t, shared.Config{URL: r.URL()})
	a.do(t, "before")
	c := client(t, r)
	if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "{pushguard}:log", ID: "0-1000000000000", Values: []any{"any", "thing"}}).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both notice", func() bool { return a.log.Away() && b.log.Away() })
	if err := c.Del(t.Context(), "{pushguard}:head", "{pushguard}:log", "{pushguard}:guards").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are back", func() bool { return !a.log.Away() && !b.log.Away() })
	b.do(t, "after")
	if got := a.sync(t); !slices.Equal(got, []string{"before", "after"}) {
		t.Errorf("%q", got)
	}
}
