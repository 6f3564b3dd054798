package counter

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestForesight: what is foreseen of claims is what they are answered, and claims
// nothing.
func TestForesight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"x", "x_total", "x_count", "x_created", "y", "y_sum", "z"})
		kind := rapid.SampledFrom([]Kind{Counter, Histogram, Summary})
		most := rapid.IntRange(1, 5).Draw(t, "room")
		asked, claimed := NewTotals(TotalsConfig{Series: most}), NewTotals(TotalsConfig{Series: most})
		for range rapid.IntRange(0, 3).Draw(t, "before") {
			n, k := name.Draw(t, "family"), kind.Draw(t, "kind")
			for _, totals := range []*Totals{asked, claimed} {
				_ = totals.Claim(n, k)
			}
		}
		before := fmt.Sprint(asked.names)
		f := asked.Foresee()
		for range rapid.IntRange(1, 6).Draw(t, "claims") {
			n, k := name.Draw(t, "family"), kind.Draw(t, "kind")
			if got, want := fmt.Sprint(f.Claim(n, k)), fmt.Sprint(claimed.Claim(n, k)); got != want {
				t.Fatalf("%s as %v: foreseen %q, claimed %q", n, k, got, want)
			}
			if n = name.Draw(t, "name"); f.Holds(n) != claimed.Holds(n) {
				t.Fatalf("%s: held %t, foreseen %t", n, claimed.Holds(n), f.Holds(n))
			}
		}
		if after := fmt.Sprint(asked.names); after != before {
			t.Fatalf("claimed %s, before %s", after, before)
		}
	})
}
