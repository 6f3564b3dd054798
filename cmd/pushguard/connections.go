package main

import (
	"container/list"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/quiet"
)

// connections bounds those of a server, in all and of one client. At the bound the
// connection that has waited longest for a request makes room: a client that keeps it
// open dials again, one that keeps it on purpose cannot keep others out. It is safe for
// concurrent use.
type connections struct {
	limit   int
	trusted []netip.Prefix // proxies, which have the connections of many
	young   time.Duration  // for so long one that waits may have a request that is being read

	open sync.Map // net.Conn to *connection

	mu      sync.Mutex
	count   int // of those that are open
	hosts   map[client]*host
	waiting list.List // for a request, the longest first
	closed  uint64    // to make room
	refused uint64

	streams  map[client]int // requests by HTTP/2 that are under way
	carried  int            // of all
	streamed uint64         // that were refused

	told chan struct{} // has a place for each that is told why it is refused, beyond the limit
}

// connection is one of them; its places in the lists are nil while it has a request.
type connection struct {
	net.Conn
	host      *host
	all, same *list.Element
	since     time.Time   // it waits
	active    atomic.Bool // it has a request, whether it is known in the lists already or not
}

// host is the connections of one client.
type host struct {
	client
	open    int
	waiting list.List
}

// client is who has connections, as far as addresses tell: the network that one has.
type client struct {
	network netip.Addr // of an address that says nothing the zero one
	exempt  bool       // from its share of what there is: a proxy has the connections of many
}

// newConnections has room for limit connections, and beside these for told that are refused.
func newConnections(limit, told int, trusted []netip.Prefix) *connections {
	return &connections{limit: limit, trusted: trusted, young: young, hosts: map[client]*host{}, streams: map[client]int{}, told: make(chan struct{}, told)}
}

// state is a server's ConnState.
func (c *connections) state(conn net.Conn, state http.ConnState) {
	var known *connection
	if found, ok := c.open.Load(conn); ok {
		known = found.(*connection)
		// Not behind the many who come and wait for the lock: one of them could close it.
		known.active.Store(state == http.StateActive)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case state == http.StateNew:
		known = c.add(conn)
		c.wait(known)
		c.makeRoom(known)
	case known == nil:
	case state == http.StateActive:
		c.work(known)
	case state == http.StateIdle:
		c.wait(known)
	default: // closed, or not the server's any more
		c.forget(known, conn)
	}
}

func (c *connections) add(conn net.Conn) *connection {
	by := c.client(conn.RemoteAddr().String())
	h := c.hosts[by]
	if h == nil {
		h = &host{client: by}
		c.hosts[by] = h
	}
	h.open++
	known := &connection{Conn: conn, host: h}
	c.open.Store(conn, known)
	c.count++
	return known
}

// client is who is at the other end of a connection.
func (c *connections) client(remote string) client {
	network, exempt := proxy.ClientNetwork(remote, c.trusted)
	return client{network, exempt}
}

// boundStreams has next take no more requests by HTTP/2 at once, in all and of one
// client, than there may be connections: one of these carries many.
func (c *connections) boundStreams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			next.ServeHTTP(w, r)
			return
		}
		by := c.client(r.RemoteAddr)
		if !c.enter(by) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable) // without a body, which may find no one to take it
			return
		}
		defer c.leave(by)
		next.ServeHTTP(w, r)
		// What the client does not take of it the socket cannot tell.
		answer := http.NewResponseController(w)
		_ = answer.SetWriteDeadline(time.Now().Add(unreadFor))
		_ = answer.Flush()
	})
}

func (c *connections) enter(by client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, left := c.streams[by], c.limit-c.carried
	if left <= 0 || own > 0 && own >= left && !by.exempt {
		c.streamed++
		return false
	}
	c.streams[by]++
	c.carried++
	return true
}

func (c *connections) leave(by client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carried--
	if c.streams[by]--; c.streams[by] == 0 {
		delete(c.streams, by)
	}
}

func (c *connections) wait(known *connection) {
	if known.all == nil {
		known.since = time.Now()
		known.all, known.same = c.waiting.PushBack(known), known.host.waiting.PushBack(known)
	}
}

func (c *connections) work(known *connection) {
	if known.all != nil {
		c.waiting.Remove(known.all)
		known.host.waiting.Remove(known.same)
		known.all, known.same = nil, nil
	}
}

func (c *connections) forget(known *connection, conn net.Conn) {
	c.work(known)
	c.open.Delete(conn)
	c.count--
	if known.host.open--; known.host.open == 0 {
		delete(c.hosts, known.host.client)
	}
}

