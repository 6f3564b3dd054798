package ledger

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSorting: a claim that was sorted before is decided as one that was not, whatever
// the book held, trimmed and collapsed since, and whichever book had sorted it.
func TestSorting(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	books := [2]*Book{NewBook(Config{Secret: [16]byte{1}}), NewBook(Config{Secret: [16]byte{1}})}
	other := NewBook(Config{Secret: [16]byte{2}})
	claims := make([]Claim, 12)
	for i := range claims {
		claims[i] = shape{1 + r.IntN(5), 1 + r.IntN(8)}.claim(i % 3)
		r.Shuffle(len(claims[i].Metrics), func(a, b int) {
			m := claims[i].Metrics
			m[a], m[b] = m[b], m[a]
		})
	}
	sortings := make([]Sorting, len(claims))
	elsewhere := func(i int) {
		c := claims[i]
		c.Budget, c.Sorting = Budget{}, &sortings[i]
		admit(t, other, c).Settle(Applied)
	}
	for i := range claims[:len(claims)/2] {
		elsewhere(i)
	}
	trimmed := 0
	for n := range 2000 {
		i := r.IntN(len(claims))
		c := claims[i]
		c.Method = []string{http.MethodPut, http.MethodPost}[r.IntN(2)]
		c.Budget = Budget{Series: 5 + r.IntN(60)}
		c.OverBudget = []OverBudget{Trim, Collapse, Reject}[r.IntN(3)]
		if c.OverBudget == Collapse {
			c.Others = map[uint64]uint64{c.Values[0][0].Label: 99}
		}
		var got [2]string
		outcome := Outcome(1 + r.IntN(4))
		for j, b := range books {
			if j == 1 {
				c.Sorting = &sortings[i]
			}
			g, err := b.Admit(t.Context(), c)
			if got[j] = fmt.Sprint(err); err == nil {
				got[j] = fmt.Sprintf("%+v", g.Ruling)
				trimmed += len(g.Trimmed)
				g.Settle(outcome)
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Fatalf("claim %d of shape %d: %s", n, i, diff)
		}
		if r.IntN(4) == 0 {
			elsewhere(i)
		}
	}
	if a, b := books[0].jobs["nightly_load"], books[1].jobs["nightly_load"]; trimmed == 0 || a.series != b.series {
		t.Errorf("%d metrics were trimmed, the books hold %d and %d series", trimmed, a.series, b.series)
	}
}
