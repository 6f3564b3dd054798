package admission

import (
	"strings"
	"testing"
)

// TestGrow has the body of a push grow beside another job's: at, under and over what
// there is, and what its own job may have of it.
func TestGrow(t *testing.T) {
	for _, tc := range []struct {
		name  string
		own   int64   // of another push of its job
		other int64   // of another job
		steps []int64 // by which it grows
		want  []Reason
	}{
		{"nothing", 0, 0, []int64{0}, []Reason{0}},
		{"less than nothing is nothing", 0, 0, []int64{-5, 100}, []Reason{0, 0}},
		{"one byte under the limit", 0, 0, []int64{99}, []Reason{0}},
		{"to the limit", 0, 0, []int64{100}, []Reason{0}},
		{"to the limit, by steps", 0, 0, []int64{1, 98, 1}, []Reason{0, 0, 0}},
		{"one byte over", 0, 0, []int64{101}, []Reason{Bytes}},
		{"one byte over, by steps", 0, 0, []int64{50, 50, 1}, []Reason{0, 0, Bytes}},
		{"what was refused does not count", 0, 0, []int64{60, 41, 40}, []Reason{0, Bytes, 0}},
		{"alone of its job it may have what others leave", 0, 70, []int64{30, 1}, []Reason{0, Bytes}},
		{"with another of its job as much as both leave", 20, 0, []int64{30}, []Reason{0}},
		{"and no byte more", 20, 0, []int64{31}, []Reason{Bytes}},
		{"nor by steps", 20, 0, []int64{29, 1, 1}, []Reason{0, 0, Bytes}},
		{"less, the more others have", 20, 20, []int64{20, 1}, []Reason{0, Bytes}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(Config{Bytes: 100})
			places := []*Place{enter(t, g, "a", true, 0), enter(t, g, "a", true, tc.own), enter(t, g, "b", true, tc.other)}
			held := tc.own + tc.other
			for i, bytes := range tc.steps {
				err := places[0].Grow(bytes)
				if got := reason(err); got != tc.want[i] {
					t.Errorf("step %d: %v, want %v", i, err, tc.want[i])
				}
				if err == nil {
					held += max(0, bytes)
				} else if !strings.Contains(err.Error(), "limit: 100 bytes") {
					t.Errorf("%q does not say the limit", err)
				}
				if g.bytes != held {
					t.Errorf("step %d: %d bytes are counted, want %d", i, g.bytes, held)
				}
			}
			for _, p := range places {
				p.Leave()
			}
			empty(t, g)
		})
	}
}

// TestGrowAfterOthersLeft: what one push gives back another may have.
func TestGrowAfterOthersLeft(t *testing.T) {
	g := New(Config{Bytes: 100})
	large, small := enter(t, g, "a", true, 100), enter(t, g, "b", true, 0)
	if err := small.Grow(1); reason(err) != Bytes {
		t.Errorf("%v, want %v", err, Bytes)
	}
	large.Leave()
	if err := small.Grow(100); err != nil {
		t.Error(err)
	}
	small.Leave()
	empty(t, g)
}

// TestGrowNowhere: a place that is none, as of a push that is only explained, and one of
// a gate that bounds nothing, grow as they like.
func TestGrowNowhere(t *testing.T) {
	if err := new(Place).Grow(1 << 60); err != nil {
		t.Error(err)
	}
	g := New(Config{})
	p := enter(t, g, "a", true, 0)
	for range 3 {
		if err := p.Grow(1 << 60); err != nil {
			t.Error(err)
		}
	}
	p.Leave()
	empty(t, g)
}
