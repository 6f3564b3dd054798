package statsd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	resolveEvery  = time.Minute
	bufferRetries = 4
	tcpBuffer     = 64 << 10  // what of ours may lie in the kernel when a peer dies
	finishBuffer  = 256 << 10 // room for the rest of one line
	maxStuck      = 10 // before another connection is tried: its host may be gone
	finishTimeout = 100 * time.Millisecond
)

// errPeerGone says that the peer closed the connection.
var errPeerGone = errors.New("closed by the peer")

// link is the connection, which comes and goes. It is for one goroutine.
type link struct {
	network, address string
	timeout          time.Duration

	conn     net.Conn
	gone     *atomic.Bool   // a TCP peer closed conn
	watching sync.WaitGroup // of it

	stuck    int // writes in a row of which a TCP peer took nothing in time
	backoff  time.Duration
	retry    time.Time // not before this
	resolved time.Time
}

func newLink(u *url.URL, timeout time.Duration) *link {
	l := &link{network: u.Scheme, address: u.Host, timeout: timeout}
	if u.Scheme == "unixgram" {
		l.address = u.Path
	}
	return l
}

func (l *link) stream() bool { return l.network == "tcp" }

// open connects if there is no connection, and it is time. It reports whether
// the connection is new. Without a connection and without an error it is not
// time yet.
func (l *link) open(ctx context.Context) (fresh bool, err error) {
	if l.conn != nil && l.gone.Load() {
		l.close()
		return false, errPeerGone
	}
	if l.conn != nil {
		return l.resolveAgain(ctx), nil
	}
	if time.Now().Before(l.retry) {
		return false, nil
	}
	conn, err := l.dial(ctx)
	if err != nil {
		l.wait()
		return false, err
	}
	l.use(conn)
	return true, nil
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: l.timeout}
	return d.DialContext(ctx, l.network, l.address)
}

func (l *link) use(conn net.Conn) {
	l.conn, l.gone, l.resolved, l.stuck = conn, new(atomic.Bool), time.Now(), 0
	switch c := conn.(type) {
	case *net.TCPConn:
		_ = c.SetWriteBuffer(tcpBuffer)
		gone := l.gone
		l.watching.Go(func() {
			_, _ = io.Copy(io.Discard, c) // the exporter says nothing until it leaves
			gone.Store(true)
		})
	case *net.UnixConn:
		_ = c.SetWriteBuffer(2 * maxPacket)
	}
}

// resolveAgain looks up the name of a UDP peer again, which may have moved
// without a word. It reports whether it has.
func (l *link) resolveAgain(ctx context.Context) bool {
	if l.network != "udp" || time.Since(l.resolved) < resolveEvery {
		return false
	}
	l.resolved = time.Now()
	conn, err := l.dial(ctx)
	if err != nil {
		return false
	}
	if conn.RemoteAddr().String() == l.conn.RemoteAddr().String() {
		_ = conn.Close()
		return false
	}
	l.close()
	l.use(conn)
	return true
}

// refused reports whether a UDP peer's host answered that nobody listens there,
// waiting for that until the time is up.
func (l *link) refused(wait time.Duration) error {
	_ = l.conn.SetReadDeadline(time.Now().Add(wait))
	var b [64]byte
	_, err := l.conn.Read(b[:])
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	l.close()
	l.wait()
	return err
}

// write sends a packet. It returns how many of its bytes, in whole lines, the
// kernel took; those are not to be sent again. After an error the connection is
// closed unless it can go on.
func (l *link) write(ctx context.Context, p []byte) (int, error) {
	if l.gone.Load() {
		l.close()
		return 0, errPeerGone
	}
	_ = l.conn.SetWriteDeadline(l.deadline(ctx))
	if l.stream() {
		return l.writeStream(p)
	}
	for try := 0; ; try++ {
		_, err := l.conn.Write(p[:len(p)-1])
		if err == nil {
			l.backoff = 0
			return len(p), nil
		}
		if errors.Is(err, syscall.ENOBUFS) && try < bufferRetries {
			time.Sleep(time.Millisecond << try)
			continue
		}
		if k := kindOf(err); k != kindTimeout && k != kindBuffer && k != kindSize {
			l.close()
			l.wait()
		}
		return 0, err
	}
}

func (l *link) deadline(ctx context.Context) time.Time {
	at := time.Now().Add(l.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(at) {
		return d
	}
	return at
}

func (l *link) writeStream(p []byte) (int, error) {
	n, err := l.conn.Write(p)
	if n > 0 {
		l.stuck = 0
	}
	if err == nil {
		l.backoff = 0
		return n, nil
	}
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	goesOn := errors.Is(err, os.ErrDeadlineExceeded)
	if goesOn && whole < n {
		if goesOn = l.finish(p[n:]); goesOn {
			whole = n + bytes.IndexByte(p[n:], '\n') + 1
		}
	}
	if l.stuck++; !goesOn || l.stuck >= maxStuck {
		l.close()
		l.wait()
	}
	return whole, err
}

// finish writes the rest of a line to a peer that does not read: should the
// connection end here, the peer would take what it has for a line, and the last
// tags would be missing.
func (l *link) finish(rest []byte) bool {
	c, ok := l.conn.(*net.TCPConn)
	if !ok {
		return false
	}
	_ = c.SetWriteBuffer(finishBuffer)
	_ = c.SetWriteDeadline(time.Now().Add(finishTimeout))
	rest = rest[:bytes.IndexByte(rest, '\n')+1]
	n, _ := c.Write(rest)
	_ = c.SetWriteBuffer(tcpBuffer)
	return n == len(rest)
}

// close ends the connection, if there is one.
func (l *link) close() {
	if l.conn == nil {
		return
	}
	_ = l.conn.Close()
	l.watching.Wait()
	l.conn = nil
}

// wait puts off the next attempt to connect, longer each time in a row.
func (l *link) wait() {
	l.backoff = min(max(2*l.backoff, firstBackoff), maxBackoff)
	l.retry = time.Now().Add(l.backoff)
}

// The kinds of errors, the label kind of pushguard_statsd_errors_total.
const (
	kindRefused = "refused" // nobody listens there
	kindClosed  = "closed"  // the peer ended the connection
	kindTimeout = "timeout" // the peer does not read
	kindBuffer  = "buffer"  // the kernel has no room
	kindSize    = "size"    // more than the kernel takes at once
	kindResolve = "resolve" // the host's name
	kindOther   = "other"
)

var kinds = []string{kindRefused, kindClosed, kindTimeout, kindBuffer, kindSize, kindResolve, kindOther}

func kindOf(err error) string {
	var name *net.DNSError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, &name):
		return kindResolve
	case is(syscall.ECONNREFUSED, syscall.ENOENT):
		return kindRefused
	case is(errPeerGone, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN, net.ErrClosed, io.EOF):
		return kindClosed
	case is(os.ErrDeadlineExceeded, context.DeadlineExceeded, syscall.ETIMEDOUT):
		return kindTimeout
	case is(syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM):
		return kindBuffer
	case is(syscall.EMSGSIZE):
		return kindSize
	}
	return kindOther
}
