package main

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/quiet"
)

// socket is a connection from an address that knows whether it was closed.
type socket struct {
	net.Conn
	from   string
	closed bool
}

func (s *socket) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s.from), 1))
}

func (s *socket) Close() error {
	s.closed = true
	return nil
}

// TestConnections has connections come and go under a limit of four, so that one address
// may have two, and says which are closed.
func TestConnections(t *testing.T) {
	for _, tc := range []struct {
		name    string
		trusted string
		from    string // an address for each connection: a to d
		steps   string // N the next comes; its number: a has a request, i awaits one, c closes
		closed  string
	}{
		{"under", "", "ab", "N N", ""},
		{"one address at its share", "", "aa", "N N", ""},
		{"over its share, the longest waiting goes", "", "aaa", "N N N", "0"},
		{"a request of its own is spared", "", "aaa", "N a0 N N", "1"},
		{"all have requests: the new one goes", "", "aaa", "N a0 N a1 N", "2"},
		{"a request ends: its wait is new", "", "aaa", "N a0 N i0 N", "1"},
		{"one goes by itself", "", "aaa", "N N c0 N", ""},
		{"a proxy has all", "10.0.0.0/24", "aaaa", "N N N N", ""},
		{"a proxy over all", "10.0.0.0/24", "aaaaa", "N N N N N", "0"},
		{"the share is of what is left", "", "abb", "N N N", "1"},
		{"every address has one", "", "abcd", "N N N N", ""},
		{"one too many, the longest waiting goes", "10.0.0.0/24", "abcda", "N N N N a0 N", "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var trusted []netip.Prefix
			if tc.trusted != "" {
				trusted = append(trusted, netip.MustParsePrefix(tc.trusted))
			}
			c := newConnections(4, mostTold, trusted)
			c.young = 0
			server, client := net.Pipe()
			defer client.Close()
			defer server.Close()
			go func() {
				for b := make([]byte, 1024); ; {
					if _, err := client.Read(b); err != nil {
						return
					}
				}
			}()
			var sockets []*socket
			for step := range strings.FieldsSeq(tc.steps) {
				if step == "N" {
					sockets = append(sockets, &socket{Conn: server, from: "10.0.0." + string('1'+tc.from[len(sockets)]-'a')})
					c.state(sockets[len(sockets)-1], http.StateNew)
					continue
				}
				c.state(sockets[step[1]-'0'], map[byte]http.ConnState{'a': http.StateActive, 'i': http.StateIdle, 'c': http.StateClosed}[step[0]])
			}
			got := ""
			for i, s := range sockets {
				if s.closed {
					got += string(rune('0' + i))
				}
			}
			if got != tc.closed {
				t.Errorf("closed: %q, want %q", got, tc.closed)
			}
			for _, s := range sockets {
				c.state(s, http.StateClosed)
			}
			if c.count+len(c.hosts)+c.waiting.Len() != 0 {
				t.Errorf("left behind: %d open, %d hosts, %d waiting", c.count, len(c.hosts), c.waiting.Len())
			}
		})
	}
}

// TestClients tells who shares a bound with whom: what has a network of its own.
func TestClients(t *testing.T) {
	c := newConnections(4, mostTold, []netip.Prefix{netip.MustParsePrefix("2001:db8:0:1::/120"), netip.MustParsePrefix("10.0.0.1/32")})
	for _, tc := range []struct {
		one, other string
		same       bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"[2001:db8::1]:1", "[2001:db8::ffff:ffff:ffff:ffff]:2", true},
		{"[2001:db8::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth0]:1", true},
		{"[::1]:1", "127.0.0.1:1", false},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:1::2]:1", false}, // proxies
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:1::ffff]:1", false},
		{"@", "@", true},
	} {
		if one, other := c.client(tc.one), c.client(tc.other); (one == other) != tc.same {
			t.Errorf("%s is %+v, and %s is %+v", tc.one, one, tc.other, other)
		}
	}
	for remote, exempt := range map[string]bool{
		"@": true, "10.0.0.1:1": true, "10.0.0.2:1": false, "[2001:db8:0:1::1]:1": true, "[2001:db8:0:1::ffff]:1": false,
	} {
		if c.client(remote).exempt != exempt {
			t.Errorf("%s is exempt: %v", remote, !exempt)
		}
	}
}

// TestARequestUnread has connections whose requests nobody has read yet: they are spared,
// and the new one is told that there is no room.
func TestARequestUnread(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const limit = 3
	c := newConnections(limit, mostTold, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	var clients, servers []net.Conn
	come := func(says string) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		if _, err := client.Write([]byte(says)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); says != "" && quiet.Conn(server); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing came")
			}
		}
		c.state(server, http.StateNew)
		clients, servers = append(clients, client), append(servers, server)
	}
	isClosed := func(i int) bool { return errors.Is(servers[i].SetDeadline(time.Time{}), net.ErrClosed) }
	come("PUT")
	come("")
	come("PUT")
	come("") // one too many, while all are young
	if isClosed(0) || isClosed(1) || isClosed(2) || !isClosed(3) {
		t.Fatal("one that is young made room")
	}
	c.state(servers[3], http.StateClosed)
	c.young = 0
	come("PUT") // one too many again
	if isClosed(0) || !isClosed(1) || isClosed(2) || isClosed(4) {
		t.Fatal("not the one without a request made room")
	}
	c.state(servers[1], http.StateClosed)
	come("") // and again, and all others have requests
	if isClosed(0) || isClosed(2) || isClosed(4) || !isClosed(5) {
		t.Fatal("one with a request made room, or nobody did")
	}
	answer, err := http.ReadResponse(bufio.NewReader(clients[5]), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || c.closed != 1 || c.refused != 2 {
		t.Errorf("answered %d; %d closed, %d refused", answer.StatusCode, c.closed, c.refused)
	}
}

// TestARequestBehindTheLock has a server say of a connection that it has a request, while
// one that has come holds the lock: it is spared before that is in the lists.
func TestARequestBehindTheLock(t *testing.T) {
	c := newConnections(2, mostTold, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	c.young = 0
	var peers []*socket
	for range 2 {
		peers = append(peers, &socket{from: "10.0.0.1"})
		c.state(peers[len(peers)-1], http.StateNew)
	}
	found, _ := c.open.Load(peers[0])
	busy := found.(*connection)
	c.mu.Lock()
	said := make(chan struct{})
	go func() {
		c.state(peers[0], http.StateActive)
		close(said)
	}()
	for deadline := time.Now().Add(time.Minute); !busy.active.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is known of its request")
		}
	}
	got := c.longest(&c.waiting, nil)
	c.mu.Unlock()
	<-said
	if got == busy {
		t.Error("it would be closed")
	}
}
