package ledger

import (
	"errors"
	"net/http"
	"testing"

	"github.com/pushguard/pushguard/proxy/wire"
)

func named(names ...string) []wire.FamilyPrint {
	var out []wire.FamilyPrint
	for _, n := range names {
		out = append(out, wire.FamilyPrint{Name: n})
	}
	return out
}

// loadAll is Load of a listing that tells of all groups.
func (b *Book) loadAll(read func() ([]Group, error)) error {
	return b.Load(func() ([]Group, func(wire.Key) bool, error) {
		groups, err := read()
		return groups, nil, err
	})
}

func load(t *testing.T, b *Book, groups ...Group) {
	t.Helper()
	if err := b.loadAll(func() ([]Group, error) { return groups, nil }); err != nil {
		t.Fatal(err)
	}
}

func TestLoadKeepsWriters(t *testing.T) {
	b := NewBook(Config{})
	replay(t, b, []step{{method: http.MethodPut, raw: rawA, families: []string{"x", "gone"}, outcome: Applied}})
	load(t, b, Group{Key: group1, Families: named("x")})
	replay(t, b, []step{
		{method: http.MethodDelete, raw: rawB, wantSkip: true},
		{method: http.MethodPut, raw: rawA, families: []string{"x"}, outcome: Untouched},
	})
	load(t, b, Group{Key: group1, Families: named("x", "strange")})
	replay(t, b, []step{{method: http.MethodPut, raw: rawA, families: []string{"x"}, outcome: Untouched, wantMethod: http.MethodPost}})
}

func TestLoadedFamiliesAreNobodys(t *testing.T) {
	b := NewBook(Config{})
	load(t, b, Group{Key: group1, Families: named("x", "y")})
	replay(t, b, []step{
		{method: http.MethodDelete, raw: rawA, outcome: Untouched}, // nobody knows the last writer
		{method: http.MethodPut, raw: rawA, families: []string{"x"}, unfolded: true, outcome: Untouched},
		{method: http.MethodPut, raw: rawA, families: []string{"x"}, outcome: Applied, wantMethod: http.MethodPost},
		{method: http.MethodPut, raw: rawA, families: []string{"x", "y"}, outcome: Applied, wantMethod: http.MethodPost},
		{method: http.MethodPut, raw: rawA, families: []string{"x"}, outcome: Applied},
	})
}

func TestLoadForgetsWhatIsNotListed(t *testing.T) {
	b := NewBook(Config{})
	load(t, b, Group{Key: group1}, Group{Key: twin1}, Group{Key: rawA})
	if b.Len() != 3 {
		t.Fatalf("Len = %d, want 3: twins that exist are known", b.Len())
	}
	load(t, b, Group{Key: twin1})
	if b.Has(group1) || !b.Has(twin1) || b.Has(rawA) || b.Len() != 1 || len(b.groups) != 1 {
		t.Errorf("after the second listing: %d groups", b.Len())
	}
}

