// Package faults proves from outside what docs/guarantees.md promises under fault: the
// real binary, with its surroundings broken on purpose. Where a promise holds for the
// state of a process, the test waits for it; nothing here is a matter of speed.
package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// rows is a body of n series.
func rows(n int) string {
	var b strings.Builder
	b.WriteString("# TYPE rows gauge\n")
	for i := range n {
		fmt.Fprintf(&b, "rows{t=\"%d\"} 1\n", i)
	}
	return b.String()
}

func mustPush(t *testing.T, p *world.Process, path, body string) {
	t.Helper()
	if a := p.Push(t, path, body); a.Status != http.StatusOK {
		t.Fatalf("push to %s: %d %s", path, a.Status, a.Body)
	}
}

// own is a value of the guard's own metrics; the series has to be there.
func own(t *testing.T, guard *world.Process, series string) float64 {
	t.Helper()
	value, found := ownOrNone(t, guard, series)
	if !found {
		t.Fatalf("the guard's metrics lack %s", series)
	}
	return value
}

func ownOrNone(t *testing.T, guard *world.Process, series string) (float64, bool) {
	t.Helper()
	for line := range strings.Lines(guard.Get(t, "/guard/metrics").Body) {
		if rest, found := strings.CutPrefix(line, series+" "); found {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatalf("%s: %v", series, err)
			}
			return value, true
		}
	}
	return 0, false
}

// awaitOwn waits until a series of the guard's own metrics is as wanted.
func awaitOwn(t *testing.T, guard *world.Process, series string, want float64) {
	t.Helper()
	world.Eventually(t, func() error {
		if got, found := ownOrNone(t, guard, series); !found || got != want {
			return fmt.Errorf("%s is %v (%v), want %v", series, got, found, want)
		}
		return nil
	})
}

// held is how many series the guard's ledger has of a job.
func held(t *testing.T, guard *world.Process, job string) int {
	t.Helper()
	a := guard.Get(t, "/guard/api/v1/jobs/"+job)
	if a.Status == http.StatusNotFound {
		return 0
	}
	var answer struct{ Data struct{ Held int } }
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || a.Status != http.StatusOK {
		t.Fatalf("what %s holds: %d %s", job, a.Status, a.Body)
	}
	return answer.Data.Held
}

// stands is how many series of a job a page has.
func stands(page world.Samples, job string) int {
	n, label := 0, fmt.Sprintf("job=%q", job)
	for id := range page {
		if strings.Contains(id, label) {
			n++
		}
	}
	return n
}
