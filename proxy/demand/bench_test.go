package demand

import (
	"fmt"
	"testing"
)

// push is the values of 200 metrics with 5 labels: one tells them apart, one is
// of each run, and three are the same everywhere.
func push(run int) []Value {
	var out []Value
	for m := range 200 {
		out = append(out, value("table", fmt.Sprint(m)), value("run_id", fmt.Sprint(run)),
			value("env", "prod"), value("team", "data"), value("dag_id", "load"))
	}
	return out
}

func BenchmarkAdd(b *testing.B) {
	b.Run("known", func(b *testing.B) {
		e, values := New(Config{}), push(0)
		b.ReportAllocs()
		for b.Loop() {
			e.Add("nightly", values)
		}
	})
	b.Run("known, from all sides", func(b *testing.B) {
		e, values := New(Config{}), push(0)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				e.Add("nightly", values)
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		values := push(0)
		e, job := New(Config{MaxSketches: 1 << 40, MaxBytes: 1 << 60}), 0
		b.ReportAllocs()
		for b.Loop() {
			if job++; job%1000 == 0 {
				e = New(Config{MaxSketches: 1 << 40, MaxBytes: 1 << 60})
			}
			e.Add(fmt.Sprint(job), values)
		}
	})
	b.Run("untracked", func(b *testing.B) {
		e, values := New(Config{MaxSketches: -1}), push(0)
		b.ReportAllocs()
		for b.Loop() {
			e.Add("nightly", values)
		}
	})
}

func BenchmarkLabels(b *testing.B) {
	e := New(Config{})
	for j := range 1000 {
		job := fmt.Sprint(j)
		for l := range 10 {
			e.Add(job, numbered(fmt.Sprint("label_", l), j, 100))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Labels(10)
	}
}

func BenchmarkEstimate(b *testing.B) {
	w := sent(100_000, 1)
	b.ReportAllocs()
	for b.Loop() {
		count(w)
	}
}
