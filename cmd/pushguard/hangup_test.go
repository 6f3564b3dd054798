package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSIGHUPAtTheStartAndTheEnd has a process hang up while it reads what it needs to begin,
// and while a request finishes after SIGTERM: neither ends it.
func TestSIGHUPAtTheStartAndTheEnd(t *testing.T) {
	if args := os.Getenv("PUSHGUARD_SERVE"); args != "" {
		os.Exit(run(context.Background(), strings.Split(args, "\n"), strings.NewReader(""), io.Discard, os.Stderr))
	}
	upstream, arrived, release := slowUpstream(t)
	// The process waits here until somebody writes, in the midst of its start.
	fifo := filepath.Join(t.TempDir(), "events.yml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSIGHUPAtTheStartAndTheEnd$")
	cmd.Env = append(os.Environ(), "PUSHGUARD_SERVE="+strings.Join([]string{
		"serve", "--web.listen-address=127.0.0.1:0", "--pushgateway.url=" + upstream, "--events.config.file=" + fifo,
	}, "\n"))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	log := bufio.NewScanner(stderr)
	await := func(pattern string) string {
		t.Helper()
		for re := regexp.MustCompile(pattern); log.Scan(); {
			if m := re.FindStringSubmatch(log.Text()); m != nil {
				return m[1]
			}
		}
		t.Fatalf("the process ended before it said %s: %v", pattern, cmd.Wait())
		return ""
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}

	config := make(chan *os.File, 1)
	go func() { // returns once the process reads
		f, _ := os.OpenFile(fifo, os.O_WRONLY, 0)
		config <- f
	}()
	select {
	case f := <-config:
		signal(syscall.SIGHUP)
		_, _ = io.WriteString(f, "sinks: [{url: \"stdout:\"}]\n")
		_ = f.Close()
	case <-time.After(2 * time.Minute):
		t.Fatal("the process never read its configuration")
	}
	s := &server{url: "http://" + await(`msg=Serving address=(\S+)`)}

	status := make(chan int, 1)
	go func() { status <- s.push("a 1\n") }()
	awaitPush(t, arrived)
	signal(syscall.SIGTERM)
	awaitRefused(t, s.url)
	time.Sleep(100 * time.Millisecond) // until all that ends with it has been told
	signal(syscall.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	release()
	if got := <-status; got != http.StatusOK {
		t.Errorf("the push in flight got %d, want 200", got)
	}
	_, _ = io.Copy(io.Discard, stderr)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
}
