package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// The caps under which memory is measured, and what the guard may take at most.
// A body is held once as it came and once decoded, and growing a buffer holds
// its old half for a moment: 16 MiB four times over, and 64 MiB for the rest.
const (
	capBody     = 12 * mib
	capDecoded  = 16 * mib
	memoryBound = 64*mib + 4*capDecoded
)

var capFlags = []string{
	fmt.Sprintf("--limits.body-bytes=%dMiB", capBody/mib),
	fmt.Sprintf("--limits.decoded-bytes=%dMiB", capDecoded/mib),
	"--limits.samples=10000",
	"--limits.labels=64",
	"--limits.label-value-bytes=4KiB",
	"--memory.collect-from=0", // it is what a push takes that is bounded here
}

// bomb is about 1 MiB of gzip that unpacks to 1 GiB of empty lines, in members
// of 16 MiB that cost little to make.
func bomb(t *testing.T) string {
	t.Helper()
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(bytes.Repeat([]byte("\n"), 16*mib)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.Repeat(member.String(), 64)
}

func manyLabels(n int) string {
	var b strings.Builder
	b.WriteString("rows{")
	for i := range n {
		fmt.Fprintf(&b, "l%d=\"v\",", i)
	}
	b.WriteString("} 1\n")
	return b.String()
}

func manySamples(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "rows{i=\"%d\"} 1\n", i)
	}
	return b.String()
}

func bigBody(n int) string { return strings.Repeat("# filler\n", n/9+1)[:n-2] + "\n\n" }

type oversize struct {
	name    string
	request world.Request
	status  int // 0 is any 4xx
}

func oversizes(t *testing.T) []oversize {
	zip := [2]string{"Content-Encoding", "gzip"}
	return []oversize{
		{"decompression bomb", post("/metrics/job/big", bomb(t), zip), http.StatusRequestEntityTooLarge},
		{"decompression bomb in chunks", world.Request{Target: "/metrics/job/big", Body: bomb(t), Chunked: true, Headers: [][2]string{zip}}, http.StatusRequestEntityTooLarge},
		{"body over its cap", post("/metrics/job/big", bigBody(capBody+1)), http.StatusRequestEntityTooLarge},
		{"chunked body over its cap", world.Request{Target: "/metrics/job/big", Body: bigBody(capBody + 1), Chunked: true}, http.StatusRequestEntityTooLarge},
		{"decoded body over its cap", post("/metrics/job/big", zipped(bigBody(capDecoded+1)), zip), http.StatusRequestEntityTooLarge},
		{"label value of 10 MiB", post("/metrics/job/big", "rows{a=\""+strings.Repeat("x", 10*mib)+"\"} 1\n"), 0},
		{"label value of 10 MiB, protobuf", post("/metrics/job/big", delimited(gauge("rows", 1, pair("a", strings.Repeat("x", 10*mib)))), protobufType), 0},
		{"label name of 10 MiB", post("/metrics/job/big", "rows{"+strings.Repeat("x", 10*mib)+"=\"a\"} 1\n"), 0},
		{"metric name of 10 MiB", post("/metrics/job/big", strings.Repeat("x", 10*mib)+" 1\n"), 0},
		{"100,000 labels", post("/metrics/job/big", manyLabels(100_000)), 0},
		{"100,000 samples", post("/metrics/job/big", manySamples(100_000)), 0},
		{"100,000 empty protobuf messages", post("/metrics/job/big", strings.Repeat("\x00", 100_000), protobufType), 0},
		{"length prefix of 32 GiB", post("/metrics/job/big", "\x80\x80\x80\x80\x80\x01\x0a\x01", protobufType), 0},
		{"length prefix of 11 MiB", post("/metrics/job/big", "\x80\x80\xc0\x05\x0a\x01", protobufType), 0},
		{"grouping value of 48 KiB", post("/metrics/job/"+strings.Repeat("x", 48*kib), onePush), 0},
		{"5,000 grouping labels", post("/metrics/job/big"+manyComponents(5000), onePush), 0},
		{"path of 72 KiB", post("/metrics/job/"+strings.Repeat("x", 72*kib), onePush), http.StatusRequestHeaderFieldsTooLarge},
		{"path of 2 MiB", post("/metrics/job/"+strings.Repeat("x", 2*mib), onePush), http.StatusRequestHeaderFieldsTooLarge},
	}
}

