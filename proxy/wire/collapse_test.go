package wire

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"
)

func TestUnmix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := rapid.Uint64().Draw(t, "hash")
		if got := unmix(mix(h)); got != h {
			t.Fatalf("unmix(mix(%x)) = %x", h, got)
		}
	})
}

// TestReprint replaces values in the fingerprint, and in the labels.
func TestReprint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-f]{1,2}`), 1, 5, rapid.ID[string]).Draw(t, "names")
		var ls []labels.Label
		for _, n := range names {
			ls = append(ls, labels.Label{Name: n, Value: rapid.SampledFrom([]string{"1", "2", Other}).Draw(t, "value")})
		}
		seed := rapid.Uint64().Draw(t, "seed")
		fingerprint, values := Print(seed, Key{}, ls, nil)
		collapsed := slices.Clone(ls)
		for i := range ls {
			if rapid.Bool().Draw(t, "collapse") {
				other := PrintOther(seed, ls[i].Name)
				fingerprint = Reprint(fingerprint, values[i], other)
				collapsed[i].Value, values[i] = Other, other
			}
		}
		want, wantValues := Print(seed, Key{}, collapsed, nil)
		if fingerprint != want || !slices.Equal(values, wantValues) {
			t.Fatalf("%v: %x %v, want %x %v", collapsed, fingerprint, values, want, wantValues)
		}
	})
}
