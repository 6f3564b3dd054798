package counter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state"
)

// openState opens a state directory until the test ends, or is closed before.
func openState(t testing.TB, path string) *state.Dir {
	t.Helper()
	dir, err := state.Open(context.Background(), path, state.Options{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openStore(t testing.TB, dir *state.Dir, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg, TotalsConfig{Now: cfg.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contents is what a store holds, to be compared.
func contents(s *Store) map[string][]float64 {
	out := map[string][]float64{"watermark": {float64(s.Book.watermark.Load())}, "keys": {float64(s.Book.retries.keys.Len())}}
	for _, shard := range s.Book.shards {
		for slot := shard.oldest; slot != 0; slot = shard.at(slot).newer {
			b := shard.at(slot)
			out[fmt.Sprint(b.key, b.group)] = append([]float64{b.last}, shard.wide(slot)...)
		}
	}
	for _, f := range s.Totals.families {
		for _, to := range f.totals {
			out[fmt.Sprint(f.kind, f.name, f.help, to.labels, to.bounds, to.born, to.created, to.other)] = append([]float64{to.value, to.sum}, to.buckets...)
		}
	}
	return out
}

func commitTo(t testing.TB, s *Store, p Push, readings ...Reading) {
	t.Helper()
	var i Increments
	if err := s.Book.Difference(&i, readings, p); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), s.Totals); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreIsAfterARestartWhatItWas(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	for _, compacts := range []bool{false, true, false} {
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now})
		began := c.now.UnixNano() + 1
		c.advance(time.Hour)
		helped := value("job=j", Created, began, 5)
		helped.Output = &Series{Name: "helped_total", Help: "Help.", Kind: Counter, Labels: labelsOf("job=j")}
		helped.Identity = identity("job=j", "helped_total", "")
		p := Push{Group: groupOf("job=j").Identity(), IdempotencyKey: fmt.Sprint(began)}
		commitTo(t, s, p, value("job=j", Created, began, 3), helped, took(Created, began, 4, 9, 1, 2, 3))
		narrower := took(Created, began, 4, 9, 1, 2, 3)
		narrower.Output = &Series{Name: "took_seconds", Kind: Histogram, Bounds: []float64{1, 3, 5}}
		p.IdempotencyKey = ""
		commitTo(t, s, p, narrower)
		commitTo(t, s, Push{Group: groupOf("job=gone").Identity()}, value("job=gone", Run, 0, 1))
		if err := s.Book.Forget(context.Background(), groupOf("job=gone").Identity()); err != nil {
			t.Fatal(err)
		}
		s.Totals.Add([]Increment{count("direct_total", "job=j", 1)})
		if compacts {
			if err := s.compact(); err != nil {
				t.Fatal(err)
			}
			commitTo(t, s, p, value("job=j", Created, began, 4))
		}
		want := contents(s)
		s.Totals.Page(context.Background(), "a").Done()
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
		dir = openState(t, path)
		got := openStore(t, dir, Config{Now: c.Now})
		if diff := cmp.Diff(want, contents(got)); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
		// What began while the guard was away is not what it may have counted.
		if r := got.Book.first(&Reading{Source: Created, Began: c.now.UnixNano()}, false); r != First {
			t.Errorf("the first reading of a source is %v", r)
		}
		// To whoever scraped, what was there is not new.
		if got := shownAt(got.Totals.Page(context.Background(), "a")); got == 0 {
			t.Error("a total from before is shown at zero")
		}
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestARestartHidesNoBirth: what no scraper was shown before the process ended begins at
// zero after it, and what one was shown goes on, lest it looks as if it had been reset.
func TestARestartHidesNoBirth(t *testing.T) {
	for _, compacts := range []bool{false, true} {
		path, c := t.TempDir(), newClock()
		var dir *state.Dir
		var s *Store
		restart := func() {
			t.Helper()
			if dir != nil {
				if compacts {
					if err := s.compact(); err != nil {
						t.Fatal(err)
					}
				}
				if err := dir.Close(); err != nil {
					t.Fatal(err)
				}
			}
			dir = openState(t, path)
			s = openStore(t, dir, Config{Now: c.Now})
		}
		see := func(when string, want ...float64) {
			t.Helper()
			p := s.Totals.Page(context.Background(), "a")
			var got []float64
			for _, mf := range p.Families() {
				got = append(got, mf.Metric[0].Counter.GetValue())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("compacted %t, %s (-want +got):\n%s", compacts, when, diff)
			}
			p.Done()
		}
		restart()
		s.Totals.Add([]Increment{count("a_total", "job=j", 1)})
		restart()
		see("the very first", 0)
		s.Totals.Add([]Increment{count("b_total", "job=j", 2)})
		restart()
		see("what was not shown", 1, 0)
		see("afterwards", 1, 2)
		restart()
		see("what was shown", 1, 2)
		s.Totals.Add([]Increment{count("c_total", "job=brief", 3)})
		see("a new one", 1, 2, 0)
		c.advance(2 * time.Second)
		s.Totals.Expire(func(job string) time.Duration {
			if job == "brief" {
				return time.Nanosecond
			}
			return 0
		})
		s.Totals.Add([]Increment{count("d_total", "job=j", 4)})
		restart()
		see("where the last that was shown is gone", 1, 2, 0)
		see("and once more", 1, 2, 4)
		restart()
		see("at last", 1, 2, 4)
	}
}

// TestTotalsOfBefore: builds that did not write down what was shown left totals that some
// scraper knows.
func TestTotalsOfBefore(t *testing.T) {
	made := NewTotals(TotalsConfig{})
	made.Add([]Increment{count("x_total", "job=j", 5)})
	var unit []byte
	for _, f := range made.families {
		for _, to := range f.totals {
			unit = to.appendTotal(to.appendBirth(unit, true))
		}
	}
	path := t.TempDir()
	dir := openState(t, path)
	openStore(t, dir, Config{}).log.Append(unit)
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, openState(t, path), Config{})
	if got := shownAt(s.Totals.Page(context.Background(), "a")); got != 5 {
		t.Errorf("shown at %v", got)
	}
}

func TestBaselinesOfAnotherSecretAreDropped(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	for _, fresh := range []bool{false, true, false} {
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now, NewSecret: fresh})
		if fresh {
			if got := s.Book.Stats().Baselines; got != 0 {
				t.Errorf("%d baselines of the former secret are kept", got)
			}
			if got := totalOf(s.Totals, "failures_total", "job=j"); got != 5 {
				t.Errorf("the total is %v, want 5", got)
			}
			if got, want := s.Book.watermark.Load(), c.now.UnixNano(); got != want {
				t.Errorf("what began before %d may have been counted, want %d", got, want)
			}
		} else {
			commitTo(t, s, Push{Group: groupOf("job=j").Identity()}, value("job=j", Run, 0, 5))
		}
		if got := totalOf(s.Totals, "failures_total", "job=j"); math.Mod(got, 5) != 0 {
			t.Errorf("the total is %v", got)
		}
		c.advance(time.Hour)
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir := openState(t, path)
	if got := totalOf(openStore(t, dir, Config{Now: c.Now}).Totals, "failures_total", "job=j"); got != 10 {
		t.Errorf("the total is %v, want 10: the former baseline came back", got)
	}
}

// TestWhatIsDamagedMayHaveBeenCounted: what a source had counted may have been in a part of
// the log that was lost, however late it began. Damage to another log says nothing of that.
func TestWhatIsDamagedMayHaveBeenCounted(t *testing.T) {
	for name, want := range map[string]Reason{logName: Ignored, "another": First} {
		c, path := newClock(), t.TempDir()
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now})
		other, err := dir.Log("another", state.LogOptions{}, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		began := c.now.UnixNano() + 1
		commitTo(t, s, Push{Group: groupOf("job=j").Identity()}, value("job=j", Created, began, 5))
		if err := other.Commit(t.Context(), other.Append([]byte("a record"))); err != nil {
			t.Fatal(err)
		}
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(path, name+".1.log")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Minute)
		dir = openState(t, path)
		if _, err := dir.Log("another", state.LogOptions{}, func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Config{Now: c.Now})
		later := Reading{Source: Created, Began: began + 1}
		if got := s.Book.first(&later, true); got != want {
			t.Errorf("%s is damaged: what began before is %v, want %v", name, got, want)
		}
	}
}

