package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// sharer is a guard with a book that others share.
type sharer struct {
	book *Book
	log  *shared.Log
	stop func()
}

func newSharer(t *testing.T, cfg shared.Config, wait time.Duration) *sharer {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second // nothing is too late
	}
	cfg.Election = time.Second
	log, err := shared.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	secret := log.Secret()
	s := &sharer{log: log, book: Share(log, Config{Wait: wait, Secret: [16]byte(secret[16:])})}
	s.stop = redistest.Join(t, log)
	return s
}

func (s *sharer) sync(t *testing.T) {
	t.Helper()
	if err := s.book.shared.door.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// saved is all that the book knows, once it knows all.
func (s *sharer) saved(t *testing.T) string {
	t.Helper()
	s.sync(t)
	return string(room{s.book}.Save(nil))
}

// randomClaim is one of few jobs, groups and metrics, under budgets that it is often
// over.
func randomClaim(r *rand.Rand) Claim {
	job := fmt.Sprint("j", r.IntN(3))
	key := func(n int) wire.Key {
		return wire.NewKey(labels.Label{Name: "job", Value: job}, labels.Label{Name: "run", Value: fmt.Sprint(n)})
	}
	group := key(r.IntN(4))
	c := Claim{
		Group: group, Raw: group, Method: []string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodDelete}[r.IntN(4)],
		Job: job, Entry: r.IntN(2), OverBudget: OverBudget(1 + r.IntN(4)), Folds: r.IntN(2) == 0,
		Budget: Budget{
			Series: 30, Groups: 3, LabelValues: 12, NewSeriesPerHour: 400, EntrySeries: 50, GuardSeries: 70, GuardGroups: 8,
			Guaranteed: 10, Reserved: 20, KeepLast: r.IntN(2) == 0, StaleAfter: time.Hour,
		},
	}
	if r.IntN(3) == 0 {
		c.Raw = key(10 + r.IntN(2))
	}
	if c.Method == http.MethodDelete {
		return c
	}
	c.Totals = c.Method == http.MethodPost && r.IntN(4) == 0
	if c.OverBudget == Collapse {
		c.Others = map[uint64]uint64{7: 70, 8: 80}
	}
	for f := range 1 + r.IntN(3) {
		c.Families = append(c.Families, fmt.Sprint("f", f))
		for range r.IntN(4) {
			a, b := uint64(1+r.IntN(6)), uint64(100+r.IntN(3))
			c.Metrics = append(c.Metrics, MetricClaim{
				Fingerprint: uint64(f)<<32 | a<<8 | b, Values: c.AddValues([]wire.LabelValue{{Label: 7, Value: a}, {Label: 8, Value: b}}),
				Family: int32(f), Samples: int32(1 + r.IntN(2)),
			})
		}
	}
	slices.SortFunc(c.Metrics, func(x, y MetricClaim) int { return int(x.Fingerprint) - int(y.Fingerprint) })
	c.Metrics = slices.CompactFunc(c.Metrics, func(x, y MetricClaim) bool { return x.Fingerprint == y.Fingerprint })
	if r.IntN(4) == 0 {
		c.Success = []int32{0}
	}
	return c
}

// TestSharedIsOne has three guards do what one does: whichever of them is asked, the
// ruling is that of a single book that was asked everything, and in the end, and of a
// guard that comes later, the books are equal.
func TestSharedIsOne(t *testing.T) {
	redis := redistest.Start(t)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cfg := shared.Config{URL: redis.URL(), Fleet: fmt.Sprint("one", seed), SnapshotAfter: 20_000}
			guards := []*sharer{newSharer(t, cfg, 0), newSharer(t, cfg, 0), newSharer(t, cfg, 0)}
			secret := guards[0].log.Secret()
			model := NewBook(Config{Secret: [16]byte(secret[16:]), Now: guards[0].log.Now})
			w := &workload{t: t, r: rand.New(rand.NewPCG(seed, 1)), guards: guards, model: model}
			for range 150 {
				w.step()
			}
			w.guards = append(w.guards, newSharer(t, cfg, 0))
			w.compare()
			for range 50 {
				w.step()
			}
			w.compare()
		})
	}
}

