package proxy

import (
	"net/http"
	"net/netip"
	"strings"
)

// client is the address of the client that sent a request, for people to read:
// the socket's, but for what comes through a trusted proxy.
func (g *Guard) client(r *http.Request) string {
	return clientAddress(r.RemoteAddr, r.Header.Values("X-Forwarded-For"), g.cfg.TrustedProxies)
}

// clientAddress returns the address a request came from. That is remote, the
// peer of the socket, unless the peer is a trusted proxy: then it is the
// right-most entry of X-Forwarded-For that is no trusted proxy, since each
// trusted proxy has appended the peer it saw. What stands to the left of it
// anybody may have written. Without such an entry, or where one on the way to
// it is no address, it is remote.
func clientAddress(remote string, forwarded []string, trusted []netip.Prefix) string {
	if len(trusted) == 0 {
		return remote
	}
	peer, ok := parseHop(remote)
	if !ok || !isTrusted(peer, trusted) {
		return remote
	}
	hops := strings.Join(forwarded, ",")
	for more := true; more; {
		comma := strings.LastIndexByte(hops, ',')
		hop, ok := parseHop(strings.Trim(hops[comma+1:], " \t"))
		if !ok {
			return remote
		}
		if !isTrusted(hop, trusted) {
			return hop.String()
		}
		if more = comma >= 0; more {
			hops = hops[:comma]
		}
	}
	return remote
}

// parseHop reads an address, with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// ClientNetwork is the network that the client at an address, with or without a port, has
// to itself, by its first address: of IPv6 the 64 bits that are routed (RFC 4291, section
// 2.5.1), below which it may call itself what it likes, of IPv4 the address. It is shared if
// the clients of many are there: a trusted proxy, by its own address, or, with the zero
// Addr, a socket without addresses, of which nobody tells one from another.
func ClientNetwork(address string, trusted []netip.Prefix) (network netip.Addr, shared bool) {
	addr, ok := parseHop(address)
	switch {
	case !ok || isTrusted(addr, trusted):
		return addr, true
	case addr.Is4():
		return addr, false
	}
	of, _ := addr.Prefix(64) // which an address of 128 bits has
	return of.Addr(), false
}

// network is the network of an address as a request has it, or that if it is none.
func network(address string) string {
	addr, unknown := ClientNetwork(address, nil)
	if unknown {
		return address
	}
	return addr.String()
}
