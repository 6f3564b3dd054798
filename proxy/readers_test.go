package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/store"
)

// TestPagesThatNobodyReads has clients ask for the page, for the listing, or for what the
// guard says of itself, and not read it: of more than 16 the one of theirs that has been at it longest is cut off, and whoever
// reads gets all of it, also who began before them.
func TestPagesThatNobodyReads(t *testing.T) {
	rules, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {owner: o, mode: enforce}\n"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20 // more than the sockets take
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "g", Help: strings.Repeat("x", size)}))
	g, err := proxy.New(proxy.Config{
		Policy: rules, Upstream: own, Metrics: proxy.NewMetrics(registry),
		Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), size)) }),
		Caps:  proxy.Caps{Body: 2 << 20, Decoded: 2 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf("# HELP f %s\nf 1\n", strings.Repeat("x", size))
	if a := g.Push(t.Context(), proxy.Request{Method: http.MethodPost, Path: "/metrics/job/j", Body: strings.NewReader(body), Length: int64(len(body))}); a.Status != http.StatusOK {
		t.Fatal(a.Status, string(a.Body))
	}
	s := httptest.NewUnstartedServer(g.Handler())
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
		}
	}
	s.Start()
	defer s.Close()
	for _, path := range []string{"/metrics", "/api/v1/metrics", "/guard/metrics", "/guard/"} {
		t.Run(path, func(t *testing.T) {
			pages := []*http.Response{askFor(t, "127.0.0.2", s.Listener.Addr().String(), path)}
			for range 16 {
				pages = append(pages, askFor(t, "127.0.0.1", s.Listener.Addr().String(), path))
			}
			if n, err := io.Copy(io.Discard, pages[1].Body); err == nil {
				t.Errorf("the first of those that do not read was read whole, %d bytes", n)
			}
			for _, i := range []int{0, 2, 16} {
				if n, err := io.Copy(io.Discard, pages[i].Body); err != nil || n < size {
					t.Errorf("page %d: %d bytes, %v", i, n, err)
				}
			}
		})
	}
}

// askFor sends a request for a page from an address and reads how its answer begins.
func askFor(t *testing.T, from, address, path string) *http.Response {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
