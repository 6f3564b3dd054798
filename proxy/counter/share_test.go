package counter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// sharer is a guard whose counters others share.
type sharer struct {
	book   *Book
	totals *Totals
	log    *shared.Log
}

func newSharer(t *testing.T, cfg shared.Config) *sharer {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second // nothing is too late
	}
	cfg.Election = time.Second
	log, err := shared.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &sharer{log: log}
	s.book, s.totals = Share(log, Config{}, TotalsConfig{})
	redistest.Join(t, log)
	return s
}

// values are what a page says, by series.
func values(p *Page) map[string]float64 {
	out := map[string]float64{}
	for _, f := range p.families {
		for _, to := range f.totals {
			out[f.name+fmt.Sprint(to.labels)] = to.value + 1000*to.sum
			for i, b := range to.buckets {
				out[fmt.Sprint(f.name, to.labels, to.bounds[i])] = b
			}
		}
	}
	return out
}

func (s *sharer) saved(t *testing.T) string {
	t.Helper()
	if err := s.book.shared.door.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return string(s.book.shared.Save(nil))
}

// randomPush is of few sources, whose values mostly grow.
func randomPush(r *rand.Rand, series []*Series, at int) (Push, []Reading) {
	group := Identity{1, uint64(r.IntN(5))}
	push := Push{Group: group, Method: "POST", Client: "c", Body: fmt.Append(nil, r.IntN(3)), IgnoreUnknown: r.IntN(4) == 0}
	if r.IntN(4) == 0 {
		push.IdempotencyKey = fmt.Sprint(r.IntN(10))
	}
	var readings []Reading
	for i, s := range series {
		if r.IntN(3) == 0 {
			continue
		}
		v := float64(at/2 + r.IntN(4))
		read := Reading{
			Identity: Identity{uint64(i), group.lo}, Source: Source(1 + r.IntN(4)), Began: int64(r.IntN(3)), Semantics: Semantics(r.IntN(3)),
			Output: s, Value: v, Count: v, Sum: v / 2,
		}
		if s.Kind == Histogram {
			read.Buckets = []float64{float64(int(v) / 3), float64(int(v) / 2)}
		}
		readings = append(readings, read)
	}
	return push, readings
}

// TestSharedCountersAreOne has three guards count what one counts: every push adds
// what it would to a single book that saw them all, and a guard that comes later knows
// the same.
func TestSharedCountersAreOne(t *testing.T) {
	redis := redistest.Start(t)
	for seed := range uint64(3) {
		cfg := shared.Config{URL: redis.URL(), Fleet: fmt.Sprint("one", seed), SnapshotAfter: 10_000}
		guards := []*sharer{newSharer(t, cfg), newSharer(t, cfg), newSharer(t, cfg)}
		model, totals := NewBook(Config{Now: guards[0].log.Now}), NewTotals(TotalsConfig{Now: guards[0].log.Now})
		label := func(v string) []labels.Label { return []labels.Label{{Name: "job", Value: v}} }
		series := []*Series{
			{Name: "a_total", Kind: Counter, Labels: label("x")},
			{Name: "a_total", Kind: Counter, Labels: label("y")},
			{Name: "h", Kind: Histogram, Labels: label("x"), Bounds: []float64{1, 2}},
			{Name: "s", Kind: Summary, Labels: label("x")},
		}
		r := rand.New(rand.NewPCG(seed, 3))
		for at := range 150 {
			if at == 100 {
				guards = append(guards, newSharer(t, cfg))
			}
			push, readings := randomPush(r, series, at)
			by := guards[r.IntN(len(guards))]
			if r.IntN(10) == 0 {
				by.book.Lost(push)
				by.saved(t)
				model.Lost(push)
			}
			commitOf(t, by.book, by.totals, push, readings)
			guards[0].saved(t) // the model's clock
			commitOf(t, model, totals, push, readings)
		}
		want := values(totals.Page(t.Context(), ""))
		for i, g := range guards {
			if diff := cmp.Diff(want, values(g.totals.Page(t.Context(), ""))); diff != "" {
				t.Errorf("seed %d, guard %d: %s", seed, i, diff)
			}
			if g.saved(t) != guards[0].saved(t) {
				t.Errorf("seed %d: guard %d knows something else than the first", seed, i)
			}
		}
	}
}

