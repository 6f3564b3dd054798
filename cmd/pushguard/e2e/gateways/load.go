package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// shot is what one server did in one turn.
type shot struct {
	pushes   int
	took     time.Duration
	cpu      time.Duration // of the servers of the contender
	p50, p99 time.Duration
}

func (s shot) rate() float64 { return float64(s.pushes) / s.took.Seconds() }

// cost is the processor time of one push, in seconds.
func (s shot) cost() float64 { return s.cpu.Seconds() / float64(s.pushes) }

// load pushes over connections that it keeps, and costs as little as it can, since it
// shares the machine with what it measures.
type load struct {
	pushes pushes
	conns  []*conn
	next   atomic.Int64 // the push to send next
}

// dial opens the connections. close closes them.
func dial(address string, p pushes, conns int) (*load, error) {
	l := &load{pushes: p}
	for range conns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, &conn{Conn: c, in: bufio.NewReader(c)})
	}
	return l, nil
}

func (l *load) close() {
	if l == nil {
		return
	}
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// fill sends every push once.
func (l *load) fill(ctx context.Context) error {
	l.next.Store(0)
	_, err := l.drive(ctx, func(n int64, _ time.Time) bool { return n < int64(len(l.pushes)) })
	l.next.Store(0)
	return err
}

// during sends pushes for that long, one after the other over each connection.
func (l *load) during(ctx context.Context, d time.Duration) (shot, error) {
	deadline := time.Now().Add(d)
	return l.drive(ctx, func(_ int64, now time.Time) bool { return now.Before(deadline) })
}

// drive sends pushes as long as more says so. Every one must be taken.
func (l *load) drive(ctx context.Context, more func(n int64, now time.Time) bool) (shot, error) {
	waits, errs := make([][]time.Duration, len(l.conns)), make([]error, len(l.conns))
	var pushing sync.WaitGroup
	begun := time.Now()
	for i, c := range l.conns {
		pushing.Go(func() {
			for now := time.Now(); ctx.Err() == nil; {
				n := l.next.Add(1) - 1
				if !more(n, now) {
					return
				}
				if errs[i] = c.exchange(l.pushes[n%int64(len(l.pushes))]); errs[i] != nil {
					return
				}
				then := now
				now = time.Now()
				waits[i] = append(waits[i], now.Sub(then))
			}
		})
	}
	pushing.Wait()
	s := shot{took: time.Since(begun)}
	all := slices.Concat(waits...)
	slices.Sort(all)
	if s.pushes = len(all); s.pushes > 0 {
		s.p50, s.p99 = all[len(all)/2], all[len(all)*99/100]
	}
	err := errors.Join(append(errs, ctx.Err())...)
	if err == nil && s.pushes == 0 {
		err = errors.New("no push was answered")
	}
	return s, err
}

// conn is one connection, kept alive.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// exchange sends a request and reads its answer, which must be a success.
func (c *conn) exchange(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, length, err := c.head()
	if err != nil {
		return err
	}
	if status < 300 {
		_, err := c.in.Discard(length)
		return err
	}
	text := make([]byte, min(length, 300))
	_, _ = io.ReadFull(c.in, text)
	return fmt.Errorf("a push was answered %d: %s", status, text)
}

// head reads the head of an answer up to its body.
func (c *conn) head() (status, length int, err error) {
	text, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(text) < len("HTTP/1.1 200") {
		return 0, 0, fmt.Errorf("answered %q", text)
	}
	if status, err = strconv.Atoi(string(text[9:12])); err != nil {
		return 0, 0, fmt.Errorf("answered %q", text)
	}
	for {
		if text, err = c.in.ReadSlice('\n'); err != nil {
			return 0, 0, err
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(text), []byte(":"))
		switch {
		case len(name) == 0:
			return status, length, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, 0, errors.New("answered in chunks, which this client does not read")
		}
	}
}
