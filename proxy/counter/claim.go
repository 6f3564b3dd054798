package counter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrFull says that there is no room for the totals of one more family.
var ErrFull = errors.New("the totals are full")

// ConflictError is a family that cannot be of totals, as another one is exposed
// under its name.
type ConflictError struct {
	Family string
	Kind   Kind // that was wanted
	// Holder is the family that has the name, of kind Held. It need not be Family: a
	// histogram x has x_count.
	Holder string
	Held   Kind
}

// Error names both families and kinds.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("the %s %.100q has a name of the %s %.100q, which is added up already", e.Kind, e.Family, e.Held, e.Holder)
}

// Claim makes a family one of totals, of that kind, until Release and for as long
// as it has any totals then; see Expire. It is called before a push is forwarded,
// for each family of its outputs. The error is a *ConflictError or ErrFull, and
// nothing is to be released.
func (t *Totals) Claim(name string, kind Kind) error {
	if t.shared != nil {
		return t.shared.claim(name, kind)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := t.claim(name, kind)
	if err == nil {
		f.claims++
	}
	return err
}

// Release ends a Claim, once its push was added or is known to count nothing. A
// family to which nothing was ever added is anybody's again.
func (t *Totals) Release(name string, kind Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.families[name]
	if t.shared != nil || f == nil || f.kind != kind || f.claims == 0 {
		return
	}
	if f.claims--; f.claims == 0 && len(f.totals) == 0 {
		t.release(f)
	}
}

// Holds reports whether a name is that of a family of totals, or of its samples: a
// histogram x has x_count.
func (t *Totals) Holds(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.holder(name)
	return ok && h.has(name)
}

// has reports whether a name is the family's own or one of its samples', in the text
// format.
func (h holder) has(name string) bool { return slices.Contains(h.kind.Names(h.family), name) }

// Names are those of a family of this kind and of its samples, in the text format.
func (k Kind) Names(family string) []string {
	switch k {
	case Histogram:
		return []string{family, family + "_bucket", family + "_count", family + "_sum"}
	case Summary:
		return []string{family, family + "_count", family + "_sum"}
	default:
		return []string{family}
	}
}

func (t *Totals) claim(name string, kind Kind) (*family, error) {
	known, err := t.claimable(name, kind, 0, t.holder)
	switch {
	case err != nil:
		return nil, err
	case known:
		return t.families[name], nil
	default:
		return t.hold(name, kind), nil
	}
}

// claimable says why a family cannot be one of totals, and whether it is one. There are
// as many families more than known, and of says who has a name.
func (t *Totals) claimable(name string, kind Kind, more int, of func(name string) (holder, bool)) (known bool, err error) {
	if f := t.families[name]; f != nil && f.kind == kind {
		return true, nil
	}
	for _, n := range exposed(name, kind) {
		if h, taken := of(n); taken {
			return false, &ConflictError{Family: name, Kind: kind, Holder: h.family, Held: h.kind}
		}
	}
	// Each family may need one total more than there is room for.
	if t.count >= t.limit() || len(t.families)+more >= t.cfg.Series {
		return false, ErrFull
	}
	return false, nil
}

// holder is the family of totals that has a name.
func (t *Totals) holder(name string) (holder, bool) {
	f := t.names[name]
	if f == nil {
		return holder{}, false
	}
	return holder{f.name, f.kind}, true
}

// hold makes a family one of totals.
func (t *Totals) hold(name string, kind Kind) *family {
	f := &family{name: strings.Clone(name), kind: kind, totals: map[string]*total{}}
	t.families[f.name] = f
	for _, n := range exposed(f.name, kind) {
		t.names[n] = f
	}
	return f
}

// exposed are the names that a family takes: its own and its samples' in all
// formats. In OpenMetrics the counters x and x_total are one.
func exposed(name string, kind Kind) []string {
	switch kind {
	case Counter:
		base := strings.TrimSuffix(name, "_total")
		return []string{base, base + "_total", base + "_created"}
	case Histogram:
		return []string{name, name + "_bucket", name + "_count", name + "_sum", name + "_created"}
	default:
		return []string{name, name + "_count", name + "_sum", name + "_created"}
	}
}
