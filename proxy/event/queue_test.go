package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drops collects what a queue dropped.
type drops struct {
	mu sync.Mutex
	of map[lane]int
}

func (d *drops) note(l lane, _ string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[lane]int{}
	}
	d.of[l] += n
}

func (d *drops) all() map[lane]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of
}

func TestFullQueueDropsTheLeastFirst(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		add  string // s snapshot, f fact, r refusal
		want string
	}{
		"under":                           {"sfr", "s0 f1 r2"},
		"at":                              {"sfrs", "s0 f1 r2 s3"},
		"over: the oldest snapshot":       {"sfrsf", "f1 r2 s3 f4"},
		"facts where there is none":       {"ffrrr", "f1 r2 r3 r4"},
		"the new one, if it is the least": {"ffrrs", "f0 f1 r2 r3"},
		"refusals at last":                {"rrrrr", "r1 r2 r3 r4"},
	} {
		t.Run(name, func(t *testing.T) {
			var d drops
			q := newQueue(Limits{Records: 4}, nil, d.note)
			for i, kind := range tc.add {
				q.add(map[rune]lane{'s': snapshots, 'f': facts, 'r': refusals}[kind], fmt.Appendf(nil, "%c%d", kind, i))
			}
			if got := strings.Join(drained(t, q, true), " "); got != tc.want {
				t.Errorf("left are %s", got)
			}
		})
	}
}

func TestFillOfAQueueIsThatOfTheNearestBound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		limits Limits
		want   float64
	}{
		{"records", Limits{Records: 4, Memory: 1 << 20}, 0.5},
		{"bytes", Limits{Records: 1000, Memory: 4 * (&item{json: make([]byte, 10)}).size()}, 0.5},
	} {
		q := newQueue(tc.limits, nil, new(drops).note)
		if q.fill() != 0 {
			t.Errorf("%s: an empty queue is %v full", tc.name, q.fill())
		}
		q.add(facts, make([]byte, 10))
		q.add(facts, make([]byte, 10))
		if q.fill() != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, q.fill(), tc.want)
		}
	}
}

func TestMemoryOfAQueueIsBounded(t *testing.T) {
	t.Parallel()
	var d drops
	record := bytes.Repeat([]byte{'x'}, 1000-itemOverhead)
	q := newQueue(Limits{Memory: 5000}, nil, d.note)
	for range 5 {
		q.add(facts, record)
	}
	if n, size := q.size(); n != 5 || size != 5000 {
		t.Fatalf("%d records of %d bytes", n, size)
	}
	q.add(facts, record)
	if n, size := q.size(); n != 5 || size != 5000 || d.all()[facts] != 1 {
		t.Errorf("%d records of %d bytes, dropped are %v", n, size, d.all())
	}
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(Limits{}, nil, new(drops).note)
	for i := range 5 {
		q.add(lane(i%3), fmt.Appendf(nil, "record %d", i))
	}
	q.add(facts, make([]byte, 100))
	sizes := func(most, size int) (out []int) {
		for n, _ := q.size(); n > 0; n, _ = q.size() {
			items, err := q.next(t.Context(), batchLimits{records: 1, most: most, bytes: size})
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, len(items))
		}
		return out
	}
	// Records of 8 bytes, and each its end; the last is larger than a batch.
	if got := sizes(4, 27); !cmp.Equal(got, []int{3, 2, 1}) {
		t.Errorf("batches of %v", got)
	}
}

func TestClosedQueueIsEmptied(t *testing.T) {
	t.Parallel()
	var d drops
	q := newQueue(Limits{}, nil, d.note)
	q.add(facts, []byte("a"))
	q.close()
	q.add(facts, []byte("b"))
	limits := batchLimits{records: 100, most: 100, bytes: 100, wait: time.Hour}
	items, err := q.next(t.Context(), limits)
	if err != nil || len(items) != 1 {
		t.Fatalf("%d items: %v", len(items), err)
	}
	if _, err := q.next(t.Context(), limits); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if d.all()[facts] != 1 {
		t.Errorf("dropped are %v", d.all())
	}
}

