package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// TestStreams has clients send requests by HTTP/2 that do not end: of one address there
// are as many as it leaves to the others, and each that ends makes room.
func TestStreams(t *testing.T) {
	c := newConnections(4, mostTold, nil)
	taken, end := make(chan struct{}), make(chan struct{})
	bounded := c.boundStreams(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		taken <- struct{}{}
		<-end
	}))
	left := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bounded.ServeHTTP(w, r)
		left <- struct{}{}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := func(from string) *http.Client {
		transport := server.Client().Transport.(*http.Transport).Clone()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		transport.DialContext = dialer.DialContext
		transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: "example.com"}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	one, two := client("127.0.0.1"), client("127.0.0.2")
	answers := make(chan int, 10)
	ask := func(by *http.Client) {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Error(err)
		}
		resp, err := by.Do(r)
		if err != nil {
			t.Error(err)
			answers <- 0
			return
		}
		resp.Body.Close()
		answers <- resp.StatusCode
	}
	answered := func() int {
		<-left // an answer may be there before its request counts no more
		return <-answers
	}
	for _, by := range []*http.Client{one, one, two} {
		go ask(by)
		<-taken
	}
	for _, by := range []*http.Client{one, two} {
		go ask(by)
		if status := answered(); status != http.StatusServiceUnavailable {
			t.Errorf("one too many is answered %d", status)
		}
	}
	for range 2 {
		end <- struct{}{}
		answered()
	}
	go ask(one)
	<-taken
	close(end)
	for range 2 {
		if status := answered(); status != http.StatusOK {
			t.Error(status)
		}
	}
	if c.carried != 0 || len(c.streams) != 0 || c.streamed != 2 {
		t.Errorf("%d under way, of %v, %d refused", c.carried, c.streams, c.streamed)
	}
}

// TestStreamsBeforeTheirPasswords has requests wait where web.Serve verifies passwords, which
// is before the handler that it is given.
func TestStreamsBeforeTheirPasswords(t *testing.T) {
	c := newConnections(4, mostTold, nil)
	server := newServing(&serveCommand{}, slog.New(slog.DiscardHandler)).server("Serving", http.NotFoundHandler(), c)
	waiting, end := make(chan struct{}), make(chan struct{})
	var there atomic.Int32
	server.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if there.Add(1) <= 2 { // one more is to be refused
			waiting <- struct{}{}
			<-end
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server.BaseContext(l)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer close(end)
	ask := func() int {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		w := httptest.NewRecorder()
		server.Handler.ServeHTTP(w, r)
		return w.Code
	}
	for range 2 { // half of the four, which is what one client gets
		asking.Go(func() { ask() })
		<-waiting
	}
	if status := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("one too many is answered %d", status)
	}
}