func manyComponents(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "/l%d/v", i)
	}
	return b.String()
}

// TestOversize sends what is too large in every way: refused early, with a
// reason, nothing written behind, and never more memory than the caps allow.
func TestOversize(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: capFlags})
	mustPush(t, guard, seedPath, seedBody)
	before := behind.State(t)
	cases := oversizes(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { restore(t, guard, behind, before) })
			got := guard.Send(t, c.request)
			if c.status != 0 && got.Status != c.status {
				t.Errorf("status %d %q, want %d", got.Status, got.Body, c.status)
			}
			if c.status != http.StatusRequestHeaderFieldsTooLarge { // that answer is net/http's
				holdRefusal(t, got)
			}
			if len(got.Body) > 8*kib {
				t.Errorf("the answer is %d bytes long", len(got.Body))
			}
			behind.Unchanged(t, before)
			holdMemory(t, guard, memoryBound)
			holdHealthy(t, guard, behind)
		})
	}
	t.Run("eight bombs at once", func(t *testing.T) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got := guard.Send(t, cases[0].request); got.Status < 400 || got.Status > 499 && got.Status != http.StatusServiceUnavailable {
					t.Errorf("status %d %q", got.Status, got.Body)
				}
			})
		}
		all.Wait()
		holdMemory(t, guard, memoryBound+8*4*capDecoded)
		holdHealthy(t, guard, behind)
	})
}

func holdMemory(t *testing.T, p *world.Process, bound int64) {
	t.Helper()
	peak := p.PeakMemory(t)
	t.Logf("peak memory %d MiB of %d", peak/mib, bound/mib)
	if peak > bound && !world.Race() {
		t.Errorf("peak memory %d MiB, bound %d MiB", peak/mib, bound/mib)
	}
}

// TestCaps sends what is just within each cap of the command line, and just over.
func TestCaps(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{
		"--limits.body-bytes=1KiB", "--limits.decoded-bytes=4KiB", "--limits.samples=20",
		"--limits.labels=8", "--limits.label-value-bytes=64B",
	}})
	value := func(n int) string { return "rows{a=\"" + strings.Repeat("x", n) + "\"} 1\n" }
	zip := [2]string{"Content-Encoding", "gzip"}
	for _, c := range []struct {
		name     string
		in, over world.Request
		status   int // 0 is any 4xx
	}{
		{"body", post("/metrics/job/x", bigBody(kib)), post("/metrics/job/x", bigBody(kib+1)), http.StatusRequestEntityTooLarge},
		{"decoded body", post("/metrics/job/x", zipped(bigBody(4*kib)), zip), post("/metrics/job/x", zipped(bigBody(4*kib+1)), zip), http.StatusRequestEntityTooLarge},
		{"samples", post("/metrics/job/x", manySamples(20)), post("/metrics/job/x", manySamples(21)), 0},
		{"labels", post("/metrics/job/x", manyLabels(6)), post("/metrics/job/x", manyLabels(9)), 0},
		{"label value", post("/metrics/job/x", value(64)), post("/metrics/job/x", value(65)), 0},
		{"grouping value", post("/metrics/job/y/a/"+strings.Repeat("x", 64), onePush), post("/metrics/job/y/a/"+strings.Repeat("x", 65), onePush), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := guard.Send(t, c.in); got.Status != http.StatusOK {
				t.Errorf("within the cap: %d %q", got.Status, got.Body)
			}
			before := behind.State(t)
			got := guard.Send(t, c.over)
			if c.status != 0 && got.Status != c.status {
				t.Errorf("over the cap: %d, want %d", got.Status, c.status)
			}
			holdRefusal(t, got)
			if !strings.ContainsAny(got.Body, "0123456789") {
				t.Errorf("the answer does not name the limit: %q", got.Body)
			}
			behind.Unchanged(t, before)
		})
	}
}

