package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPathReachesTheUpstreamAsRendered(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	defer s.Close()
	for _, prefix := range []string{"", "/pgw", "/a%20b/c%2Fd"} {
		u := open(t, Config{URL: parse(t, s.URL+prefix+"/")})
		for _, k := range nastyKeys() {
			if _, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: k}); err != nil {
				t.Fatalf("%s: %v", k, err)
			}
			if want := prefix + k.Path(); got != want {
				t.Errorf("%s reached the upstream as\n%s, want\n%s", k, got, want)
			}
		}
	}
}

func TestHeaderOfAWrite(t *testing.T) {
	for name, c := range map[string]struct {
		in, want    http.Header
		contentType string
		remote      string
	}{
		"nothing is made up": {
			in: nil, want: http.Header{},
		},
		"the client's own fields are kept": {
			in: http.Header{
				"Content-Type": {"text/plain; version=0.0.4"}, "Content-Encoding": {"gzip"}, "Authorization": {"Basic eDp5"},
				"User-Agent": {"curl/8"}, "X-Any": {"a", "b"}, "Accept-Encoding": {"gzip;q=0"},
			},
			want: http.Header{
				"Content-Type": {"text/plain; version=0.0.4"}, "Content-Encoding": {"gzip"}, "Authorization": {"Basic eDp5"},
				"User-Agent": {"curl/8"}, "X-Any": {"a", "b"}, "Accept-Encoding": {"gzip;q=0"},
			},
		},
		"hop by hop": {
			in: http.Header{
				"Connection": {"close, X-Secret", " x-other ,"}, "X-Secret": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"5"},
				"Proxy-Connection": {"close"}, "Proxy-Authorization": {"x"}, "Proxy-Authenticate": {"x"}, "Te": {"trailers"},
				"Trailer": {"X"}, "Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"}, "Content-Length": {"99"},
				"Expect": {"100-continue"}, "Host": {"pushgateway.example"}, "X-Kept": {"1"},
			},
			want: http.Header{"X-Kept": {"1"}},
		},
		"a body that was changed": {
			in: http.Header{
				"Content-Type": {"application/vnd.google.protobuf"}, "Content-Encoding": {"gzip"}, "Content-Md5": {"x"},
				"Digest": {"x"}, "Content-Digest": {"x"}, "Repr-Digest": {"x"},
			},
			contentType: "text/plain; version=0.0.4",
			want:        http.Header{"Content-Type": {"text/plain; version=0.0.4"}},
		},
		"the client's address": {
			remote: "192.0.2.7:1234",
			want:   http.Header{"X-Forwarded-For": {"192.0.2.7"}},
		},
		"the client's address behind another": {
			in:     http.Header{"X-Forwarded-For": {"198.51.100.1", "198.51.100.2"}, "X-Forwarded-Proto": {"https"}},
			remote: "[2001:db8::1]:1234",
			want:   http.Header{"X-Forwarded-For": {"198.51.100.1, 198.51.100.2, 2001:db8::1"}, "X-Forwarded-Proto": {"https"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte("x 1\n")
			u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.ContentLength != int64(len(body)) || len(r.TransferEncoding) != 0 {
					t.Errorf("length %d, transfer encoding %q", r.ContentLength, r.TransferEncoding)
				}
				r.Header.Del("Content-Length")
				if diff := cmp.Diff(c.want, r.Header); diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
				if got, _ := io.ReadAll(r.Body); !bytes.Equal(got, body) {
					t.Errorf("body %q", got)
				}
			})
			before := c.in.Clone()
			for _, by := range []*links{u.links, nil} { // and by net/http
				u.links = by
				_, err := u.Do(t.Context(), Request{
					Method: http.MethodPost, Key: key("job", "j"), Header: c.in, RemoteAddr: c.remote, Body: body, ContentType: c.contentType,
				})
				if err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(before, c.in); diff != "" {
					t.Errorf("the client's header was changed:\n%s", diff)
				}
			}
		})
	}
}

func TestForward(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || r.RequestURI != "/api/v1/admin/wipe" || r.ContentLength != 0 {
			t.Errorf("got %s %s of %d bytes", r.Method, r.RequestURI, r.ContentLength)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	a, err := u.Forward(t.Context(), "/api/v1/admin/wipe", Request{Method: http.MethodPut})
	if err != nil || a.Status != http.StatusAccepted {
		t.Errorf("Forward = %+v, %v", a, err)
	}
}

func TestAnswer(t *testing.T) {
	for _, n := range []int{0, maxAnswer - 1, maxAnswer, maxAnswer + 1} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Connection"] = []string{"X-Hop"}
			w.Header().Set("X-Hop", "1")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(bytes.Repeat([]byte("x"), n))
		})
		a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
		if err != nil || a.Status != http.StatusBadRequest || len(a.Body) != min(n, maxAnswer) {
			t.Errorf("%d bytes: status %d, %d bytes, %v", n, a.Status, len(a.Body), err)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("X-Hop")+a.Header.Get("Connection")+a.Header.Get("Content-Length") != "" {
			t.Errorf("%d bytes: header %v", n, a.Header)
		}
	}
}

func TestAnswerCutOffIsStillAnAnswer(t *testing.T) {
	u := raw(t, patient, func(_ int, c net.Conn, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	})
	a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
	if err != nil || a.Status != http.StatusOK || string(a.Body) != "abc" {
		t.Errorf("Do = %d %q, %v", a.Status, a.Body, err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var requests atomic.Int32
	for _, status := range []int{301, 302, 303, 307, 308} {
		requests.Store(0)
		u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.Redirect(w, r, "/elsewhere", status)
		})
		_, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
		if !errors.Is(err, ErrRedirect) || requests.Load() != 1 {
			t.Errorf("status %d: %v after %d requests", status, err, requests.Load())
		}
	}
}

