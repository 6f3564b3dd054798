package ledger

import "testing"

// TestLargeClaims has claims trimmed, given up and applied whose drafts keep no memory,
// and others just below them.
func TestLargeClaims(t *testing.T) {
	for _, n := range []int{keptWords - 1, keptWords, keptWords + 1, 2 * keptWords} {
		b := newHand().book()
		held := func(want int) {
			t.Helper()
			if got := b.Held("j"); got != want {
				t.Errorf("%d series held, want %d", got, want)
			}
		}
		const half = keptWords / 2
		c := nth(0, n, Budget{Series: half + 2}) // and the two that every group has
		c.OverBudget = Trim
		g := admit(t, b, c)
		if len(g.Trimmed) != n-half {
			t.Errorf("%d of %d trimmed, want %d", len(g.Trimmed), n, n-half)
		}
		g.Settle(Applied)
		held(half + 2)
		for _, outcome := range []Outcome{Untouched, Applied, Applied} {
			g := admit(t, b, nth(0, n, Budget{}))
			if held(n + 2); len(g.Trimmed) > 0 {
				t.Errorf("%d of %d trimmed without a budget", len(g.Trimmed), n)
			}
			if g.Settle(outcome); outcome == Untouched {
				held(half + 2)
			} else {
				held(n + 2)
			}
		}
	}
}