// TestSpoolModel holds a queue on disk to a model: whatever is added, taken,
// delivered and opened again comes in its order, and what was delivered not again.
func TestSpoolModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "spool")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		var q *queue
		open := func() {
			s, err := openSpool(dir, 1<<30, func(what string) { t.Fatal(what) })
			if err != nil {
				t.Fatal(err)
			}
			s.segment = 300
			q = newQueue(Limits{}, s, func(l lane, reason string, n int) { t.Fatalf("%d of %v dropped: %s", n, l, reason) })
		}
		open()
		defer func() { _ = q.spool.close() }()
		var waiting []string // in order
		taken := 0           // of them, not delivered
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "records") {
					number++
					r := fmt.Sprintf("%d %s", number, strings.Repeat("x", rapid.IntRange(0, 60).Draw(t, "size")))
					q.add(lane(rapid.IntRange(0, 2).Draw(t, "lane")), []byte(r))
					waiting = append(waiting, r)
				}
				if err := q.spool.commit(context.Background(), q.spool.position()); err != nil {
					t.Fatal(err)
				}
			},
			"deliver": func(t *rapid.T) {
				if len(waiting) == taken {
					t.Skip()
				}
				items, err := q.next(context.Background(), batchLimits{records: 1, most: rapid.IntRange(1, 15).Draw(t, "most"), bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				for i := range items {
					if string(items[i].json) != waiting[i] {
						t.Fatalf("%q comes for %q", items[i].json, waiting[i])
					}
				}
				if err := q.done(items); err != nil {
					t.Fatal(err)
				}
				waiting = waiting[len(items):]
			},
			"take and open again": func(t *rapid.T) {
				if len(waiting) > 0 {
					if _, err := q.next(context.Background(), batchLimits{records: 1, most: 5, bytes: 1 << 20}); err != nil {
						t.Fatal(err)
					}
				}
				if err := q.spool.close(); err != nil {
					t.Fatal(err)
				}
				open()
			},
			"": func(t *rapid.T) {
				if n, _ := q.size(); n != len(waiting) {
					t.Fatalf("%d wait, want %d", n, len(waiting))
				}
			},
		})
	})
}

func TestFullSpoolDropsTheLeastFirst(t *testing.T) {
	t.Parallel()
	var d drops
	s := openedSpool(t, t.TempDir(), 4*leastSegment)
	q := newQueue(Limits{}, s, d.note)
	defer s.close()
	record := bytes.Repeat([]byte{'x'}, 1000)
	for range 100 {
		for l := range laneCount {
			q.add(l, record)
		}
		settle(t, s)
	}
	got := d.all()
	if _, size := q.size(); size > 4*leastSegment {
		t.Errorf("%d bytes on disk, limit %d", size, 4*leastSegment)
	}
	if got[snapshots] == 0 || got[refusals] != 0 {
		t.Errorf("dropped are %v", got)
	}
	n, _ := q.size()
	if lost := got[snapshots] + got[facts] + got[refusals]; lost+n != 300 {
		t.Errorf("%d dropped and %d left of 300", lost, n)
	}
	if left := len(drained(t, q, true)); left != n {
		t.Errorf("%d come, want %d", left, n)
	}
}

// Records that are on their way, or were read ahead of that, are delivered though their files
// had to make room; but they are lost if the process ends first, and counted then.
func TestOnTheirWayWithoutAFile(t *testing.T) {
	t.Parallel()
	var d drops
	s := openedSpool(t, t.TempDir(), 4*leastSegment)
	q := newQueue(Limits{}, s, d.note)
	defer s.close()
	record := bytes.Repeat([]byte{'x'}, 1000)
	add := func(n int) {
		for range n {
			q.add(facts, record)
			settle(t, s)
		}
	}
	add(100)
	items, err := q.next(t.Context(), batchLimits{records: 1, most: 10, bytes: 1 << 20})
	if must(t, err); len(items) != 10 || q.lost(items) != 0 {
		t.Fatalf("%d records are on their way, %d of them would be lost", len(items), q.lost(items))
	}
	add(400)
	lost := d.all()[facts] + q.lost(items)
	must(t, s.close())
	again := newQueue(Limits{}, openedSpool(t, s.dir, 4*leastSegment), d.note)
	left := len(drained(t, again, true))
	must(t, again.spool.close())
	if q.lost(items) <= len(items) || lost+left != 500 {
		t.Errorf("%d are lost, %d left of 500", lost, left)
	}
}

func TestSpoolWithoutADiskKeepsRecordsInMemory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := openedSpool(t, dir, 1<<20)
	var d drops
	q := newQueue(Limits{}, s, d.note)
	defer s.close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	q.add(facts, []byte("a"))
	if err := s.commit(t.Context(), s.position()); !errors.Is(err, errSpool) {
		t.Errorf("committed: %v", err)
	}
	q.add(facts, []byte("b"))
	if s.err() == nil {
		t.Error("the spool does not say that it takes nothing")
	}
	if got := drained(t, q, false); !cmp.Equal(got, []string{"a", "b"}) || len(d.all()) != 0 {
		t.Errorf("%q come, dropped are %v", got, d.all())
	}
}