// patient is a timeout that no test reaches.
const patient = 30 * time.Second

// raw returns an upstream that answers the requests of each connection by hand:
// answer gets the number of the connection, from 0, and may be called again
// until it closes it.
func raw(t *testing.T, timeout time.Duration, answer func(n int, c net.Conn, r *http.Request)) *Upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					answer(n, c, r)
				}
			})
		}
	})
	u := open(t, Config{URL: parse(t, "http://"+l.Addr().String()), Timeout: timeout})
	t.Cleanup(func() { u.Close(); _ = l.Close(); wg.Wait() })
	return u
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

func TestErrorsTellWhatTheUpstreamMayHaveDone(t *testing.T) {
	push := Request{Method: http.MethodPut, Key: key("job", "j"), Body: []byte("x 1\n")}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = discardLog()
	defer secure.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	hang := func(_ int, c net.Conn, _ *http.Request) { _, _ = c.Read(make([]byte, 1)) }
	for name, c := range map[string]struct {
		upstream *Upstream
		ctx      context.Context
		want     error
	}{
		"nobody listens":          {open(t, Config{URL: parse(t, "http://"+closedPort(t))}), t.Context(), ErrUnreachable},
		"no such host":            {open(t, Config{URL: parse(t, "http://host.invalid:9091")}), t.Context(), ErrUnreachable},
		"certificate not trusted": {open(t, Config{URL: parse(t, secure.URL)}), t.Context(), ErrUnreachable},
		"given up before":         {raw(t, patient, hang), ended, ErrUnreachable},
		"no answer":               {raw(t, time.Second, hang), t.Context(), ErrTimeout},
		"reset":                   {raw(t, patient, func(_ int, c net.Conn, _ *http.Request) { reset(c) }), t.Context(), ErrBroken},
		"closed":                  {raw(t, patient, func(int, net.Conn, *http.Request) {}), t.Context(), ErrBroken},
		"half a header": {raw(t, patient, func(_ int, c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		}), t.Context(), ErrBroken},
		"not HTTP": {raw(t, patient, func(_ int, c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
		}), t.Context(), ErrBroken},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.upstream.Do(c.ctx, push)
			for _, class := range []error{ErrUnreachable, ErrTimeout, ErrBroken, ErrRedirect} {
				if errors.Is(err, class) != (class == c.want) {
					t.Errorf("Do = %v, want only %v", err, c.want)
				}
			}
		})
	}
}

func TestGivenUpMidwayIsBroken(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := raw(t, patient, func(_ int, c net.Conn, _ *http.Request) { cancel(); _, _ = c.Read(make([]byte, 1)) })
	if _, err := u.Do(ctx, Request{Method: http.MethodPut, Key: key("job", "j")}); !errors.Is(err, ErrBroken) || !errors.Is(err, context.Canceled) {
		t.Errorf("Do = %v", err)
	}
}

// TestStaleConnection lets the upstream close a kept-alive connection at the
// moment the next request is sent on it.
func TestStaleConnection(t *testing.T) {
	var bodies []string
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	next := func(b *bufio.Reader) {
		r, err := http.ReadRequest(b)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(body))
	}
	wg.Go(func() {
		first, err := l.Accept()
		if err != nil {
			return
		}
		b := bufio.NewReader(first)
		next(b)
		_, _ = io.WriteString(first, ok)
		next(b) // read, then no answer
		_ = first.Close()
		second, err := l.Accept()
		if err != nil {
			return
		}
		next(bufio.NewReader(second))
		_, _ = io.WriteString(second, ok)
		_ = second.Close()
	})
	u := open(t, Config{URL: parse(t, "http://"+l.Addr().String()), Timeout: patient})
	for i, body := range []string{"x 1\n", "x 2\n"} {
		a, err := u.Do(t.Context(), Request{Method: http.MethodPost, Key: key("job", "j"), Body: []byte(body)})
		if err != nil || a.Status != http.StatusOK {
			t.Errorf("push %d: %d, %v", i, a.Status, err)
		}
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"x 1\n", "x 2\n", "x 2\n"}, bodies); diff != "" {
		t.Errorf("the upstream read (-want +got):\n%s", diff)
	}
}

func TestStaleConnectionAndThenNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := bufio.NewReader(c)
		for i := range 2 {
			r, err := http.ReadRequest(b)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			if i == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}
		_ = l.Close()
	})
	u := open(t, Config{URL: parse(t, "http://"+l.Addr().String()), Timeout: patient})
	push := Request{Method: http.MethodPut, Key: key("job", "j"), Body: []byte("x 1\n")}
	if _, err := u.Do(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	// The second attempt reaches nobody, but the first was read.
	if _, err := u.Do(t.Context(), push); !errors.Is(err, ErrBroken) || errors.Is(err, ErrUnreachable) {
		t.Errorf("Do = %v, want ErrBroken", err)
	}
	wg.Wait()
}

func TestConnectionsAreReused(t *testing.T) {
	const workers, rounds = 32, 20
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusBadRequest)
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	u := open(t, Config{URL: parse(t, s.URL)})
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				if _, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j"), Body: []byte("x 1\n")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := conns.Load(); n > 2*workers {
		t.Errorf("%d connections for %d requests of %d at a time", n, workers*rounds, workers)
	}
}
