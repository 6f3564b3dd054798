package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/wire"
)

func TestLinksAddress(t *testing.T) {
	for host, want := range map[string]string{
		"pushgateway": "pushgateway:80", "pushgateway:9091": "pushgateway:9091", "[::1]": "[::1]:80", "[::1]:9091": "[::1]:9091",
	} {
		if got := newLinks(host).address; got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// TestHostsOfLinks leaves names to net/http that are not written as they are.
func TestHostsOfLinks(t *testing.T) {
	for host, want := range map[string]bool{"pushgateway:9091": true, "[::1]:9091": true, "[fe80::1%25eth0]:9091": false, "bücher.example": false} {
		if u := open(t, Config{URL: parse(t, "http://"+host)}); (u.links != nil) != want {
			t.Errorf("%s: by a link: %v, want %v", host, !want, want)
		}
	}
}

// TestAFieldIsOneLine writes fields that would be two, as no client can send them.
func TestAFieldIsOneLine(t *testing.T) {
	var got http.Header
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	in := http.Header{"X-Any": {"a\r\nX-Other: b"}, "X-More": {"a\nb"}}
	if _, err := u.Do(t.Context(), Request{Method: http.MethodDelete, Key: key("job", "j"), Header: in}); err != nil {
		t.Fatal(err)
	}
	if got.Get("X-Any") != "a  X-Other: b" || got.Get("X-More") != "a b" || got.Get("X-Other") != "" {
		t.Errorf("header %v", got)
	}
}

// TestUnaskedAnswerIsNotTaken has a server say that it has waited long enough on a
// connection that is idle: that is no answer to the push that comes next.
func TestUnaskedAnswerIsNotTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered, said, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for first := true; ; first = false {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			if first {
				<-answered
				_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				close(said)
			}
		}
	}()
	u := open(t, Config{URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}})
	for i := range 2 {
		a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: wire.NewKey(label("job", "j")), Body: []byte("a 1\n")})
		if err != nil || a.Status != http.StatusOK {
			t.Errorf("%d %v", a.Status, err)
		}
		if i == 0 {
			close(answered)
		}
		<-said
		time.Sleep(assured)
	}
	_ = listener.Close()
	<-ended
}

// TestLargeBody is about a push beyond what links carry.
// TestGivenUpWhileTheAnswerComes: a push that was given up has no answer, whatever of it has
// come, and is counted as one without.
func TestGivenUpWhileTheAnswerComes(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	status := make(chan int, 1)
	u := open(t, Config{URL: parse(t, "http://127.0.0.1:1"), Observe: func(_ string, s int, _ time.Duration) { status <- s }})
	l := &link{Conn: &halfway{comes: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", then: giveUp, late: make(chan struct{})}, since: time.Now()}
	l.in, l.out = bufio.NewReader(l), bufio.NewWriter(l)
	u.links.idle = append(u.links.idle, l)
	a, err := u.Do(ctx, Request{Method: http.MethodPut, Key: key("job", "j")})
	if !errors.Is(err, ErrBroken) || !errors.Is(err, context.Canceled) || a.Status != 0 {
		t.Errorf("Do = %+v, %v", a, err)
	}
	if s := <-status; s != 0 {
		t.Errorf("it is counted with status %d", s)
	}
}

// halfway is a connection on which half an answer comes, and then something happens that
// has it be late.
type halfway struct {
	net.Conn
	comes string
	then  func()
	late  chan struct{}
}

func (c *halfway) Read(p []byte) (n int, err error) {
	if c.comes == "" {
		c.then()
		<-c.late
		return 0, os.ErrDeadlineExceeded
	}
	n = copy(p, c.comes)
	c.comes = c.comes[n:]
	return n, nil
}

func (c *halfway) Write(p []byte) (int, error) { return len(p), nil }
func (c *halfway) Close() error                { return nil }
func (c *halfway) SetDeadline(at time.Time) error {
	if !at.IsZero() && at.Before(time.Now()) {
		close(c.late)
	}
	return nil
}

func TestLargeBody(t *testing.T) {
	got := 0
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got = int(n)
	})
	for _, size := range []int{largestDirect - 1, largestDirect, largestDirect + 1} {
		a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: wire.NewKey(label("job", "j")), Body: []byte(strings.Repeat("x", size))})
		if err != nil || a.Status != http.StatusOK || got != size {
			t.Errorf("%d bytes: %d, %d arrived, %v", size, a.Status, got, err)
		}
	}
}

// TestSaidAgain has an upstream say the same again and again, and other things in between.
func TestSaidAgain(t *testing.T) {
	const later = "HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 01:02:04 GMT\r\nContent-Length: 0\r\n\r\n"
	ok, accepted, bad := plainAnswers[0], plainAnswers[1], plainAnswers[2]
	says := []string{ok, ok, later, later, ok, bad, bad, ok, ok, accepted, accepted, ok}
	s, c := net.Pipe()
	defer s.Close()
	defer c.Close()
	go func() {
		in := bufio.NewReader(s)
		for _, answer := range says {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(s, answer)
		}
	}()
	u := open(t, Config{URL: parse(t, "http://127.0.0.1:1")})
	l := &link{Conn: c, since: time.Now()}
	l.in, l.out = bufio.NewReader(l), bufio.NewWriter(l)
	u.links.idle = append(u.links.idle, l)
	for i, answer := range says {
		want, _ := plainAnswer([]byte(answer))
		got, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j"), Body: []byte("a 1\n")})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answer %d, %q: %s", i, answer, diff)
		}
	}
}

// BenchmarkDo sends a small push to a server that costs next to nothing, over a link and
// by net/http's transport.
func BenchmarkDo(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	r := Request{
		Method: http.MethodPut, Key: wire.NewKey(label("job", "j"), label("instance", "i")), RemoteAddr: "127.0.0.1:1234",
		Header: http.Header{"Content-Type": {"text/plain; version=0.0.4"}, "User-Agent": {"Python-urllib/3.11"}, "Accept-Encoding": {"identity"}, "Connection": {"close"}},
		Body:   []byte(strings.Repeat("a_metric{a_label=\"a value\"} 1\n", 10)),
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go answerAll(c, len(r.Body))
		}
	}()
	for name, direct := range map[string]bool{"link": true, "transport": false} {
		b.Run(name, func(b *testing.B) {
			u := open(b, Config{URL: parse(b, "http://"+listener.Addr().String())})
			if !direct {
				u.links = nil
			}
			b.ReportAllocs()
			for b.Loop() {
				if a, err := u.Do(b.Context(), r); err != nil || a.Status != http.StatusOK {
					b.Fatal(a.Status, err)
				}
			}
		})
	}
}

// answerAll answers requests with bodies of one length until the connection ends.
func answerAll(c net.Conn, body int) {
	defer c.Close()
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) > len("\r\n") {
			continue
		}
		_, _ = in.Discard(body)
		if _, err := io.WriteString(c, plainAnswers[0]); err != nil {
			return
		}
	}
}
