package gateway

import (
	"bufio"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// fields calls do for each value of each field of a request as the upstream is to see it:
// those of the client that pass, and what the guard says itself. The body of a DELETE does
// not go on, and nothing is said of it.
func (u *Upstream) fields(r *Request, do func(name, value string)) {
	by := forwardedFor(r.Header, r.RemoteAddr)
	another := r.ContentType != "" || r.Method == http.MethodDelete
	for name, values := range r.Header {
		if !u.passes(r.Header, name) || another && ofBody(name) || by != "" && name == "X-Forwarded-For" {
			continue
		}
		for _, v := range values {
			do(name, v)
		}
	}
	if by != "" {
		do("X-Forwarded-For", by)
	}
	if r.ContentType != "" {
		do("Content-Type", r.ContentType)
	}
}

// header holds these fields, for net/http to send. It always has User-Agent, since
// net/http would otherwise add its own.
func (u *Upstream) header(r *Request) http.Header {
	h := make(http.Header, len(r.Header)+3)
	u.fields(r, func(name, value string) { h[name] = append(h[name], value) })
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""}
	}
	return h
}

// write writes a request as the transport would.
func (u *Upstream) write(out *bufio.Writer, escapedPath string, r *Request) error {
	field := func(name, value string) {
		_, _ = out.WriteString(oneLine(name))
		_, _ = out.WriteString(": ")
		_, _ = out.WriteString(oneLine(value))
		_, _ = out.WriteString("\r\n")
	}
	_, _ = out.WriteString(r.Method)
	_ = out.WriteByte(' ')
	_, _ = out.WriteString(u.prefix)
	_, _ = out.WriteString(escapedPath)
	_, _ = out.WriteString(" HTTP/1.1\r\n")
	field("Host", u.host)
	u.fields(r, field)
	if len(r.Body) > 0 || r.Method != http.MethodDelete {
		field("Content-Length", strconv.Itoa(len(r.Body)))
	}
	_, _ = out.WriteString("\r\n")
	_, err := out.Write(r.Body) // which says so if anything before it failed
	return err
}

// oneLine keeps what is no header's out of it.
func oneLine(value string) string {
	if strings.ContainsAny(value, "\r\n") {
		return strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	}
	return value
}

// passes reports whether a field of a client's header goes on to the upstream: not what
// concerns its own connection, what the guard says itself, or what the body says once it
// is here.
func (u *Upstream) passes(client http.Header, name string) bool {
	switch name {
	case "Content-Length", "Expect", "Host":
		return false
	}
	return !hopByHop(client["Connection"], name) && !slices.Contains(u.client.sets, name)
}

// hopByHop reports whether a field, named as net/http does, concerns one connection only
// (RFC 9110, 7.6.1), whose own field Connection is given: those that RFC 2616 listed do,
// whether it names them or not.
func hopByHop(connection []string, name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	for _, list := range connection {
		for listed := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(textproto.TrimString(listed), name) {
				return true
			}
		}
	}
	return false
}

// ofBody reports whether a field speaks of the body that came.
func ofBody(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Content-Md5", "Content-Digest", "Digest", "Repr-Digest":
		return true
	}
	return false
}

// forwardedFor is X-Forwarded-For with the client's address, empty if that is not known.
func forwardedFor(client http.Header, remoteAddr string) string {
	host, _, err := net.SplitHostPort(remoteAddr)
	if err != nil {
		return ""
	}
	before := client["X-Forwarded-For"]
	if len(before) == 0 {
		return host
	}
	return strings.Join(before, ", ") + ", " + host
}
