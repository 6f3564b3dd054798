package counter

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestIdentities(t *testing.T) {
	same := [][3]string{
		{`job=j,run=1`, "x_total", `a=1,b=2`},
		{`run=1,job=j`, "x_total", `b=2,a=1`},          // in another order
		{`run=1,job=j`, "x_total", `b=2,a=1,c=""`},     // an empty label is none
		{`run=1,job=j,c=""`, "x_total", `b=2,a=1,c=3`}, // and takes the place of one
		{`job=j,run=1`, "x_total", `a=1,b=2,run=7`},    // the group's stands
		{`job=j,run=1,a=1`, "x_total", `b=2,a=2`},      // wherever it was
	}
	want := identity(same[0][0], same[0][1], same[0][2])
	for _, s := range same {
		if identity(s[0], s[1], s[2]) != want {
			t.Errorf("%q is another than %q", s, same[0])
		}
	}
	seen := map[Identity][3]string{want: same[0]}
	for _, s := range [][3]string{
		{`job=j,run=1`, "y_total", `a=1,b=2`},
		{`job=j,run=1`, "x_total", `a=2,b=1`},
		{`job=j,run=2`, "x_total", `a=1,b=2`},
		{`job=j`, "x_total", `a=1,b=2`},
		{`job=j,run=1`, "x_total", `a=1`},
		{`job=j,run=1`, "x_total", `a=1,b=22`},
		{`job=j,run=1`, "x_total", `a=1,b2=2`},
		{`job=j,run=1`, "x_total", ``},
		{`job=j,run=1`, "", `x_total=x_total`},
		{`job=j,run=1`, "x_total", `run=2,a=1,b=2,c=3`},
	} {
		i := identity(s[0], s[1], s[2])
		if other, ok := seen[i]; ok {
			t.Errorf("%q is the same as %q", s, other)
		}
		seen[i] = s
	}
	m := NewHasher([]byte("another secret")).Metric("x_total", labelsOf("a=1,b=2"))
	if groupOf("job=j,run=1").Of(&m) == want {
		t.Error("another secret makes the same identity")
	}
	if groupOf("job=j,run=1").Identity() != groupOf("run=1,job=j").Identity() {
		t.Error("a group is another in another order")
	}
	if groupOf("job=j").Identity() == groupOf("job=k").Identity() {
		t.Error("two groups are one")
	}
}

func TestSources(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := func(d time.Duration) int64 { return now.Add(d).UnixNano() }
	for _, tc := range []struct {
		name   string
		have   Evidence
		source Source
		began  int64
	}{
		{"nothing", Evidence{}, Anonymous, 0},
		{"a run", Evidence{Run: true}, Run, 0},
		{"a process and a run", Evidence{Process: at(-time.Hour), Run: true}, Process, at(-time.Hour)},
		{"all", Evidence{Created: at(-time.Minute), Process: at(-time.Hour), Run: true}, Created, at(-time.Minute)},
		{"a clock five minutes ahead", Evidence{Created: at(5 * time.Minute), Run: true}, Created, at(5 * time.Minute)},
		{"a clock more ahead", Evidence{Created: at(5*time.Minute) + 1, Run: true}, Run, 0},
		{"a process from the future", Evidence{Process: at(time.Hour)}, Anonymous, 0},
		{"before 1970", Evidence{Created: -1, Process: -1}, Anonymous, 0},
	} {
		if source, began := tc.have.Source(now); source != tc.source || began != tc.began {
			t.Errorf("%s: %v since %d, want %v since %d", tc.name, source, began, tc.source, tc.began)
		}
	}
}

func TestNanoseconds(t *testing.T) {
	for seconds, want := range map[float64]int64{
		0: 0, -1: 0, math.Inf(1): 0, math.Inf(-1): 0, 1e300: 0, math.MaxInt64 / 1e9: 0,
		1: 1e9, 1.5: 15e8, 1.7953538469475384e+09: 1795353846_947538376,
	} {
		if got := Nanoseconds(seconds); got != want {
			t.Errorf("Nanoseconds(%v) = %d, want %d", seconds, got, want)
		}
	}
	if got := Nanoseconds(math.NaN()); got != 0 {
		t.Errorf("Nanoseconds(NaN) = %d", got)
	}
	for seconds := 1.8e9; seconds < 1.8e9+1; seconds += 1e-3 {
		next := math.Nextafter(seconds, math.Inf(1))
		if Nanoseconds(seconds) == Nanoseconds(next) {
			t.Fatalf("%v and %v are one", seconds, next)
		}
	}
}

