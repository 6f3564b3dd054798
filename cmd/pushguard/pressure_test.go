package main

import (
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/clock/clocktest"
)

// TestPressureShares is under, at and over what may be in use of a limit.
func TestPressureShares(t *testing.T) {
	for _, tc := range []struct {
		limit, use uint64
		want       proxy.Pressure
	}{
		{0, 1 << 40, proxy.Roomy},
		{1000, 0, proxy.Roomy},
		{1000, 599, proxy.Roomy},
		{1000, 600, proxy.Tight},
		{1000, 749, proxy.Tight},
		{1000, 750, proxy.Full},
		{1000, 2000, proxy.Full},
	} {
		p := pressure{limit: tc.limit, use: func() uint64 { return tc.use }, now: time.Now}
		if got := p.look(); got != tc.want {
			t.Errorf("%d of %d: %d, want %d", tc.use, tc.limit, got, tc.want)
		}
	}
}

// TestInFlightBytesWithin a limit of memory are a quarter of it, unless somebody said how
// many, or it is more than there would be without.
func TestInFlightBytesWithin(t *testing.T) {
	for _, tc := range []struct {
		memory int64
		flags  []string
		want   int64
	}{
		{math.MaxInt64, nil, 1 << 30},
		{4 << 30, nil, 1 << 30},
		{4<<30 - 4, nil, 1<<30 - 1},
		{200 << 20, nil, 50 << 20},
		{200 << 20, []string{"--limits.in-flight-bytes=100MiB"}, 100 << 20},
	} {
		var l limitFlags
		app := kingpin.New("test", "")
		l.add(app.Command("serve", ""))
		if _, err := app.Parse(append([]string{"serve"}, tc.flags...)); err != nil {
			t.Fatal(err)
		}
		l.within(tc.memory, slog.New(slog.DiscardHandler))
		if got := l.caps().InFlightBytes; got != tc.want {
			t.Errorf("%d bytes, %v: %d, want %d", tc.memory, tc.flags, got, tc.want)
		}
	}
}

// TestHeadersWithin a limit of memory take an eighth of it, on all connections together,
// but never so little that requests as proxies hand them on would be refused.
func TestHeadersWithin(t *testing.T) {
	for _, tc := range []struct {
		memory      int64
		connections int
		want        int
	}{
		{math.MaxInt64, 4096, 64 << 10},
		{2 << 30, 4096, 64 << 10},
		{1 << 30, 4096, 32 << 10},
		{256 << 20, 4096, 16 << 10},
		{256 << 20, 512, 64 << 10},
	} {
		l := limitFlags{connections: tc.connections}
		if got := l.headers(tc.memory); got != tc.want {
			t.Errorf("%d bytes, %d connections: %d, want %d", tc.memory, tc.connections, got, tc.want)
		}
	}
}

// TestConnectionsWithinFiles leave a quarter of the files that may be open to others, of
// which those that are told that they are too many take a quarter.
func TestConnectionsWithinFiles(t *testing.T) {
	for _, tc := range []struct {
		files                              uint64
		connections, addresses, want, told int
	}{
		{math.MaxUint64, 4096, 2, 4096, 64},
		{65536, 4096, 2, 4096, 64},
		{5464, 4096, 1, 4096, 64},
		{4096, 4096, 1, 3072, 64},
		{4096, 4096, 2, 1536, 64},
		{4096, 100, 2, 100, 64},
		{1008, 4096, 1, 756, 63},
		{1024, 4096, 2, 384, 32},
		{64, 4096, 1, 48, 4},
		{1, 4096, 2, 1, 0},
	} {
		l := limitFlags{connections: tc.connections}
		l.withinFiles(tc.files, tc.addresses, slog.New(slog.DiscardHandler))
		if l.connections != tc.want || l.told != tc.told {
			t.Errorf("%d files, %d connections to %d addresses: %d, of others %d are told, want %d and %d", tc.files, tc.connections, tc.addresses, l.connections, l.told, tc.want, tc.told)
		}
	}
}

// TestPressureIsReadNowAndThen: a reading holds for a while.
func TestPressureIsReadNowAndThen(t *testing.T) {
	now, reads := time.Unix(100, 0), 0
	p := pressure{limit: 1000, use: func() uint64 { reads++; return 700 }, now: func() time.Time { return now }}
	for range 100 { // in steps of a millisecond
		if p.look() != proxy.Tight {
			t.Fatal("there is room")
		}
		now = now.Add(time.Millisecond)
	}
	if want := int(100 * time.Millisecond / pressureAge); reads != want {
		t.Errorf("%d reads, want %d", reads, want)
	}
}

// TestPressureAfterTheClockIsSet back: the next reading is due as before.
func TestPressureAfterTheClockIsSet(t *testing.T) {
	host, use := clocktest.New(time.Unix(1e9, 0)), uint64(700)
	p := pressure{limit: 1000, use: func() uint64 { return use }, now: host.Now}
	if p.look() != proxy.Tight {
		t.Fatal("there is room")
	}
	host.Set(-time.Hour)
	use = 900
	host.Pass(pressureAge)
	if got := p.look(); got != proxy.Full {
		t.Errorf("%d, want %d", got, proxy.Full)
	}
}

// TestInUse holds 64 MiB and sees them in use, and lets go of them.
func TestInUse(t *testing.T) {
	const size = 64 << 20
	runtime.GC()
	before := readInUse()
	block := make([]byte, size)
	runtime.GC()
	full := readInUse()
	runtime.KeepAlive(block)
	block = nil
	runtime.GC()
	after := readInUse()
	if full < before+size*9/10 || after > full-size*9/10 {
		t.Errorf("%d MiB in use, then %d, then %d", before>>20, full>>20, after>>20)
	}
}

// BenchmarkPressure is what a push pays to know it.
func BenchmarkPressure(b *testing.B) {
	p := newPressure()
	p.limit = 1 << 40
	b.ReportAllocs()
	for b.Loop() {
		p.look()
	}
}
