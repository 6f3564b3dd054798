package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAnswersUnread has a client send requests with small answers and read none: once no
// more fit on their way the connection is cut off.
func TestAnswersUnread(t *testing.T) {
	own := newServing(&serveCommand{limits: limitFlags{connections: 1}}, slog.New(slog.DiscardHandler)).server("Serving", nil, newConnections(1, mostTold, nil))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "OK")
	}))
	ended := make(chan struct{})
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		ctx = own.ConnContext(ctx, conn)
		if after := timeout(t, conn); after != time.Minute {
			t.Errorf("the guard's own server waits for %v", after)
		}
		cutUnread(conn, time.Second)
		return ctx
	}
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(ended)
		}
	}
	server.Start()
	defer server.Close()
	client, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	go func() {
		requests := []byte(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
		for err := error(nil); err == nil; {
			_, err = client.Write(requests)
		}
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the connection is still there")
	}
}

// timeout is for how long what was sent over a connection may stay untaken.
func timeout(t *testing.T, conn net.Conn) time.Duration {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	if err := raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}
