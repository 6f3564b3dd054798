package counter

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/shared"
)

// sharedAlone is a book and totals as guards share them, without a log.
func sharedAlone() *sharing {
	now := func() time.Time { return time.Unix(1_700_000_000, 0) }
	s := &sharing{book: NewBook(Config{Now: now}), totals: NewTotals(TotalsConfig{Now: now})}
	s.book.watermark.Store(0)
	s.book.shared, s.totals.shared, s.totals.byBirth = s, s, map[uint64]*total{}
	return s
}

// hear carries out commands, as if the Redis had them from another guard.
func (s *sharing) hear(bodies ...[]byte) {
	for n, body := range bodies {
		s.Apply(shared.Entry{Guard: "another", At: time.Unix(1_700_000_000+int64(n), 0), Body: body})
	}
}

// randomCommit is a push as a guard puts it into the order.
func randomCommit(s *sharing, r *rand.Rand, at int) []byte {
	label := func(v string) []labels.Label { return []labels.Label{{Name: "job", Value: v}} }
	push, readings := randomPush(r, []*Series{
		{Name: "a_total", Help: "A.", Kind: Counter, Labels: label("x")},
		{Name: "a_total", Kind: Counter, Labels: label("y")},
		{Name: "h", Kind: Histogram, Labels: label("x"), Bounds: []float64{1, 2}},
		{Name: "s", Kind: Summary, Labels: label("x")},
	}, at)
	p := commitHead{group: push.Group, ignoreUnknown: push.IgnoreUnknown, totals: at%3 > 0, lost: uint64(r.IntN(2))}
	if push.IdempotencyKey != "" {
		p.key = push.key()
	}
	return s.appendCommit(&p, readings, false)
}

// FuzzSharedCommands carries out any two commands, as if the Redis had them from another
// guard: what a book and totals then know is what those know that restore it.
func FuzzSharedCommands(f *testing.F) {
	s, r := sharedAlone(), rand.New(rand.NewPCG(1, 2))
	group := appendIdentity(nil, Identity{1, 2})
	lost := appendWord(slices.Concat([]byte{cmdLost}, group), 1)
	for at := range 8 {
		f.Add(randomCommit(s, r, at), randomCommit(s, r, at+1))
		f.Add(lost, randomCommit(s, r, at))
	}
	claim := append([]byte{cmdClaim, byte(Counter)}, "a_total"...)
	for _, second := range [][]byte{
		claim, lost, slices.Concat([]byte{cmdForget}, group), append([]byte{cmdShown, 1}, "scraper"...),
		binary.AppendVarint([]byte{cmdExpire, 1, 1}, 1_700_000_000),
		{cmdExpire, 0},
	} {
		f.Add(claim, second)
		f.Add(randomCommit(s, r, 8), second)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := sharedAlone()
		s.hear(first, second)
		restoresTheSame(t, s.Save(nil))
	})
}

// FuzzSharedSnapshot restores anything, as if the Redis had it: an error, or a book and
// totals that can be used.
func FuzzSharedSnapshot(f *testing.F) {
	s, r := sharedAlone(), rand.New(rand.NewPCG(3, 4))
	f.Add(s.Save(nil))
	for at := range 20 {
		s.hear(randomCommit(s, r, at))
		f.Add(s.Save(nil))
	}
	f.Fuzz(func(t *testing.T, saved []byte) {
		s := sharedAlone()
		if s.Restore(saved) != nil {
			return
		}
		r := rand.New(rand.NewPCG(5, 6))
		s.hear(randomCommit(s, r, 1), randomCommit(s, r, 2))
		_ = s.totals.take("scraper")
		s.Save(nil)
	})
}

func restoresTheSame(t *testing.T, saved []byte) {
	t.Helper()
	s := sharedAlone()
	if err := s.Restore(saved); err != nil {
		t.Fatalf("what was saved cannot be restored: %v\n%q", err, saved)
	}
	if again := s.Save(nil); string(again) != string(saved) {
		t.Fatalf("%q was restored, and saved as %q", saved, again)
	}
}
