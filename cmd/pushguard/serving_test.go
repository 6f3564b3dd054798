package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	oklogrun "github.com/oklog/run"

	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/state"
)

// TestStopOnSignal is told to stop before the lifecycle that waits for that has begun: it
// ends at once then, and the process does not.
func TestStopOnSignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		execute, interrupt := stopOnSignal(t.Context())
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if err := self.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := execute(); !errors.Is(err, oklogrun.ErrSignal) {
			t.Errorf("%v: %v", s, err)
		}
		interrupt(nil)
	}
}

// TestKeepingEndsQuietly: that the directory was closed while something was written anew is
// no failure.
func TestKeepingEndsQuietly(t *testing.T) {
	var log logtest.Buffer
	ran := make(chan struct{})
	execute, interrupt := keeping(func(report func(error)) {
		defer close(ran)
		report(fmt.Errorf("not compacted: %w", state.ErrClosed))
		report(errors.New("no space left"))
	}, "It cannot be written", slog.New(slog.NewTextHandler(&log, nil)))
	go func() {
		<-ran
		interrupt(nil)
	}()
	_ = execute()
	if got := log.String(); strings.Contains(got, "closed") || !strings.Contains(got, `msg="It cannot be written" err="no space left"`) {
		t.Error(got)
	}
}

// TestHandshakesInTheLog has somebody look again and again whether there is TLS.
func TestHandshakesInTheLog(t *testing.T) {
	var out logtest.Buffer
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = newServing(&serveCommand{limits: limitFlags{connections: 100}}, slog.New(slog.NewTextHandler(&out, nil))).server("Serving", nil, newConnections(100, mostTold, nil)).ErrorLog
	server.StartTLS()
	defer server.Close()
	for range 20 {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("what is this\n")); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	for range 2 {
		server.Config.ErrorLog.Print("http2: server connection error from 192.0.2.7:4711: connection error: PROTOCOL_ERROR")
		server.Config.ErrorLog.Print("something else")
	}
	if s := out.String(); strings.Count(s, "TLS handshake error") != 1 || strings.Count(s, "PROTOCOL_ERROR") != 1 || strings.Count(s, "something else") != 2 {
		t.Errorf("the log has of 20 handshakes that failed and 2 errors of HTTP/2:\n%s", s)
	}
}
