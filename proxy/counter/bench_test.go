package counter

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// known are 200 readings of one push that was committed before.
func known(b *testing.B, book *Book, group string, read func(metric string) Reading) ([]Reading, Push) {
	b.Helper()
	var readings []Reading
	for n := range 200 {
		r := read(fmt.Sprintf("n=%d", n))
		r.Identity = identity(group, "x_total", fmt.Sprintf("n=%d", n))
		readings = append(readings, r)
	}
	p := Push{Group: groupOf(group).Identity()}
	pushedAs(b, book, p, readings...)
	return readings, p
}

func counting(metric string) Reading {
	return Reading{Source: Created, Began: 1_800_000_000_000_000_000, Output: series("x_total", "job=j,"+metric), Value: 5}
}

func timing(metric string) Reading {
	s := series("took_seconds", "job=j,"+metric)
	s.Kind, s.Bounds = Histogram, []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	return Reading{
		Source: Created, Began: 1_800_000_000_000_000_000, Output: s,
		Count: 20, Sum: 7.5, Buckets: []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
	}
}

func BenchmarkDifference(b *testing.B) {
	for _, bc := range []struct {
		name string
		read func(string) Reading
	}{{"counters", counting}, {"histograms", timing}} {
		b.Run(bc.name, func(b *testing.B) {
			book := NewBook(Config{})
			readings, p := known(b, book, "job=j", bc.read)
			var i Increments
			b.ReportAllocs()
			for b.Loop() {
				if err := book.Difference(&i, readings, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The way of one push from readings to totals, but for identities.
func BenchmarkCommit(b *testing.B) {
	for _, bc := range []struct {
		name string
		read func(string) Reading
	}{{"counters", counting}, {"histograms", timing}} {
		b.Run(bc.name, func(b *testing.B) {
			book, totals := NewBook(Config{}), NewTotals(TotalsConfig{})
			readings, p := known(b, book, "job=j", bc.read)
			var i Increments
			b.ReportAllocs()
			for b.Loop() {
				for n := range readings {
					readings[n].Value++
				}
				if err := book.Difference(&i, readings, p); err != nil {
					b.Fatal(err)
				}
				if err := i.Commit(context.Background(), totals); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What 200 metrics that are kept with their verdicts cost to place in a group.
func BenchmarkIdentity(b *testing.B) {
	metrics := make([]MetricHash, 200)
	for n := range metrics {
		metrics[n] = hasher.Metric("x_total", labelsOf(fmt.Sprintf("n=%d,queue=q", n)))
	}
	key := labelsOf("job=j,instance=i,run=1")
	var g GroupHash
	var sum uint64
	b.ReportAllocs()
	for b.Loop() {
		hasher.Group(&g, key)
		for n := range metrics {
			sum += g.Of(&metrics[n]).lo
		}
	}
	runtime.KeepAlive(sum)
}

// A million baselines, ten of each group: their memory, and a push among them.
func BenchmarkMillionBaselines(b *testing.B) {
	const groups, each = 100_000, 10
	outputs := make([]*Series, each)
	for n := range outputs {
		outputs[n] = series("x_total", fmt.Sprintf("n=%d", n))
	}
	group := func(n int) Identity { return Identity{mix(uint64(n)), mix(uint64(n) + 1<<40)} }
	readings := func(n int) []Reading {
		rs := make([]Reading, each)
		for m := range rs {
			at := uint64(n*each + m)
			rs[m] = Reading{Identity: Identity{mix(at + 1<<41), mix(at + 1<<42)}, Source: Run, Output: outputs[m], Value: 1}
		}
		return rs
	}
	before := heap()
	book := NewBook(Config{Baselines: 2 * groups * each})
	var i Increments
	push := func(n int) {
		if err := book.Difference(&i, readings(n), Push{Group: group(n)}); err != nil {
			b.Fatal(err)
		}
		if err := i.Commit(context.Background(), nil); err != nil {
			b.Fatal(err)
		}
	}
	for n := range groups {
		push(n)
	}
	used := heap() - before
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = (n + 7919) % groups
		push(n)
	}
	if kept := book.Stats().Baselines; kept != groups*each {
		b.Fatalf("%d baselines kept", kept)
	}
	b.ReportMetric(float64(used)/(groups*each), "B/baseline")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A million baselines are read from the disk; the goal is below three seconds.
func BenchmarkOpenMillionBaselines(b *testing.B) {
	const groups, each = 100_000, 10
	path := b.TempDir()
	dir := openState(b, path)
	s := openStore(b, dir, Config{Baselines: 2 * groups * each})
	output := series("x_total", "job=j")
	readings := make([]Reading, each)
	var i Increments
	for g := range uint64(groups) {
		for n := range readings {
			at := g*each + uint64(n)
			readings[n] = Reading{Identity: Identity{mix(at + 1<<41), mix(at + 1<<42)}, Source: Run, Output: output, Value: 1}
		}
		if err := s.Book.Difference(&i, readings, Push{Group: Identity{mix(g), mix(g + 1<<40)}}); err != nil {
			b.Fatal(err)
		}
		i.commit(s.Totals, s.Book.clock())
	}
	if err := s.compact(); err != nil {
		b.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		dir := openState(b, path)
		s := openStore(b, dir, Config{Baselines: 2 * groups * each})
		if got := s.Book.Stats().Baselines; got != groups*each {
			b.Fatalf("%d baselines", got)
		}
		if err := dir.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// The way of one push to the disk, alone and among many.
func BenchmarkCommitToDisk(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(strconv.Itoa(parallel), func(b *testing.B) {
			dir := openState(b, b.TempDir())
			s := openStore(b, dir, Config{})
			b.SetParallelism(parallel)
			b.ReportAllocs()
			var group sync.Mutex
			next := 0
			b.RunParallel(func(pb *testing.PB) {
				group.Lock()
				next++
				name := fmt.Sprintf("job=j,group=%d", next)
				readings, p := known(b, s.Book, name, counting)
				group.Unlock()
				var i Increments
				for pb.Next() {
					for n := range readings {
						readings[n].Value++
					}
					if err := s.Book.Difference(&i, readings, p); err != nil {
						b.Error(err)
					}
					if err := i.Commit(context.Background(), s.Totals); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
