package faults

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	crowd = 10_000 // connections that do nothing
	loris = 1_000  // clients that send by drops
	few   = 5      // goroutines and files that come and go by themselves
)

// abuse is what clients do to a guard. It returns once it was seen to have come to
// nothing, with its connections open.
type abuse struct {
	name string
	do   func(t *testing.T, guard *world.Process) []net.Conn
	// most is what the guard may hold of memory at most, in MiB.
	most int64
}

var abuses = []abuse{
	{"connections that do nothing", idle, 256},
	{"headers that come by drops", slowHeaders, 128},
	{"headers that do not end", endlessHeaders, 256},
	{"bodies that come by drops", slowBodies, 384},
	{"a GiB with its length", hugeWithLength, 128},
	{"a GiB in chunks", hugeInChunks, 192},
	{"gzip of a GiB", hugeInside, 384},
	{"pushes that are cut off", cutOff, 128},
	{"pages that nobody reads", unread, 192},
}

// TestNothingIsLeft lets clients abuse a guard one way after the other. Others' pushes and
// scrapes are answered meanwhile, memory is bounded, and afterwards it has as many
// goroutines and files open as before, and holds what the others pushed and nothing else.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	needFiles(t, (crowd+loris+1000)*4/3) // of which the guard leaves a quarter to other than connections
	for _, a := range abuses {
		t.Run(a.name, func(t *testing.T) {
			guard := world.Guard(t, world.GuardOptions{Flags: []string{
				"--state.dir=" + t.TempDir(), "--limits.connections=" + fmt.Sprint(crowd+500),
				"--web.read-timeout=10m", "--web.read-header-timeout=10m", "--web.idle-timeout=10m", // nobody is let go for being slow
			}})
			mustPush(t, guard, "/metrics/job/others", rows(3))
			before, was := guard.State(t), open(t, guard)
			conns := a.do(t, guard)
			for range 10 {
				mustPush(t, guard, "/metrics/job/others", rows(3))
			}
			guard.Scrape(t, "")
			guard.Unchanged(t, before)
			peak := guard.PeakMemory(t) / mib
			t.Logf("at most %d MiB; %v, before %v", peak, open(t, guard), was)
			if peak > a.most && !world.Race() {
				t.Errorf("it held %d MiB, want at most %d", peak, a.most)
			}
			for _, c := range conns {
				c.Close()
			}
			world.Eventually(t, func() error {
				if now := open(t, guard); now.goroutines > was.goroutines+few || now.files > was.files+few {
					return fmt.Errorf("left are %v, before %v", now, was)
				}
				return nil
			})
			guard.Unchanged(t, before)
			awaitOwn(t, guard, "pushguard_in_flight_bytes", 0)
		})
	}
}

// usage is what a guard has open.
type usage struct{ goroutines, files float64 }

func (u usage) String() string {
	return fmt.Sprintf("%.0f goroutines and %.0f files", u.goroutines, u.files)
}

func open(t *testing.T, guard *world.Process) usage {
	t.Helper()
	return usage{own(t, guard, "go_goroutines"), own(t, guard, "process_open_fds")}
}

// TestFewFiles has more clients connect and send nothing than the guard may have files open:
// they keep nobody out, and those that are told why they are refused leave files to others.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	const files, come = 128, 400
	guard := world.Guard(t, world.GuardOptions{Files: files})
	for _, c := range dialed(t, guard, come, func(int) string { return "" }) {
		defer c.Close()
	}
	left := 0
	for range 25 { // while they are told
		left = max(left, files-guard.Descriptors(t))
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("%d files left", left)
	if left < 5 {
		t.Errorf("of %d files that may be open %d were left at most", files, left)
	}
	world.Eventually(t, func() error {
		a := guard.Send(t, world.Request{Method: http.MethodPut, Target: "/metrics/job/few", Body: "rows 1\n"})
		if a.Status != http.StatusOK {
			return fmt.Errorf("a push is answered %d %s", a.Status, a.Body)
		}
		return nil
	})
	world.Eventually(t, func() error { // a scrape may have come among the others
		waiting, _ := ownOrNone(t, guard, `pushguard_connections_closed_total{which="waiting"}`)
		fresh, _ := ownOrNone(t, guard, `pushguard_connections_closed_total{which="new"}`)
		if waiting+fresh < come-files*3/4 {
			return fmt.Errorf("%v and %v connections were closed to make room, want all but %d", waiting, fresh, files*3/4)
		}
		return nil
	})
}

// needFiles ends the test where a process may not have so many files open.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		world.Missing(t, fmt.Sprintf("room for %d open files (ulimit -Hn is %d)", n, limit.Max))
	}
}