// TestSlowClients opens many connections that claim a large body and send it by
// drops. Nobody else waits for them, they hold little memory, one that goes on
// is served, and one that died leaves nothing.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: capFlags})
	mustPush(t, guard, seedPath, seedBody)
	request := post("/metrics/job/slow", bigBody(8*mib)+onePush)
	var conns []*world.Conn
	for range 200 {
		c := guard.Dial(t)
		c.Write([]byte(request.Head(guard.Addr)))
		c.Write([]byte(request.Body[:10]))
		conns = append(conns, c)
	}
	mustPush(t, guard, seedPath, seedBody) // while none of them has come to its end
	holdMemory(t, guard, 64*mib+200*mib)   // 1 MiB a connection and no more, whatever it claims

	for _, c := range conns[1:] {
		c.Close()
	}
	for i := 10; i < 30; i++ {
		conns[0].Write([]byte(request.Body[i : i+1]))
		time.Sleep(10 * time.Millisecond)
	}
	conns[0].Write([]byte(request.Body[30:]))
	if got := conns[0].Read(http.MethodPost); got.Status != http.StatusOK {
		t.Errorf("the slow push: %d %q", got.Status, got.Body)
	}
	if _, found := behind.State(t).Group(map[string]string{"job": "slow"}); !found {
		t.Error("the slow push did not arrive")
	}
	holdHealthy(t, guard, behind)
}

// TestTimeouts checks that a client that never ends its request is let go, and
// that nothing of it arrives.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{"--web.read-timeout=3s", "--web.read-header-timeout=3s"}})
	mustPush(t, guard, seedPath, seedBody)
	before := behind.State(t)
	for name, sent := range map[string]string{
		"headers": "POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nX-A: ",
		"body":    "POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nrows 1\n",
		"chunks":  "POST /metrics/job/slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nrows 1\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := guard.Dial(t)
			c.Write([]byte(sent))
			got := c.Read(http.MethodPost)
			if got.Status != 0 && (got.Status < 400 || got.Status > 499) {
				t.Errorf("status %d %q", got.Status, got.Body)
			}
			behind.Unchanged(t, before)
		})
	}
	holdHealthy(t, guard, behind)
}

// TestRefusedAllTheSame: a client that reads nothing before it has sent all of its push, as
// urllib of Python does and nginx by default, is told why that is refused, though this was
// known before its body came.
func TestRefusedAllTheSame(t *testing.T) {
	t.Parallel()
	guard := world.Guard(t, world.GuardOptions{Policy: world.Write(t, "policy.yml", `version: v1
auth:
  push: required
  users: {data: "sha256:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0"} # token
default: {push: [data]}
`)})
	for _, says := range []string{"HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n", "HTTP/1.0\r\n"} {
		for _, c := range []struct {
			name, header string
			body         string
			status       int
		}{
			{"a stranger", lengthOf(12 * mib), bigBody(12 * mib), http.StatusUnauthorized},
			{"too large", "Authorization: Bearer token\r\n" + lengthOf(20*mib), bigBody(20 * mib), http.StatusRequestEntityTooLarge},
			{"a stranger, in chunks", "Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 12*mib, bigBody(12*mib)), http.StatusUnauthorized},
		} {
			if strings.HasPrefix(c.header, "Transfer") && strings.HasPrefix(says, "HTTP/1.0") {
				continue // it has none
			}
			conn := guard.Dial(t)
			if err := conn.Pour([]byte("PUT /metrics/job/x " + says + "Host: x\r\n" + c.header + "\r\n" + c.body)); err != nil {
				t.Errorf("%s, %q: %v", c.name, says, err)
			}
			if got := conn.Read(http.MethodPut); got.Status != c.status || got.Body == "" {
				t.Errorf("%s, %q: %d %q, want %d and the reason", c.name, says, got.Status, got.Body, c.status)
			}
		}
	}
}

func lengthOf(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