func TestLoadFailing(t *testing.T) {
	b := NewBook(Config{})
	load(t, b, Group{Key: group1})
	broken := errors.New("broken")
	if err := b.loadAll(func() ([]Group, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("Load = %v", err)
	}
	if !b.Has(group1) {
		t.Error("a listing that failed emptied the table")
	}
}

// TestLoadIsOlderThanTheBook reads a listing and lets requests be settled
// before the book gets it.
func TestLoadIsOlderThanTheBook(t *testing.T) {
	request := func(t *testing.T, b *Book, method string, k wire.Key, families ...string) *Grant {
		return admit(t, b, Claim{Group: k, Raw: k, Method: method, Families: families, Folds: true})
	}
	for name, c := range map[string]struct {
		before, meanwhile func(*testing.T, *Book)
		listing           []Group
		want              bool
		wantPut           string // what a PUT by group1 itself becomes; "" is not asked
	}{
		"a new group is kept": {
			meanwhile: func(t *testing.T, b *Book) { request(t, b, http.MethodPut, group1, "x").Settle(Applied) },
			want:      true, wantPut: http.MethodPut,
		},
		"a deleted group does not come back": {
			before:    func(t *testing.T, b *Book) { request(t, b, http.MethodPut, group1, "x").Settle(Applied) },
			meanwhile: func(t *testing.T, b *Book) { request(t, b, http.MethodDelete, group1).Settle(Applied) },
			listing:   []Group{{Key: group1, Families: named("x")}},
		},
		"a replaced family does not come back": {
			meanwhile: func(t *testing.T, b *Book) { request(t, b, http.MethodPut, group1, "x").Settle(Applied) },
			listing:   []Group{{Key: group1, Families: named("y")}},
			want:      true, wantPut: http.MethodPut,
		},
		"nor does it after one push more": {
			meanwhile: func(t *testing.T, b *Book) {
				request(t, b, http.MethodPut, group1, "x").Settle(Applied)
				request(t, b, http.MethodPost, group1, "x").Settle(Refused)
			},
			listing: []Group{{Key: group1, Families: named("y")}},
			want:    true, wantPut: http.MethodPut,
		},
		"a POST learns of the families beside its own": {
			meanwhile: func(t *testing.T, b *Book) { request(t, b, http.MethodPost, group1, "x").Settle(Applied) },
			listing:   []Group{{Key: group1, Families: named("y")}},
			want:      true, wantPut: http.MethodPost,
		},
		"an untouched group is as listed": {
			before:    func(t *testing.T, b *Book) { request(t, b, http.MethodPut, group1, "x").Settle(Applied) },
			meanwhile: func(t *testing.T, b *Book) { request(t, b, http.MethodPut, group1, "x").Settle(Untouched) },
		},
		"a wipe makes the listing void": {
			meanwhile: func(_ *testing.T, b *Book) { b.Wipe() },
			listing:   []Group{{Key: group1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBook(Config{})
			if c.before != nil {
				c.before(t, b)
			}
			err := b.loadAll(func() ([]Group, error) { c.meanwhile(t, b); return c.listing, nil })
			if err != nil || b.Has(group1) != c.want {
				t.Errorf("Load = %v, Has = %v, want %v", err, b.Has(group1), c.want)
			}
			if c.wantPut != "" {
				g := request(t, b, http.MethodPut, group1, "x")
				g.Settle(Untouched)
				if g.Method != c.wantPut {
					t.Errorf("a PUT becomes %s, want %s", g.Method, c.wantPut)
				}
			}
		})
	}
}

func TestLoadDuringAPush(t *testing.T) {
	claim := Claim{Group: group1, Raw: rawA, Method: http.MethodPost, Families: []string{"x"}, Folds: true}
	again := []step{{method: http.MethodPut, raw: rawA, families: []string{"x"}, outcome: Untouched, wantMethod: http.MethodPost}}
	t.Run("listed", func(t *testing.T) {
		b := NewBook(Config{})
		pending := admit(t, b, claim)
		load(t, b, Group{Key: group1, Families: named("y")})
		pending.Settle(Applied)
		replay(t, b, again) // y is another's
	})
	t.Run("not listed", func(t *testing.T) {
		b := NewBook(Config{})
		load(t, b, Group{Key: group1, Families: named("y")})
		pending := admit(t, b, claim)
		load(t, b)
		if !b.Has(group1) {
			t.Error("a group that is taken was forgotten")
		}
		pending.Settle(Applied)
		replay(t, b, again)
	})
}

func TestWipe(t *testing.T) {
	b := NewBook(Config{})
	load(t, b, Group{Key: group1}, Group{Key: twin1}, Group{Key: rawB})
	pending := admit(t, b, Claim{Group: rawB, Raw: rawB, Method: http.MethodPut})
	b.Wipe()
	if b.Len() != 0 || len(b.groups) != 1 {
		t.Errorf("after Wipe: %d groups, %d entries", b.Len(), len(b.groups))
	}
	if _, err := b.Admit(t.Context(), Claim{Group: rawB, Raw: rawB, Method: http.MethodPut}); !errors.Is(err, ErrBusy) {
		t.Errorf("Wipe freed a group that is taken: %v", err)
	}
	pending.Settle(Applied)
	if !b.Has(rawB) || b.Len() != 1 {
		t.Error("a push settled after Wipe is not booked")
	}
}

// TestLoad has a listing that says nothing of some groups: they stay as they are,
// whether it lists them or not, and what it knows counts.
func TestLoad(t *testing.T) {
	for _, tc := range []struct {
		name    string
		listed  []Group
		unknown func(wire.Key) bool
		err     error
		want    map[string]bool // by group, whether it is there
		series  int
	}{
		{"of nothing", nil, nil, nil, map[string]bool{}, 0},
		{"of one that is known", []Group{{Key: group1, Families: named("x")}}, nil, nil, map[string]bool{group1.ID(): true}, 2},
		{"one that it does not list", nil, group1.Equal, nil, map[string]bool{group1.ID(): true}, 2},
		{"one that it lists with less", []Group{{Key: group1}}, group1.Equal, nil, map[string]bool{group1.ID(): true}, 2},
		{"a new one", []Group{{Key: rawB}}, rawB.Equal, nil, map[string]bool{}, 0},
		{"all", []Group{{Key: rawB}}, func(wire.Key) bool { return true }, nil, map[string]bool{group1.ID(): true, rawA.ID(): true}, 4},
		{"an error", nil, nil, errors.New("broken"), map[string]bool{group1.ID(): true, rawA.ID(): true}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBook(Config{})
			load(t, b, Group{Key: group1, Families: named("x")}, Group{Key: rawA, Families: named("x")})
			err := b.Load(func() ([]Group, func(wire.Key) bool, error) { return tc.listed, tc.unknown, tc.err })
			if !errors.Is(err, tc.err) {
				t.Errorf("Load: %v, want %v", err, tc.err)
			}
			for _, k := range []wire.Key{group1, rawA, rawB} {
				if got := b.Has(k); got != tc.want[k.ID()] {
					t.Errorf("that %s is there is %v", k, got)
				}
			}
			if b.Len() != len(tc.want) || b.Series() != tc.series {
				t.Errorf("%d groups of %d series, want %d of %d", b.Len(), b.Series(), len(tc.want), tc.series)
			}
		})
	}
}
