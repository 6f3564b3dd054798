package proxy

import (
	"bytes"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/store"
)

// BenchmarkRecording measures a push of 200 counters into the guard's own store: not
// recorded, recorded at the default rate, and at any, where most find the queue full.
func BenchmarkRecording(b *testing.B) {
	text, _ := body200(b)
	for _, bm := range []struct {
		name string
		rate int
	}{{"off", -1}, {"100-a-second", 100}, {"all", 0}} {
		b.Run(bm.name, func(b *testing.B) {
			rules, err := policy.Parse("bench", []byte(dropRunID))
			if err != nil {
				b.Fatal(err)
			}
			own, err := store.Open(store.Config{})
			if err != nil {
				b.Fatal(err)
			}
			cfg := Config{
				Policy: rules, Upstream: own, Metrics: NewMetrics(prometheus.NewRegistry()),
				Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
			}
			if bm.rate >= 0 {
				if cfg.Record, err = record.Open(record.Config{Path: filepath.Join(b.TempDir(), "r.jsonl"), Rate: bm.rate}); err != nil {
					b.Fatal(err)
				}
				defer cfg.Record.Close()
				go func() { _ = cfg.Record.Run(b.Context()) }()
			}
			g, err := New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				a := g.Push(b.Context(), Request{
					Method: http.MethodPost, Path: "/metrics/job/nightly", Header: http.Header{}, Body: bytes.NewReader(text), Length: int64(len(text)),
				})
				if a.Status != http.StatusOK {
					b.Fatal(a.Status, string(a.Body))
				}
			}
		})
	}
}
