package shared_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

var errUnread = errors.New("nobody can read that")

// list is a room that keeps what it is told, in order.
type list struct {
	mu   sync.Mutex
	said []string
	left []shared.Guard
}

// Apply cannot read what begins with a question mark.
func (l *list) Apply(e shared.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(string(e.Body), "?") {
		return errUnread
	}
	l.said = append(l.said, string(e.Body))
	if own, ok := e.Own.(*int); ok {
		*own = len(l.said)
	}
	return nil
}

func (l *list) Leave(g shared.Guard, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = append(l.left, g)
}

func (l *list) Save(dst []byte) []byte { return append(dst, strings.Join(l.said, "\n")...) }

func (l *list) Restore(saved []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = nil
	if len(saved) > 0 {
		l.said = strings.Split(string(saved), "\n")
	}
	return nil
}

func (l *list) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}

// guard is one that takes part.
type guard struct {
	list
	log  *shared.Log
	door *shared.Door
	stop func()
}

// patience is how long a busy machine may take to answer: nothing is too late.
const patience = 30 * time.Second

func join(t *testing.T, cfg shared.Config) *guard {
	t.Helper()
	cfg.Timeout, cfg.Election = cmp.Or(cfg.Timeout, patience), cmp.Or(cfg.Election, time.Second)
	log, err := shared.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{log: log}
	g.door = log.Room(g)
	g.stop = redistest.Join(t, log)
	return g
}

func (g *guard) do(t *testing.T, body string) int {
	t.Helper()
	at := 0
	if err := g.door.Do(t.Context(), []byte(body), &at); err != nil {
		t.Fatalf("Do(%q): %v", body, err)
	}
	return at
}

func (g *guard) sync(t *testing.T) []string {
	t.Helper()
	if err := g.door.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g.all()
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to be that " + what)
		}
	}
}

// TestOneOrder has three guards say things at once: all hear the same in the same
// order, each says its own in turn, and who asks knows its place.
func TestOneOrder(t *testing.T) {
	redis := redistest.Start(t)
	var guards []*guard
	for range 3 {
		guards = append(guards, join(t, shared.Config{URL: redis.URL(), SnapshotAfter: 500}))
	}
	const each = 200
	var all sync.WaitGroup
	for i, g := range guards {
		all.Go(func() {
			for n := range each {
				body := fmt.Sprintf("%d says %03d", i, n)
				at := 0
				if err := g.door.Do(t.Context(), []byte(body), &at); err != nil {
					t.Error(err)
				}
				if said := g.all(); at == 0 || said[at-1] != body {
					t.Errorf("%q is said to be at %d of %d", body, at, len(said))
				}
			}
		})
	}
	all.Wait()
	want := guards[0].sync(t)
	if len(want) != 3*each {
		t.Fatalf("%d commands, want %d", len(want), 3*each)
	}
	for i, g := range guards {
		if got := g.sync(t); !slices.Equal(got, want) {
			t.Errorf("guard %d heard another order", i)
		}
		mine := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !strings.HasPrefix(s, fmt.Sprint(i)) })
		if len(mine) != each || !slices.IsSorted(mine) {
			t.Errorf("guard %d: %d of its own, in order: %v", i, len(mine), slices.IsSorted(mine))
		}
	}
	// Who comes later begins with a snapshot, of which there were some at this size.
	if got := join(t, shared.Config{URL: redis.URL()}).sync(t); !slices.Equal(got, want) {
		t.Error("a guard that came later knows something else")
	}
}

// TestGuardLeaves has one guard fall silent and another say farewell: the one that
// stays hears of both, and leads.
func TestGuardLeaves(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Lease: 3 * time.Second}
	silent, polite, stays := join(t, cfg), join(t, cfg), join(t, cfg)
	if !silent.log.Leads() || stays.log.Leads() || stays.log.Guards() != 3 {
		t.Fatalf("of %d the first leads: %v, the last: %v", stays.log.Guards(), silent.log.Leads(), stays.log.Leads())
	}
	silent.stop()
	eventually(t, "two are left", func() bool { return stays.log.Guards() == 2 && polite.log.Leads() })
	polite.stop()
	if err := polite.log.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "one is left", func() bool { return stays.log.Guards() == 1 && stays.log.Leads() })
	stays.mu.Lock()
	defer stays.mu.Unlock()
	if want := []shared.Guard{silent.door.Guard(), polite.door.Guard()}; !slices.Equal(stays.left, want) {
		t.Errorf("%v left, want %v", stays.left, want)
	}
}

// TestMuchIsToldInParts has guards say much at once, as when they hand in what they did:
// one reply of the Redis has as much of it as a slow network brings in the time of a round
// trip, and who comes later knows all.
func TestMuchIsToldInParts(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL(), SnapshotAfter: 1 << 30, Lease: time.Hour}
	g := join(t, cfg)
	for n := range 20 {
		g.do(t, strings.Repeat(fmt.Sprint(n%10), 1_000_000))
	}
	told := call(t, client(t, r), "first", "firstmark", "reader", "")
	bytes := 0
	for _, one := range told[2].([]any) {
		bytes += len(one.([]any)[1].([]any)[5].(string))
	}
	if bytes < 1<<20 || bytes > 5<<20 {
		t.Errorf("one reply has %d bytes of commands", bytes)
	}
	want := g.sync(t)
	if got := join(t, cfg).sync(t); len(got) != 20 || !slices.Equal(got, want) {
		t.Errorf("who comes later knows %d commands", len(got))
	}
}

