package store

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestAppendTime(t *testing.T) {
	check := func(seconds float64) {
		t.Helper()
		got, want := appendTime([]byte("x"), seconds), appendFloat([]byte("x"), seconds)
		if string(got) != string(want) {
			t.Fatalf("%b: %s, want %s", seconds, got, want)
		}
	}
	edges := []float64{0, 1, -1, 1 << 30, 1 << 31, 1.5e9, 2e9, 1.9e9, 1.7e9 + 1e-6, 1.7e9 + 1e-7, math.NaN(), math.Inf(1)}
	for _, s := range append(edges, 1.7e9+1.0/256, 1.7e9+3.0/256, 1.7e9+0.5, 1.7e9+0.9999999, 1.7e9+0.9999995) { // of 1/256 and 3/256 two decimals are equally near
		for _, s := range []float64{s, math.Nextafter(s, 0), math.Nextafter(s, math.MaxFloat64)} {
			check(s)
			check(-s)
		}
	}
	for range 100_000 {
		check(float64(1<<30*1e9+rand.Int64N(1<<30*1e9)) / 1e9)
		check(float64(1<<30) + float64(rand.Int64N(1<<52))/(1<<22))
		check(float64(1<<30+rand.Int64N(1<<30)) + float64(rand.Int64N(1e6))/1e6)
		check(float64(1<<30+rand.Int64N(1<<30)) + float64(rand.Int64N(256))/256)
	}
}

// BenchmarkTime writes the time of a push, and the same as any number.
func BenchmarkTime(b *testing.B) {
	for name, write := range map[string]func([]byte, float64) []byte{"time": appendTime, "number": appendFloat} {
		b.Run(name, func(b *testing.B) {
			var buf [32]byte
			for seconds := 1.7959122418304138e9; b.Loop(); seconds += 1e-3 {
				write(buf[:0], seconds)
			}
		})
	}
}
