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

// TestInFlightBytesAtASocket has pushes hold a MiB to the last byte while they are sent:
// one byte more is told to come again, and once there is room it is taken. What would be
// more by itself is told that it always will.
func TestInFlightBytesAtASocket(t *testing.T) {
	t.Parallel()
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--limits.in-flight-bytes=1MiB", "--web.read-timeout=10m"}})
	const limit, claim, largest = 1 << 20, 64 << 10, 128 << 10 // claimed before it comes; of a body
	var jobs []string
	for i := range limit/claim + 1 { // jobs that are not known share what one may have
		jobs = append(jobs, fmt.Sprint("job-", i))
		mustPush(t, guard, "/metrics/job/"+jobs[i], rows(1))
	}
	send := func(job string, length int) *world.Conn {
		c := guard.Dial(t)
		c.Write(fmt.Appendf(nil, "PUT /metrics/job/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", job, length))
		return c
	}
	var slow []*world.Conn
	for i := range limit/claim - 1 {
		slow = append(slow, send(jobs[i], claim))
		awaitOwn(t, guard, "pushguard_in_flight_bytes", float64((i+1)*claim))
	}
	small := rows(1)
	slow = append(slow, send(jobs[len(jobs)-2], claim-len(small)))
	awaitOwn(t, guard, "pushguard_in_flight_bytes", float64(limit-len(small)))
	last := jobs[len(jobs)-1]
	holdShed(t, guard.Push(t, "/metrics/job/"+last, small+"\n"), "limit: 1048576 bytes")
	slow = append(slow, send(last, len(small)))
	awaitOwn(t, guard, "pushguard_in_flight_bytes", limit)
	if got := own(t, guard, `pushguard_shed_total{reason="bytes"}`); got != 1 {
		t.Errorf("%v are said to have been shed, want 1", got)
	}
	fits := slow[len(slow)-1]
	for _, c := range slow[:len(slow)-1] {
		c.Close()
	}
	awaitOwn(t, guard, "pushguard_in_flight_bytes", float64(len(small)))
	fits.Write([]byte(small))
	if got := fits.Read(http.MethodPut); got.Status != http.StatusOK {
		t.Errorf("the last push to fit: %d %q", got.Status, got.Body)
	}
	awaitOwn(t, guard, "pushguard_in_flight_bytes", 0)
	mustPush(t, guard, "/metrics/job/"+last, rows(2))
	if got := guard.Push(t, "/metrics/job/"+last, strings.Repeat("#", largest)+"\n"); got.Status != http.StatusRequestEntityTooLarge || !strings.Contains(got.Body, "limit: 131072 bytes") {
		t.Errorf("a push that has no room by itself: %d %q, want 413 and the limit", got.Status, got.Body)
	}
	if got := guard.Push(t, "/metrics/job/"+last, rows(1500)); got.Status != http.StatusRequestEntityTooLarge || !strings.Contains(got.Body, "memory") {
		t.Errorf("a push whose samples have no room by themselves: %d %q, want 413", got.Status, got.Body)
	}
}

// TestConnectionsAtASocket has four connections with a request each, as many as may be: a
// fifth is told to come again. Once one of them waits for its next request, that one makes
// room.
func TestConnectionsAtASocket(t *testing.T) {
	t.Parallel()
	admin := gatewaytest.FreeAddress(t)
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--limits.connections=4", "--web.read-timeout=10m", "--admin.listen-address=" + admin}})
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

// TestBurst has far more connections come at once than there is room for, each with a
// push: every push is answered, with 503 if it is not taken. But for a few on a machine that
// has so much else to do that the server stands still between what it read and saying so.
func TestBurst(t *testing.T) {
	t.Parallel()
	const come, room = 1000, 200 // all of one address, which may have half the connections
	guard := world.Guard(t, world.GuardOptions{Flags: []string{fmt.Sprint("--limits.connections=", 2*room)}})
	guard.Freeze(t)
	var conns []*world.Conn
	for i := range come {
		c := guard.Dial(t)
		c.Write(world.Request{Target: fmt.Sprint("/metrics/job/job-", i%40), Body: rows(1)}.Bytes(guard.Addr))
		conns = append(conns, c)
	}
	guard.Thaw(t)
	answers := map[int]int{}
	for _, c := range conns {
		answers[c.Read(http.MethodPost).Status]++
	}
	if taken, shed := answers[http.StatusOK], answers[http.StatusServiceUnavailable]; taken == 0 || shed == 0 || taken+shed < come-come/50 {
		t.Errorf("answered: %v; want some 200, some 503, and next to nothing else", answers)
	}
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
