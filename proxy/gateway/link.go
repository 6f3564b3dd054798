package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/quiet"
)

// largestDirect is the largest body that links send: a server that answers before it
// has read so much reads the rest all the same, so that nobody has to read and write at
// once.
const largestDirect = 256 << 10

// links are connections to an upstream that is reached by plain HTTP/1.1, without a
// proxy. A request is written and its answer read by the goroutine that wants it: with
// net/http's transport three of them take turns, which costs more than a small push
// itself. Safe for concurrent use.
type links struct {
	address string // host:port

	mu    sync.Mutex
	idle  []*link // the one used last is the last
	prune *time.Timer
}

func newLinks(host string) *links {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(trimBrackets(host), "80")
	}
	return &links{address: host}
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

// link is one connection.
type link struct {
	net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	room  int // bytes that may still be read
	since time.Time

	// said is an answer without a body, and meant what it is read as: whoever is pushed to
	// a lot says the same for a second.
	said  []byte
	meant Answer
}

var errHeaderTooLarge = errors.New("the header of the answer is larger than 1 MiB")

// Read is for in: it bounds what is read before the body.
func (l *link) Read(p []byte) (int, error) {
	if l.room <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := l.Conn.Read(p[:min(len(p), l.room)])
	l.room -= n
	return n, err
}

// message writes a request as it is on a connection.
type message func(*bufio.Writer) error

// exchange sends a request and reads the answer to it. Sent says that there was a
// connection to send it on. The deadline may be zero.
func (s *links) exchange(ctx context.Context, deadline time.Time, write message) (a Answer, sent bool, err error) {
	if l := s.take(); l != nil {
		a, err = s.over(ctx, l, deadline, write)
		if !errors.Is(err, errStale) {
			return a, true, err
		}
		s.close() // the others are of the same server
		sent = true
	}
	l, err := s.dial(ctx, deadline)
	if err != nil {
		return Answer{}, sent, err
	}
	a, err = s.over(ctx, l, deadline, write)
	return a, true, err
}

func (s *links) dial(ctx context.Context, deadline time.Time) (*link, error) {
	d := net.Dialer{Timeout: dialTimeout, Deadline: deadline}
	c, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: c, out: bufio.NewWriterSize(c, 16<<10)}
	l.in = bufio.NewReader(l)
	return l, nil
}

// errStale says that a connection had been closed by the other end before it was used
// again.
var errStale = errors.New("the connection was closed")

// over exchanges on one link, and keeps it for others if nothing is wrong with it. A link
// that was used before and fails before a byte of an answer came is stale.
func (s *links) over(ctx context.Context, l *link, deadline time.Time, write message) (Answer, error) {
	used := !l.since.IsZero()
	_ = l.SetDeadline(deadline)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	}
	l.room = maxHeader
	wrote := write(l.out)
	if wrote == nil {
		wrote = l.out.Flush()
	}
	_, err := l.in.Peek(1) // whatever became of the request, there may be an answer
	if err != nil {
		stop()
		_ = l.Close()
		var timeout net.Error
		switch err = errors.Join(wrote, err); {
		case ctx.Err() != nil:
			return Answer{}, ctx.Err()
		case used && !(errors.As(err, &timeout) && timeout.Timeout()):
			return Answer{}, errors.Join(errStale, err)
		}
		return Answer{}, err
	}
	a, whole, err := l.answer()
	if !stop() {
		err, whole = errors.Join(err, ctx.Err()), false
	}
	if err != nil || wrote != nil || !whole {
		_ = l.Close()
	} else {
		s.put(l)
	}
	if err != nil {
		return Answer{}, err // given up meanwhile: it is as if none had come
	}
	return a, nil
}

// answer reads an answer and so much of its body as is kept; whole says that the
// connection is ready for another request.
func (l *link) answer() (a Answer, whole bool, err error) {
	come, _ := l.in.Peek(l.in.Buffered())
	if n := len(l.said); n > 0 && bytes.HasPrefix(come, l.said) {
		_, err = l.in.Discard(n)
		return l.meant, l.in.Buffered() == 0, err
	}
	if a, n := plainAnswer(come); n > 0 {
		if len(a.Body) == 0 {
			l.said, l.meant = append(l.said[:0], come[:n]...), a
		}
		_, err = l.in.Discard(n)
		return a, l.in.Buffered() == 0, err
	}
	var resp *http.Response
	for {
		if resp, err = http.ReadResponse(l.in, nil); err != nil {
			return Answer{}, false, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	l.room = math.MaxInt
	a, whole = answered(resp)
	return a, whole && !resp.Close && l.in.Buffered() == 0 && resp.StatusCode >= 200, nil
}

// assured is for how long a link that was used is taken to be open: what its upstream may
// say before it closes one, it says of one that nobody has used for longer.
const assured = 10 * time.Millisecond

// take returns a link that has been used before and still is open, nil if there is none.
func (s *links) take() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.idle); n > 0; n = len(s.idle) {
		l := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		if idle := time.Since(l.since); idle < assured || idle < idleTimeout && quiet.Conn(l.Conn) {
			return l
		}
		_ = l.Close()
	}
	return nil
}

func (s *links) put(l *link) {
	l.since = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) >= idleConnections {
		_ = l.Close()
		return
	}
	s.idle = append(s.idle, l)
	if s.prune == nil {
		s.prune = time.AfterFunc(idleTimeout, s.pruneIdle)
	}
}

// pruneIdle closes the links that nobody has used for long.
func (s *links) pruneIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.idle) && time.Since(s.idle[n].since) >= idleTimeout {
		_ = s.idle[n].Close()
		n++
	}
	s.idle = append(s.idle[:0], s.idle[n:]...)
	s.prune = nil
	if len(s.idle) > 0 {
		s.prune = time.AfterFunc(idleTimeout, s.pruneIdle)
	}
}

// close closes the idle links.
func (s *links) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.idle {
		_ = l.Close()
	}
	clear(s.idle)
	s.idle = s.idle[:0]
	if s.prune != nil {
		s.prune.Stop()
		s.prune = nil
	}
}
