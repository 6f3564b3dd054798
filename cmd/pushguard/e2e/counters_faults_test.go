package e2e

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// counted is a load of jobs that count, and what the guard has taken of it.
type counted struct {
	url  string
	end  chan struct{}
	jobs sync.WaitGroup

	truth atomic.Int64 // what was counted, and pushed until it was answered

	mu   sync.Mutex
	when []time.Time // each 1 was answered
}

// startLoad starts tasks that each count on, one process to the guard as its
// created timestamp says, and push after every 1 until that is answered.
func startLoad(url string, tasks int) *counted {
	l := &counted{url: url, end: make(chan struct{})}
	for range tasks {
		l.jobs.Go(l.task)
	}
	return l
}

func (l *counted) task() {
	registry, work := prometheus.NewRegistry(), prometheus.NewCounter(prometheus.CounterOpts{Name: "work_total", Help: "Work done."})
	registry.MustRegister(work)
	pusher := push.New(l.url, "load").Gatherer(registry)
	for {
		select {
		case <-l.end:
			return
		case <-time.After(10 * time.Millisecond):
		}
		work.Inc()
		for pusher.Add() != nil {
			time.Sleep(20 * time.Millisecond)
		}
		l.truth.Add(1)
		l.mu.Lock()
		l.when = append(l.when, time.Now())
		l.mu.Unlock()
	}
}

// await waits until so many were answered.
func (l *counted) await(t *testing.T, n int) {
	t.Helper()
	world.Eventually(t, func() error {
		if got := l.truth.Load(); got < int64(n) {
			return fmt.Errorf("%d increments were answered, want %d", got, n)
		}
		return nil
	})
}

// stop lets every task finish its push and returns what all of them counted.
func (l *counted) stop() float64 {
	close(l.end)
	l.jobs.Wait()
	return float64(l.truth.Load())
}

// between is how many increments were answered from one time to another.
func (l *counted) between(from, to time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, at := range l.when {
		if at.After(from) && at.Before(to) {
			n++
		}
	}
	return float64(n)
}

// TestTotalsSurviveKills kills the guard again and again while tasks count. They
// push until they are answered, as a client does that must not lose anything, and
// the totals are what they counted, to the last increment.
func TestTotalsSurviveKills(t *testing.T) {
	t.Parallel()
	c := &counts{behind: world.Pushgateway(t)}
	options := world.GuardOptions{
		Upstream: c.behind, Policy: world.Write(t, "policy.yml", countPolicy), Flags: []string{"--state.dir=" + t.TempDir()},
	}
	c.guard = world.Guard(t, options)
	options.Addr = c.guard.Addr
	load := startLoad(c.guard.URL, 8)
	for round := range 3 {
		load.await(t, 60*(round+1))
		c.guard.Kill()
		c.guard = world.Guard(t, options)
	}
	load.await(t, 200)
	truth := load.stop()
	if got := c.sum(t, "work_total", "load"); got != truth {
		t.Errorf("the totals are %v, want %v", got, truth)
	}
	c.guard.Kill()
	c.guard = world.Guard(t, options)
	if got := c.sum(t, "work_total", "load"); got != truth {
		t.Errorf("after one more kill the totals are %v, want %v", got, truth)
	}
	t.Logf("%v increments, 4 kills, 0 lost", truth)
}

// late is how long after a push its increments may be sent, on a machine that has much
// else to do.
const late = 5 * time.Second

// TestExporterKilledUnderLoad kills the exporter while tasks count, and starts it
// again seconds later. What is lost is what it had been given and nobody scraped,
// and what lay in sockets: a few flushes, each of a second. What came while it
// was away arrives.
func TestExporterKilledUnderLoad(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"udp", "tcp", "unixgram"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			c := startCounts(t, via, "0s")
			load := startLoad(c.guard.URL, 4)
			// The tasks are known before, as jobs are that run all day.
			world.Eventually(t, func() error {
				if c.sum(t, "work_total", "load") == 0 {
					return errors.New("nothing arrived yet")
				}
				return nil
			})
			time.Sleep(1500 * time.Millisecond)
			scraped := time.Now()
			before := c.sum(t, "work_total", "load")
			c.exporter.Kill()
			killed := time.Now()
			time.Sleep(20 * time.Second)
			c.exporter.Again(t)
			time.Sleep(2 * time.Second)
			truth := load.stop()
			after := c.arrived(t)
			lost := truth - before - after
			// What was answered within a flush before the scrape may have come after
			// it; within two flushes after the death it may have left for nobody. They
			// are a second apart, and late where the machine is busy.
			bound := load.between(scraped.Add(-late), killed.Add(2*late))
			t.Logf("%s: %v increments, %v lost, bound %v", via, truth, lost, bound)
			if lost < 0 || lost > bound {
				t.Errorf("%v of %v increments lost, want 0 to %v", lost, truth, bound)
			}
			if own(t, c.guard, "pushguard_statsd_connects_total") < 2 {
				t.Error("the guard's metrics say nothing of a second connection")
			}
		})
	}
}

// arrived is what the exporter shows once nothing is pending any more.
func (c *counts) arrived(t *testing.T) float64 {
	t.Helper()
	world.Eventually(t, func() error {
		if n := own(t, c.guard, "pushguard_statsd_pending_series"); n != 0 || own(t, c.guard, "pushguard_statsd_up") != 1 {
			return fmt.Errorf("%v series are pending", n)
		}
		return nil
	})
	sum := c.sum(t, "work_total", "load")
	world.Eventually(t, func() error {
		before := sum
		time.Sleep(1500 * time.Millisecond) // more than a flush
		if sum = c.sum(t, "work_total", "load"); sum != before {
			return errors.New("more arrives")
		}
		return nil
	})
	return sum
}

// TestGuardKilledUnderLoad kills the guard while tasks count that it sends on. It
// loses what was pending, at most what a flush had not sent, and nothing twice.
func TestGuardKilledUnderLoad(t *testing.T) {
	t.Parallel()
	exporter := statsdtest.Start(t)
	c := &counts{behind: world.Pushgateway(t), exporter: exporter}
	options := world.GuardOptions{
		Upstream: c.behind, Policy: world.Write(t, "policy.yml", countPolicy),
		Flags: []string{"--state.dir=" + t.TempDir(), "--statsd.zero-hold=0s", "--statsd.address=" + exporter.Unixgram.String()},
	}
	c.guard = world.Guard(t, options)
	options.Addr = c.guard.Addr
	load := startLoad(c.guard.URL, 4)
	time.Sleep(2 * late)
	killed := time.Now()
	c.guard.Kill()
	c.guard = world.Guard(t, options)
	time.Sleep(1500 * time.Millisecond)
	truth := load.stop()
	lost := truth - c.arrived(t)
	// One push of each task may have been counted when the kill came, unanswered.
	bound := load.between(killed.Add(-late), killed) + 4
	t.Logf("%v increments, %v lost, bound %v", truth, lost, bound)
	if lost < 0 || lost > bound {
		t.Errorf("%v of %v increments lost, want 0 to %v", lost, truth, bound)
	}
}

// TestStopSendsWhatIsHeld stops the guard right after a push, whose increments are
// held for a scrape to see them at zero first. They are sent all the same.
func TestStopSendsWhatIsHeld(t *testing.T) {
	t.Parallel()
	for _, via := range []string{"udp", "tcp", "unixgram"} {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			c := startCounts(t, via, "1h")
			goJob(t, c.guard.URL, "stopped", 3)
			c.guard.Stop(t)
			c.want(t, "stopped", 3)
		})
	}
}