// TestSpoolWithADiskAgain: what could not be written is in memory until it can be, and then
// on disk in its order, though nothing comes that would have it written.
func TestSpoolWithADiskAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	must(t, os.Mkdir(dir, 0o700))
	s := openedSpool(t, dir, 1<<20)
	var d drops
	var told []bool
	s.tell = func(err error) { told = append(told, err == nil) }
	q := newQueue(Limits{}, s, d.note)
	must(t, os.Rename(dir, dir+".away"))
	for _, r := range []string{"a", "b"} {
		q.add(facts, []byte(r))
		if err := s.commit(t.Context(), s.position()); !errors.Is(err, errSpool) {
			t.Errorf("committed: %v", err)
		}
	}
	must(t, os.Rename(dir+".away", dir))
	eventually(t, s.err)
	if n, _ := q.inMemory(); n != 0 {
		t.Errorf("%d records are in memory", n)
	}
	q.add(facts, []byte("c"))
	settle(t, s)
	must(t, s.close()) // as a kill would, by now
	if !slices.Equal(told, []bool{false, true}) {
		t.Errorf("told %v", told)
	}
	s = openedSpool(t, dir, 1<<20)
	defer s.close()
	if got := drained(t, newQueue(Limits{}, s, d.note), true); !cmp.Equal(got, []string{"a", "b", "c"}) || len(d.all()) != 0 {
		t.Errorf("%q come, dropped are %v", got, d.all())
	}
}

// TestWhatIsOnItsWayIsWritten once the disk takes it, for it may be killed on its way.
func TestWhatIsOnItsWayIsWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	must(t, os.Mkdir(dir, 0o700))
	s := openedSpool(t, dir, 1<<20)
	q := newQueue(Limits{}, s, new(drops).note)
	must(t, os.Rename(dir, dir+".away"))
	q.add(facts, []byte("a"))
	if err := s.commit(t.Context(), s.position()); !errors.Is(err, errSpool) {
		t.Errorf("committed: %v", err)
	}
	items, err := q.next(t.Context(), batchLimits{records: 1, most: 1, bytes: 1 << 20})
	if must(t, err); len(items) != 1 || q.lost(items) != 1 {
		t.Errorf("%d records are on their way, %d of them would be lost", len(items), q.lost(items))
	}
	must(t, os.Rename(dir+".away", dir))
	eventually(t, s.err)
	if n := q.lost(items); n != 0 {
		t.Errorf("%d records would be lost", n)
	}
	must(t, s.close())
	s = openedSpool(t, dir, 1<<20)
	defer s.close()
	if got := drained(t, newQueue(Limits{}, s, new(drops).note), true); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("%q come", got)
	}
}

// TestADiskIsTriedAgain though nothing waits for it.
func TestADiskIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	must(t, os.Mkdir(dir, 0o700))
	s := openedSpool(t, dir, 1<<20)
	q := newQueue(Limits{}, s, new(drops).note)
	defer s.close()
	must(t, os.Rename(dir, dir+".away"))
	q.add(facts, []byte("a"))
	if err := s.commit(t.Context(), s.position()); !errors.Is(err, errSpool) {
		t.Errorf("committed: %v", err)
	}
	if got := drained(t, q, true); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("%q come", got)
	}
	if s.probe() == nil {
		t.Error("without a directory the disk is said to take records")
	}
	must(t, os.Rename(dir+".away", dir))
	eventually(t, s.err)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestWhatADiskTookInPart writes records of which the first fill a segment, where there can
// be no other: they are on disk, and the rest in memory, each once.
func TestWhatADiskTookInPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openedSpool(t, dir, 1<<20)
	s.segment = int64(len(segmentMagic)) + 1 // of one record each
	var d drops
	q := newQueue(Limits{}, s, d.note)
	defer s.close()
	must(t, os.WriteFile(filepath.Join(dir, "facts-2"+segmentExt), nil, 0o600)) // in the way of it
	s.mu.Lock()                                                                 // has the writer find all of them at once
	want := []string{"a", "b", "c"}
	for n, r := range want {
		i := item{seq: uint64(n + 1), lane: facts, json: []byte(r)}
		s.pending[facts] = append(s.pending[facts], i)
		s.waiting += i.size()
		s.added++
	}
	s.mu.Unlock()
	s.wake <- struct{}{}
	if err := s.commit(t.Context(), s.position()); !errors.Is(err, errSpool) {
		t.Error(err)
	}
	if records, _ := q.inMemory(); records != 2 {
		t.Errorf("%d records are in memory", records)
	}
	if got := drained(t, q, true); !cmp.Equal(got, want) || len(d.all()) > 0 {
		t.Errorf("%q come, dropped are %v", got, d.all())
	}
}

