package world

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Request is one HTTP request as it goes on the wire, byte by byte: no header
// is added but Host and the framing, and nothing is put right. The zero values
// of Method and Proto are POST and HTTP/1.1.
type Request struct {
	Method  string
	Target  string // the raw request target
	Proto   string
	Headers [][2]string // Host among them replaces the server's own
	Body    string
	Chunked bool // frames the body in chunks; otherwise it has a Content-Length, or none when it is empty
	NoFrame bool // writes the body as it is, after the headers that Headers holds
}

// Bytes renders the request for a server at addr.
func (r Request) Bytes(addr string) []byte {
	var b bytes.Buffer
	b.WriteString(r.Head(addr))
	if r.Chunked {
		writeChunks(&b, r.Body)
	} else {
		b.WriteString(r.Body)
	}
	return b.Bytes()
}

// Head renders the request line and the headers, with the empty line after them.
func (r Request) Head(addr string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\n", or(r.Method, http.MethodPost), r.Target, or(r.Proto, "HTTP/1.1"))
	if !r.has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", addr)
	}
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	switch {
	case r.NoFrame:
	case r.Chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case r.Body != "" || r.Method != http.MethodGet && r.Method != http.MethodDelete && r.Method != http.MethodHead:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	b.WriteString("\r\n")
	return b.String()
}

func (r Request) has(name string) bool {
	for _, h := range r.Headers {
		if strings.EqualFold(h[0], name) {
			return true
		}
	}
	return false
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// writeChunks uses chunks of 1000 bytes, so that most bodies have several.
func writeChunks(b *bytes.Buffer, body string) {
	for len(body) > 0 {
		n := min(len(body), 1000)
		fmt.Fprintf(b, "%s\r\n%s\r\n", strconv.FormatInt(int64(n), 16), body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
}

// Answer is what came back. Status is 0 when the connection was closed without
// an answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Plain is the body without its content encoding; a body that is not what its
// header says comes out as it is.
func (a Answer) Plain() string {
	if a.Header.Get("Content-Encoding") != "gzip" {
		return a.Body
	}
	r, err := gzip.NewReader(strings.NewReader(a.Body))
	if err != nil {
		return a.Body
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return a.Body
	}
	return string(plain)
}

// FirstLine is the first line of the body.
func (a Answer) FirstLine() string {
	line, _, _ := strings.Cut(a.Body, "\n")
	return line
}

// Conn is one connection to a server. Its methods fail the test on anything but
// the server's closing it.
type Conn struct {
	t testing.TB
	c *net.TCPConn
	r *bufio.Reader
}

// Dial connects to the process; the connection is closed when the test ends.
func (p *Process) Dial(t testing.TB) *Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &Conn{t: t, c: c.(*net.TCPConn), r: bufio.NewReader(c)}
}

// Write sends bytes. A server may refuse early and close while we still write:
// that is no failure, the answer tells.
func (c *Conn) Write(b []byte) {
	_, _ = c.c.Write(b)
}

// Pour sends bytes of which the server may not want all: the error says that it is gone.
func (c *Conn) Pour(b []byte) error {
	_, err := c.c.Write(b)
	return err
}

// CloseWrite says that nothing more will come, as a client does that died.
func (c *Conn) CloseWrite() { _ = c.c.CloseWrite() }

// Close closes the connection both ways.
func (c *Conn) Close() { _ = c.c.Close() }

// Read reads the answer to a request of the given method, past any 100.
func (c *Conn) Read(method string) Answer {
	c.t.Helper()
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatalf("no answer within %s", patience)
			}
			return Answer{}
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			c.t.Fatalf("reading the body of a %d: %v", resp.StatusCode, err)
		}
		return Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
	}
}

// Send sends one request on a connection of its own and reads the answer.
func (p *Process) Send(t testing.TB, r Request) Answer {
	t.Helper()
	return p.SendBytes(t, or(r.Method, http.MethodPost), r.Bytes(p.Addr))
}

// SendBytes sends bytes as they are, and reads the answer to a request of the
// given method.
func (p *Process) SendBytes(t testing.TB, method string, raw []byte) Answer {
	t.Helper()
	c := p.Dial(t)
	defer c.Close()
	c.Write(raw)
	return c.Read(method)
}

// Push posts a text body to a path and returns the answer.
func (p *Process) Push(t testing.TB, path, body string) Answer {
	t.Helper()
	return p.Send(t, Request{Target: path, Body: body})
}

// Get reads a path, with header lines given as pairs of name and value.
func (p *Process) Get(t testing.TB, path string, headers ...[2]string) Answer {
	t.Helper()
	return p.Send(t, Request{Method: http.MethodGet, Target: path, Headers: headers})
}
