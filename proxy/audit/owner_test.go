package audit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestByOwner(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)
	var outlooks Outlooks
	for _, r := range []Record{
		{Governed: "b", Owner: "web", Time: at.Add(3 * time.Hour), Forecast: &Forecast{Since: at.Add(time.Hour), Pushes: 3, Passed: 1, Changed: 1, Refused: 1, Series: 9, Enforced: 4}},
		{Governed: "nobody's", Time: at, Forecast: &Forecast{Since: at, Pushes: 1, Refused: 1, Series: 5}},
		{Governed: "c", Owner: "web", Time: at.Add(time.Hour), Forecast: &Forecast{Since: at, Pushes: 2, Passed: 2, Series: 1, Enforced: 1}},
		{Governed: "a", Owner: "data", Time: at, Forecast: &Forecast{Since: at, Pushes: 7, Passed: 7, Series: 2, Enforced: 2}},
	} {
		r.Outcome = OutcomeForecast
		outlooks.Add(&r)
	}
	want := []OwnerOutlook{
		{Owner: "", Jobs: 1, Since: at, Until: at, Pushes: 1, Refused: 1, Series: 5},
		{Owner: "data", Jobs: 1, SafeJobs: 1, Since: at, Until: at, Pushes: 7, Passed: 7, Series: 2, Enforced: 2},
		{Owner: "web", Jobs: 2, SafeJobs: 1, Since: at, Until: at.Add(3 * time.Hour), Pushes: 5, Passed: 3, Changed: 1, Refused: 1, Series: 10, Enforced: 5},
	}
	if diff := cmp.Diff(want, ByOwner(outlooks.All())); diff != "" {
		t.Error(diff)
	}
	if got := ByOwner(nil); got != nil {
		t.Errorf("of no job: %v", got)
	}
}
