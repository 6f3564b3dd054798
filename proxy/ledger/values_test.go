package ledger

import (
	"iter"
	"maps"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestValueTable holds the table to a map.
func TestValueTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table valueTable
		model := map[uint64]valueUse{}
		// Few different ones, in runs that hash to the same place, and many.
		value := rapid.OneOf(rapid.Uint64Max(20), rapid.Map(rapid.Uint64Max(50), func(n uint64) uint64 { return n << 32 }), rapid.Uint64())
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			v := value.Draw(t, "value")
			switch u, known := model[v]; rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				table.remove(v)
				delete(model, v)
			case 1:
				if known {
					u.uses++
					model[v] = u
					if n := table.count(v, 1); n != u.uses {
						t.Fatalf("%x has %d uses, want %d", v, n, u.uses)
					}
				}
			case 2: // many at once, that segments are split
				for i := range uint64(perSegment) {
					v := v + i*0x9e3779b97f4a7c15
					if _, known := model[v]; !known {
						model[v] = valueUse{label: i % 3}
						table.set(v, model[v])
					}
				}
			default:
				if !known {
					u.label = v % 5
				}
				u.uses = rapid.IntRange(0, 9).Draw(t, "uses")
				model[v] = u
				table.set(v, u)
			}
		}
		if diff := cmp.Diff(model, maps.Collect(table.all()), cmp.AllowUnexported(valueUse{})); diff != "" {
			t.Fatalf("values (-want +got):\n%s", diff)
		}
		distinct := map[uint64]int{}
		for v, want := range model {
			distinct[want.label]++
			if got, ok := table.get(v); !ok || got != want {
				t.Fatalf("%x is %v, %v, want %v", v, got, ok, want)
			}
		}
		if diff := cmp.Diff(distinct, table.labels.counts()); diff != "" {
			t.Fatalf("distinct values (-want +got):\n%s", diff)
		}
		for v := range model {
			table.remove(v)
		}
		if table.n != 0 || table.has(1) {
			t.Fatalf("%d values are left", table.n)
		}
	})
}

// BenchmarkValues is a million values that get known and are counted twice, in the table
// and in a map of Go's.
func BenchmarkValues(b *testing.B) {
	const n = 1_000_000
	value := func(i int) uint64 { return uint64(i+1) * 0x9e3779b97f4a7c15 }
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			before := heapAlloc()
			var t valueTable
			for i := range n {
				t.set(value(i), valueUse{label: 1})
				t.count(value(i), +1)
				t.count(value(i/2), +1)
			}
			b.ReportMetric(float64(heapAlloc()-before)/n, "B/value")
			runtime.KeepAlive(&t)
		}
	})
	b.Run("map", func(b *testing.B) {
		for b.Loop() {
			before := heapAlloc()
			t := map[uint64]valueUse{}
			for i := range n {
				t[value(i)] = valueUse{label: 1}
				for _, v := range []uint64{value(i), value(i / 2)} {
					u := t[v]
					u.uses++
					t[v] = u
				}
			}
			b.ReportMetric(float64(heapAlloc()-before)/n, "B/value")
			runtime.KeepAlive(t)
		}
	})
}

// all are the values, in no order.
func (t *valueTable) all() iter.Seq2[uint64, valueUse] {
	return func(yield func(uint64, valueUse) bool) {
		for _, seg := range t.segments {
			for _, s := range seg.slots {
				if s.label != 0 && !yield(s.value, valueUse{t.labels.of[s.label].label, int(s.uses)}) {
					return
				}
			}
		}
	}
}
