package gateway

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// Answer is what the upstream said to a write.
type Answer struct {
	Status int
	// Header lacks the fields of the connection and Content-Length. It is read-only: other
	// answers may have the same.
	Header http.Header
	// Body is cut at 1 MiB.
	Body []byte
	// Spooled says that the write is kept for an upstream that is away.
	Spooled bool
}

// answered reads what is kept of an answer, and reports whether it was read to its end.
// The status has decided what became of the write: a body that breaks off does not change
// that, it is handed on as far as it came.
func answered(resp *http.Response) (Answer, bool) {
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	connection, whole := resp.Header["Connection"], true
	if resp.ContentLength != 0 {
		var err error
		a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		whole = err == nil && len(a.Body) < maxAnswer
	}
	maps.DeleteFunc(a.Header, func(name string, _ []string) bool {
		return name == "Content-Length" || hopByHop(connection, name)
	})
	return a, whole
}

// plainAnswer reads an answer that has come whole, if it is one as Pushgateways give to a
// push: all others are net/http's to read. It returns its length, 0 for others.
func plainAnswer(come []byte) (Answer, int) {
	at := bytes.Index(come, []byte("\r\n\r\n"))
	if at < 0 {
		return Answer{}, 0
	}
	line, fields, _ := strings.Cut(string(come[:at]), "\r\n")
	a := Answer{Status: plainStatus(line), Header: make(http.Header, 3)}
	length, ok := plainFields(a.Header, fields)
	whole := at + len("\r\n\r\n") + length
	if a.Status == 0 || !ok || len(come) < whole {
		return Answer{}, 0
	}
	if length > 0 {
		a.Body = bytes.Clone(come[whole-length : whole])
	}
	return a, whole
}

// plainStatus is that of a status line, 0 if it is none that a push is answered with.
func plainStatus(line string) int {
	code, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(code) < 4 || code[3] != ' ' || !visible(code) {
		return 0
	}
	switch code[:3] {
	case "200":
		return http.StatusOK
	case "202":
		return http.StatusAccepted
	case "400":
		return http.StatusBadRequest
	default:
		return 0
	}
}

// plainFields puts what is handed on of fields into h and returns the length of the body.
// Ok is false if they are others than a Pushgateway sends with the answer to a push.
func plainFields(h http.Header, fields string) (length int, ok bool) {
	length = -1
	for field := range strings.SplitSeq(fields, "\r\n") {
		name, value, found := strings.Cut(field, ": ")
		if !found || !visible(value) {
			return 0, false
		}
		switch value = strings.Trim(value, " "); name {
		case "Content-Type", "Date", "X-Content-Type-Options":
			h[name] = append(h[name], value)
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 20)
			if err != nil || length >= 0 {
				return 0, false
			}
			length = int(n)
		default:
			return 0, false
		}
	}
	return length, length >= 0
}

// visible reports whether a text is of ASCII's spaces and visible characters.
func visible(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
