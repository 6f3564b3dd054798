package statsd

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/clock/clocktest"
	"github.com/pushguard/pushguard/proxy/counter"
)

// held is a sender to a socket, with the usual times and a clock of its own.
// Flushes are made by the test.
func held(t *testing.T) (*Sender, *socket, *clock, func(want ...string)) {
	t.Helper()
	sock, now := listen(t), newClock()
	s := newSender(t, Config{Address: sock.url, ZeroHold: DefaultZeroHold, Heartbeat: DefaultHeartbeat, IdleTTL: time.Hour, Now: now.now})
	t.Cleanup(func() { s.link.close() })
	return s, sock, now, func(want ...string) {
		t.Helper()
		s.flush(context.Background())
		if diff := cmp.Diff(want, sock.lines(t)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestNewSeriesIsHeldAfterItsZero(t *testing.T) {
	s, _, now, flush := held(t)
	a, b := newCounter("a_total"), newCounter("b_total", "k", "v")
	count(s, a, 2)
	flush("a_total:0|c")
	now.add(DefaultZeroHold / 2)
	count(s, a, 3)
	count(s, b, 1)
	flush("b_total:0|c|#k:v")
	now.add(DefaultZeroHold/2 - 1)
	flush()
	now.add(1)
	flush("a_total:5|c")
	count(s, a, 1)
	flush("a_total:1|c")
	now.add(DefaultZeroHold / 2)
	flush("b_total:1|c|#k:v")
}

func TestHeartbeatIsZeroForEverySeries(t *testing.T) {
	s, _, now, flush := held(t)
	count(s, newCounter("a_total"), 1)
	flush("a_total:0|c")
	now.add(DefaultZeroHold)
	flush("a_total:1|c")
	now.add(DefaultHeartbeat - DefaultZeroHold - 1)
	flush()
	now.add(1)
	flush("a_total:0|c")
	now.add(DefaultHeartbeat - 1)
	flush()
	now.add(1)
	flush("a_total:0|c")
}

// TestTheClockIsSet sets it back and forward by more than anything here lasts.
func TestTheClockIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"back": -25 * time.Hour, "forward": 25 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			sock, host := listen(t), clocktest.New(time.Date(2031, 5, 5, 0, 0, 0, 0, time.UTC))
			s := newSender(t, Config{Address: sock.url, ZeroHold: DefaultZeroHold, Heartbeat: DefaultHeartbeat, Now: host.Now})
			t.Cleanup(func() { s.link.close() })
			after := func(d time.Duration, want ...string) {
				t.Helper()
				host.Pass(d)
				s.flush(t.Context())
				if diff := cmp.Diff(want, sock.lines(t)); diff != "" {
					t.Error(diff)
				}
			}
			count(s, newCounter("a_total"), 1)
			after(0, "a_total:0|c")
			host.Set(by)
			after(0)
			after(DefaultZeroHold, "a_total:1|c")
			host.Set(by)
			after(DefaultHeartbeat - DefaultZeroHold - 1)
			after(1, "a_total:0|c")
		})
	}
}

func TestIncrementOfZeroIsABirth(t *testing.T) {
	s, _, now, flush := held(t)
	count(s, newCounter("a_total"), 0)
	flush("a_total:0|c")
	now.add(DefaultZeroHold)
	flush()
	count(s, newCounter("a_total"), 1)
	flush("a_total:1|c")
}

func TestIdleSeriesIsForgotten(t *testing.T) {
	s, _, now, flush := held(t)
	s.cfg.Heartbeat = 0
	a := newCounter("a_total")
	count(s, a, 1)
	flush("a_total:0|c")
	now.add(DefaultZeroHold)
	flush("a_total:1|c")
	now.add(time.Hour - DefaultZeroHold)
	flush()
	if n := metric(t, s, "series"); n != 1 {
		t.Fatalf("%v series at the end of the lifetime", n)
	}
	now.add(1)
	flush()
	if n, f := metric(t, s, "series"), metric(t, s, "forgotten_series_total", "idle"); n != 0 || f != 1 {
		t.Fatalf("%v series, %v forgotten", n, f)
	}
	if len(s.families) != 0 || s.beats.front != nil {
		t.Error("something of it is left")
	}
	count(s, a, 1) // is born again
	flush("a_total:0|c")
}

func TestPendingSeriesIsNotForgotten(t *testing.T) {
	s, sock, now, flush := held(t)
	flush()
	_ = sock.Close()
	count(s, newCounter("a_total"), 1)
	now.add(2 * time.Hour)
	s.flush(context.Background())
	if pending(s) != 1 {
		t.Error("it is gone, and what was pending with it")
	}
}

func TestAllSeriesAreBornAgainAfterTheServerWasAway(t *testing.T) {
	s, sock, now, flush := held(t)
	a, b := newCounter("a_total"), newCounter("b_total")
	count(s, a, 1)
	count(s, b, 1)
	s.flush(context.Background())
	sock.lines(t)
	now.add(DefaultZeroHold)
	flush("a_total:1|c", "b_total:1|c")
	_ = sock.Close()
	count(s, a, 7)
	s.flush(context.Background())
	sock = listenAt(t, sock.url.Path)
	s.link.retry = time.Time{}
	s.flush(context.Background())
	got := sock.lines(t)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a_total:0|c", "b_total:0|c"}, got); diff != "" {
		t.Fatal(diff)
	}
	now.add(DefaultZeroHold - 1)
	s.flush(context.Background())
	if got := sock.lines(t); got != nil {
		t.Errorf("%q are not held", got)
	}
	now.add(1)
	s.flush(context.Background())
	if diff := cmp.Diff([]string{"a_total:7|c"}, sock.lines(t)); diff != "" {
		t.Error(diff)
	}
}

