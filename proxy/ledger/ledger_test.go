package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

func key(pairs ...string) wire.Key {
	var ls []labels.Label
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return wire.NewKey(ls...)
}

var (
	group1 = key("job", "j")
	twin1  = key("job", "j", "instance", "")
	rawA   = key("job", "j", "run_id", "a")
	rawB   = key("job", "j", "run_id", "b")
)

func admit(t *testing.T, b *Book, c Claim) *Grant {
	t.Helper()
	g, err := b.Admit(t.Context(), c)
	if err != nil {
		t.Fatalf("Admit(%s %s): %v", c.Method, c.Group, err)
	}
	return g
}

// step is one request of a history and what the book must say to it.
type step struct {
	method   string
	raw      wire.Key
	families []string
	unfolded bool // the policy cannot fold other keys into the group
	outcome  Outcome

	wantMethod string // "" is the same as method
	wantSkip   bool
	wantShared []string
}

func TestMethodOfAFoldedGroup(t *testing.T) {
	const put, post, del = http.MethodPut, http.MethodPost, http.MethodDelete
	f := func(names ...string) []string { return names }
	for name, history := range map[string][]step{
		"the first push of a group replaces": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"the only writer replaces": {
			{method: put, raw: rawA, families: f("x", "y"), outcome: Applied},
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"families of another survive": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("y"), outcome: Applied, wantMethod: post},
			{method: put, raw: rawA, families: f("x"), outcome: Applied, wantMethod: post},
		},
		"who has overwritten every family replaces": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("x", "y"), outcome: Applied, wantMethod: post, wantShared: f("x")},
			{method: put, raw: rawB, families: f("y"), outcome: Applied},
			{method: put, raw: rawA, families: f("x", "y"), outcome: Applied, wantMethod: post, wantShared: f("y")},
		},
		"a POST stays one and shares in order": {
			{method: post, raw: rawA, families: f("x", "y", "z"), outcome: Applied},
			{method: post, raw: rawB, families: f("z", "new", "x"), outcome: Applied, wantShared: f("z", "x")},
		},
		"where nothing folds a PUT replaces": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("x"), unfolded: true, outcome: Applied, wantShared: f("x")},
			{method: put, raw: rawB, families: f("x"), outcome: Applied},
		},
		"an empty PUT empties the group": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawA, outcome: Applied},
			{method: put, raw: rawB, families: f("x"), outcome: Applied},
		},
		"a refused push changes no family": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("x"), outcome: Refused, wantMethod: post, wantShared: f("x")},
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"an untouched upstream changes nothing": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("y"), outcome: Untouched, wantMethod: post},
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"an unknown push makes a shared family nobody's": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("x"), outcome: Unknown, wantMethod: post, wantShared: f("x")},
			{method: put, raw: rawA, families: f("x"), outcome: Applied, wantMethod: post},
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"an unknown PUT of one's own keeps both sets": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawA, families: f("y"), outcome: Unknown},
			{method: post, raw: rawB, families: f("x", "y"), outcome: Untouched, wantShared: f("x", "y")},
			{method: put, raw: rawA, families: f("y"), outcome: Applied},
		},
		"no outcome at all is an unknown one": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("x"), outcome: 0, wantMethod: post, wantShared: f("x")},
			{method: put, raw: rawA, families: f("x"), outcome: Applied, wantMethod: post},
		},
		"the last writer deletes": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("y"), outcome: Applied, wantMethod: post},
			{method: del, raw: rawA, wantSkip: true, outcome: Applied},
			{method: del, raw: rawB, outcome: Applied},
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
		},
		"where nothing folds a DELETE deletes": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: del, raw: rawB, unfolded: true, outcome: Applied},
		},
		"a group nobody knows is deleted": {
			{method: del, raw: rawA, outcome: Applied},
		},
		"after an unknown push of another nobody is the last writer": {
			{method: put, raw: rawA, families: f("x"), outcome: Applied},
			{method: put, raw: rawB, families: f("y"), outcome: Unknown, wantMethod: post},
			{method: del, raw: rawA, outcome: Untouched},
			{method: del, raw: rawB, outcome: Untouched},
		},
		"a refused push makes the first writer, no later one": {
			{method: put, raw: rawA, families: f("x"), outcome: Refused},
			{method: put, raw: rawB, families: f("x"), outcome: Refused},
			{method: del, raw: rawB, wantSkip: true},
			{method: del, raw: rawA, outcome: Applied},
		},
	} {
		t.Run(name, func(t *testing.T) { replay(t, NewBook(Config{}), history) })
	}
}