type workload struct {
	t      *testing.T
	r      *rand.Rand
	guards []*sharer
	model  *Book
	open   [][2]*Grant // of the fleet and of the model
	by     []*sharer
}

func (w *workload) step() {
	w.t.Helper()
	if len(w.open) > 0 && (len(w.open) > 3 || w.r.IntN(2) == 0) {
		i, o := w.r.IntN(len(w.open)), Outcome(1+w.r.IntN(4))
		if w.r.IntN(2) == 0 {
			o = Applied
		}
		pair, by := w.open[i], w.by[i]
		w.open, w.by = slices.Delete(w.open, i, i+1), slices.Delete(w.by, i, i+1)
		pair[0].Settle(o)
		by.sync(w.t)
		w.guards[0].sync(w.t)
		pair[1].Settle(o)
		return
	}
	c, by := randomClaim(w.r), w.guards[w.r.IntN(len(w.guards))]
	got, err := by.book.Admit(w.t.Context(), c)
	w.guards[0].sync(w.t)
	want, wantErr := w.model.Admit(w.t.Context(), c)
	if diff := cmp.Diff(fmt.Sprint(wantErr), fmt.Sprint(err)); diff != "" {
		w.t.Fatalf("a claim of %v: %s", c, diff)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(want.Ruling, got.Ruling, cmp.AllowUnexported(Excess{}), cmp.Comparer(wire.Key.Equal)); diff != "" {
		w.t.Fatalf("the ruling of %v: %s", c, diff)
	}
	w.open, w.by = append(w.open, [2]*Grant{got, want}), append(w.by, by)
}

func (w *workload) compare() {
	w.t.Helper()
	first := w.guards[0].saved(w.t)
	for i, g := range w.guards {
		if g.saved(w.t) != first {
			w.t.Errorf("guard %d knows something else than the first", i)
		}
		ours, model := g.book.Jobs(10), w.model.Jobs(10)
		for i := range ours {
			ours[i].OldestPush = time.Time{}
		}
		for i := range model {
			model[i].OldestPush = time.Time{}
		}
		if diff := cmp.Diff(model, ours); diff != "" {
			w.t.Errorf("guard %d: %s", i, diff)
		}
	}
}

// TestSharedUnderLoad has many pushes at once at three guards, for few groups and one
// budget: never is there more than that, and each group is one push's at a time.
func TestSharedUnderLoad(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), SnapshotAfter: 30_000}
	guards := []*sharer{newSharer(t, cfg, 10*time.Second), newSharer(t, cfg, 10*time.Second), newSharer(t, cfg, 10*time.Second)}
	const budget = 40
	var taken [4]sync.Mutex
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 40 {
				run := r.IntN(len(taken))
				key := wire.NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: "run", Value: fmt.Sprint(run)})
				c := Claim{Group: key, Raw: key, Method: http.MethodPut, Budget: Budget{Series: budget}, Families: []string{"f"}}
				for range 20 {
					c.Metrics = append(c.Metrics, MetricClaim{Fingerprint: r.Uint64N(1 << 20), Samples: 1})
				}
				grant, err := guards[i%3].book.Admit(t.Context(), c)
				if err != nil {
					if !errors.As(err, new(*OverBudgetError)) {
						t.Errorf("Admit: %v", err)
					}
					continue
				}
				if !taken[run].TryLock() {
					t.Errorf("group %d was given to two at once", run)
				} else {
					taken[run].Unlock()
				}
				if held := guards[(i+1)%3].book.Held("j"); held > 2*budget { // with what is replaced
					t.Errorf("%d series are held", held)
				}
				grant.Settle(Applied)
			}
		})
	}
	all.Wait()
	for _, g := range guards {
		g.sync(t)
	}
	for _, g := range guards {
		if g.saved(t) != guards[0].saved(t) {
			t.Error("the guards know different things")
		}
		if held := g.book.Held("j"); held > budget {
			t.Errorf("%d series are held, of %d", held, budget)
		}
	}
}

