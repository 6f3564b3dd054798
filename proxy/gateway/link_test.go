package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

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
	}
	_ = listener.Close()
	<-ended
}

// TestLargeBody is about a push beyond what links carry.
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
