package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// TestServeOutlivesWhoReadsItsEvents has nobody read the events at stdout: they wait, and
// the guard serves and ends as ever.
func TestServeOutlivesWhoReadsItsEvents(t *testing.T) {
	address, log := gatewaytest.FreeAddress(t), &logtest.Buffer{}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("pushguard", "serve", "--web.listen-address="+address, "--events.url=stdout:", "--events.flush-interval=1ms")
	cmd.Stdout, cmd.Stderr = in, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_, _ = in.Close(), out.Close()
	eventually := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s\n%s", what, log)
			}
		}
	}
	eventually("the push is not taken", func() bool {
		resp, err := http.Post(fmt.Sprintf("http://%s/metrics/job/load", address), "text/plain", strings.NewReader("rows{run_id=\"r1\"} 1\n"))
		if err == nil {
			err = resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	eventually("no event is tried", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://%s/guard/metrics", address))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(page), "\npushguard_events_up{sink=\"stdout-457ec994\"} 0\n")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
}
