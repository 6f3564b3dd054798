// Command bare is the least that a server of net/http can do with a push: read it whole and
// answer 200, or hand it on as it came, over a connection that it keeps, and answer as it
// was answered. What a guard takes beyond that is the guard's own.
//
//	bare ADDRESS [UPSTREAM]
//
// It checks nothing: it is there to be measured.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

func main() { server.Main("bare", run) }

func run(ctx context.Context, args []string, _, _ io.Writer) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: bare ADDRESS [UPSTREAM]")
	}
	var take http.HandlerFunc = swallow
	if len(args) == 2 {
		take = (&upstream{address: args[1]}).forward
	}
	s := &http.Server{Addr: args[0], Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet { // which asks whether it is ready
			take(w, r)
		}
	})}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// body reads a push whole.
func body(r *http.Request) ([]byte, error) {
	b := make([]byte, max(r.ContentLength, 0))
	_, err := io.ReadFull(r.Body, b)
	return b, err
}

func swallow(w http.ResponseWriter, r *http.Request) {
	if _, err := body(r); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
}

// upstream is a server that pushes are handed on to, over a connection for each at once.
type upstream struct {
	address string

	mu   sync.Mutex
	idle []*conn
}

type conn struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func (u *upstream) forward(w http.ResponseWriter, r *http.Request) {
	status, err := u.exchange(r)
	if err != nil {
		status = http.StatusBadGateway
	}
	w.WriteHeader(status)
}

func (u *upstream) exchange(r *http.Request) (status int, err error) {
	push, err := body(r)
	if err != nil {
		return 0, err
	}
	c, err := u.take()
	if err != nil {
		return 0, err
	}
	c.out = fmt.Appendf(c.out[:0], "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		r.Method, r.URL.EscapedPath(), u.address, r.Header.Get("Content-Type"), len(push), push)
	if status, err = c.exchange(); err != nil {
		_ = c.Close()
		return 0, err
	}
	u.mu.Lock()
	u.idle = append(u.idle, c)
	u.mu.Unlock()
	return status, nil
}

// exchange sends what is in out and reads the answer to its end.
func (c *conn) exchange() (status int, err error) {
	if _, err := c.Write(c.out); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (u *upstream) take() (*conn, error) {
	u.mu.Lock()
	if n := len(u.idle); n > 0 {
		c := u.idle[n-1]
		u.idle = u.idle[:n-1]
		u.mu.Unlock()
		return c, nil
	}
	u.mu.Unlock()
	c, err := net.Dial("tcp", u.address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}
