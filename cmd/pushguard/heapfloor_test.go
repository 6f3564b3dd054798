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
		live       int // MiB
		allocated  int // MiB in two seconds
		most, want int // MiB, percent
	}{
		{"nothing held, nothing pushed", 0, 0, 64, 700},
		{"nothing held, a little pushed", 0, 24, 64, 700},
		{"nothing held", 0, 32, 64, 800},
		{"nothing held, much pushed", 0, 4000, 64, 6300},
		{"less is allowed than is usual", 0, 4000, 4, 300},
		{"little", 8, 0, 64, 100},
		{"little, and it is pushed as much", 8, 32, 64, 100},
		{"little, and some is pushed", 8, 64, 64, 200},
		{"little, and much is pushed", 8, 4000, 64, 700},
		{"half of it", 32, 4000, 64, 100},
		{"more", 33, 4000, 64, 100},
		{"all of it", 64, 4000, 64, 100},
		{"far more", 6400, 4000, 64, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, use, now := usual, memoryUse{live: uint64(tc.live) << 20, allocated: 7 << 30}, time.Unix(1000, 0)
			f := heapFloor{
				most: uint64(tc.most) << 20, set: usual,
				use:     func() memoryUse { return use },
				now:     func() time.Time { return now },
				percent: func(p int) int { got = p; return 0 },
			}
			f.adjust()
			now = now.Add(2 * time.Second)
			use.allocated += uint64(tc.allocated) << 20
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
	use, now := memoryUse{}, time.Unix(1000, 0)
	f := heapFloor{
		most: 64 << 20, set: usual,
		use:     func() memoryUse { return use },
		now:     func() time.Time { return now },
		percent: func(p int) int { set = append(set, p); return 0 },
	}
	for _, live := range []uint64{8, 8, 8, 16, 15, 128, 500, 8} {
		use.live, use.allocated, now = live<<20, use.allocated+1<<30, now.Add(time.Second)
		f.adjust()
	}
	now = now.Add(time.Hour) // in which nothing was pushed
	f.adjust()
	if want := []int{700, 300, 100, 700, 100}; !slices.Equal(set, want) {
		t.Errorf("set %v, want %v", set, want)
	}
}

// TestHeapFloorRuns has it look after each run of the collector, and leave what it found.
func TestHeapFloorRuns(t *testing.T) {
	looked, set := make(chan struct{}, 1), 0
	f := heapFloor{
		most: 64 << 20, set: usual,
		use:     func() memoryUse { looked <- struct{}{}; return memoryUse{live: 1 << 20} },
		now:     time.Now,
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
