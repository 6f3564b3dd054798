// Package redistest runs a real Redis for tests.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pushguard/pushguard/proxy/freezetest"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

const ready = 2 * time.Minute

// Redis is one that runs on 127.0.0.1, and keeps nothing on disk.
type Redis struct {
	t       testing.TB
	path    string
	address string
	flags   []string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
	out     bytes.Buffer  // not read before that
}

// Start runs a Redis on a free port until the test ends. Without one on this machine
// the test is skipped; where the environment says CI=true it fails.
func Start(t testing.TB, flags ...string) *Redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		const advice = "no redis-server here: apt-get install redis-server"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	r := &Redis{t: t, path: path, flags: flags}
	for range 3 { // at a port that somebody else may take first
		r.address = gatewaytest.FreeAddress(t)
		if r.run() {
			t.Cleanup(r.Kill)
			return r
		}
	}
	t.Fatalf("redis-server did not start:\n%s", &r.out)
	return nil
}

// URL is where it is.
func (r *Redis) URL() string { return "redis://" + r.address + "/0" }

// Forward has the time that guards of the default fleet go by be ahead, as it is where the
// clock of the Redis was set forward, or was and is set back.
func (r *Redis) Forward(by time.Duration) {
	r.t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.address})
	defer func() { _ = c.Close() }()
	if err := c.HIncrBy(context.Background(), "{pushguard}:head", "time", by.Microseconds()).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// Restart starts it anew at the same address, after Kill: empty.
func (r *Redis) Restart() {
	r.t.Helper()
	for range 50 {
		if r.run() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("redis-server did not start again:\n%s", &r.out)
}

// Kill ends it as a crash does.
func (r *Redis) Kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		<-r.ended
		r.cmd = nil
	}
}

// Pause has it not answer, with its connections open, until Resume.
func (r *Redis) Pause() {
	r.t.Helper()
	freezetest.Freeze(r.t, r.cmd.Process)
}

// Resume ends a Pause.
func (r *Redis) Resume() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Fatal(err)
	}
}

func (r *Redis) run() bool {
	host, port, _ := net.SplitHostPort(r.address)
	cmd := exec.Command(r.path, append([]string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", r.t.TempDir()}, r.flags...)...)
	cmd.Stdout, cmd.Stderr = &r.out, &r.out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	r.cmd, r.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	if !r.answers(time.After(ready)) {
		r.Kill()
		return false
	}
	return true
}

// answers waits until it answers, and reports whether it does so before it has ended.
func (r *Redis) answers(deadline <-chan time.Time) bool {
	for {
		select {
		case <-r.ended:
			return false
		case <-deadline:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if r.ping() {
			return true
		}
	}
}

func (r *Redis) ping() bool {
	conn, err := net.DialTimeout("tcp", r.address, 10*time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprint(conn, "PING\r\n")
	answer := make([]byte, 5)
	n, _ := conn.Read(answer)
	return string(answer[:n]) == "+PONG"
}
