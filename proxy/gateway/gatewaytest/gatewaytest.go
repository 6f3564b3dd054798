// Package gatewaytest runs a real Pushgateway for tests.
package gatewaytest

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/addresstest"
)

const (
	binary   = "prometheus-pushgateway"
	ready    = 2 * time.Minute
	attempts = 3 // at a port that somebody else may take first
)

// Start runs a Pushgateway with the given flags on a free port of 127.0.0.1,
// without persistence, and returns its URL once it is ready; with
// --web.route-prefix=/p among the flags the URL ends in /p. It is killed when
// the test ends, and what it logged is shown if the test failed.
//
// Without a Pushgateway on this machine the test is skipped; where the
// environment says CI=true it fails.
func Start(t testing.TB, flags ...string) *url.URL {
	t.Helper()
	path, err := exec.LookPath(binary)
	if err != nil {
		const advice = "no " + binary + " here: apt-get install " + binary
		if os.Getenv("CI") == "true" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	for range attempts {
		if u := start(t, path, flags); u != nil {
			return u
		}
	}
	t.Fatalf("%s did not start", binary)
	return nil
}

// start returns nil if the process ended before it was ready.
func start(t testing.TB, path string, flags []string) *url.URL {
	t.Helper()
	address := FreeAddress(t)
	out := new(bytes.Buffer) // not read before the process has ended
	cmd := exec.Command(path, append([]string{"--web.listen-address=" + address, "--persistence.file="}, flags...)...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s %q:\n%s", binary, flags, out)
		}
	})
	u := &url.URL{Scheme: "http", Host: address}
	for _, f := range flags {
		if prefix, ok := strings.CutPrefix(f, "--web.route-prefix="); ok {
			u.Path = "/" + strings.Trim(prefix, "/")
		}
	}
	if !waitReady(u, ended) {
		return nil
	}
	return u
}

func waitReady(u *url.URL, ended <-chan struct{}) bool {
	deadline := time.After(ready)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-ended:
			return false
		case <-deadline:
			return false
		case <-tick.C:
		}
		resp, err := client.Get(u.JoinPath("-", "ready").String())
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			continue
		}
		select {
		case <-ended: // somebody else answered at this port
			return false
		default:
			return true
		}
	}
}

// FreeAddress is addresstest.Free for a test, which fails without one.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := addresstest.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
