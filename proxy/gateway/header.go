package gateway

import (
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop are the fields that concern one connection only (RFC 9110, 7.6.1),
// with those that RFC 2616 listed and that Connection may fail to name.
var hopByHop = [...]string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func removeHopByHop(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop { // as net/http writes names itself
		delete(h, name)
	}
}

// forwarded returns the client's header as the upstream is to see it, without
// what the guard says itself. It always holds User-Agent, since net/http would
// otherwise add its own.
func (u *Upstream) forwarded(client http.Header, remoteAddr string) http.Header {
	h := client.Clone()
	if h == nil {
		h = make(http.Header)
	}
	removeHopByHop(h)
	h.Del("Expect") // the body is here already
	h.Del("Content-Length")
	for _, name := range u.client.sets {
		h.Del(name)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""}
	}
	if host, _, err := net.SplitHostPort(remoteAddr); err == nil {
		before := append(h["X-Forwarded-For"], host)
		h["X-Forwarded-For"] = []string{strings.Join(before, ", ")}
	}
	return h
}
