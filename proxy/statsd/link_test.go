package statsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// listenTCP is a listener, and its URL.
func listenTCP(t testing.TB) (net.Listener, *url.URL) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, &url.URL{Scheme: "tcp", Host: l.Addr().String()}
}

func accept(t testing.TB, l net.Listener) *net.TCPConn {
	t.Helper()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func TestPeerThatLeavesIsNoticedBeforeTheNextWrite(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"in order": func(c *net.TCPConn) { _ = c.Close() },
		"at once":  func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l, u := listenTCP(t)
			s := newSender(t, Config{Address: u})
			t.Cleanup(func() { s.link.close() })
			ctx := context.Background()
			s.flush(ctx)
			leave(accept(t, l))
			eventually(t, "the end of the connection", s.link.gone.Load)
			count(s, newCounter("a_total"), 5)
			s.flush(ctx)
			if pending(s) != 1 || metric(t, s, "errors_total", kindClosed) != 1 || metric(t, s, "up") != 0 {
				t.Fatal("not noticed")
			}
			s.flush(ctx)
			s.link.close()
			got, err := io.ReadAll(accept(t, l))
			if err != nil || string(got) != "a_total:5|c\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A peer that does not read for a while gets whole lines, each once.
func TestLinesAreNotTorn(t *testing.T) {
	l, u := listenTCP(t)
	s := newSender(t, Config{Address: u, WriteTimeout: 300 * time.Millisecond})
	t.Cleanup(func() { s.link.close() })
	ctx := context.Background()
	s.flush(ctx)
	c := accept(t, l)
	_ = c.SetReadBuffer(64 << 10)
	want := map[string]float64{}
	pad := strings.Repeat("x", 190)
	for metric(t, s, "errors_total", kindTimeout) < 3 {
		for i := range 2000 {
			count(s, newCounter("a_total", "i", fmt.Sprint(i), "pad", pad), 1)
			want[fmt.Sprint(i)]++
		}
		s.flush(ctx)
	}
	if s.link.conn == nil {
		t.Fatal("the connection is closed")
	}
	var wg sync.WaitGroup
	var got []byte
	wg.Go(func() { got, _ = io.ReadAll(c) })
	for pending(s) > 0 {
		s.flush(ctx)
	}
	s.link.close()
	wg.Wait()
	for line := range bytes.Lines(got) {
		var v float64
		var i int
		if n, err := fmt.Sscanf(string(line), "a_total:%g|c|#i:%d,pad:"+pad+"\n", &v, &i); n != 2 || err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want[fmt.Sprint(i)] -= v
	}
	if n := metric(t, s, "connects_total"); n != 1 {
		t.Errorf("%v connections", n)
	}
	for i, left := range want {
		if left != 0 {
			t.Fatalf("%v of series %s are missing", left, i)
		}
	}
}

func TestAnotherConnectionIsTriedAfterManyTimeouts(t *testing.T) {
	_, u := listenTCP(t)
	s := newSender(t, Config{Address: u, WriteTimeout: time.Millisecond})
	t.Cleanup(func() { s.link.close() })
	ctx := context.Background()
	// A millisecond may be too short to connect in, too.
	for deadline := time.Now().Add(30 * time.Second); s.link.conn == nil; s.flush(ctx) {
		if time.Now().After(deadline) {
			t.Fatal("no connection")
		}
	}
	for n := 0; s.link.conn != nil; n++ {
		if n > 5000 {
			t.Fatal("the connection is kept for ever")
		}
		for i := range 1000 {
			count(s, newCounter("a_total", "i", strings.Repeat("x", i%150), "j", fmt.Sprint(i)), 1)
		}
		s.flush(ctx)
	}
	if got := metric(t, s, "errors_total", kindTimeout); got < maxStuck {
		t.Errorf("closed after %v timeouts", got)
	}
}

func TestFullSocketKeepsTheRestPending(t *testing.T) {
	sock := listen(t)
	s := newSender(t, Config{Address: sock.url, WriteTimeout: 20 * time.Millisecond, PacketSize: 512})
	t.Cleanup(func() { s.link.close() })
	want := 0.0
	add := func() {
		for i := range 5000 {
			count(s, newCounter("a_total", "i", fmt.Sprint(i)), 1)
			want++
		}
	}
	add()
	for pending(s) == 5000 { // again where the time of the first write was over before it began
		s.flush(context.Background())
	}
	if metric(t, s, "errors_total", kindTimeout) == 0 || pending(s) == 0 {
		t.Fatalf("%d pending", pending(s))
	}
	if s.link.conn == nil {
		t.Fatal("the connection is closed")
	}
	add()
	got := 0.0
	for range 2000 {
		for _, line := range sock.lines(t) {
			var v float64
			if _, err := fmt.Sscanf(line, "a_total:%g|c|#i:", &v); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			got += v
		}
		if pending(s) == 0 {
			break
		}
		s.flush(context.Background())
	}
	if got != want {
		t.Errorf("%v arrived of %v", got, want)
	}
}

// Where the kernel takes less at once than was thought, packets become shorter,
// and what is too long even then does not stand in the way of the rest.
func TestPacketsThatTheKernelDoesNotTake(t *testing.T) {
	sock := listen(t)
	s := newSender(t, Config{Address: sock.url, PacketSize: maxPacket, ZeroHold: time.Nanosecond})
	t.Cleanup(func() { s.link.close() })
	ctx := context.Background()
	s.flush(ctx)
	if err := s.link.conn.(*net.UnixConn).SetWriteBuffer(1); err != nil { // the kernel makes it some kilobytes
		t.Fatal(err)
	}
	var bounds []float64
	for i := range 300 {
		bounds = append(bounds, float64(i))
	}
	observe(s, newHistogram("h", bounds), 1)
	for i := range 300 {
		count(s, newCounter("a_total", "i", fmt.Sprint(i)), 1)
	}
	got := 0
	for n := 0; pending(s) > 0; n++ {
		if n > 1000 {
			t.Fatalf("%d are pending for ever", pending(s))
		}
		s.flush(ctx)
		for _, line := range sock.lines(t) {
			if strings.HasPrefix(line, "a_total:1|c") {
				got++
			}
		}
	}
	if got != 300 || dropped(t, s, RefusedSize) != 1 || s.limit >= maxPacket {
		t.Errorf("%d lines came, %v dropped, packets of %d", got, dropped(t, s, RefusedSize), s.limit)
	}
}

func TestNothingIsSentWhereNobodyListens(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: "udp", Host: p.LocalAddr().String()}
	_ = p.Close()
	s := newSender(t, Config{Address: u})
	t.Cleanup(func() { s.link.close() })
	count(s, newCounter("a_total"), 5)
	s.flush(context.Background())
	if metric(t, s, "lines_total") != 1 || metric(t, s, "errors_total", kindRefused) != 1 || pending(s) != 1 || metric(t, s, "up") != 0 {
		t.Error("more than a line that carries nothing was sent")
	}
	before := metric(t, s, "errors_total", kindRefused)
	s.flush(context.Background()) // too soon to try again
	if metric(t, s, "errors_total", kindRefused) != before {
		t.Error("tried again at once")
	}
}

// peerAt is a UDP socket of a port that is the same on each address.
func peerAt(t *testing.T, address string) net.PacketConn {
	t.Helper()
	p, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// named is a link to a name that has the addresses there are.
func named(t *testing.T, port int, hosts *[]string) *link {
	t.Helper()
	l := newLink(&url.URL{Scheme: "udp", Host: net.JoinHostPort("statsd", strconv.Itoa(port))}, time.Second)
	l.lookUp = func(context.Context, string) ([]string, error) { return *hosts, nil }
	t.Cleanup(l.close)
	return l
}

func TestUDPFollowsAPeerThatMoves(t *testing.T) {
	p := peerAt(t, "127.0.0.1:0")
	hosts := []string{"127.0.0.1"}
	l := named(t, p.LocalAddr().(*net.UDPAddr).Port, &hosts)
	if fresh, err := l.open(t.Context()); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	first := l.conn
	hosts = []string{"127.0.0.2", "127.0.0.1"} // in turn, as of several there are
	l.resolved = time.Now().Add(-resolveEvery)
	if fresh, err := l.open(t.Context()); fresh || err != nil || l.conn != first {
		t.Fatal("another connection to the same peer", err)
	}
	hosts = []string{"127.0.0.2"}
	if fresh, err := l.open(t.Context()); fresh || err != nil {
		t.Fatal("looked up again too soon", err)
	}
	l.resolved = time.Now().Add(-resolveEvery)
	if fresh, err := l.open(t.Context()); !fresh || err != nil || !strings.HasPrefix(l.conn.RemoteAddr().String(), "127.0.0.2:") {
		t.Fatal("does not follow", err)
	}
}

func TestUDPStaysWhereAnAddressIsSpelledOtherwise(t *testing.T) {
	hosts := []string{"0.0.0.0"}
	l := named(t, peerAt(t, "127.0.0.1:0").LocalAddr().(*net.UDPAddr).Port, &hosts)
	if fresh, err := l.open(t.Context()); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	l.resolved = time.Now().Add(-resolveEvery)
	if fresh, err := l.open(t.Context()); fresh || err != nil {
		t.Fatal("another connection to the same peer", err)
	}
}

// TestUDPTriesEachAddress of a name: nobody listens on the first, as where localhost is ::1
// before it is 127.0.0.1.
func TestUDPTriesEachAddress(t *testing.T) {
	p := peerAt(t, "127.0.0.1:0")
	hosts := []string{"127.0.0.2", "127.0.0.1"}
	s := newSender(t, Config{Address: &url.URL{Scheme: "udp", Host: "statsd:1"}})
	s.link = named(t, p.LocalAddr().(*net.UDPAddr).Port, &hosts)
	count(s, newCounter("a_total"), 5)
	eventually(t, "it to be sent", func() bool {
		s.link.retry = time.Time{}
		s.flush(t.Context())
		return pending(s) == 0
	})
	if to := s.link.conn.RemoteAddr().String(); to != p.LocalAddr().String() {
		t.Errorf("sent to %s", to)
	}
}

// TestSocketIsReplaced has another take the place of a socket that stays open and is not
// read. While there is none in its place the old one is as good as any.
func TestSocketIsReplaced(t *testing.T) {
	old := listen(t)
	s := newSender(t, Config{Address: old.url})
	t.Cleanup(func() { s.link.close() })
	sent := func(to *socket, want ...string) {
		t.Helper()
		count(s, newCounter("a_total"), 5)
		s.flush(t.Context())
		if got := to.lines(t); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	sent(old, "a_total:5|c")
	if err := os.Remove(old.url.Path); err != nil {
		t.Fatal(err)
	}
	sent(old, "a_total:5|c")
	next := listenAt(t, old.url.Path)
	sent(next, "a_total:5|c")
	sent(next, "a_total:5|c")
	if got := old.lines(t); len(got) > 0 || metric(t, s, "connects_total") != 2 {
		t.Errorf("the old socket has %q", got)
	}
}

func TestAttemptsToConnectAreFewer(t *testing.T) {
	l := newLink(&url.URL{Scheme: "unixgram", Path: filepath.Join(t.TempDir(), "none")}, time.Second)
	if _, err := l.open(t.Context()); kindOf(err) != kindConnect {
		t.Fatal(err)
	}
	if _, err := l.open(t.Context()); err != nil || l.conn != nil {
		t.Fatal("tried again at once", err)
	}
	for range 10 {
		l.wait()
	}
	if l.backoff != maxBackoff {
		t.Errorf("tried again after %v", l.backoff)
	}
}

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Err: os.NewSyscallError("write", syscall.ECONNREFUSED)}, kindRefused},
		{fmt.Errorf("%w: %w", errUnconnected, &net.OpError{Err: os.NewSyscallError("dial", syscall.ENOENT)}), kindConnect},
		{fmt.Errorf("%w: %w", errUnconnected, context.DeadlineExceeded), kindConnect},
		{fmt.Errorf("%w: lookup: %w", errUnconnected, &net.DNSError{Err: "no such host"}), kindResolve},
		{errPeerGone, kindClosed},
		{syscall.EPIPE, kindClosed},
		{syscall.ECONNRESET, kindClosed},
		{os.ErrDeadlineExceeded, kindTimeout},
		{context.DeadlineExceeded, kindTimeout},
		{syscall.ENOBUFS, kindBuffer},
		{syscall.EMSGSIZE, kindSize},
		{syscall.EHOSTUNREACH, kindOther},
		{errors.New("whatever"), kindOther},
	} {
		if got := kindOf(tc.err); got != tc.want {
			t.Errorf("%v is %s, not %s", tc.err, got, tc.want)
		}
	}
}

