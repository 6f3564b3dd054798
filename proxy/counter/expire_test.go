package counter

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state"
)

func TestTotalsThatNobodyAddsToExpire(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	idle := func(job string) time.Duration {
		if job == "kept" {
			return 0
		}
		return time.Hour
	}
	totals.Add([]Increment{count("x_total", "job=j,run=1", 2), count("x_total", "job=j,run=2", 3), count("y_total", "job=kept", 1)})
	c.advance(time.Hour - time.Second)
	if n := totals.Expire(idle); n != 0 {
		t.Fatalf("%d expired before their time", n)
	}
	totals.Add([]Increment{count("x_total", "job=j,run=2", 0)}) // zero is a sign of life
	c.advance(time.Second)
	if n := totals.Expire(idle); n != 1 {
		t.Fatalf("%d expired, want 1", n)
	}
	want := "# TYPE x_total counter\nx_total{job=\"j\",run=\"2\"} 3\n# TYPE y_total counter\ny_total{job=\"kept\"} 1\n"
	if diff := cmp.Diff(want, text(t, totals.Page(context.Background(), ""))); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	c.advance(100 * time.Hour)
	if n := totals.Expire(idle); n != 1 {
		t.Fatalf("%d expired, want 1", n)
	}
	if totals.Holds("x_total") {
		t.Error("a family without totals is still one of totals")
	}
	if err := totals.Claim("x_total", Histogram); err != nil {
		t.Errorf("its name is not free: %v", err)
	}
	if got, want := totals.Stats(), (TotalsStats{Series: 1, Families: 2}); got != want {
		t.Errorf("stats = %+v, want %+v", got, want)
	}
}

// A series that comes back after its total went begins anew, also where the
// series was known.
func TestATotalThatExpiredComesBackAtWhatIsNew(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	inc := []Increment{count("x_total", "job=j", 2)}
	totals.Add(inc)
	c.advance(2 * time.Hour)
	totals.Expire(func(string) time.Duration { return time.Hour })
	inc[0].Value = 5
	totals.Add(inc)
	if got := text(t, totals.Page(context.Background(), "")); !strings.Contains(got, "x_total{job=\"j\"} 5\n") {
		t.Errorf("page:\n%s", got)
	}
}

// TestAFamilyOutlivesItsTotals while a push is on its way that claimed it: its name stays of
// that kind, and is free once the push has added nothing.
func TestAFamilyOutlivesItsTotals(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	totals.Add([]Increment{count("x_total", "job=j", 2)})
	for range 2 {
		if err := totals.Claim("x_total", Counter); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(2 * time.Hour)
	if n := totals.Expire(func(string) time.Duration { return time.Hour }); n != 1 {
		t.Fatalf("%d expired, want 1", n)
	}
	for range 2 {
		if !totals.Holds("x_total") {
			t.Error("a family is not one of totals any more while a push has claimed it")
		}
		totals.Release("x_total", Counter)
	}
	if totals.Holds("x_total") {
		t.Error("a family that no push claims stays without totals")
	}
}

func TestWhatExpiredStaysGone(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		dir, c := t.TempDir(), newClock()
		open := func() (*state.Dir, *Store) {
			d, err := state.Open(t.Context(), dir, state.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(d, Config{Now: c.Now}, TotalsConfig{Now: c.Now})
			if err != nil {
				t.Fatal(err)
			}
			return d, s
		}
		d, s := open()
		s.Totals.Add([]Increment{count("x_total", "job=old", 2), count("x_total", "job=new", 3), count("z_total", "job=old", 3)})
		c.advance(2 * time.Hour)
		s.Totals.Add([]Increment{count("x_total", "job=new", 1)})
		if n := s.Totals.Expire(func(string) time.Duration { return time.Hour }); n != 2 {
			t.Fatalf("%d expired, want 2", n)
		}
		if compacted {
			if err := s.compact(); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d, s = open()
		defer d.Close()
		want := "# TYPE x_total counter\nx_total{job=\"new\"} 4\n"
		if diff := cmp.Diff(want, text(t, s.Totals.Page(context.Background(), ""))); diff != "" {
			t.Errorf("compacted %v: page (-want +got):\n%s", compacted, diff)
		}
		if s.Totals.Holds("z_total") {
			t.Errorf("compacted %v: a family without totals is still one of totals", compacted)
		}
	}
}