// TestFilesOfASpoolRemoved has somebody remove, or damage, what a guard writes its records
// to. What was in it is counted as dropped, what comes later is kept, and nobody waits for
// what does not come.
func TestFilesOfASpoolRemoved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		harm func(t *testing.T, dir, file string)
		lost bool // what comes then is not on disk
		seen bool // by who reads alone: what is written before that is lost with the rest
	}{
		"a byte of it": {harm: func(t *testing.T, _, file string) {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("x"), int64(len(segmentMagic)+frameHeader))
			must(t, errors.Join(err, f.Close()))
		}, seen: true},
		"the file": {harm: func(t *testing.T, _, file string) { must(t, os.Remove(file)) }},
		"the file is another": {harm: func(t *testing.T, _, file string) {
			must(t, os.Rename(file, file+".old"))
			must(t, os.WriteFile(file, make([]byte, 1000), 0o600))
		}},
		"the directory": {harm: func(t *testing.T, dir, _ string) { must(t, os.RemoveAll(dir)) }, lost: true},
	} {
		for _, readFirst := range []bool{false, true} {
			if tc.seen && !readFirst {
				continue
			}
			t.Run(fmt.Sprintf("%s, read first %v", name, readFirst), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "spool")
				must(t, os.Mkdir(dir, 0o700))
				s := openedSpool(t, dir, 1<<20)
				var d drops
				q := newQueue(Limits{}, s, d.note)
				defer s.close()
				q.add(facts, []byte("a"))
				q.add(facts, []byte("b"))
				settle(t, s)
				tc.harm(t, dir, filepath.Join(dir, "facts-1"+segmentExt))
				if readFirst {
					ctx, cancel := context.WithTimeout(t.Context(), within)
					items, err := q.next(ctx, batchLimits{records: 1, most: 7, bytes: 1 << 20})
					cancel()
					if len(items) > 0 || err == nil || ctx.Err() == context.DeadlineExceeded {
						t.Fatalf("%v come, %v", items, err)
					}
				}
				q.add(facts, []byte("c"))
				if err := s.commit(t.Context(), s.position()); (err != nil) != tc.lost {
					t.Errorf("Commit = %v", err)
				}
				if got := drained(t, q, false); !cmp.Equal(got, []string{"c"}) || d.all()[facts] != 2 {
					t.Errorf("%q come, dropped are %v", got, d.all())
				}
				if records, _ := q.size(); records != 0 {
					t.Errorf("%d records wait", records)
				}
			})
		}
	}
}