func commitOf(t *testing.T, b *Book, to *Totals, push Push, readings []Reading) {
	t.Helper()
	var i Increments
	if err := b.Difference(&i, slices.Clone(readings), push); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(t.Context(), to); err != nil {
		t.Fatal(err)
	}
}

// TestSharedSumIsExact adds ones up through three guards at once, while the totals are
// now and then forgotten and scraped: the sum is theirs, everywhere.
func TestSharedSumIsExact(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	guards := []*sharer{newSharer(t, cfg), newSharer(t, cfg), newSharer(t, cfg)}
	out := &Series{Name: "failures_total", Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
	const each = 100
	var all sync.WaitGroup
	for n := range 9 {
		all.Go(func() {
			g := guards[n%3]
			for i := range each {
				one := []Reading{{Identity: Identity{1, uint64(n)}, Source: Anonymous, Output: out, Value: 1}}
				if err := g.totals.Claim(out.Name, Counter); err != nil {
					t.Error(err)
				}
				commitOf(t, g.book, g.totals, Push{Group: Identity{1, uint64(n)}}, one)
				if i%10 == 0 {
					g.totals.Page(t.Context(), "p").Done()
				}
			}
		})
	}
	all.Wait()
	for i, g := range guards {
		for _, v := range values(g.totals.Page(t.Context(), "p")) {
			if v != 9*each {
				t.Errorf("guard %d says %v, want %d", i, v, 9*each)
			}
		}
		if g.saved(t) != guards[0].saved(t) {
			t.Errorf("guard %d knows something else than the first", i)
		}
	}
	// Who pushes to a total that has been forgotten in between spells it out again.
	guards[0].totals.Expire(func(string) time.Duration { return 1 })
	guards[0].saved(t)
	commitOf(t, guards[1].book, guards[1].totals, Push{Group: Identity{1, 1}}, []Reading{{Identity: Identity{1, 1}, Source: Anonymous, Output: out, Value: 5}})
	for _, v := range values(guards[2].totals.Page(t.Context(), "")) {
		if v != 5 {
			t.Errorf("the total is %v, want 5", v)
		}
	}
	// Another kind of that name is refused everywhere.
	if err := guards[2].totals.Claim(out.Name, Histogram); err == nil {
		t.Error("a counter was claimed as a histogram")
	}
}

// TestSharedExpiryIsTooLate: one guard adds to a total while another finds it idle. Who adds
// first has its increment stay.
func TestSharedExpiryIsTooLate(t *testing.T) {
	s := sharedAlone()
	commit := func(v float64) []byte {
		out := &Series{Name: "x_total", Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
		readings := []Reading{{Identity: Identity{1, 1}, Source: Anonymous, Output: out, Value: v}}
		return s.appendCommit(&commitHead{group: Identity{1, 1}, totals: true}, readings, false)
	}
	s.hear(commit(2))
	born, to := uint64(0), (*total)(nil)
	for born, to = range s.totals.byBirth {
	}
	expire := func() []byte {
		return binary.AppendVarint(binary.AppendUvarint([]byte{cmdExpire, 1}, born), to.used)
	}
	late := expire()
	to.used-- // it was added to a second later
	s.hear(late)
	if got := totalOf(s.totals, "x_total", "job=j"); got != 2 {
		t.Errorf("a total that was added to since it was idle is %v, want 2", got)
	}
	s.hear(expire(), commit(3))
	if got := totalOf(s.totals, "x_total", "job=j"); got != 3 {
		t.Errorf("a total that comes back is %v, want 3", got)
	}
}

// TestSharedToAnotherSink: what guards count as one goes to the sink of the one that was
// pushed to, each push once.
func TestSharedToAnotherSink(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	guards := []*sharer{newSharer(t, cfg), newSharer(t, cfg)}
	var sinks [2]summing
	push := func(by int, key string, v float64) {
		t.Helper()
		r := value("job=j", Process, 1, v)
		p := Push{Group: groupOf("job=j").Identity(), Method: "POST", IdempotencyKey: key}
		var i Increments
		if err := guards[by].book.Difference(&i, []Reading{r}, p); err != nil {
			t.Fatal(err)
		}
		if err := i.Commit(t.Context(), &sinks[by]); err != nil {
			t.Fatal(err)
		}
	}
	push(0, "", 5)
	push(1, "k", 7)
	push(0, "k", 9) // a retry
	push(1, "", 10)
	if got, want := sinks, [2]summing{{5}, {5}}; got != want {
		t.Errorf("the sinks were given %v, want %v", got, want)
	}
	if got := values(guards[0].totals.Page(t.Context(), "")); len(got) != 0 {
		t.Errorf("the totals have %v, which went elsewhere", got)
	}
}

// TestSharedScraperSeesZeroOnce has one scraper come to two guards in turn: it sees a
// new total at zero once, and no total ever falls.
func TestSharedScraperSeesZeroOnce(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	a, b := newSharer(t, cfg), newSharer(t, cfg)
	out := &Series{Name: "x_total", Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
	commitOf(t, a.book, a.totals, Push{Group: Identity{1, 1}}, []Reading{{Identity: Identity{1, 1}, Source: Anonymous, Output: out, Value: 3}})
	for i, want := range []float64{0, 3, 3} {
		g := []*sharer{b, a, b}[i]
		p := g.totals.Page(t.Context(), "prometheus")
		p.Done()
		for _, got := range values(p) {
			if got != want {
				t.Errorf("scrape %d: %v, want %v", i, got, want)
			}
		}
		g.saved(t)
	}
}

// TestUnreadCommands has a guard say what no counters can read: it is told so, nothing of
// it is done on any guard, and all know the same afterwards.
func TestUnreadCommands(t *testing.T) {
	redis := redistest.Start(t)
	a, b := newSharer(t, shared.Config{URL: redis.URL()}), newSharer(t, shared.Config{URL: redis.URL()})
	r := rand.New(rand.NewPCG(7, 8))
	for at := range 5 {
		if err := a.book.shared.door.Do(t.Context(), randomCommit(a.book.shared, r, 3*at+1), nil); err != nil {
			t.Fatal(err)
		}
	}
	before := a.saved(t)
	whole := randomCommit(a.book.shared, r, 10)
	group := appendIdentity(nil, Identity{1, 2})
	for _, tc := range []struct {
		name string
		body []byte
	}{
		{"nothing", []byte{}},
		{"an unknown command", []byte{0xff, 1, 2}},
		{"half a push", whole[:len(whole)/2]},
		{"more than a push", append(slices.Clone(whole), 0)},
		{"half a group to forget", append([]byte{cmdForget}, group[:8]...)},
		{"more than a group to forget", slices.Concat([]byte{cmdForget}, group, []byte{0})},
		{"a lost push without its print", append([]byte{cmdLost}, group...)},
		{"a family of no kind", []byte{cmdClaim, 0, 'x'}},
		{"half of what is idle", []byte{cmdExpire, 3, 1, 1}},
		{"a scraper without a birth", []byte{cmdShown}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := a.book.shared.door.Do(t.Context(), tc.body, nil); !errors.Is(err, errUnit) {
				t.Errorf("Do: %v, want %v", err, errUnit)
			}
			for _, s := range []*sharer{a, b} {
				if s.saved(t) != before {
					t.Error("it was done in part")
				}
			}
		})
	}
}
