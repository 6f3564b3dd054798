package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// Link is a way to a Redis that can be cut, for some guards and not for others.
type Link struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	word  []byte // after which the guard hears nothing
	mute  bool
	conns map[net.Conn]struct{}
	from  []byte // is changed into, so often
	into  []byte
	times int
}

// NewLink makes a way to the Redis.
func (r *Redis) NewLink(t testing.TB) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{listener: listener, to: r.address, conns: map[net.Conn]struct{}{}}
	t.Cleanup(func() { _ = listener.Close(); l.Cut() })
	go l.serve()
	return l
}

// URL is where the Redis is by this way.
func (l *Link) URL() string { return "redis://" + l.listener.Addr().String() + "/0" }

// Cut ends all connections, and those that come, until Mend.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		_ = c.Close()
	}
}

// MuteAfter has what the Redis says get lost, once it was told a word, until Mend.
func (l *Link) MuteAfter(word string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.word = []byte(word)
}

// Mend ends a Cut and a MuteAfter.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.word, l.mute = false, nil, false
}

// Change has the Redis read one text instead of another of the same length, so often.
func (l *Link) Change(from, into string, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from, l.into, l.times = []byte(from), []byte(into), times
}

// changed is what the Redis is to read of what a guard wrote.
func (l *Link) changed(p []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = l.mute || l.word != nil && bytes.Contains(p, l.word)
	if l.times > 0 && bytes.Contains(p, l.from) {
		l.times--
		return bytes.Replace(p, l.from, l.into, 1)
	}
	return p
}

// toRedis writes what comes of a guard to the Redis.
type toRedis struct {
	link *Link
	conn net.Conn
}

func (w toRedis) Write(p []byte) (int, error) { return w.conn.Write(w.link.changed(p)) }

// fromRedis writes what comes of the Redis to a guard, unless it is to get lost.
type fromRedis struct {
	link *Link
	conn net.Conn
}

func (w fromRedis) Write(p []byte) (int, error) {
	w.link.mu.Lock()
	mute := w.link.mute
	w.link.mu.Unlock()
	if mute {
		return len(p), nil
	}
	return w.conn.Write(p)
}

func (l *Link) serve() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", l.to)
		if err != nil || !l.keep(from, to) {
			_ = from.Close()
			continue
		}
		for _, way := range []struct {
			to   io.Writer
			from io.Reader
		}{{fromRedis{l, from}, to}, {toRedis{l, to}, from}} {
			go func() {
				_, _ = io.Copy(way.to, struct{ io.Reader }{way.from})
				l.drop(from, to)
			}()
		}
	}
}

func (l *Link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.cut {
			_ = c.Close()
		} else {
			l.conns[c] = struct{}{}
		}
	}
	return !l.cut
}

func (l *Link) drop(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}