// Everything at once, for the race detector: series that make room for others,
// flushes, metrics, and a server that comes and goes.
func TestConcurrentUse(t *testing.T) {
	sock := listen(t)
	s := newSender(t, Config{Address: sock.url, FlushEvery: time.Millisecond, ZeroHold: time.Millisecond, Heartbeat: 2 * time.Millisecond, IdleTTL: 3 * time.Millisecond, MaxSeries: 50})
	start(t, s)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				count(s, newCounter("a_total", "i", fmt.Sprint(i%100)), 1)
				observe(s, newHistogram("h", []float64{float64(i % 7)}, "w", fmt.Sprint(w)), float64(i%10))
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
			sock.lines(t)
			_ = sock.Close()
			sock = listenAt(t, sock.url.Path)
		}
	})
	wg.Wait()
	eventually(t, "nothing pending", func() bool { sock.lines(t); return pending(s) == 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued.n+s.settled.n != len(s.series) || s.beats.n != len(s.series) {
		t.Errorf("%d + %d in lists, %d with heartbeats, of %d series", s.queued.n, s.settled.n, s.beats.n, len(s.series))
	}
}

// Where a server that is away is there again and takes nothing for another reason, the log
// has that, too: who reads of the first would look in the wrong place.
func TestAnotherReasonIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	logged := &logbook{}
	s := newSender(t, Config{Address: &url.URL{Scheme: "unixgram", Path: path}, Logger: logged.logger(), FlushEvery: time.Millisecond})
	start(t, s)
	eventually(t, "the first reason", func() bool { return contains(logged.String(), "no such file or directory") })
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	eventually(t, "the next reason", func() bool { return contains(logged.String(), "wrong type for socket") })
	eventually(t, "two more attempts", func() bool { return metric(t, s, "errors_total", kindConnect) >= 4 })
	if n := strings.Count(logged.String(), "takes nothing"); n != 2 {
		t.Errorf("logged %d times:\n%s", n, logged.String())
	}
}
