package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// rhythmOf changes a guard's rhythm, whose upstream tells the times of pushes.
func rhythmOf(r proxy.Rhythm) func(*proxy.Config) {
	return func(c *proxy.Config) {
		timed(c)
		c.Rhythm = r
	}
}

// TestRunEnds: once Run has returned, nothing of it goes on, wherever its end
// found it.
func TestRunEnds(t *testing.T) {
	upstream := gatewaytest.Start(t)
	before := goleak.IgnoreCurrent()
	g := newLiving(t, upstream, staleHour, func(c *proxy.Config) {
		c.Rhythm = proxy.Rhythm{Watch: time.Millisecond, Resync: time.Millisecond, Sweep: time.Millisecond, SweepRate: 100}
	})
	for i := range 30 {
		g.inThePast(2*time.Hour, func() { g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/a/run/%d", i), "rows 1\n") })
	}
	for _, alive := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), alive)
		if err := g.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", alive, err)
		}
		cancel()
	}
	g.close()
	http.DefaultClient.CloseIdleConnections()
	leaktest.None(t, before)
}

// TestRunWithoutRhythm only lists the groups, and waits.
func TestRunWithoutRhythm(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	g := newLiving(t, upstream, staleHour, rhythmOf(proxy.Rhythm{}))
	remote := newLiving(t, upstream, staleHour, nil)
	remote.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	g.run(t)
	eventually(t, func() error {
		if n := g.own(t, "pushguard_groups"); n != 1 {
			return fmt.Errorf("%v groups are known", n)
		}
		return nil
	})
	if at := g.own(t, lastSweep); at != 0 {
		t.Errorf("a sweep at %v", at)
	}
}

// TestShutdownInASweep: what was deleted is seen to be gone and told of, once;
// what was not stays, untold.
func TestShutdownInASweep(t *testing.T) {
	t.Parallel()
	const many = 60
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	g := newLiving(t, front.url, staleHour, func(c *proxy.Config) { c.Rhythm.SweepRate = 5 })
	g.inThePast(2*time.Hour, func() {
		for i := range many {
			g.push(t, 200, http.MethodPut, fmt.Sprintf("/metrics/job/a/run/%d", i), "rows 1\n")
		}
	})
	front.written()
	stop := g.run(t)
	eventually(t, func() error {
		if n := len(keysHeld(t, upstream)); n > many-5 {
			return fmt.Errorf("%d groups left", n)
		}
		return nil
	})
	stop()
	left := len(keysHeld(t, upstream))
	if left == 0 || left > many-5 {
		t.Fatalf("%d groups left: the end was not in the middle", left)
	}
	told := map[string]int{}
	for _, r := range g.records(t) {
		if r["outcome"] != "removed" {
			t.Errorf("record %v", r)
		}
		told[fmt.Sprint(r["group"])]++
	}
	if len(told) != many-left {
		t.Errorf("%d groups told of, %d are gone", len(told), many-left)
	}
	for group, times := range told {
		if times != 1 {
			t.Errorf("%s is told of %d times", group, times)
		}
	}
	if n, at := g.removed(t, "a", "stale", "deleted"), g.own(t, lastSweep); n != float64(many-left) || at != 0 {
		t.Errorf("%v groups counted as deleted, of %d; last success %v", n, many-left, at)
	}
	if n := len(front.written()); n < many-left {
		t.Errorf("%d requests deleted %d groups", n, many-left)
	}
}