// A commit that the disk does not take counts, and says so.
func TestACommitThatIsNotKeptSaysSo(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	dir, err := state.Open(context.Background(), path, state.Options{Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir, Config{Now: c.Now})
	logs, err := filepath.Glob(filepath.Join(path, logName+".*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	if err := os.Remove(logs[0]); err != nil {
		t.Fatal(err)
	}
	for s.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	var i Increments
	if err := s.Book.Difference(&i, []Reading{value("job=j", Run, 0, 5)}, Push{Group: groupOf("job=j").Identity()}); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), s.Totals); err == nil {
		t.Error("a commit that is not kept has no error")
	}
	if got := shownAt(s.Totals.Page(context.Background(), "")); !math.IsNaN(got) {
		t.Errorf("x_total is %v", got)
	}
	var failures []error
	done := make(chan struct{})
	go func() {
		s.Run(func(err error) { failures = append(failures, err) })
		close(done)
	}()
	for s.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	if err := dir.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if len(failures) > 0 {
		t.Errorf("healing failed: %v", errors.Join(failures...))
	}
	dir = openState(t, path)
	if got := totalOf(openStore(t, dir, Config{Now: c.Now}).Totals, "failures_total", "job=j"); got != 5 {
		t.Errorf("once it is healed the total is %v, want 5", got)
	}
}

// around is a sink of somebody else's that hands on to totals.
type around struct{ totals *Totals }

func (a around) Add(increments []Increment) { a.totals.Add(increments) }

func TestKeptTotalsMayBeBehindAnotherSink(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	dir := openState(t, path)
	s := openStore(t, dir, Config{Now: c.Now})
	var i Increments
	if err := s.Book.Difference(&i, []Reading{value("job=j", Run, 0, 5)}, Push{Group: groupOf("job=j").Identity()}); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), around{s.Totals}); err != nil {
		t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, openState(t, path), Config{Now: c.Now})
	if got := totalOf(s.Totals, "failures_total", "job=j"); got != 5 {
		t.Errorf("the total is %v, want 5", got)
	}
	if got := s.Book.Stats().Baselines; got != 1 {
		t.Errorf("%d baselines, want 1", got)
	}
}