// TestFileGoneDuringAWrite has the reader find a file gone while records are written to it:
// they are dropped with it and counted, and the others come.
func TestFileGoneDuringAWrite(t *testing.T) {
	t.Parallel()
	const added = 6
	for caught := false; !caught; {
		s := openedSpool(t, t.TempDir(), 1<<30)
		var d drops
		q := newQueue(Limits{}, s, d.note)
		for range added {
			q.add(facts, bytes.Repeat([]byte("x"), maxRecord)) // takes a while to write
		}
		for settled := false; !settled && !caught; {
			s.mu.Lock()
			if c := &s.chains[facts]; c.busy {
				must(t, os.Remove(c.last().path))
				caught = c.forget(c.last())
			}
			settled = s.settled == added
			s.mu.Unlock()
		}
		settle(t, s)
		came, dropped := len(drained(t, q, false)), d.all()[facts]
		if came+dropped != added || caught && dropped == 0 {
			t.Errorf("%d records come and %d are dropped, %d were added", came, dropped, added)
		}
		must(t, s.close())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestNextEndsWithItsContext: whatever waits.
func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	q := newQueue(Limits{}, nil, new(drops).note)
	q.add(facts, []byte("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if items, err := q.next(ctx, batchLimits{records: 1, most: 7, bytes: 1 << 20}); len(items) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("next = %v, %v", items, err)
	}
	if n, _ := q.size(); n != 1 {
		t.Errorf("%d records wait, want 1", n)
	}
}

func TestWhatIsTornOrCorruptCostsNothingElse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		harm    func(b []byte) []byte
		want    []string
		damaged bool
		lost    int
	}{
		"torn in a frame":       {func(b []byte) []byte { return b[:len(b)-1] }, []string{"a", "b"}, false, 0},
		"torn in a header":      {func(b []byte) []byte { return b[:len(b)-len("c")-3] }, []string{"a", "b"}, false, 0},
		"a corrupt record":      {func(b []byte) []byte { b[len(b)-1]++; return b }, []string{"a", "b"}, true, 1},
		"corrupt in the middle": {func(b []byte) []byte { b[len(segmentMagic)+2*(frameHeader+1)-1]++; return b }, []string{"a"}, true, 2},
		"a corrupt length":      {func(b []byte) []byte { b[len(segmentMagic)+frameHeader+1+3]++; return b }, []string{"a"}, true, 2},
		"a length too long":     {func(b []byte) []byte { b[len(segmentMagic)+1]++; return b }, nil, true, 3},
		"the last one too long": {func(b []byte) []byte { b[len(segmentMagic)+2*(frameHeader+1)+1]++; return b }, []string{"a", "b"}, true, 1},
		"one damaged more":      {func(b []byte) []byte { b[len(segmentMagic)+1]++; b[len(segmentMagic)+4]++; return b }, nil, true, 3},
		"bytes behind":          {func(b []byte) []byte { return append(b, make([]byte, 100)...) }, []string{"a", "b", "c"}, true, 1},
		"no segment":            {func([]byte) []byte { return []byte("something else altogether") }, nil, true, 1},
		"its making was broken": {func(b []byte) []byte { return b[:3] }, nil, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openedSpool(t, dir, 1<<20)
			q := newQueue(Limits{}, s, new(drops).note)
			for _, r := range []string{"a", "b", "c"} {
				q.add(facts, []byte(r))
			}
			settle(t, s)
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "facts-1"+segmentExt)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tc.harm(b), 0o600); err != nil {
				t.Fatal(err)
			}
			told := ""
			s, err = openSpool(dir, 1<<20, func(what string) { told = what })
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			var lost drops
			q = newQueue(Limits{}, s, lost.note)
			if got := drained(t, q, true); !cmp.Equal(got, tc.want) {
				t.Errorf("%q come", got)
			}
			if n := lost.all()[facts]; n != tc.lost {
				t.Errorf("%d records are said to be lost, want %d", n, tc.lost)
			}
			_, err = os.Stat(path + damagedExt)
			if (err == nil) != tc.damaged || (told != "") != tc.damaged {
				t.Errorf("set aside: %v, told: %q", err, told)
			}
		})
	}
}

// TestWithoutItsCursor: what is on disk still comes again where nobody knows that it was
// delivered, and where somebody does it does not.
func TestWithoutItsCursor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		harm func(path string) error
		want []string
	}{
		"whole":   {func(string) error { return nil }, []string{"c"}},
		"removed": {os.Remove, []string{"a", "b", "c"}},
		"torn":    {func(path string) error { return os.Truncate(path, 19) }, []string{"a", "b", "c"}},
		"zeroed":  {func(path string) error { return os.WriteFile(path, make([]byte, 20), 0o600) }, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openedSpool(t, dir, 1<<20)
			q := newQueue(Limits{}, s, new(drops).note)
			for _, r := range []string{"a", "b", "c"} {
				q.add(facts, []byte(r))
			}
			settle(t, s)
			items, err := q.next(t.Context(), batchLimits{records: 2, most: 2, bytes: 1 << 20})
			must(t, err)
			must(t, errors.Join(q.done(items), s.close()))
			must(t, tc.harm(filepath.Join(dir, "facts"+cursorExt)))
			s = openedSpool(t, dir, 1<<20)
			defer s.close()
			if got := drained(t, newQueue(Limits{}, s, new(drops).note), true); !cmp.Equal(got, tc.want) {
				t.Errorf("%q come, want %q", got, tc.want)
			}
		})
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, &item{seq: 7, json: []byte(`{"a":1}`)}))
	f.Add(appendFrame(nil, &item{})[:15])
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, record, n, err := parseFrame(b)
		if err != nil {
			return
		}
		if again := appendFrame(nil, &item{seq: seq, json: record}); !bytes.Equal(again, b[:n]) {
			t.Errorf("%x is read of %x", again, b[:n])
		}
	})
}
