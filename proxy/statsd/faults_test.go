package statsd

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// load adds 1 to each of its series again and again, and knows the truth.
type load struct {
	s      *Sender
	series []*counter.Series

	mu    sync.Mutex // an increment is added and counted in one step
	truth map[string]float64
}

func newLoad(s *Sender, n int) *load {
	l := &load{s: s, truth: map[string]float64{}}
	for i := range n {
		l.series = append(l.series, newCounter("runs_total", "job", "nightly", "task", fmt.Sprint(i)))
	}
	return l
}

func (l *load) round() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, src := range l.series {
		count(l.s, src, 1)
		l.truth[fmt.Sprintf(`runs_total{job="nightly",task="%d"}`, i)]++
	}
}

// run adds until it is told to stop.
func (l *load) run() (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
				l.round()
			}
		}
	}()
	return func() { close(end); <-done }
}

// sent is how much of each series was sent, while nothing is on its way.
func (l *load) sent() map[string]float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	out := map[string]float64{}
	for i, src := range l.series {
		name := fmt.Sprintf(`runs_total{job="nightly",task="%d"}`, i)
		id, _ := l.s.cfg.appendID(nil, src)
		out[name] = l.truth[name] - l.s.series[string(id)].pending[0]
	}
	return out
}

func minus(a, b map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range a {
		out[k] = v - b[k]
	}
	return out
}

func sum(m map[string]float64) (total float64) {
	for _, v := range m {
		total += v
	}
	return total
}

// What is added while the exporter is known to be away arrives once it is back,
// over every transport.
func TestNothingIsLostWhileTheExporterIsAway(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			var logged logbook
			c := fast(e, transport)
			c.Logger = logged.logger()
			s := newSender(t, c)
			start(t, s)
			l := newLoad(s, 50)
			stop := l.run()
			time.Sleep(200 * time.Millisecond)
			stop()
			settle(t, s, e, l.truth)
			before := l.sent()
			e.Kill()
			// Over UDP one datagram may be lost until then: see the next test.
			eventually(t, "the sender to notice", func() bool { return metric(t, s, "up") == 0 })
			stop = l.run()
			time.Sleep(300 * time.Millisecond)
			e.Again(t)
			time.Sleep(300 * time.Millisecond)
			stop()
			settle(t, s, e, minus(l.truth, before))
			t.Logf("%v increments, %v of them while or after the exporter was away, 0 lost", sum(l.truth), sum(l.truth)-sum(before))
			if metric(t, s, "connects_total") < 2 || metric(t, s, "up") != 1 {
				t.Error("the metrics say nothing of it")
			}
			eventually(t, "both in the log", func() bool {
				return contains(logged.String(), "takes nothing", "is back")
			})
		})
	}
}

// Killed in the middle of it, the exporter takes with it what it had been given.
// Of what had not been sent when that was noticed nothing is lost, and nothing
// of the rest is sent again.
func TestLossIsBoundedWhenTheExporterIsKilledUnderLoad(t *testing.T) {
	// How many packets may leave after its death: see the package's promise. Over
	// UDP the line that carries nothing is one of them.
	after := map[string]float64{"unixgram": 0, "tcp": 1, "udp": 2}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			c := fast(e, transport)
			if transport != "udp" {
				c.FlushEvery, c.ZeroHold = 2*time.Millisecond, 10*time.Millisecond
			}
			s := newSender(t, c)
			start(t, s)
			l := newLoad(s, 50)
			stop := l.run()
			for range 3 {
				time.Sleep(200 * time.Millisecond)
				shown := e.Counters(t)
				e.Kill()
				packets := metric(t, s, "packets_total")
				eventually(t, "the sender to notice", func() bool { return metric(t, s, "up") == 0 })
				sent := l.sent()
				packets = metric(t, s, "packets_total") - packets
				if packets > after[transport] {
					t.Errorf("%v packets were sent after the exporter's death", packets)
				}
				time.Sleep(100 * time.Millisecond)
				e.Again(t)
				time.Sleep(100 * time.Millisecond)
				stop()
				settle(t, s, e, minus(l.truth, sent))
				t.Logf("%v increments; lost: %v given to the exporter since it was scraped, in %v packets after its death", sum(l.truth), sum(sent)-sum(shown), packets)
				// The next life counts from here.
				e.Kill()
				e.Again(t)
				l = newLoad(s, 50)
				stop = l.run()
			}
			stop()
		})
	}
}

// An exporter that stops reading makes the sender wait. What the kernel took is
// not sent again, lines are not torn, and everything arrives in the end.
func TestExporterThatDoesNotRead(t *testing.T) {
	for _, transport := range []string{"tcp", "unixgram"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			c := fast(e, transport)
			c.WriteTimeout, c.ZeroHold, c.Heartbeat = 100*time.Millisecond, 0, 0
			s := newSender(t, c)
			start(t, s)
			l := newLoad(s, 3000)
			l.round()
			settle(t, s, e, l.truth)
			e.Signal(t, syscall.SIGSTOP)
			stop := l.run()
			eventually(t, "two timeouts", func() bool { return metric(t, s, "errors_total", kindTimeout) >= 2 })
			e.Signal(t, syscall.SIGCONT)
			stop()
			settle(t, s, e, l.truth)
			for _, name := range []string{"sample_errors", "tag_errors", "events_error"} {
				if n := e.Own(t, "statsd_exporter_"+name+"_total"); n != 0 {
					t.Errorf("%s: %v", name, n)
				}
			}
		})
	}
}

func TestShutdownSendsWhatIsHeld(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			c := fast(e, transport)
			c.ZeroHold, c.Heartbeat, c.FlushEvery = time.Hour, time.Hour, time.Hour
			s := newSender(t, c)
			stop := start(t, s)
			count(s, newCounter("a_total"), 3)
			observe(s, newHistogram("h", []float64{1}), 1)
			stop()
			settle(t, s, e, map[string]float64{
				"a_total": 3, `h_bucket{le="1.0"}`: 1, `h_bucket{le="+Inf"}`: 1, "h_count": 1, "h_sum": 1,
			})
		})
	}
}

func TestShutdownWithoutAnExporterEnds(t *testing.T) {
	e := statsdtest.Start(t)
	e.Kill()
	for _, transport := range transports {
		var logged logbook
		c := fast(e, transport)
		c.ShutdownFlush, c.Logger = 250*time.Millisecond, logged.logger()
		s := newSender(t, c)
		stop := start(t, s)
		count(s, newCounter("a_total"), 3)
		stop()
		if !contains(logged.String(), "increments lost", "series=1") {
			t.Errorf("%s: the log does not say what was lost:\n%s", transport, logged.String())
		}
		if pending(s) != 1 {
			t.Errorf("%s: %d series pending", transport, pending(s))
		}
	}
}

func TestShutdownWaitsForAnExporterThatComesBack(t *testing.T) {
	e := statsdtest.Start(t)
	e.Kill()
	c := fast(e, "unixgram")
	c.ShutdownFlush = patience
	s := newSender(t, c)
	stop := start(t, s)
	count(s, newCounter("a_total"), 3)
	eventually(t, "an error", func() bool { return metric(t, s, "errors_total", kindConnect) > 0 })
	done := make(chan struct{})
	go func() { defer close(done); stop() }()
	e.Again(t)
	<-done
	settle(t, s, e, map[string]float64{"a_total": 3})
}