// TestClockOfRedisIsBehind has the order be an hour ahead of the clock of its Redis, as when
// that was set back: its time goes on nonetheless, and a guard that falls silent leaves.
func TestClockOfRedisIsBehind(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL(), Lease: 3 * time.Second}
	silent, stays := join(t, cfg), join(t, cfg)
	before := stays.log.Now()
	r.Forward(time.Hour)
	stays.do(t, "an hour later")
	if got := stays.log.Now().Sub(before); got < time.Hour || got > time.Hour+patience {
		t.Errorf("the order went on by %v", got)
	}
	if got := stays.door.Ahead(time.Hour); got < time.Hour-patience || got > time.Hour+patience {
		t.Errorf("that is said to be ahead by %v", got)
	}
	eventually(t, "both are heard of again", func() bool { stays.sync(t); return stays.log.Guards() == 2 })
	silent.stop()
	eventually(t, "the other one leads", func() bool { return stays.log.Guards() == 1 && stays.log.Leads() })
	last := stays.log.Now()
	stays.do(t, "more")
	if now := stays.log.Now(); now.Before(last) || now.Sub(before) > time.Hour+2*patience {
		t.Errorf("the time of the order is %v, after %v", now, last)
	}
}

// TestRedisForgets kills the Redis, which keeps nothing, under guards that know
// something: each goes on with all that was ever acknowledged.
func TestRedisForgets(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	a, b := join(t, cfg), join(t, cfg)
	for n := range 50 {
		a.do(t, fmt.Sprint("a", n))
		b.do(t, fmt.Sprint("b", n))
	}
	secret := a.log.Secret()
	redis.Kill()
	eventually(t, "both notice", func() bool { return a.log.Away() && b.log.Away() })
	if err := a.door.Do(t.Context(), []byte("lost"), nil); !errors.Is(err, shared.ErrUnsent) {
		t.Errorf("Do without a Redis: %v", err)
	}
	a.door.Post([]byte("posted"), nil)
	redis.Restart()
	eventually(t, "both are back", func() bool { return !a.log.Away() && !b.log.Away() })
	a.do(t, "a again")
	b.do(t, "b again")
	want := a.sync(t)
	if got := b.sync(t); !slices.Equal(got, want) {
		t.Errorf("they know other things: %d and %d", len(got), len(want))
	}
	if len(want) != 103 || !slices.Contains(want, "posted") || slices.Contains(want, "lost") {
		t.Errorf("%d are known, %q", len(want), want[max(0, len(want)-5):])
	}
	late := join(t, cfg)
	if got := late.sync(t); !slices.Equal(got, want) || late.log.Secret() != secret {
		t.Error("who comes later knows something else")
	}
}

// TestRedisPauses has the Redis hang: nobody waits longer than its time, and what
// was sent has its place once. What had to wait behind a round trip that hung was not
// sent, and has none: then it is tried again.
func TestRedisPauses(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Timeout: 2 * time.Second}
	a, b := join(t, cfg), join(t, cfg)
	for n := range 20 {
		meanwhile, after := fmt.Sprint("meanwhile ", n), fmt.Sprint("after ", n)
		redis.Pause()
		if err := a.door.Do(t.Context(), []byte(meanwhile), nil); !errors.Is(err, shared.ErrAway) {
			t.Errorf("Do with a Redis that hangs: %v", err)
		}
		redis.Resume()
		b.comesTo(t, after)
		a.comesTo(t, after+" of a")
		for _, g := range []*guard{a, b} {
			eventually(t, "it knows all", func() bool { return g.door.Sync(t.Context()) == nil })
		}
		said := b.all()
		if got := a.all(); !slices.Equal(got, said) {
			t.Fatalf("they know other things: %q and %q", got, said)
		}
		switch count(said, meanwhile) {
		case 0:
		case 1:
			return
		default:
			t.Fatalf("%q", said)
		}
	}
	t.Fatal("none was sent")
}

// comesTo does something as soon as the Redis answers.
func (g *guard) comesTo(t *testing.T, body string) {
	t.Helper()
	eventually(t, body+" is done", func() bool { return g.door.Do(t.Context(), []byte(body), nil) == nil })
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// TestOpenRefuses is for what cannot be a fleet.
func TestOpenRefuses(t *testing.T) {
	redis := redistest.Start(t)
	for _, tc := range []struct{ name, url, want, not string }{
		{"no URL of a Redis", "http://user:hush@localhost", "want such as redis://", "hush"},
		{"nobody there", "redis://127.0.0.1:1", "does not answer", "hush"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := shared.Open(t.Context(), shared.Config{URL: tc.url})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), tc.not) {
				t.Errorf("Open: %v", err)
			}
		})
	}
	_ = redis
}