func TestZeroHoldOfZeroHoldsNothing(t *testing.T) {
	s, _, now, flush := held(t)
	s.cfg.ZeroHold = 0
	count(s, newCounter("a_total"), 1)
	flush("a_total:1|c")
	now.add(DefaultHeartbeat)
	flush("a_total:0|c")
}

func TestHistogramIsOneDatagram(t *testing.T) {
	s, sock, now, _ := held(t)
	h := newHistogram("dur_seconds", []float64{0.25, 1, 1e6}, "k", "v")
	others := make([]counter.Increment, 400)
	for i := range others {
		others[i] = counter.Increment{Series: newCounter("pad_total", "i", strings.Repeat("x", i%200)), Value: 1}
	}
	s.Add(others[:200])
	observe(s, h, 0.5)
	observe(s, h, 3)
	s.Add(others[200:])
	ctx := context.Background()
	whole := func(want string) {
		t.Helper()
		s.flush(ctx)
		n := 0
		for _, d := range sock.datagrams(t) {
			if len(d) > DefaultUnixPacket {
				t.Errorf("a datagram of %d bytes", len(d))
			}
			if strings.Contains(d, "dur_seconds") {
				n++
				if !strings.Contains("\n"+d+"\n", want) {
					t.Errorf("%s\nis not in\n%s", want, d)
				}
			}
		}
		if n != 1 {
			t.Errorf("in %d datagrams", n)
		}
	}
	whole(`
dur_seconds_bucket:0|c|#k:v,le:0.25
dur_seconds_bucket:0|c|#k:v,le:1.0
dur_seconds_bucket:0|c|#k:v,le:1e+06
dur_seconds_bucket:0|c|#k:v,le:+Inf
dur_seconds_count:0|c|#k:v
dur_seconds_sum:0|c|#k:v
`)
	now.add(DefaultZeroHold)
	whole(`
dur_seconds_bucket:1|c|#k:v,le:1.0
dur_seconds_bucket:2|c|#k:v,le:1e+06
dur_seconds_bucket:2|c|#k:v,le:+Inf
dur_seconds_count:2|c|#k:v
dur_seconds_sum:3.5|c|#k:v
`)
}

// A histogram longer than a packet has a datagram of its own.
func TestLongHistogramIsOneDatagram(t *testing.T) {
	s, sock, _, _ := held(t)
	s.cfg.ZeroHold, s.limit = 0, 512
	var bounds []float64
	for i := range 100 {
		bounds = append(bounds, float64(i))
	}
	count(s, newCounter("a_total"), 1)
	observe(s, newHistogram("h", bounds, "k", "v"), 0)
	count(s, newCounter("b_total"), 1)
	s.flush(context.Background())
	got := sock.datagrams(t)
	if len(got) != 3 || strings.Count(got[1], "\n") != 102-1 { // a sum of 0 is no line
		t.Fatalf("%d datagrams:\n%s", len(got), strings.Join(got, "\n\n"))
	}
}

func TestNoSum(t *testing.T) {
	s, _, _, flush := held(t)
	s.cfg.ZeroHold = 0
	s.Add([]counter.Increment{
		{Series: newSummary("x"), Count: 1, Sum: -5, NoSum: true},
		{Series: newHistogram("y", nil), Count: 2, NoSum: true},
	})
	flush("x_count:1|c", `y_bucket:2|c|#le:+Inf`, "y_count:2|c")
}

// A great many births over UDP leave room for what is pending of others.
func TestBirthsDoNotStarveAmounts(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	now := newClock()
	s := newSender(t, Config{
		Address: &url.URL{Scheme: "udp", Host: conn.LocalAddr().String()}, Rate: 10_000, FlushEvery: 20 * time.Millisecond,
		ZeroHold: DefaultZeroHold, Now: now.now,
	})
	defer s.link.close()
	ctx := context.Background()
	a := newCounter("a_total")
	count(s, a, 1)
	s.flush(ctx)
	now.add(DefaultZeroHold)
	for i := range 1000 {
		count(s, newCounter("b_total", "i", strconv.Itoa(i)), 1)
	}
	before := metric(t, s, "lines_total")
	s.flush(ctx)
	// A probe, 100 of the births and the amount.
	if n := metric(t, s, "lines_total") - before; n != 102 || pending(s) != 1000 {
		t.Errorf("%v lines, %d pending", n, pending(s))
	}
	for range 9 {
		s.flush(ctx)
	}
	now.add(DefaultZeroHold)
	s.flush(ctx)
	if pending(s) != 0 {
		t.Errorf("%d pending after all were born", pending(s))
	}
}

func TestSeriesMadeAnewForEachPushAreNotKept(t *testing.T) {
	s := newSender(t, Config{Address: parse(t, "udp://127.0.0.1:9"), MaxSeries: 3})
	for range 100 {
		count(s, newCounter("a_total"), 1)
		if len(s.known) > 6 {
			t.Fatalf("%d of them are", len(s.known))
		}
	}
	if s.queued.front.pending[0] != 100 {
		t.Errorf("%v pending", s.queued.front.pending)
	}
}