// makeRoom closes a connection for a new one, or that one, if there are too many.
func (c *connections) makeRoom(fresh *connection) {
	var known *connection
	switch {
	case c.count > c.limit:
		known = c.longest(&c.waiting, fresh)
	case fresh.host.open > 1 && fresh.host.open > c.limit-c.count && !fresh.host.exempt:
		known = c.longest(&fresh.host.waiting, fresh)
	default:
		return
	}
	c.work(known)
	if known == fresh {
		c.refused++
	} else {
		c.closed++
	}
	c.turnOut(known.Conn, known == fresh)
}

const (
	// mostAsked is of how many connections that wait it is asked whether they do.
	mostAsked = 16
	// young is long for a server that has what was sent and has not said so yet, and
	// short for somebody who keeps others out with connections that are always young.
	young = 100 * time.Millisecond
)

// longest is the connection of a list that has waited longest for a request, or the fresh
// one, which waits too. A request that came and that the server, which has much to do, has
// not taken yet is one all the same: whoever sent it awaits an answer.
func (c *connections) longest(waiting *list.List, fresh *connection) *connection {
	for range mostAsked {
		known := waiting.Front().Value.(*connection)
		if known == fresh || time.Since(known.since) < c.young {
			break
		}
		if !known.active.Load() && quiet.Conn(plain(known.Conn)) {
			return known
		}
		c.work(known)
		c.wait(known) // since now
	}
	return fresh
}

// plain is the socket of a connection.
func plain(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

const noRoom = "pushguard: too many connections, try again later\n"

// refusal has a length, so that no client needs to see the end of the connection.
var refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: " +
	strconv.Itoa(len(noRoom)) + "\r\n\r\n" + noRoom

const (
	// mostTold is how many connections are kept at once for their clients to read why,
	// each for tellTime at most.
	mostTold = 64
	tellTime = time.Second
	// firstRequest is what is read of a request that nobody answers.
	firstRequest = 256 << 10
)

// turnOut closes a connection; a client that has only come is told why, if it speaks
// without TLS.
func (c *connections) turnOut(conn net.Conn, tell bool) {
	if socket := plain(conn); socket != conn {
		_ = socket.Close() // without waiting for anybody
		return
	}
	if tell {
		_ = conn.SetWriteDeadline(time.Now().Add(tellTime))
		_, _ = conn.Write([]byte(refusal))
		c.linger(conn)
	}
	_ = conn.Close()
}

// linger keeps the socket of a connection that is about to be closed, until the client has
// read what it was told: a socket that is closed with a request unread in it is reset, and
// takes the answer with it.
func (c *connections) linger(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	select {
	case c.told <- struct{}{}:
	default:
		return // so many come that it has to do without
	}
	last, err := duplicate(tcp)
	if err != nil {
		<-c.told
		return
	}
	go func() {
		defer func() { <-c.told }()
		defer last.Close()
		if half, ok := last.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
		_ = last.SetReadDeadline(time.Now().Add(tellTime))
		_, _ = io.CopyN(io.Discard, last, firstRequest)
	}()
}

// duplicate is a connection with a socket of its own to the same client.
func duplicate(tcp *net.TCPConn) (net.Conn, error) {
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileConn(file)
}

var (
	openDesc   = prometheus.NewDesc("pushguard_connections", "Connections to the address of the jobs; --limits.connections is the most.", nil, nil)
	streamDesc = prometheus.NewDesc("pushguard_streams_refused_total", "Requests by HTTP/2 that were answered 503 because as many were under way as there may be connections.", nil, nil)
	turnedDesc = prometheus.NewDesc("pushguard_connections_closed_total", "Connections that were closed because there were too many: while they waited for a request (waiting), or when they came (new).", []string{"which"}, nil)
)

// Describe is part of prometheus.Collector.
func (c *connections) Describe(ch chan<- *prometheus.Desc) {
	ch <- openDesc
	ch <- turnedDesc
	ch <- streamDesc
}

// Collect is part of prometheus.Collector.
func (c *connections) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	open, closed, refused, streamed := c.count, c.closed, c.refused, c.streamed
	c.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(turnedDesc, prometheus.CounterValue, float64(closed), "waiting")
	ch <- prometheus.MustNewConstMetric(turnedDesc, prometheus.CounterValue, float64(refused), "new")
	ch <- prometheus.MustNewConstMetric(streamDesc, prometheus.CounterValue, float64(streamed))
}
