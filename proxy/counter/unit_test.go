package counter

import (
	"context"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state"
)

// FuzzUnit applies whatever is in a log: it is refused or applied, and what was
// applied is written and read again as it is.
func FuzzUnit(f *testing.F) {
	c := newClock()
	dir, err := state.Open(context.Background(), f.TempDir(), state.Options{})
	if err != nil {
		f.Fatal(err)
	}
	s := openStore(f, dir, Config{Now: c.Now})
	commitTo(f, s, Push{Group: groupOf("job=j").Identity(), IdempotencyKey: "k"}, value("job=j", Created, 7, 3), took(Run, 0, 4, 9, 1, 2, 3))
	whole := everything(s)
	if err := dir.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(slices.Clone(whole), recordAnew, recordForgotten, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add([]byte{recordBaseline})
	f.Add([]byte{recordTotal, 1})
	f.Add([]byte{'?'})
	f.Fuzz(func(t *testing.T, unit []byte) {
		s := restored(t, unit)
		if s == nil {
			return
		}
		again := restored(t, everything(s))
		if again == nil {
			t.Fatal("what was written cannot be read")
		}
		want, got := contents(s), contents(again)
		for _, m := range []map[string][]float64{want, got} {
			maps.DeleteFunc(m, func(_ string, vs []float64) bool { return slices.ContainsFunc(vs, math.IsNaN) })
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("written and read again (-want +got):\n%s", diff)
		}
	})
}

// everything is a snapshot in one unit.
func everything(s *Store) []byte {
	var all []byte
	w := snapshot{write: func(unit []byte) error { all = append(all, unit...); return nil }}
	w.everything(s.Book, s.Totals)
	return all
}

// restored is what a unit makes, nil if it is refused.
func restored(t *testing.T, unit []byte) *Store {
	c := newClock()
	s := &Store{Book: NewBook(Config{Now: c.Now}), Totals: NewTotals(TotalsConfig{Now: c.Now})}
	s.Book.watermark.Store(0)
	r := restorer{book: s.Book, totals: s.Totals, births: map[uint64]*total{}}
	if r.apply(unit) != nil {
		return nil
	}
	s.Totals.Page(context.Background(), "").Families()
	return s
}
