package gateway

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const date = "Date: Sun, 29 Nov 2026 01:02:03 GMT\r\n"

// plainAnswers are of Pushgateways 1.5.1 and 1.11.3.
var plainAnswers = []string{
	"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\n\r\n",
	"HTTP/1.1 202 Accepted\r\n" + date + "Content-Length: 0\r\n\r\n",
	"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n" + date + "Content-Length: 4\r\n\r\nbad\n",
}

func TestPlainAnswer(t *testing.T) {
	for _, text := range plainAnswers {
		const behind = "HTTP/1.1 200"
		if _, n := plainAnswer([]byte(text + behind)); n != len(text) {
			t.Errorf("%q: %d bytes, want %d", text, n, len(text))
		}
		for n := range text { // so much of it has come
			if a, n := plainAnswer([]byte(text[:n])); n != 0 {
				t.Errorf("%q: %+v", text[:n], a)
			}
		}
	}
}

// FuzzPlainAnswer holds what is read here to what net/http reads.
func FuzzPlainAnswer(f *testing.F) {
	for _, text := range append(plainAnswers,
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 0\n\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nDate: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nDate: a\r\nDate:  b \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
	) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, come []byte) {
		got, n := plainAnswer(come)
		if n == 0 {
			return
		}
		in := bytes.NewReader(come)
		buffered := bufio.NewReader(in)
		resp, err := http.ReadResponse(buffered, nil)
		if err != nil {
			t.Fatalf("%q: %+v, and net/http: %v", come, got, err)
		}
		want, whole := answered(resp)
		if d := cmp.Diff(want, got); d != "" || !whole || resp.Close {
			t.Errorf("%q: whole %v, close %v (-net/http +got)\n%s", come, whole, resp.Close, d)
		}
		if read := len(come) - in.Len() - buffered.Buffered(); n != read {
			t.Errorf("%q: %d bytes, net/http reads %d", come, n, read)
		}
	})
}