func replay(t *testing.T, b *Book, history []step) {
	t.Helper()
	for i, s := range history {
		g := admit(t, b, Claim{Group: group1, Raw: s.raw, Method: s.method, Families: s.families, Folds: !s.unfolded})
		if s.wantMethod == "" {
			s.wantMethod = s.method
		}
		if g.Method != s.wantMethod || g.Skip != s.wantSkip || !reflect.DeepEqual(g.Shared, s.wantShared) {
			t.Fatalf("step %d: got %s skip=%v shared=%q, want %s skip=%v shared=%q",
				i, g.Method, g.Skip, g.Shared, s.wantMethod, s.wantSkip, s.wantShared)
		}
		g.Settle(s.outcome)
	}
}

func TestWhetherAGroupExists(t *testing.T) {
	for _, c := range []struct {
		method string
		before bool
		o      Outcome
		want   bool
	}{
		{http.MethodPut, false, Applied, true},
		{http.MethodPost, false, Applied, true},
		{http.MethodPut, false, Refused, true}, // the upstream books a failure
		{http.MethodPut, false, Untouched, false},
		{http.MethodPut, false, Unknown, true},
		{http.MethodPut, true, Untouched, true},
		{http.MethodDelete, true, Applied, false},
		{http.MethodDelete, true, Refused, true},
		{http.MethodDelete, true, Untouched, true},
		{http.MethodDelete, true, Unknown, true},
		{http.MethodDelete, false, Applied, false},
		{http.MethodDelete, false, Unknown, false}, // a DELETE creates nothing
	} {
		b := NewBook(Config{})
		claim := Claim{Group: group1, Raw: group1, Method: http.MethodPut}
		if c.before {
			admit(t, b, claim).Settle(Applied)
		}
		claim.Method = c.method
		g := admit(t, b, claim)
		if b.Has(group1) != c.before {
			t.Errorf("%+v: a grant alone changes the table", c)
		}
		g.Settle(c.o)
		g.Settle(Applied) // only the first counts
		g.Settle(Unknown)
		wantLen := map[bool]int{true: 1}[c.want]
		if b.Has(group1) != c.want || b.Len() != wantLen {
			t.Errorf("%+v: Has = %v, Len = %d", c, b.Has(group1), b.Len())
		}
	}
}

func TestAdmitRefusesOtherMethods(t *testing.T) {
	for _, m := range []string{"", "GET", "put", "PATCH"} {
		b := NewBook(Config{})
		if _, err := b.Admit(t.Context(), Claim{Group: group1, Raw: group1, Method: m}); err == nil {
			t.Errorf("method %q was admitted", m)
		}
		if len(b.groups) != 0 {
			t.Errorf("method %q left an entry", m)
		}
	}
}

