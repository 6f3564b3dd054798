package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
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
			c := newConnections(4, trusted)
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
			if len(c.open)+len(c.hosts)+c.waiting.Len() != 0 {
				t.Errorf("left behind: %d open, %d hosts, %d waiting", len(c.open), len(c.hosts), c.waiting.Len())
			}
		})
	}
}