// dial connects from one of 250 addresses of this host.
func dial(t *testing.T, guard *world.Process, from int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+from%250))}}
	c, err := d.DialContext(t.Context(), "tcp", guard.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialed opens connections from many addresses and sends something on each.
func dialed(t *testing.T, guard *world.Process, n int, text func(i int) string) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = dial(t, guard, i)
		if _, err := conns[i].Write([]byte(text(i))); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// idle has more connections than the guard keeps: the first of them are closed, so that
// there is room for others.
func idle(t *testing.T, guard *world.Process) []net.Conn {
	conns := dialed(t, guard, crowd, func(int) string { return "" })
	awaitAtLeast(t, guard, "pushguard_connections", crowd)
	conns = append(conns, dialed(t, guard, loris, func(int) string { return "" })...)
	awaitAtLeast(t, guard, `pushguard_connections_closed_total{which="waiting"}`, loris-500)
	if got := own(t, guard, "pushguard_connections"); got > crowd+500 {
		t.Errorf("%v connections are open, limit %d", got, crowd+500)
	}
	if got := own(t, guard, `pushguard_connections_closed_total{which="new"}`); got != 0 {
		t.Errorf("%v new connections were refused though others waited", got)
	}
	return conns
}

// awaitAtLeast waits until a series of the guard's own metrics has come up to a value.
func awaitAtLeast(t *testing.T, guard *world.Process, series string, want float64) {
	t.Helper()
	world.Eventually(t, func() error {
		if got := own(t, guard, series); got < want {
			return fmt.Errorf("%s is %v, want %v", series, got, want)
		}
		return nil
	})
}

func slowHeaders(t *testing.T, guard *world.Process) []net.Conn {
	conns := dialed(t, guard, loris, func(int) string { return "POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nX-A: " })
	awaitAtLeast(t, guard, "pushguard_connections", loris)
	drip(conns, "a")
	return conns
}

// endlessHeaders sends as much of a header as the guard takes, a MiB on each connection at
// the most.
func endlessHeaders(t *testing.T, guard *world.Process) []net.Conn {
	conns := dialed(t, guard, loris, func(int) string { return "POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nX-A: " })
	block := []byte(strings.Repeat("a", 32<<10))
	for _, c := range conns {
		for n := 0; n < mib; n += len(block) {
			if _, err := c.Write(block); err != nil {
				break // it was told that this is too much
			}
		}
	}
	return conns
}

// drip sends a little on each of the connections, of which some may be closed.
func drip(conns []net.Conn, text string) {
	for _, c := range conns {
		_, _ = c.Write([]byte(text))
	}
}

// slowBodies claims 8 GiB in all and sends little, as jobs that nobody knows and as one
// that the guard does.
func slowBodies(t *testing.T, guard *world.Process) []net.Conn {
	conns := dialed(t, guard, loris, func(i int) string {
		job := fmt.Sprint("slow-", i)
		if i%2 == 0 {
			job = "others"
		}
		return fmt.Sprintf("POST /metrics/job/%s/run/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nrows ", job, i, 8*mib)
	})
	world.Eventually(t, func() error {
		if own(t, guard, "pushguard_in_flight_bytes") == 0 {
			return errors.New("no body is being read")
		}
		return nil
	})
	drip(conns, "1")
	return conns
}

// pour sends the head of a push and then of its body what the guard takes, a GiB at the
// most, and returns the answer.
func pour(t *testing.T, guard *world.Process, head string, block []byte) []net.Conn {
	t.Helper()
	c := guard.Dial(t)
	taken := make(chan int64)
	go func() {
		n := int64(0)
		for err := c.Pour([]byte(head)); err == nil && n < gib; n += int64(len(block)) {
			err = c.Pour(block)
		}
		taken <- n
	}()
	answer := c.Read(http.MethodPut)
	if answer.Status != http.StatusRequestEntityTooLarge || !strings.Contains(answer.Body, "limit") {
		t.Errorf("%d %q, want 413 and the limit", answer.Status, answer.Body)
	}
	n := <-taken // the guard has closed the connection
	t.Logf("%d MiB were sent before the connection was closed", n/mib)
	if n > 100*mib {
		t.Errorf("the guard read %d MiB of what it had refused", n/mib)
	}
	return nil
}

var filler = bytes.Repeat([]byte("# filler\n"), mib/9)

func hugeWithLength(t *testing.T, guard *world.Process) []net.Conn {
	return pour(t, guard, fmt.Sprintf("PUT /metrics/job/huge HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", gib), filler)
}

func hugeInChunks(t *testing.T, guard *world.Process) []net.Conn {
	chunk := append(fmt.Appendf(nil, "%x\r\n", len(filler)), filler...)
	return pour(t, guard, "PUT /metrics/job/huge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", append(chunk, '\r', '\n'))
}

func hugeInside(t *testing.T, guard *world.Process) []net.Conn {
	member := zipped(t, strings.Repeat(string(filler), 64))
	bomb := strings.Repeat(member, 16)
	a := guard.Send(t, world.Request{Method: "PUT", Target: "/metrics/job/huge", Body: bomb, Headers: [][2]string{{"Content-Encoding", "gzip"}}})
	if a.Status != http.StatusRequestEntityTooLarge || !strings.Contains(a.Body, "limit") {
		t.Errorf("%d %q, want 413 and the limit", a.Status, a.Body)
	}
	return nil
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// cutOff resets connections within a body.
func cutOff(t *testing.T, guard *world.Process) []net.Conn {
	conns := dialed(t, guard, loris, func(i int) string {
		return fmt.Sprintf("PUT /metrics/job/cut/run/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n# TYPE rows gauge\nrows 1\n", i)
	})
	for _, c := range conns {
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	return nil
}

// unread asks for pages and for what is live, and reads nothing.
func unread(t *testing.T, guard *world.Process) []net.Conn {
	pages := []string{"/metrics", "/guard/", "/guard/metrics", "/api/v1/metrics", "/guard/api/v1/jobs", "/guard/live?of=overview"}
	return dialed(t, guard, loris, func(i int) string {
		return "GET " + pages[i%len(pages)] + " HTTP/1.1\r\nHost: x\r\n\r\n"
	})
}
