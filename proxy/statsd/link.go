package statsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
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
	maxUnread     = 64 << 10  // bytes in our kernel when more are written over TCP
	tcpBuffer     = 512 << 10 // room for them and for a packet, with what it costs to keep them
	maxStuck      = 10        // before another connection is tried: its host may be gone
	finishTimeout = 100 * time.Millisecond
)

// errTorn says that a peer has half a line, and will get no more.
var errTorn = errors.New("connection closed in the middle of a line")

// errPeerGone says that the peer closed the connection.
var errPeerGone = errors.New("closed by the peer")

// link is the connection, which comes and goes. It is for one goroutine.
type link struct {
	network, address string
	timeout          time.Duration
	lookUp           func(ctx context.Context, host string) ([]string, error)
	turn             int // of the addresses that a UDP peer's name has, the one that is tried

	conn     net.Conn
	file     os.FileInfo    // of the socket of conn, over unixgram
	gone     *atomic.Bool   // a TCP peer closed conn
	watching sync.WaitGroup // of it

	left     int // bytes that a TCP peer had not taken when last looked at
	stuck    int // writes in a row that failed while it took nothing at all
	backoff  time.Duration
	retry    time.Time // not before this
	resolved time.Time
}

func newLink(u *url.URL, timeout time.Duration) *link {
	l := &link{network: u.Scheme, address: u.Host, timeout: timeout, lookUp: net.DefaultResolver.LookupHost}
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
		return l.follow(ctx), nil
	}
	if time.Now().Before(l.retry) {
		return false, nil
	}
	file := l.socket()
	conn, err := l.dial(ctx)
	if err != nil {
		l.wait()
		l.turn++
		return false, fmt.Errorf("%w: %w", errUnconnected, err)
	}
	l.use(conn)
	l.file = file
	return true, nil
}

// socket is the file of a unix socket, nil where there is none.
func (l *link) socket() os.FileInfo {
	if l.network != "unixgram" {
		return nil
	}
	file, _ := os.Stat(l.address)
	return file
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	address := l.address
	if l.network == "udp" {
		hosts, port, err := l.resolve(ctx)
		if err != nil {
			return nil, err
		}
		address = net.JoinHostPort(hosts[l.turn%len(hosts)], port)
	}
	d := net.Dialer{Timeout: l.timeout}
	return d.DialContext(ctx, l.network, address)
}

// resolve looks up a UDP peer. Unlike TCP nobody else tries all of its addresses.
func (l *link) resolve(ctx context.Context) (hosts []string, port string, err error) {
	host, port, err := net.SplitHostPort(l.address)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	hosts, err = l.lookUp(ctx, host)
	if err == nil && len(hosts) == 0 {
		err = &net.DNSError{Err: "no address", Name: host}
	}
	return hosts, port, err
}

// isStill reports whether the address of a UDP peer is one of those that its name has.
func (l *link) isStill(ctx context.Context) bool {
	hosts, port, err := l.resolve(ctx)
	return err != nil || slices.ContainsFunc(hosts, func(host string) bool {
		return net.JoinHostPort(host, port) == l.conn.RemoteAddr().String()
	})
}

func (l *link) use(conn net.Conn) {
	l.conn, l.gone, l.resolved, l.stuck = conn, new(atomic.Bool), time.Now(), 0
	l.left = 0
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

// follow connects anew where the peer is another one by now, who leaves no sign on the old
// connection: the name of a UDP peer leads elsewhere, or another socket has taken the place
// of a unix one, which may stay open, read or not. It reports whether it has.
func (l *link) follow(ctx context.Context) bool {
	file := l.socket()
	switch {
	case l.network == "udp" && time.Since(l.resolved) >= resolveEvery:
		if l.resolved = time.Now(); l.isStill(ctx) {
			return false
		}
	case file != nil && !os.SameFile(file, l.file):
	default:
		return false
	}
	conn, err := l.dial(ctx)
	if err != nil {
		return false
	}
	if l.network == "udp" && conn.RemoteAddr().String() == l.conn.RemoteAddr().String() {
		_ = conn.Close() // by another spelling
		return false
	}
	l.close()
	l.use(conn)
	l.file = file
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
	l.turn++
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
		return l.writeStream(p, l.deadline(ctx))
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
			l.turn++
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

// writeStream writes once the peer has read most of what was written before, so
// that the kernel takes all of it. It would take a part if it had room for one:
// should the connection then end, the peer would take half a line for a line,
// with its last tags missing.
func (l *link) writeStream(p []byte, deadline time.Time) (int, error) {
	for {
		left := unread(l.conn)
		if left < l.left {
			l.stuck = 0
		}
		if l.left = left; left <= maxUnread {
			break
		}
		if time.Now().After(deadline) {
			return 0, l.tried(0, os.ErrDeadlineExceeded)
		}
		time.Sleep(time.Millisecond)
	}
	n, err := l.conn.Write(p)
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	if whole < n && errors.Is(err, os.ErrDeadlineExceeded) { // the kernel is short of memory
		_ = l.conn.SetWriteDeadline(time.Now().Add(finishTimeout))
		rest := p[n : n+bytes.IndexByte(p[n:], '\n')+1]
		if m, _ := l.conn.Write(rest); m == len(rest) {
			whole = n + m
		} else {
			err = errTorn
		}
	}
	return whole, l.tried(n, err)
}

// tried books a write over TCP, of which the kernel took n bytes. It closes a
// connection that cannot go on, or whose host may be gone.
func (l *link) tried(n int, err error) error {
	if l.stuck++; n > 0 {
		l.stuck = 0
	}
	switch {
	case err == nil:
		l.backoff = 0
	case !errors.Is(err, os.ErrDeadlineExceeded) || l.stuck >= maxStuck:
		l.close()
		l.wait()
	}
	return err
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

// errUnconnected is what became of an attempt to connect: nothing was sent, nothing lost.
var errUnconnected = errors.New("there is no connection")

// The kinds of errors, the label kind of pushguard_statsd_errors_total. With all but
// connect and resolve something may be lost.
const (
	kindConnect = "connect" // nobody listens there, or answers
	kindRefused = "refused" // nobody listens any more where something was written to
	kindClosed  = "closed"  // the peer ended the connection
	kindTimeout = "timeout" // the peer does not read
	kindBuffer  = "buffer"  // the kernel has no room
	kindSize    = "size"    // more than the kernel takes at once
	kindResolve = "resolve" // the host's name
	kindOther   = "other"
)

var kinds = []string{kindConnect, kindRefused, kindClosed, kindTimeout, kindBuffer, kindSize, kindResolve, kindOther}

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
	case is(errUnconnected):
		return kindConnect
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
