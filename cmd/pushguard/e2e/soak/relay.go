package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// relay is the network before a server: it hands on what it gets to where the server
// is now, breaks connections, and is slow, as it is told. It is safe for concurrent
// use.
type relay struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	lag    time.Duration // before each piece of an answer
	conns  map[*net.TCPConn]struct{}
}

func newRelay() (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, conns: map[*net.TCPConn]struct{}{}}
	go r.accept()
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// to says where the server is.
func (r *relay) to(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = address
}

// slow has each piece of an answer wait.
func (r *relay) slow(lag time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag = lag
}

// reset breaks every connection, as a host that has forgotten them does.
func (r *relay) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns { // all first: join closes one when the other is closed
		_ = c.SetLinger(0)
	}
	for c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.reset()
}

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.join(c.(*net.TCPConn))
	}
}

// join hands bytes on between a client and the server until both have ended.
func (r *relay) join(client *net.TCPConn) {
	defer r.forget(client)
	r.mu.Lock()
	r.conns[client] = struct{}{}
	target := r.target
	r.mu.Unlock()
	c, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer r.forget(server)
	r.mu.Lock()
	r.conns[server] = struct{}{}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(laggard{client, r}, server)
	_ = client.Close() // the server has hung up: what the client still says is for nobody
	<-done
}

func (r *relay) forget(c *net.TCPConn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// laggard writes to a client as late as its relay is told to.
type laggard struct {
	to *net.TCPConn
	r  *relay
}

func (l laggard) Write(p []byte) (int, error) {
	l.r.mu.Lock()
	lag := l.r.lag
	l.r.mu.Unlock()
	time.Sleep(lag)
	return l.to.Write(p)
}
