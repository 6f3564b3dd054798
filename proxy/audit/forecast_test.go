package audit

import (
	"fmt"
	"slices"
	"testing"
)

// A forecast names so many findings and labels and no more, whether they are found in
// pushes or added from other forecasts. What it names it goes on counting.
func TestForecastNamesAtMost(t *testing.T) {
	for _, tc := range []struct{ found, named int }{
		{maxNames - 1, maxNames - 1},
		{maxNames, maxNames},
		{maxNames + 1, maxNames},
	} {
		t.Run(fmt.Sprint(tc.found), func(t *testing.T) {
			var found, added Forecast
			for i := range tc.found {
				id, label := fmt.Sprintf("id%02d", i), fmt.Sprintf("label%02d", i)
				found.Found(id, 1, label)
				added.Add(Forecast{Findings: map[string]int{id: 1}, Labels: []string{label}})
			}
			for name, f := range map[string]*Forecast{"found": &found, "added": &added} {
				checkNames(t, name, f, tc.named)
			}
		})
	}
}

func checkNames(t *testing.T, name string, f *Forecast, n int) {
	t.Helper()
	if len(f.Findings) != n || len(f.Labels) != n || !slices.IsSorted(f.Labels) {
		t.Errorf("%s: names %d findings and the labels %q, want %d of each", name, len(f.Findings), f.Labels, n)
	}
	last := fmt.Sprintf("id%02d", n-1)
	f.Found(last, 2, fmt.Sprintf("label%02d", n-1))
	if f.Findings[last] != 3 || len(f.Labels) != n {
		t.Errorf("%s: of %s it has %d, and %d labels; want 3 and %d", name, last, f.Findings[last], len(f.Labels), n)
	}
	if _, named := f.Findings[fmt.Sprintf("id%02d", maxNames)]; named {
		t.Errorf("%s: the one beyond the limit took the place of another", name)
	}
}
