package demand

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// clock is a clock that tests move.
type clock struct{ nanos atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// value is a value of a label, hashed alike in every run.
func value(label, v string) Value {
	return Value{label, xxhash.Sum64String(label + "=" + v), v}
}

// numbered is n distinct values of a label, beginning with the from-th.
func numbered(label string, from, n int) []Value {
	out := make([]Value, n)
	for i := range out {
		out[i] = value(label, fmt.Sprint(from+i))
	}
	return out
}

func TestWhoSentWhat(t *testing.T) {
	e := New(Config{})
	e.Add("nightly", slices.Concat(numbered("table", 0, 3), numbered("run_id", 0, 20), numbered("b", 0, 1), numbered("a", 0, 1)))
	e.Add("hourly", slices.Concat(numbered("table", 2, 4), numbered("b", 0, 1)))
	e.Add("nothing", nil)
	e.Add("large", numbered("size", 0, 3*maxBatch+1))
	all := new(window)
	for _, v := range numbered("size", 0, 3*maxBatch+1) {
		all.current.add(v.Hash)
	}
	large := count(all)
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"a job's labels", e.Job("nightly", 10), []LabelUse{{"run_id", 20}, {"table", 3}, {"a", 1}, {"b", 1}}},
		{"no more than asked for", e.Job("nightly", 2), []LabelUse{{"run_id", 20}, {"table", 3}}},
		{"none asked for", e.Job("nightly", 0), []LabelUse{}},
		{"fewer than none", e.Job("nightly", -1), []LabelUse{}},
		{"a job that sent nothing", e.Job("nothing", 10), []LabelUse{}},
		{"labels of all jobs, a shared value once", e.Labels(10), []LabelUse{{"size", large}, {"run_id", 20}, {"table", 6}, {"a", 1}, {"b", 1}}},
		{"the jobs of a label", e.Label("table", 10), []JobUse{{"hourly", 4}, {"nightly", 3}}},
		{"equal jobs by name", e.Label("b", 10), []JobUse{{"hourly", 1}, {"nightly", 1}}},
		{"a label nobody sent", e.Label("c", 10), []JobUse{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOrderOfAddingDoesNotMatter adds the same values in two orders and compares
// with a plain set of what was sent, as far as that is counted exactly.
func TestOrderOfAddingDoesNotMatter(t *testing.T) {
	type sending struct {
		Job    string
		Values []Value
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"", "a", "b", "\xff\x00", strings.Repeat("x", maxName+1)})
		drawValue := rapid.Custom(func(t *rapid.T) Value {
			return value(name.Draw(t, "label"), fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "value")))
		})
		sendings := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sending {
			return sending{name.Draw(t, "job"), rapid.SliceOfN(drawValue, 0, 40).Draw(t, "values")}
		}), 0, 10).Draw(t, "sendings")
		reordered := rapid.Permutation(sendings).Draw(t, "reordered")

		one, other := New(Config{}), New(Config{})
		model := make(map[[2]string]map[uint64]bool)
		for _, s := range sendings {
			one.Add(s.Job, s.Values)
			for _, v := range s.Values {
				k := [2]string{clip(s.Job), clip(v.Label)}
				if model[k] == nil {
					model[k] = make(map[uint64]bool)
				}
				model[k][v.Hash] = true
			}
		}
		for _, s := range reordered {
			v := slices.Clone(s.Values)
			slices.Reverse(v)
			other.Add(s.Job, v)
		}
		for _, job := range []string{"", "a", "b", "\xff\x00", otherName} {
			got := one.Job(job, 100)
			if diff := cmp.Diff(got, other.Job(job, 100)); diff != "" {
				t.Fatalf("labels of %.20q in another order: %s", job, diff)
			}
			for _, u := range got {
				sent := len(model[[2]string{job, u.Label}])
				delete(model, [2]string{job, u.Label})
				if sent <= maxExact && u.Values != uint64(sent) || u.Values < uint64(sent)*9/10 || u.Values > uint64(sent)*11/10 {
					t.Fatalf("%.20q of %.20q: counted %d, sent %d", u.Label, job, u.Values, sent)
				}
			}
			if diff := cmp.Diff(one.Label(job, 100), other.Label(job, 100)); diff != "" {
				t.Fatalf("jobs of %.20q in another order: %s", job, diff)
			}
		}
		if len(model) > 0 {
			t.Fatalf("sent and not counted: %.100q", slices.Collect(maps.Keys(model)))
		}
		if diff := cmp.Diff(one.Labels(100), other.Labels(100)); diff != "" {
			t.Fatalf("labels in another order: %s", diff)
		}
	})
}

