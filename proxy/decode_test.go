package proxy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"

	"github.com/pushguard/pushguard/proxy/admission"
)

// TestDecodeCounts: what a body unpacks to counts before it is there, and no more than
// twice of it, so that one that has no room leaves off early.
func TestDecodeCounts(t *testing.T) {
	const size, mib = 4 << 20, 1 << 20
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(make([]byte, size))
	_ = w.Close()
	for room, want := range map[int64]bool{mib: false, 2 * size: true} {
		gate := admission.New(admission.Config{Bytes: room})
		var v passage
		v.request.Header, v.received = http.Header{"Content-Encoding": {"gzip"}}, packed.Bytes()
		if err := gate.Enter(&v.place, "a", false, 0); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := v.decode(Caps{Decoded: 64 << 20})
		runtime.ReadMemStats(&after)
		if got := err == nil; got != want || !got && isShed(err) == nil {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; !want && took > uint64(3*room) {
			t.Errorf("with room for %d bytes %d were taken", room, took)
		}
		if want && (len(v.decoded) != size || v.held < size) {
			t.Errorf("%d bytes of %d are there, and %d counted", len(v.decoded), size, v.held)
		}
		v.place.Leave()
	}
}

// BenchmarkDecode unpacks bodies: one as clients send them, and ones that unpack to more
// than is usual.
func BenchmarkDecode(b *testing.B) {
	text, _ := body200(b)
	for _, bm := range []struct {
		name string
		body []byte
	}{
		{"usual", text},
		{"large", large(text, 300)},
		{"repeated", bytes.Repeat(text, 300)},
		{"alike", bytes.Repeat([]byte("step_rows_total{table=\"orders\"} 1\n"), 30_000)},
	} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(bm.body)
		_ = w.Close()
		b.Run(fmt.Sprintf("%s/ratio=%d", bm.name, len(bm.body)/packed.Len()), func(b *testing.B) {
			b.SetBytes(int64(len(bm.body)))
			b.ReportAllocs()
			var v passage
			v.request.Header = http.Header{"Content-Encoding": {"gzip"}}
			for b.Loop() {
				v.reset()
				v.request.Header, v.received = http.Header{"Content-Encoding": {"gzip"}}, packed.Bytes()
				if err := v.decode(Caps{Decoded: 64 << 20}); err != nil || len(v.decoded) != len(bm.body) {
					b.Fatalf("%d bytes, %v", len(v.decoded), err)
				}
			}
		})
	}
}

// large are lines as different as those of a push that is much larger.
func large(text []byte, times int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for range times {
		for line := range bytes.Lines(text) {
			fmt.Fprintf(&b, "%s%d%d\n", line[:len(line)-1], r.IntN(1e6), r.IntN(1e6))
		}
	}
	return b.Bytes()
}
