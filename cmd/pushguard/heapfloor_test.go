package main

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestHeapFloor(t *testing.T) {
	for _, tc := range []struct {
		name       string
		live, want int // MiB, percent
	}{
		{"nothing held", 0, 6300},
		{"little", 8, 700},
		{"half of it", 32, 100},
		{"more", 33, 100},
		{"all of it", 64, 100},
		{"far more", 6400, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := 0
			f := heapFloor{
				least:   64 << 20,
				live:    func() uint64 { return uint64(tc.live) << 20 },
				percent: func(p int) int { got = p; return 0 },
			}
			f.adjust()
			if got != tc.want {
				t.Errorf("%d %%, want %d", got, tc.want)
			}
		})
	}
}

// TestHeapFloorFollows has what is set change with what is held, and only then.
func TestHeapFloorFollows(t *testing.T) {
	var set []int
	live := uint64(8 << 20)
	f := heapFloor{least: 64 << 20, live: func() uint64 { return live }, percent: func(p int) int { set = append(set, p); return 0 }}
	for _, l := range []uint64{8, 8, 8, 16, 15, 128, 500, 8} {
		live = l << 20
		f.adjust()
	}
	if want := []int{700, 300, 100, 700}; !slices.Equal(set, want) {
		t.Errorf("set %v, want %v", set, want)
	}
}

// TestHeapFloorRuns has it look after each run of the collector, and leave what it found.
func TestHeapFloorRuns(t *testing.T) {
	looked, set := make(chan struct{}, 1), 0
	f := heapFloor{
		least:   64 << 20,
		live:    func() uint64 { looked <- struct{}{}; return 8 << 20 },
		percent: func(p int) int { set = p; return 0 },
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	<-looked
	for range 3 {
		for seen := false; !seen; {
			runtime.GC()
			select {
			case <-looked:
				seen = true
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	cancel(errors.New("enough"))
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-looked:
		}
	}
	if set != 100 {
		t.Errorf("left at %d %%", set)
	}
}