// A table does what a map and two lists do.
func TestATableKeepsWhatItIsGiven(t *testing.T) {
	type line struct {
		key         Identity
		group, seen uint64
	}
	rng := rand.New(rand.NewPCG(1, 2))
	tab := newTable()
	var lines []line // the longest unseen first
	at := func() int { return rng.IntN(len(lines)) }
	for step := range 20_000 {
		growing := step%8000 < 6000
		switch n := rng.IntN(10); {
		case len(lines) == 0 || n < 5 && growing || n < 2:
			// Few bits, that cells and groups collide.
			l := line{Identity{uint64(step), uint64(rng.IntN(1 << 12))}, uint64(rng.IntN(200)), uint64(step)}
			slot := tab.insert(l.key, l.group, uint32(step))
			tab.at(slot).last = float64(step)
			tab.setWide(slot, 2)[1] = float64(step)
			lines = append(lines, l)
		case n < 8 && growing:
			i := at()
			l := lines[i]
			tab.touch(tab.find(l.key), uint32(step))
			lines = append(append(lines[:i:i], lines[i+1:]...), l)
		case n < 9 || growing:
			i := at()
			tab.remove(tab.find(lines[i].key))
			lines = append(lines[:i:i], lines[i+1:]...)
		default:
			group, kept := lines[at()].group, lines[:0:0]
			for cell := tab.findGroup(group); tab.groups.cells[cell] != 0; cell = tab.findGroup(group) {
				tab.remove(tab.groups.cells[cell])
			}
			for _, l := range lines {
				if l.group != group {
					kept = append(kept, l)
				}
			}
			lines = kept
		}
		if step%500 != 0 {
			continue
		}
		var got, want []Identity
		for slot := tab.oldest; slot != 0; slot = tab.at(slot).newer {
			got = append(got, tab.at(slot).key)
		}
		for _, l := range lines {
			want = append(want, l.key)
			slot := tab.find(l.key)
			if slot == 0 || tab.at(slot).last != float64(l.seen) || tab.wide(slot)[1] != float64(l.seen) {
				t.Fatalf("step %d: %v is %d", step, l.key, slot)
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Identity{})); diff != "" || tab.count != len(lines) {
			t.Fatalf("step %d: %d of %d kept (-want +got):\n%s", step, tab.count, len(lines), diff)
		}
		if tab.find(Identity{1 << 40, 5}) != 0 {
			t.Fatal("a key that was never given is found")
		}
	}
}

// Right after its tables have grown a baseline costs most, alone in its group.
func TestABaselineCostsAtMostAHundredBytes(t *testing.T) {
	const most = 1<<16*3/4 + 1
	tab := newTable()
	for n := range uint64(most) {
		tab.insert(Identity{mix(n), mix(n + 1<<40)}, mix(n+1<<41), 1)
	}
	size := len(tab.slabs)*slabSize*int(unsafe.Sizeof(baseline{})) + 4*cap(tab.keys.cells) + 4*cap(tab.groups.cells)
	if each := float64(size) / most; each > 100 {
		t.Errorf("a baseline costs %.1f bytes", each)
	} else if each < 60 {
		t.Errorf("a baseline costs %.1f bytes: what is missing?", each)
	}
}

// Baselines are kept by keys, which must stay what they are.
func TestKeysStayWhatTheyAre(t *testing.T) {
	counter, histogram := value("job=j", Created, 7, 1), took(Run, 0, 1, 1, 1, 1, 1)
	got := []Identity{counter.Identity, baselineKey(&counter), baselineKey(&histogram), groupOf("job=j").Identity()}
	want := []Identity{
		{7879016405489400318, 6175229732761585286},
		{1824180392425646115, 8478289220168059255},
		{17103863110526160807, 9811228083418562773},
		{2851269366976359461, 14540578419890763559},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Identity{})); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// Lists of bounds differ wherever they do.
func TestBoundsAreToldApart(t *testing.T) {
	seen := map[uint64][]float64{}
	for _, bounds := range [][]float64{nil, {0}, {1}, {0, 1}, {1, 2}, {1, 2, 3}, {1, 3}, {2, 3}, {1, 2, 5}, {-1, 2, 5}, {0.5, 1, 2}, {0.25, 1, 2}} {
		h := boundsHash(bounds)
		if other, ok := seen[h]; ok {
			t.Errorf("%v and %v are the same", bounds, other)
		}
		seen[h] = bounds
	}
}