// TestReadyOnceListed: until the upstream has said what it holds, the guard is not
// ready, and no push waits for longer than it may.
func TestReadyOnceListed(t *testing.T) {
	t.Parallel()
	upstream := gatewaytest.Start(t)
	front := newFront(t, upstream)
	listed := make(chan struct{})
	release := sync.OnceFunc(func() { close(listed) })
	t.Cleanup(release)
	front.set(func() {
		front.listing = func(body []byte) []byte {
			<-listed
			return body
		}
	})
	g := newLiving(t, front.url, staleHour, func(c *proxy.Config) { c.GroupWait = 50 * time.Millisecond })
	g.run(t)
	ready := func() answer { return g.do(http.MethodGet, "/-/ready", "") }
	if a := ready(); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("Server") != "pushguard/test" {
		t.Errorf("ready while the groups are listed: %d %v %q", a.Status, a.Header, a.Body)
	}
	var pushes sync.WaitGroup
	for range 8 {
		pushes.Go(func() {
			if a := g.do(http.MethodPut, "/metrics/job/a", "rows 1\n"); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("a push while the groups are listed: %d %s", a.Status, a.Body)
			}
		})
	}
	pushes.Wait()
	if keys := keysHeld(t, upstream); len(keys) > 0 {
		t.Errorf("a push went on to %v", keys)
	}
	if a := ready(); a.Status != http.StatusServiceUnavailable {
		t.Errorf("ready after pushes that gave up: %d", a.Status)
	}
	release()
	eventually(t, func() error {
		if a := ready(); a.Status != http.StatusOK || a.Header.Get("Server") != "pushguard/test" {
			return fmt.Errorf("ready once they are listed: %d %s", a.Status, a.Body)
		}
		return nil
	})
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
}

// unknown waits until the guard knows none of the groups any more, without any
// push.
func (l *living) unknown(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		if n := l.own(t, "pushguard_groups"); n != 0 {
			return fmt.Errorf("%v groups are still known", n)
		}
		return nil
	})
}

// restarting returns a front and what has it stand before another, empty
// Pushgateway, as after a restart. They started a second apart, which is what a
// Pushgateway tells.
func restarting(t *testing.T) (front *front, restart func()) {
	t.Helper()
	first := gatewaytest.Start(t)
	time.Sleep(1100 * time.Millisecond)
	second := gatewaytest.Start(t)
	front = newFront(t, first)
	return front, func() { front.set(func() { front.target = second }) }
}

// TestRestartOfTheUpstream: what an upstream forgets is forgotten, what was new is
// remembered, and a listing that fails is tried again though nobody pushes.
func TestRestartOfTheUpstream(t *testing.T) {
	t.Parallel()
	front, restart := restarting(t)
	g := newLiving(t, front.url, "version: v1\ndefault: {mode: enforce, budget: {new_series_per_hour: 8}}\n", rhythmOf(proxy.Rhythm{Watch: 10 * time.Millisecond}))
	g.run(t)
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/1", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\n")
	var asked, failures atomic.Int32
	front.set(func() {
		front.deny = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/api/v1/status" {
				asked.Add(1)
			}
			if r.URL.Path != "/api/v1/metrics" || failures.Add(1) > 2 {
				return false
			}
			http.Error(w, "not yet", http.StatusInternalServerError)
			return true
		}
	})
	eventually(t, func() error { // until the guard is past its start
		if asked.Load() < 3 {
			return errors.New("it is not asked when it started")
		}
		return nil
	})
	failures.Store(0)
	restart()
	g.unknown(t)
	if n := failures.Load(); n < 3 {
		t.Errorf("%d listings", n)
	}
	// Four of the eight are spent: as many come again, and not one more.
	g.push(t, 200, http.MethodPut, "/metrics/job/a/run/1", "rows{t=\"a\"} 1\nrows{t=\"b\"} 1\n")
	a := g.push(t, 422, http.MethodPut, "/metrics/job/a/run/2", "rows 1\n")
	if !strings.HasPrefix(a.Body, "new_series_per_hour: ") {
		t.Errorf("refused: %q", a.Body)
	}
}

// silent is an upstream whose listings say nothing of any group, so many times.
type silent struct {
	proxy.Upstream
	times atomic.Int32
	asked atomic.Int32 // when it started
}

func (s *silent) Started(ctx context.Context) (time.Time, error) {
	defer s.asked.Add(1)
	return s.Upstream.Started(ctx)
}

func (s *silent) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	groups, err := s.Upstream.Groups(ctx, seed)
	if err == nil && s.times.Add(-1) >= 0 {
		return groups, &gateway.Partial{Unknown: func(wire.Key) bool { return true }}
	}
	return groups, err
}

