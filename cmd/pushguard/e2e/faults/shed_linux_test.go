package faults

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// holdShed fails the test unless the answer is that of a push which may come again.
func holdShed(t *testing.T, got world.Answer, says string) {
	t.Helper()
	if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || !strings.Contains(got.Body, says) {
		t.Errorf("%d %v %q, want 503, when to come again, and %q", got.Status, got.Header, got.Body, says)
	}
}

// TestInFlightAtASocket has a Pushgateway stand still: as many pushes as may be are at work,
// one more waits in vain, and each that was taken is answered once the Pushgateway goes on.
func TestInFlightAtASocket(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{
		"--limits.in-flight=2", "--limits.wait=100ms", "--pushgateway.timeout=10m", "--pushgateway.breaker-failures=0", "--pushgateway.watch-interval=10m",
	}})
	mustPush(t, guard, "/metrics/job/seed", rows(1))
	behind.Freeze(t)
	var taken []*world.Conn
	for i := range 2 {
		c := guard.Dial(t)
		c.Write(world.Request{Target: fmt.Sprint("/metrics/job/taken-", i), Body: rows(1)}.Bytes(guard.Addr))
		taken = append(taken, c)
		awaitOwn(t, guard, "pushguard_in_flight_pushes", float64(i+1))
	}
	holdShed(t, guard.Push(t, "/metrics/job/late", rows(1)), "too many pushes at once, limit: 2")
	holdShed(t, guard.Send(t, world.Request{Method: http.MethodDelete, Target: "/metrics/job/seed"}), "too many pushes at once, limit: 2")
	if got := own(t, guard, `pushguard_shed_total{reason="waited"}`); got != 2 {
		t.Errorf("%v are said to have been shed, want 2", got)
	}
	behind.Thaw(t)
	for i, c := range taken {
		if got := c.Read(http.MethodPost); got.Status != http.StatusOK {
			t.Errorf("push %d: %d %q", i, got.Status, got.Body)
		}
	}
	mustPush(t, guard, "/metrics/job/late", rows(1))
	page := behind.Scrape(t, "")
	for _, job := range []string{"seed", "taken-0", "taken-1", "late"} {
		if stands(page, job) != 3 {
			t.Errorf("%d series of %s stand, want 3", stands(page, job), job)
		}
	}
}

// TestInFlightBytesAtASocket has one push hold 600 KiB of a MiB while it is sent: others
// have the rest to the last byte, and no byte more.
func TestInFlightBytesAtASocket(t *testing.T) {
	t.Parallel()
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--limits.in-flight-bytes=1MiB"}})
	body := func(size int) string {
		text := "# TYPE rows gauge\nrows 1\n"
		return text + "#" + strings.Repeat("x", size-len(text)-2) + "\n"
	}
	const held, rest = 600 << 10, 424 << 10
	for _, job := range []string{"slow", "other"} { // jobs that are not known share what one may have
		mustPush(t, guard, "/metrics/job/"+job, body(100))
	}
	slow := world.Request{Target: "/metrics/job/slow", Body: body(held)}
	c := guard.Dial(t)
	c.Write([]byte(slow.Head(guard.Addr)))
	awaitOwn(t, guard, "pushguard_in_flight_bytes", held)
	holdShed(t, guard.Push(t, "/metrics/job/other", body(rest+1)), "limit: 1048576 bytes")
	mustPush(t, guard, "/metrics/job/other", body(rest))
	mustPush(t, guard, "/metrics/job/other", body(rest-1))
	if got := own(t, guard, `pushguard_shed_total{reason="bytes"}`); got != 1 {
		t.Errorf("%v are said to have been shed, want 1", got)
	}
	c.Write([]byte(slow.Body))
	if got := c.Read(http.MethodPost); got.Status != http.StatusOK {
		t.Errorf("the slow push: %d %q", got.Status, got.Body)
	}
	mustPush(t, guard, "/metrics/job/other", body(rest+1))
	awaitOwn(t, guard, "pushguard_in_flight_bytes", 0)
}

// TestConnectionsAtASocket has four connections with a request each, as many as may be: a
// fifth is told to come again. Once one of them waits for its next request, that one makes
// room.
func TestConnectionsAtASocket(t *testing.T) {
	t.Parallel()
	admin := gatewaytest.FreeAddress(t)
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--limits.connections=4", "--admin.listen-address=" + admin}})
	apart := &world.Process{Name: "the guard's admin", Addr: admin, URL: "http://" + admin}
	const body = "# TYPE rows gauge\nrows 1\n"
	var conns []net.Conn
	for i := range 4 {
		c := dial(t, guard, i)
		defer c.Close()
		if _, err := fmt.Fprintf(c, "POST /metrics/job/slow-%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", i, len(body)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		awaitOwn(t, apart, "pushguard_in_flight_bytes", float64((i+1)*len(body)))
	}
	awaitOwn(t, apart, "pushguard_connections", 4)
	holdShed(t, guard.Push(t, "/metrics/job/late", body), "too many connections")
	awaitOwn(t, apart, `pushguard_connections_closed_total{which="new"}`, 1)
	if _, err := conns[0].Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	awaitOwn(t, apart, "pushguard_in_flight_bytes", float64(3*len(body)))
	world.Eventually(t, func() error { // it waits a moment after its answer
		if a := guard.Push(t, "/metrics/job/late", body); a.Status != http.StatusOK {
			return fmt.Errorf("%d %s", a.Status, a.Body)
		}
		return nil
	})
	awaitOwn(t, apart, `pushguard_connections_closed_total{which="waiting"}`, 1)
}

// TestSeriesAtASocket fills a guard to its last series, in which a group has two of its
// own: one more is refused, or left out where the policy trims. That is no 503: the same
// push will not do later either.
func TestSeriesAtASocket(t *testing.T) {
	t.Parallel()
	for mode, status := range map[string]int{"open": http.StatusUnprocessableEntity, "report": http.StatusUnprocessableEntity, "enforce": http.StatusOK} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			guard := world.Guard(t, world.GuardOptions{
				Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: "+mode+"}\n"),
				Flags:  []string{"--limits.series=12"},
			})
			mustPush(t, guard, "/metrics/job/a", rows(9))
			mustPush(t, guard, "/metrics/job/a", rows(10))
			a := guard.Push(t, "/metrics/job/a", rows(11))
			if a.Status != status {
				t.Errorf("one series over the limit: %d %q, want %d", a.Status, a.Body, status)
			}
			if status != http.StatusOK && (!strings.Contains(a.Body, "guard_budget") || !strings.Contains(a.Body, "12")) {
				t.Errorf("the answer does not name the limit: %q", a.Body)
			}
			if b := guard.Push(t, "/metrics/job/b", rows(1)); b.Status != http.StatusUnprocessableEntity {
				t.Errorf("another group: %d %q, want 422", b.Status, b.Body)
			}
			if got := stands(guard.Scrape(t, ""), "a"); got != 12 || held(t, guard, "a") != 12 {
				t.Errorf("%d series stand, %d are booked, want 12", got, held(t, guard, "a"))
			}
			mustPush(t, guard, "/metrics/job/a", rows(10))
		})
	}
}
