package state

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit is one append and its commit, from so many goroutines.
func BenchmarkCommit(b *testing.B) {
	for _, s := range []Sync{SyncInterval, SyncAlways} {
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%v/%d", s, n), func(b *testing.B) {
				l, _ := openLog(b, open(b, b.TempDir(), Options{Sync: s}), "bench", LogOptions{})
				record := make([]byte, 100)
				b.ReportAllocs()
				b.SetParallelism(n) // times GOMAXPROCS
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := l.Commit(b.Context(), l.Append(record)); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkWrite is one append by who writes it, from so many goroutines.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 2, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, _ := openLog(b, open(b, b.TempDir(), Options{}), "bench", LogOptions{})
			record := make([]byte, 100)
			b.ReportAllocs()
			b.SetParallelism(n) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if p := l.Add(record); l.Write(p) {
						continue
					} else if err := l.Commit(b.Context(), p); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkAppend appends without waiting, but for each 1000th.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l, _ := openLog(b, open(b, b.TempDir(), Options{}), "bench", LogOptions{})
			record := make([]byte, size)
			var n atomic.Int64
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p := l.Append(record)
					if n.Add(1)%1000 == 0 {
						if err := l.Commit(b.Context(), p); err != nil {
							b.Error(err)
						}
					}
				}
			})
		})
	}
}

// BenchmarkCompact writes 32 MiB of state.
func BenchmarkCompact(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l, _ := openLog(b, open(b, b.TempDir(), Options{}), "bench", LogOptions{})
			b.SetBytes(32 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Compact(many(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRestore reads 32 MiB of state.
func BenchmarkRestore(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			dir := b.TempDir()
			d := open(b, dir, Options{})
			l, _ := openLog(b, d, "bench", LogOptions{})
			if err := l.Compact(many(size)); err != nil {
				b.Fatal(err)
			}
			_ = d.Close()
			d = open(b, dir, Options{})
			b.SetBytes(32 << 20)
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				l := &Log{dir: d, name: "bench"}
				if err := l.restore(func([]byte) error { n++; return nil }); err != nil || n != 32<<20/size {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// many emits 32 MiB in records of that size.
func many(size int) func(func([]byte) error) error {
	record := make([]byte, size)
	return func(write func([]byte) error) error {
		for range 32 << 20 / size {
			if err := write(record); err != nil {
				return err
			}
		}
		return nil
	}
}
