package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// The errors of a write. Each wraps its cause.
var (
	// ErrUnreachable says that nothing was sent: the upstream has certainly not
	// acted.
	ErrUnreachable = errors.New("upstream unreachable")
	// ErrTimeout says that the request was sent and no answer came in time: the
	// upstream may have acted, or may yet.
	ErrTimeout = errors.New("upstream timed out")
	// ErrBroken says that the request was sent, at least in part, and the
	// connection broke or the caller gave up before an answer came: the upstream
	// may have acted.
	ErrBroken = errors.New("upstream broke off")
	// ErrRedirect says that the upstream answered by a redirect, which a write
	// does not follow: it has not acted.
	ErrRedirect = errors.New("upstream redirects")
)

// Request is one write.
type Request struct {
	Method string
	// Key is the group concerned.
	Key wire.Key
	// Header is the client's. It is forwarded without the fields that concern
	// its own connection only; it is not changed.
	Header http.Header
	// RemoteAddr is the client's address as in http.Request, for
	// X-Forwarded-For. May be empty.
	RemoteAddr string
	// Body is sent as it is.
	Body []byte
	// ContentType is that of a body which is not the client's: its
	// Content-Encoding and digests then go. Empty is the client's own body.
	ContentType string
	// Push is what the body was parsed to, and Fates what becomes of its metrics, nil
	// if all pass: for a sink that wants no bytes. Both are nil for a DELETE, and
	// valid until Do returns.
	Push  *wire.Push
	Fates []wire.Fate
	// Memo is of the shape of the push, if that came before: a sink may keep there what
	// it made of it. Nil has it keep nothing.
	Memo *Memo
	// Turn, if not nil, is told where a sink no longer works on the request but waits.
	Turn Turn
}

// Turn is that of a request among those that a guard works on.
type Turn interface {
	// Rest says that what is left of the request is to wait.
	Rest()
}

// Memo is a place for what a sink makes of the shape of a push, once for all pushes of
// it. The zero value is empty. It is safe for concurrent use.
type Memo struct{ kept atomic.Pointer[any] }

// Load returns what was kept last, nil if nothing was.
func (m *Memo) Load() any {
	if kept := m.kept.Load(); kept != nil {
		return *kept
	}
	return nil
}

// Store keeps something in place of what was kept.
func (m *Memo) Store(v any) { m.kept.Store(&v) }

// Do sends a push or a delete of one group. A redirect, and no answer, are
// errors; every other status is an Answer.
//
// Where a kept-alive connection turns out to be closed, the request is sent once
// more on another: until its group is released, a write does the same twice as
// once. If that fails, too, the error still counts the first.
func (u *Upstream) Do(ctx context.Context, r Request) (Answer, error) {
	return u.Forward(ctx, r.Key.Path(), r)
}

// Forward is Do to an escaped path below the upstream's prefix, whatever r.Key
// is. The caller lists the paths it permits.
func (u *Upstream) Forward(ctx context.Context, escapedPath string, r Request) (Answer, error) {
	exchange := u.byTransport
	if u.links != nil && len(r.Body) <= largestDirect {
		exchange = u.byLink
	}
	done, err := u.breaker.begin()
	if err != nil {
		return Answer{}, err
	}
	a, sent, err := exchange(ctx, escapedPath, &r)
	done(err)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", class(err, sent), err)
	}
	if a.Status >= 300 && a.Status < 400 {
		return Answer{}, fmt.Errorf("%w: status %d to %.100q", ErrRedirect, a.Status, a.Header.Get("Location"))
	}
	return a, nil
}

// byTransport sends a request through net/http's transport, and byLink without it. Sent
// says that there was a connection to send it on.
func (u *Upstream) byTransport(ctx context.Context, escapedPath string, r *Request) (a Answer, sent bool, err error) {
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	// The transport calls this before it returns.
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	req, err := http.NewRequestWithContext(ctx, r.Method, "", bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, false, err
	}
	req.URL, req.Header = u.at(escapedPath), u.header(r)
	if _, ok := req.Header["Idempotency-Key"]; !ok {
		req.Header["Idempotency-Key"] = nil // tells net/http, not the upstream, that the request may be sent again
	}
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return Answer{}, sent, err
	}
	defer resp.Body.Close()
	a, _ = answered(resp)
	return a, sent, nil
}

func (u *Upstream) byLink(ctx context.Context, escapedPath string, r *Request) (a Answer, sent bool, err error) {
	begun := time.Now()
	deadline, _ := ctx.Deadline()
	if own := begun.Add(u.timeout); u.timeout > 0 && (deadline.IsZero() || own.Before(deadline)) {
		deadline = own
	}
	a, sent, err = u.links.exchange(ctx, deadline, func(out *bufio.Writer) error { return u.write(out, escapedPath, r) })
	if u.observe != nil {
		u.observe(methodName(r.Method), a.Status, time.Since(begun))
	}
	return a, sent, err
}

// class tells the errors of a round trip apart by what the upstream can know of
// the request.
func class(err error, sent bool) error {
	var timeout net.Error
	switch {
	case !sent:
		return ErrUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return ErrTimeout
	default:
		return ErrBroken
	}
}