// TestSharedGuardDies has a guard die between Admit and Settle: its reservation counts
// for both ends until a later push tells, and the group is free again.
func TestSharedGuardDies(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Lease: 500 * time.Millisecond}
	dies, stays := newSharer(t, cfg, 0), newSharer(t, cfg, time.Minute)
	lost := make(chan struct{}, 1)
	stays.book.OnLoss(func() {
		select {
		case lost <- struct{}{}:
		default: // it is known
		}
	})
	key := wire.NewKey(labels.Label{Name: "job", Value: "j"})
	claim := func(prints ...uint64) Claim {
		c := Claim{Group: key, Raw: key, Method: http.MethodPut, Budget: Budget{Series: 6}, Families: []string{"f"}}
		for _, p := range prints {
			c.Metrics = append(c.Metrics, MetricClaim{Fingerprint: p, Samples: 1})
		}
		return c
	}
	if _, err := dies.book.Admit(t.Context(), claim(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	stays.sync(t)
	if held := stays.book.Held("j"); held != 5 {
		t.Fatalf("the other guard knows of %d series", held)
	}
	dies.stop()
	grant, err := stays.book.Admit(t.Context(), claim(4, 5))
	if err != nil {
		t.Fatalf("the group of a guard that died: %v", err)
	}
	<-lost
	if len(grant.Trimmed) != 0 || grant.Held > 6 {
		t.Errorf("the ruling: %+v", grant.Ruling)
	}
	grant.Settle(Applied)
	stays.sync(t)
	if held := stays.book.Held("j"); held != 4 {
		t.Errorf("%d series are held in the end", held)
	}
}

// TestSharedGuardThatWaitsDies: a group is not given to a guard that is no longer there, but
// to who waits behind it.
func TestSharedGuardThatWaitsDies(t *testing.T) {
	b := sharedAlone()
	b.wait = time.Minute
	claim := push(http.MethodPut, group1, Budget{}, "a")
	do := func(guard shared.Guard, body []byte) {
		t.Helper()
		if err := (room{b}).Apply(shared.Entry{Guard: guard, At: time.Unix(1_700_000_000, 0), Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for _, guard := range []shared.Guard{"holds", "dies", "waits"} {
		do(guard, command(b, claim, 1))
	}
	room{b}.Leave("dies", time.Time{})
	do("holds", append(binary.AppendUvarint([]byte{cmdSettle}, 1), byte(Applied)))
	if len(b.shared.grants) != 1 || b.shared.grants[grantID{"waits", 1}] == nil {
		t.Errorf("the group has %v", b.shared.grants)
	}
}

// TestSharedGuardThatWaitsHasLeft has a guard that was stopped for long hear that it has
// left: its push that waited for a group waits for nothing any more, and is told so.
func TestSharedGuardThatWaitsHasLeft(t *testing.T) {
	b := sharedAlone()
	b.wait = time.Minute
	claim := push(http.MethodPut, group1, Budget{}, "a")
	waits := &answer{done: make(chan struct{})}
	b.shared.asked[1] = waits
	for _, e := range []shared.Entry{
		{Guard: "holds", At: time.Unix(1_700_000_000, 0), Body: command(b, claim, 1)},
		{Guard: "was stopped", At: time.Unix(1_700_000_000, 0), Body: command(b, claim, 1), Own: waits},
	} {
		if err := (room{b}).Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	room{b}.Leave("was stopped", time.Time{})
	select {
	case <-waits.done:
	default:
		t.Fatal("it waits on")
	}
	if !errors.Is(waits.err, shared.ErrAway) || len(b.shared.asked) != 0 {
		t.Errorf("it is told %v, and %d are thought to wait", waits.err, len(b.shared.asked))
	}
}

// TestSharedGuardThatWaitsIsForgotten has a guard come to a Redis that knows nothing of its
// claim that waits for a group, as a replica that takes over: the push is told so, and one
// of which it knows waits on.
func TestSharedGuardThatWaitsIsForgotten(t *testing.T) {
	redis := redistest.Start(t)
	s := newSharer(t, shared.Config{URL: redis.URL()}, time.Minute)
	b, me := s.book, s.book.shared.door.Guard()
	before := room{b}.Save(nil)
	claim := push(http.MethodPut, group1, Budget{}, "a")
	waits := &answer{done: make(chan struct{})}
	b.mu.Lock()
	b.shared.asked[7] = waits
	b.mu.Unlock()
	for _, e := range []shared.Entry{{Guard: "holds", Body: command(b, claim, 1)}, {Guard: me, Body: command(b, claim, 7), Own: waits}} {
		e.At = s.log.Now()
		if err := (room{b}).Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		saved []byte
		told  bool
	}{{"that knows", room{b}.Save(nil), false}, {"that does not", before, true}} {
		if err := (room{b}).Restore(tc.saved); err != nil {
			t.Fatal(err)
		}
		select {
		case <-waits.done:
			if !tc.told || !errors.Is(waits.err, shared.ErrAway) {
				t.Errorf("a Redis %s: it is told %v", tc.name, waits.err)
			}
		default:
			if tc.told {
				t.Errorf("a Redis %s: it waits on", tc.name)
			}
		}
	}
}

// TestSharedForgetsWhatItNeverAsked: claims that are made while the Redis is away leave
// nothing behind, however long that is.
func TestSharedForgetsWhatItNeverAsked(t *testing.T) {
	redis := redistest.Start(t)
	s := newSharer(t, shared.Config{URL: redis.URL(), Timeout: time.Second}, 0)
	asked := func() int {
		s.book.mu.Lock()
		defer s.book.mu.Unlock()
		return len(s.book.shared.asked)
	}
	redis.Kill()
	claim := push(http.MethodPut, group1, Budget{}, "a")
	for !s.log.Away() {
		_, _ = s.book.Admit(t.Context(), claim) // one of these may have been sent
	}
	before := asked()
	for range 100 {
		if _, err := s.book.Admit(t.Context(), claim); !errors.Is(err, shared.ErrAway) {
			t.Fatal(err)
		}
	}
	if after := asked(); after != before || after > 1 {
		t.Errorf("%d claims wait for an answer, and %d after a hundred more", before, after)
	}
}

// TestSharedStale has guards whose clocks are hours off that of the Redis, by which groups
// are dated: a group is as old as the Redis has it.
func TestSharedStale(t *testing.T) {
	redis := redistest.Start(t)
	a := newSharer(t, shared.Config{URL: redis.URL()}, 0)
	push := func(job string, life time.Duration) {
		key := wire.NewKey(labels.Label{Name: "job", Value: job})
		grant, err := a.book.Admit(t.Context(), Claim{
			Group: key, Raw: key, Method: http.MethodPut, Budget: Budget{StaleAfter: life},
			Families: []string{"f"}, Metrics: []MetricClaim{{Fingerprint: 1, Samples: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		grant.Settle(Applied)
		a.sync(t)
	}
	push("fresh", time.Hour)
	push("old", time.Second)
	var stale []StaleGroup
	for end := time.Now().Add(2 * time.Minute); len(stale) == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		stale = a.book.Stale(time.Now().Add(-3*time.Hour), 9)
	}
	stale = append(stale, a.book.Stale(time.Now().Add(3*time.Hour), 9)...)
	if len(stale) != 2 || stale[0].Job != "old" || stale[1].Job != "old" {
		t.Errorf("%+v", stale)
	}
}

// TestSharedLoad has one guard list the upstream: all know it.
func TestSharedLoad(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	a, b := newSharer(t, cfg, 0), newSharer(t, cfg, 0)
	var groups []Group
	for n := range 200 {
		groups = append(groups, Group{
			Key: wire.NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: "run", Value: fmt.Sprint(n)}),
			Families: []wire.FamilyPrint{{
				Name: "f", Metrics: []wire.MetricPrint{{Fingerprint: 1, Samples: 1}}, Values: []wire.LabelValue{{Label: 7, Value: uint64(n)}},
			}},
		})
	}
	for _, want := range []int{200, 200, 120} {
		if err := a.book.loadAll(func() ([]Group, error) { return groups[:want], nil }); err != nil {
			t.Fatal(err)
		}
		b.sync(t)
		if got := b.book.Len(); got != want || b.book.Held("j") != 3*want {
			t.Errorf("the other guard knows of %d groups and %d series, want %d", got, b.book.Held("j"), want)
		}
	}
	some := func() ([]Group, func(wire.Key) bool, error) {
		return groups[:100], groups[110].Key.Equal, nil
	}
	if err := a.book.Load(some); err != nil {
		t.Fatal(err)
	}
	b.sync(t)
	if got := b.book.Len(); got != 101 {
		t.Errorf("after a listing of 100 groups that says nothing of one more %d are known", got)
	}
	if a.saved(t) != b.saved(t) {
		t.Error("the guards know different things")
	}
	b.book.Wipe()
	b.sync(t)
	a.sync(t)
	if a.book.Len() != 0 {
		t.Errorf("%d groups are left", a.book.Len())
	}
}

// TestSharedLoadCountsForNothing has a guard list the upstream while another one wipes it,
// and while it is thought to have left: the listing counts for nothing, who made it is told
// so in the second case, and all read what it said.
func TestSharedLoadCountsForNothing(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL(), Lease: time.Hour}
	a, b := newSharer(t, cfg, 0), newSharer(t, cfg, 0)
	for _, tc := range []struct {
		name      string
		meanwhile func()
		want      error
		groups    int
	}{
		{"wiped", func() { b.book.Wipe(); b.sync(t) }, nil, 0},
		{"left", func() {
			b.sync(t)
			for _, s := range []*sharer{a, b} {
				room{s.book}.Leave(a.book.shared.door.Guard(), s.log.Now())
			}
		}, errLeft, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stands := Group{Key: wire.NewKey(labels.Label{Name: "job", Value: tc.name})}
			if err := b.book.loadAll(func() ([]Group, error) { return []Group{stands}, nil }); err != nil {
				t.Fatal(err)
			}
			err := a.book.loadAll(func() ([]Group, error) {
				tc.meanwhile()
				return []Group{{Key: wire.NewKey(labels.Label{Name: "job", Value: "other"})}}, nil
			})
			if err != tc.want {
				t.Errorf("Load: %v, want %v", err, tc.want)
			}
			if a.saved(t) != b.saved(t) {
				t.Error("they know other things")
			}
			if got := a.book.Len(); got != tc.groups {
				t.Errorf("%d groups are known, want %d", got, tc.groups)
			}
		})
	}
}

// TestSharedTerms has one guard read its policy again: the job that has other terms there is
// governed by those on all, and another one as before.
func TestSharedTerms(t *testing.T) {
	redis := redistest.Start(t)
	cfg := shared.Config{URL: redis.URL()}
	a, b := newSharer(t, cfg, 0), newSharer(t, cfg, 0)
	other := push(http.MethodPut, key("job", "other"), Budget{Guaranteed: 2}, "a")
	other.Entry = 7
	admit(t, a.book, other).Settle(Applied)
	claim := push(http.MethodPut, group1, Budget{Series: 9, Guaranteed: 6}, "a", "b")
	claim.Entry = 1
	admit(t, a.book, claim).Settle(Applied)
	b.sync(t)
	regovern := func(entry int, budget Budget) {
		t.Helper()
		b.book.Regovern(func(job string) (int, Budget) {
			if job == "other" {
				return other.Entry, other.Budget
			}
			return entry, budget
		})
		b.sync(t)
	}
	governed := func(entry, over, guaranteed int) {
		t.Helper()
		for _, s := range []*sharer{a, b} {
			s.sync(t)
			jobs := s.book.Jobs(1)
			if len(jobs) != 1 || jobs[0].Series != 4 || jobs[0].Entry != entry || jobs[0].Over != over || s.book.entry(entry).series != 4 {
				t.Errorf("the job is %+v, want entry %d and %d over", jobs, entry, over)
			}
			if got := s.book.entry(entry).guaranteed; got != guaranteed {
				t.Errorf("its entry is guaranteed %d series, want %d", got, guaranteed)
			}
		}
		if a.saved(t) != b.saved(t) {
			t.Error("the guards know different things")
		}
	}
	governed(1, 0, 6)
	regovern(3, Budget{Series: 1, Guaranteed: 5})
	governed(3, 3, 5)
	if was, others := b.book.entries[1].guaranteed, b.book.entries[7].guaranteed; was != 0 || others != 2 {
		t.Errorf("guaranteed are %d to the entry of before, %d to that of another job", was, others)
	}
	a.book.RegovernJob("j", 2, Budget{Series: 3, Guaranteed: 4})
	a.sync(t)
	governed(2, 1, 4)
	regovern(5, Budget{Series: 3})
	if b.book.entries[2] != nil || b.book.entries[3] != nil {
		t.Errorf("entries that govern nobody stay: %v", b.book.entries)
	}
	governed(5, 1, 0)
}

// TestUnreadCommands has a guard say what no ledger can read: it is told so, nothing of
// it is done on any guard, and all know the same afterwards.
func TestUnreadCommands(t *testing.T) {
	redis := redistest.Start(t)
	a, b := newSharer(t, shared.Config{URL: redis.URL()}, time.Minute), newSharer(t, shared.Config{URL: redis.URL()}, time.Minute)
	r := rand.New(rand.NewPCG(7, 8))
	grant, err := a.book.Admit(t.Context(), randomClaim(r))
	if err != nil {
		t.Fatal(err)
	}
	whole := command(a.book, randomClaim(r), 77)
	for _, tc := range []struct {
		name string
		body []byte
	}{
		{"nothing", []byte{}},
		{"an unknown command", []byte{0xff, 1, 2}},
		{"half a claim", whole[:len(whole)/2]},
		{"more than a claim", append(slices.Clone(whole), 0)},
		{"an end without an outcome", []byte{cmdSettle, byte(grant.id.n)}},
		{"an end with an outcome that there is not", []byte{cmdSettle, byte(grant.id.n), byte(Unknown) + 1}},
		{"more than an end", []byte{cmdSettle, byte(grant.id.n), byte(Applied), 0}},
		{"half the terms of a job", []byte{cmdTerms, 0, 1, 'j', 2}},
		{"a listing that begins twice", []byte{cmdBegin, 1, 1}},
		{"half an end of a listing", []byte{cmdListedEnd, 1, 9}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := a.book.shared.door.Do(t.Context(), tc.body, nil); !errors.Is(err, errRecord) {
				t.Errorf("Do: %v, want %v", err, errRecord)
			}
			if a.saved(t) != b.saved(t) {
				t.Error("they know other things")
			}
			if s := a.book.shared; len(s.grants) != 1 || len(s.loads) != 0 || a.book.Len() != 0 {
				t.Errorf("%d grants, %d listings and %d groups, want one grant of a group to be", len(s.grants), len(s.loads), a.book.Len())
			}
		})
	}
	grant.Settle(Applied)
	if a.saved(t) != b.saved(t) || len(b.book.shared.grants) != 0 {
		t.Error("they know other things, or the claim has not ended")
	}
}