// TestListingsThatSayNothing of a group, as while a push of it waits in a spool, are
// repeated until one does, though nobody pushes.
func TestListingsThatSayNothing(t *testing.T) {
	t.Parallel()
	front, restart := restarting(t)
	behind := &silent{}
	g := newLiving(t, front.url, "version: v1\ndefault: {mode: enforce}\n", func(c *proxy.Config) {
		c.Rhythm = proxy.Rhythm{Watch: 10 * time.Millisecond}
		behind.Upstream = c.Upstream.(untimed).Upstream
		c.Upstream = behind
	})
	g.run(t)
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	eventually(t, func() error { // until the guard is past its start
		if behind.asked.Load() < 3 {
			return errors.New("it is not asked when it started")
		}
		return nil
	})
	behind.times.Store(2)
	restart()
	g.unknown(t)
	if n := behind.times.Load(); n >= 0 {
		t.Errorf("%d listings that say nothing are left", n+1)
	}
}

// TestRestartDuringTheFirstListing is one between the questions of what the
// upstream holds and since when.
func TestRestartDuringTheFirstListing(t *testing.T) {
	t.Parallel()
	front, restart := restarting(t)
	seed := newLiving(t, front.url, staleHour, nil)
	seed.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	var listings atomic.Int32
	front.set(func() {
		front.listing = func(body []byte) []byte {
			if listings.Add(1) == 1 {
				restart()
			}
			return body
		}
	})
	g := newLiving(t, front.url, staleHour, rhythmOf(proxy.Rhythm{Watch: 10 * time.Millisecond}))
	g.run(t)
	eventually(t, func() error {
		if listings.Load() < 2 {
			return errors.New("it is not listed again")
		}
		return nil
	})
	g.unknown(t)
}

// TestRestartDuringAListing: a listing that was begun before does not stand for
// one that is asked for since.
func TestRestartDuringAListing(t *testing.T) {
	t.Parallel()
	front, restart := restarting(t)
	g := newLiving(t, front.url, staleHour, rhythmOf(proxy.Rhythm{Watch: 10 * time.Millisecond}))
	g.run(t)
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "rows 1\n")
	begun, answered := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(answered) })
	t.Cleanup(answer)
	var listings, asked atomic.Int32
	var silent atomic.Bool
	front.set(func() {
		front.deny = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/api/v1/status" {
				return false
			}
			defer asked.Add(1)
			if !silent.Load() {
				return false
			}
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return true
		}
	})
	askedAgain := func() {
		t.Helper()
		now := asked.Load()
		eventually(t, func() error {
			if asked.Load() == now {
				return errors.New("it is not asked when it started")
			}
			return nil
		})
	}
	for range 3 { // until the guard is past its start, and lists no more by itself
		askedAgain()
	}
	front.set(func() {
		front.listing = func(body []byte) []byte {
			if listings.Add(1) == 1 {
				close(begun)
				<-answered
			}
			return body
		}
	})
	// A collision of groups is looked at, more than a second after the last listing.
	time.Sleep(1100 * time.Millisecond)
	var collision sync.WaitGroup
	collision.Go(func() { g.do(http.MethodPut, groupPath(map[string]string{"job": "a", "zone": ""}), "rows 1\n") })
	defer collision.Wait()
	<-begun
	// Who has noticed the restart asks no more until the listing is over. So that it
	// is noticed by who is seen to ask, nobody is told of it while it happens.
	silent.Store(true)
	askedAgain()
	askedAgain() // the first may have been under way before
	restart()
	silent.Store(false)
	askedAgain()
	// Whoever notices the restart waits for the listing, and lists anew.
	time.Sleep(50 * time.Millisecond)
	answer()
	eventually(t, func() error {
		if listings.Load() < 2 {
			return errors.New("nobody lists again")
		}
		return nil
	})
	collision.Wait()
	if groups := ask(t, g, "jobs/a", http.StatusOK).Data["group_list"].([]any); len(groups) > 1 {
		t.Errorf("known are %v", groups)
	}
}
