package demand

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// firstWord takes a value for one of the shape that it begins with, such as uuid of
// uuid-7.
func firstWord(_, v string) string {
	shape, _, _ := strings.Cut(v, "-")
	return shape
}

// shaped is n values of a label with a shape, beginning with the from-th.
func shaped(shape string, from, n int) []Value {
	out := make([]Value, n)
	for i := range out {
		out[i] = value("label", fmt.Sprintf("%s-%d", shape, from+i))
	}
	return out
}

// TestShapesAreThoseOfTheSmallestHashes compares with a sorted list of all that was
// sent: in any order, in two generations, and as often as anybody likes.
func TestShapesAreThoseOfTheSmallestHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := new(clock)
		e := New(Config{Now: c.Now, Shape: firstWord})
		all := map[uint64]string{}
		for range rapid.IntRange(1, 2).Draw(t, "generations") {
			for range rapid.IntRange(0, 5).Draw(t, "pushes") {
				shape := rapid.SampledFrom([]string{"uuid", "word", "number"}).Draw(t, "shape")
				sent := shaped(shape, rapid.IntRange(0, 100).Draw(t, "from"), rapid.IntRange(0, 200).Draw(t, "n"))
				for _, v := range sent {
					all[v.Hash] = shape
				}
				e.Add("job", rapid.Permutation(sent).Draw(t, "order"))
			}
			c.advance(generation)
		}
		c.advance(-generation)
		var want []ShapeUse
		hashes := make([]uint64, 0, len(all))
		for h := range all {
			hashes = append(hashes, h)
		}
		slices.Sort(hashes)
		hashes = hashes[:min(len(hashes), 64)]
		for _, shape := range []string{"uuid", "word", "number"} {
			n := 0
			for _, h := range hashes {
				if all[h] == shape {
					n++
				}
			}
			if n > 0 {
				want = append(want, ShapeUse{Shape: shape, Share: float64(n) / float64(len(hashes))})
			}
		}
		slices.SortFunc(want, func(a, b ShapeUse) int {
			return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Shape, b.Shape))
		})
		got := e.Shapes("job", "label")
		for i := range got {
			if !strings.HasPrefix(got[i].Example, got[i].Shape+"-") {
				t.Errorf("an example of %q: %q", got[i].Shape, got[i].Example)
			}
			got[i].Example = ""
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestWhatIsKnownIsNotLookedAt counts how many values are looked at.
func TestWhatIsKnownIsNotLookedAt(t *testing.T) {
	var looks atomic.Int64
	c := new(clock)
	e := New(Config{Now: c.Now, Shape: func(label, v string) string {
		looks.Add(1)
		return firstWord(label, v)
	}})
	const many = 100_000
	for _, step := range []struct {
		name     string
		sent     []Value
		min, max int64
	}{
		{"few", shaped("uuid", 0, 20), 20, 20},
		{"the same", shaped("uuid", 0, 20), 0, 0},
		{"many", shaped("uuid", 0, many), 44, 64 * 20}, // 64 and the harmonic numbers of the rest: some 530
		{"the same many", shaped("uuid", 0, many), 0, 0},
	} {
		before := looks.Load()
		for range 2 {
			e.Add("job", step.sent)
		}
		if n := looks.Load() - before; n < step.min || n > step.max {
			t.Errorf("%s: %d values were looked at, want %d to %d", step.name, n, step.min, step.max)
		}
	}
	if e = New(Config{}); len(e.Job("job", 1)) != 0 || e.Shapes("job", "label") != nil {
		t.Error("something is known of nothing")
	}
	if e.Add("job", shaped("uuid", 0, 3)); e.Shapes("job", "label") != nil {
		t.Error("there are shapes that nobody names")
	}
}

// TestShapesOfALabelAreBounded sends more shapes than have names, and then, in later
// generations, others: they get the names of those that are gone.
func TestShapesOfALabelAreBounded(t *testing.T) {
	c := new(clock)
	e := New(Config{Now: c.Now, Shape: firstWord})
	send := func(from, n int) {
		for i := range n {
			e.Add("job", shaped(fmt.Sprint("s", from+i), 0, 1))
		}
	}
	named := func() (n int, rest float64) {
		for _, s := range e.Shapes("job", "label") {
			if s.Shape == otherName {
				rest = s.Share
			} else {
				n++
			}
		}
		return n, rest
	}
	for _, tc := range []struct {
		name string
		sent int
		rest float64
	}{{"under", 7, 0}, {"at", 8, 0}, {"over", 10, 0.2}} {
		send(0, tc.sent)
		if n, rest := named(); n != min(tc.sent, maxShapes) || rest != tc.rest {
			t.Errorf("%s: %d shapes have names, %v have none", tc.name, n, rest)
		}
	}
	c.advance(2 * generation)
	send(100, 8)
	if n, rest := named(); n != maxShapes || rest != 0 {
		t.Errorf("a day later: %d shapes have names, %v have none", n, rest)
	}
	c.advance(generation)
	send(200, 1) // beside those that are still there
	if n, rest := named(); n != maxShapes || rest == 0 {
		t.Errorf("a ninth: %d shapes have names, %v have none", n, rest)
	}
	c.advance(generation)
	send(300, 7) // the eight are gone, the ninth is not
	if n, rest := named(); n != 7 || rest != 0.125 {
		t.Errorf("others came: %d shapes have names, %v have none", n, rest)
	}
}

// TestExamplesAreRedacted sends what nobody may see in a page.
func TestExamplesAreRedacted(t *testing.T) {
	e := New(Config{Shape: func(string, string) string { return "email" }})
	e.Add("job", []Value{value("user", "jane.doe@example.com")})
	if got := e.Shapes("job", "user"); len(got) != 1 || got[0] != (ShapeUse{"email", 1, "j…@…"}) {
		t.Errorf("%+v", got)
	}
}

// TestShapesFromAllSides has many send and look at once.
func TestShapesFromAllSides(t *testing.T) {
	c := new(clock)
	e := New(Config{Now: c.Now, Shape: firstWord})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				e.Add("job", shaped(fmt.Sprint("s", i), 10*n, 20))
				if i == 0 {
					c.advance(generation / 20)
				}
				sum := 0.0
				for _, s := range e.Shapes("job", "label") {
					sum += s.Share
				}
				if sum != 0 && (sum < 0.999 || sum > 1.001) {
					t.Errorf("the shares add up to %v", sum)
				}
			}
		})
	}
	wg.Wait()
}
