package ledger

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// model is the ledger in plain maps. "?" is a writer that is not known.
type model map[int]*modelGroup

type modelGroup struct {
	exists   bool
	last     string
	families map[string]string
	pending  *pendingGrant
}

type pendingGrant struct {
	grant    *Grant
	raw      string
	families []string
}

func or(a, b string) string {
	if a == b {
		return a
	}
	return "?"
}

func (m *modelGroup) settle(o Outcome) {
	p := m.pending
	m.pending = nil
	method := p.grant.Method
	if p.grant.Skip || o == Untouched || (method == http.MethodDelete && o != Applied) {
		return
	}
	if method == http.MethodDelete || (method == http.MethodPut && o == Applied) {
		m.families = map[string]string{}
	}
	if method == http.MethodDelete {
		m.exists, m.last = false, ""
		return
	}
	if !m.exists {
		m.last = p.raw
	}
	m.exists = true
	if o == Refused {
		return
	}
	if m.last = or(m.last, p.raw); o == Applied {
		m.last = p.raw
	}
	for _, f := range p.families {
		before, held := m.families[f]
		m.families[f] = p.raw
		if held && o == Unknown {
			m.families[f] = or(before, p.raw)
		}
	}
}

// The groups of the model: 0 and 1 are twins, so are 2, 3 and 4; 5 has none.
var (
	modelKeys = []wire.Key{
		key("job", "a"), key("job", "a", "instance", ""),
		key("job", "b", "x", "1"), key("job", "b", "x", "1", "y", ""), key("instance", "", "job", "b", "x", "1"),
		key("job", "c"),
	}
	modelClass = []int{0, 0, 1, 1, 1, 2}
)

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, m := NewBook(Config{}), model{}
		for i := range modelKeys {
			m[i] = &modelGroup{families: map[string]string{}}
		}
		group := rapid.IntRange(0, len(modelKeys)-1)
		families := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"f", "g", "h"}), rapid.ID[string])
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				i, raw := group.Draw(t, "group"), rapid.SampledFrom([]string{"r", "s"}).Draw(t, "raw")
				c := Claim{
					Group: modelKeys[i], Raw: key("job", raw), Families: families.Draw(t, "families"),
					Method: rapid.SampledFrom([]string{http.MethodPut, http.MethodPost, http.MethodDelete}).Draw(t, "method"),
					Folds:  rapid.Bool().Draw(t, "folds"),
				}
				g, err := b.Admit(context.Background(), c)
				m.checkAdmit(t, i, raw, c, g, err)
			},
			"settle": func(t *rapid.T) {
				g := m[group.Draw(t, "group")]
				if g.pending == nil {
					t.Skip()
				}
				o := rapid.SampledFrom([]Outcome{Applied, Refused, Untouched, Unknown}).Draw(t, "outcome")
				g.pending.grant.Settle(o)
				g.settle(o)
			},
			"load": func(t *rapid.T) {
				listing := map[int][]string{}
				var groups []Group
				for i, k := range modelKeys {
					if rapid.Bool().Draw(t, "listed") {
						listing[i] = families.Draw(t, "families")
						groups = append(groups, Group{Key: k, Families: named(listing[i]...)})
					}
				}
				if err := b.loadAll(func() ([]Group, error) { return groups, nil }); err != nil {
					t.Fatal(err)
				}
				m.load(listing)
			},
			"wipe": func(*rapid.T) {
				b.Wipe()
				for _, g := range m {
					g.exists, g.last, g.families = false, "", map[string]string{}
				}
			},
			"": func(t *rapid.T) { m.checkGroups(t, b) },
		})
	})
}

func (m model) load(listing map[int][]string) {
	for i, g := range m {
		families, listed := listing[i]
		if !listed && g.pending == nil {
			g.exists, g.last, g.families = false, "", map[string]string{}
		}
		if !listed {
			continue
		}
		if !g.exists {
			g.exists, g.last = true, "?"
		}
		for f := range g.families {
			if !slices.Contains(families, f) {
				delete(g.families, f)
			}
		}
		for _, f := range families {
			if _, held := g.families[f]; !held {
				g.families[f] = "?"
			}
		}
	}
}

func (m model) checkAdmit(t *rapid.T, i int, raw string, c Claim, g *Grant, err error) {
	self := m[i]
	twins := false
	for j, other := range m {
		pushing := other.pending != nil && other.pending.grant.Method != http.MethodDelete
		twins = twins || j != i && modelClass[j] == modelClass[i] && (other.exists || pushing)
	}
	var te *TwinError
	switch {
	case self.pending != nil:
		if !errors.Is(err, ErrBusy) {
			t.Fatalf("Admit of a group that is taken = %v", err)
		}
		return
	case twins && c.Method != http.MethodDelete:
		if !errors.As(err, &te) {
			t.Fatalf("Admit of a twin = %v", err)
		}
		return
	case err != nil:
		t.Fatalf("Admit = %v", err)
	}
	self.pending = &pendingGrant{grant: g, raw: raw, families: c.Families}
	method, skip, shared := c.Method, false, []string(nil)
	for _, w := range self.families {
		if c.Method == http.MethodPut && c.Folds && w != raw {
			method = http.MethodPost
		}
	}
	if c.Method == http.MethodDelete {
		skip = c.Folds && self.exists && self.last != "?" && self.last != raw
	} else {
		for _, f := range c.Families {
			if w, held := self.families[f]; held && w != "?" && w != raw {
				shared = append(shared, f)
			}
		}
	}
	if g.Method != method || g.Skip != skip || !slices.Equal(g.Shared, shared) {
		t.Fatalf("got %s %v %q, want %s %v %q", g.Method, g.Skip, g.Shared, method, skip, shared)
	}
}

func (m model) checkGroups(t *rapid.T, b *Book) {
	n := 0
	for i, g := range m {
		if b.Has(modelKeys[i]) != g.exists {
			t.Fatalf("Has(%s) = %v, want %v", modelKeys[i], !g.exists, g.exists)
		}
		if g.exists {
			n++
		}
	}
	if b.Len() != n {
		t.Fatalf("Len = %d, want %d", b.Len(), n)
	}
}