// TestGenerations moves the clock: what is not sent again is forgotten after the
// next generation, with the room it took.
func TestGenerations(t *testing.T) {
	c := new(clock)
	e := New(Config{Now: c.Now, MaxSketches: 2})
	want := func(generation uint32, uses ...LabelUse) {
		t.Helper()
		if got := e.Generation(); got != generation {
			t.Errorf("generation %d, want %d", got, generation)
		}
		if diff := cmp.Diff(uses, e.Job("nightly", 10)); diff != "" {
			t.Error(diff)
		}
		if s := e.Stats(); s.Tracked != len(uses) || (s.Bytes == 0) != (len(uses) == 0) {
			t.Errorf("%d labels are tracked in %d bytes, want %d", s.Tracked, s.Bytes, len(uses))
		}
	}
	untracked := func(n uint64) {
		t.Helper()
		if got := e.Stats().Untracked; got != n {
			t.Errorf("%d labels untracked, want %d", got, n)
		}
	}
	e.Add("nightly", append(numbered("a", 0, 10), numbered("b", 0, 5)...))
	e.Add("nightly", numbered("c", 0, 5))
	c.advance(12*time.Hour - 1)
	want(1, LabelUse{"a", 10}, LabelUse{"b", 5})
	untracked(1)

	c.advance(1)
	want(2, LabelUse{"a", 10}, LabelUse{"b", 5})
	e.Add("nightly", numbered("a", 5, 10)) // half of them known
	want(2, LabelUse{"a", 15}, LabelUse{"b", 5})
	e.Add("nightly", numbered("c", 0, 5)) // b, known a generation ago, keeps its room
	want(2, LabelUse{"a", 15}, LabelUse{"b", 5})
	c.advance(-6 * time.Hour)
	want(2, LabelUse{"a", 15}, LabelUse{"b", 5})
	c.advance(-600 * time.Hour)
	want(2, LabelUse{"a", 15}, LabelUse{"b", 5})
	c.advance(606 * time.Hour)

	c.advance(12 * time.Hour)
	want(3, LabelUse{"a", 10})
	untracked(1)
	e.Add("nightly", numbered("c", 0, 5))
	want(3, LabelUse{"a", 10}, LabelUse{"c", 5})

	c.advance(12 * time.Hour)
	want(4, LabelUse{"c", 5})
	untracked(0)
	e.Add("nightly", numbered("c", 0, 5))
	c.advance(365 * 24 * time.Hour) // none of the generations between had a value
	want(4+730, []LabelUse{}...)
}

// TestLargeGenerationsAreJoined covers values beyond the exact set on both sides
// of a turn.
func TestLargeGenerationsAreJoined(t *testing.T) {
	c := new(clock)
	e := New(Config{Now: c.Now})
	e.Add("nightly", numbered("run_id", 0, 2000))
	c.advance(generation)
	e.Add("nightly", numbered("run_id", 1000, 2000))
	for _, want := range []uint64{3000, 2000} {
		got := e.Job("nightly", 1)
		if len(got) != 1 || got[0].Values < want*95/100 || got[0].Values > want*105/100 {
			t.Errorf("counted %v, want about %d", got, want)
		}
		c.advance(generation)
	}
}

func TestLongNamesGoUnderOther(t *testing.T) {
	e := New(Config{})
	at, over, far := strings.Repeat("a", maxName), strings.Repeat("a", maxName+1), strings.Repeat("b", 4<<20)
	for _, name := range []string{at, over, far} {
		e.Add(name, []Value{value(name, "1")})
	}
	if diff := cmp.Diff([]JobUse{{at, 1}}, e.Label(at, 10)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{over, far, otherName} {
		if diff := cmp.Diff([]LabelUse{{otherName, 2}}, e.Job(name, 10)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]JobUse{{otherName, 2}}, e.Label(name, 10)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestNamesAreNotKept overwrites the memory in which names arrived, as a buffer
// of bodies is.
func TestNamesAreNotKept(t *testing.T) {
	e := New(Config{})
	body := []byte("nightly table")
	job, label := unsafe.String(&body[0], 7), unsafe.String(&body[8], 5)
	e.Add(job, numbered(label, 0, 3))
	copy(body, "overwritten !")
	if diff := cmp.Diff([]LabelUse{{"table", 3}}, e.Job("nightly", 1)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]JobUse{{"nightly", 3}}, e.Label("table", 1)); diff != "" {
		t.Error(diff)
	}
}

// TestManyAtOnce adds and reads from all sides while generations turn, then sees
// that every value of the last one is counted.
func TestManyAtOnce(t *testing.T) {
	const workers, rounds = 8, 200
	c := new(clock)
	e := New(Config{Now: c.Now})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				fed := e.Generation()
				e.Add(fmt.Sprint(r.IntN(100)), numbered("table", r.IntN(50), 5))
				e.Add("shared", numbered(fmt.Sprint(i%3), w*rounds+i, 1))
				switch i % 8 {
				case 1:
					e.Job("shared", 5)
				case 3:
					e.Labels(5)
				case 5:
					e.Label("table", 5)
				case 6:
					e.Stats()
				case 7:
					c.advance(generation / 4)
				}
				if now := e.Generation(); now < fed {
					t.Errorf("generation %d after %d", now, fed)
				}
			}
		})
	}
	wg.Wait()
	c.advance(2 * generation)
	if s := e.Stats(); s != (Stats{}) {
		t.Errorf("%+v is left when all is forgotten", s)
	}
	for w := range workers {
		wg.Go(func() {
			for i := range 4 {
				e.Add("shared", numbered("run_id", w*4+i, 1))
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]LabelUse{{"run_id", workers * 4}}, e.Job("shared", 5)); diff != "" {
		t.Error(diff)
	}
}