func TestTwins(t *testing.T) {
	put := func(k wire.Key) Claim { return Claim{Group: k, Raw: k, Method: http.MethodPut} }
	wantTwin := func(t *testing.T, b *Book, c Claim, twin wire.Key) {
		t.Helper()
		_, err := b.Admit(t.Context(), c)
		var te *TwinError
		if !errors.As(err, &te) {
			t.Fatalf("Admit(%s %s) = %v, want a TwinError", c.Method, c.Group, err)
		}
		if !te.Group.Equal(c.Group) || !te.Twin.Equal(twin) {
			t.Errorf("the error names %s and %s, want %s and %s", te.Group, te.Twin, c.Group, twin)
		}
	}
	for _, pair := range [][2]wire.Key{{group1, twin1}, {twin1, group1}, {key("job", "j", "a", "", "b", "1"), key("job", "j", "b", "1", "c", "")}} {
		first, second := pair[0], pair[1]
		b := NewBook(Config{})
		pending := admit(t, b, put(first))
		wantTwin(t, b, put(second), first) // pending
		pending.Settle(Untouched)
		admit(t, b, put(second)).Settle(Untouched) // gone
		admit(t, b, put(first)).Settle(Refused)
		wantTwin(t, b, put(second), first) // a refused push exists, too
		wantTwin(t, b, Claim{Group: second, Raw: second, Method: http.MethodPost}, first)
		admit(t, b, put(first)).Settle(Applied) // a group is not its own twin
		deleting := admit(t, b, Claim{Group: second, Raw: second, Method: http.MethodDelete})
		deleting.Settle(Applied)
		deleting = admit(t, b, Claim{Group: first, Raw: first, Method: http.MethodDelete})
		wantTwin(t, b, put(second), first) // not deleted yet
		deleting.Settle(Applied)
		admit(t, b, put(second)).Settle(Applied)
		if b.Len() != 1 || len(b.groups) != 1 {
			t.Errorf("%s: %d groups in %d chains", first, b.Len(), len(b.groups))
		}
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(Config{Wait: 5 * time.Second})
		claim := Claim{Group: group1, Raw: group1, Method: http.MethodPut}
		held := admit(t, b, claim)
		start := time.Now()
		if _, err := b.Admit(t.Context(), claim); !errors.Is(err, ErrBusy) || time.Since(start) != 5*time.Second {
			t.Errorf("Admit of a busy group = %v after %v, want ErrBusy after 5s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Admit(ctx, claim); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Admit with an ending context = %v", err)
		}
		if _, err := b.Admit(ctx, Claim{Group: rawA, Raw: rawA, Method: http.MethodPut}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Admit of a free group with an ended context = %v", err)
		}
		start = time.Now()
		admit(t, b, Claim{Group: rawA, Raw: rawA, Method: http.MethodPut}).Settle(Untouched)
		if time.Since(start) != 0 {
			t.Error("another group waited")
		}
		time.AfterFunc(4*time.Second, func() { held.Settle(Untouched) })
		admit(t, b, claim).Settle(Untouched)
		if time.Since(start) != 4*time.Second {
			t.Errorf("the group was given on after %v, want 4s", time.Since(start))
		}
		if len(b.groups) != 0 {
			t.Errorf("%d entries are left", len(b.groups))
		}
	})
}

// TestDeleteAfterAPush lets a DELETE wait for a push that comes to nothing. What
// holds the group then is no push any more, and no twin to anyone.
func TestDeleteAfterAPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(Config{Wait: time.Minute})
		push := admit(t, b, Claim{Group: group1, Raw: group1, Method: http.MethodPut})
		time.AfterFunc(time.Second, func() { push.Settle(Untouched) })
		remove := admit(t, b, Claim{Group: group1, Raw: group1, Method: http.MethodDelete})
		admit(t, b, Claim{Group: twin1, Raw: twin1, Method: http.MethodPut}).Settle(Applied)
		remove.Settle(Applied)
	})
}

func TestVanishingGroupsLeaveNothing(t *testing.T) {
	b := NewBook(Config{Wait: time.Second})
	for i := range 100_000 {
		k := key("job", "j", "run_id", fmt.Sprint(i))
		g := admit(t, b, Claim{Group: k, Raw: k, Method: http.MethodPut, Families: []string{"x"}})
		if i%2 == 0 {
			g.Settle(Untouched)
			continue
		}
		g.Settle(Applied)
		admit(t, b, Claim{Group: k, Raw: k, Method: http.MethodDelete}).Settle(Applied)
	}
	if len(b.groups) != 0 || b.Len() != 0 {
		t.Errorf("%d entries and %d groups are left", len(b.groups), b.Len())
	}
}

func TestMemoryOfAGroup(t *testing.T) {
	const n, limit = 20_000, 700
	families := make([]string, 10)
	for i := range families {
		families[i] = fmt.Sprintf("batch_family_%d", i)
	}
	b := NewBook(Config{})
	path := make([]byte, 4096) // stands for the request the key is a part of
	before := heapAlloc()
	for i := range n {
		whole := fmt.Sprintf("instance-%06d%s", i, path)
		k := key("job", "nightly_load", "instance", whole[:15])
		admit(t, b, Claim{Group: k, Raw: k, Method: http.MethodPut, Families: families}).Settle(Applied)
	}
	per := (heapAlloc() - before) / n
	runtime.KeepAlive(b)
	t.Logf("%d bytes a group", per)
	if per > limit {
		t.Errorf("a group of 10 families costs %d bytes, limit: %d", per, limit)
	}
}

func heapAlloc() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
