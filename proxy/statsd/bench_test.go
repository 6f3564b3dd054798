package statsd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/pushguard/pushguard/proxy/counter"
)

// grow is an increment of 1 to each of n series of five labels, as a push has.
func grow(n int) []counter.Increment {
	var out []counter.Increment
	for i := range n {
		src := newCounter("airflow_rows_total", "dag_id", "nightly_load", "instance", "worker-7", "job", "airflow", "status", "success", "task_id", fmt.Sprintf("task_%d", i))
		out = append(out, counter.Increment{Series: src, Value: 1})
	}
	return out
}

func BenchmarkAdd(b *testing.B) {
	const n = 200
	s := newSender(b, Config{Address: &url.URL{Scheme: "udp", Host: "127.0.0.1:9"}, ZeroHold: DefaultZeroHold})
	known := grow(n)
	s.Add(known)
	for _, name := range []string{"same", "equal"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if name == "equal" { // as if made anew for another push
					s.known = map[*counter.Series]*series{}
				}
				s.Add(known)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/series")
		})
	}
}

func BenchmarkNewSeries(b *testing.B) {
	const n = 10_000
	incs := grow(n)
	b.ReportAllocs()
	for b.Loop() {
		s := newSender(b, Config{Address: &url.URL{Scheme: "udp", Host: "127.0.0.1:9"}, ZeroHold: DefaultZeroHold})
		s.Add(incs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/series")
}

// BenchmarkFlush sends 10,000 series that changed to somebody who only reads.
func BenchmarkFlush(b *testing.B) {
	const n = 10_000
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) {
			s := newSender(b, Config{Address: reader(b, transport), Rate: 10_000_000})
			defer s.link.close()
			incs := grow(n)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				s.Add(incs)
				s.flush(ctx)
				if pending(s) != 0 {
					b.Fatal("not all was sent")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/line")
		})
	}
}

// reader reads all that comes over a transport.
func reader(b *testing.B, transport string) *url.URL {
	b.Helper()
	var from io.ReadCloser
	var at *url.URL
	done := make(chan struct{})
	read := func() {
		defer close(done)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{from}, make([]byte, 1<<16))
	}
	switch transport {
	case "tcp":
		l, u := listenTCP(b)
		at = u
		go func() {
			c, err := l.Accept()
			if err != nil {
				close(done)
				return
			}
			from = c
			read()
		}()
		b.Cleanup(func() { _ = l.Close(); <-done })
		return at
	case "udp":
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		from, at = c, &url.URL{Scheme: "udp", Host: c.LocalAddr().String()}
	default:
		sock := listen(b)
		from, at = sock, sock.url
	}
	go read()
	b.Cleanup(func() { _ = from.Close(); <-done })
	return at
}
