package proxy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// TestWhatIsBookedOutlivesTheAnswer looks at what there would be of the ledger if the
// guard was killed with its answer to a push, or to a DELETE.
func TestWhatIsBookedOutlivesTheAnswer(t *testing.T) {
	// On one processor nobody writes while a push is answered but who answers it.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, sync := range []state.Sync{state.SyncInterval, state.SyncAlways} {
		t.Run(sync.String(), func(t *testing.T) {
			path := t.TempDir()
			dir := must(state.Open(t.Context(), path, state.Options{Sync: sync}))
			defer dir.Close()
			book, _, err := ledger.Open(dir, ledger.Config{Wait: time.Minute, Secret: bookSecret})
			if err != nil {
				t.Fatal(err)
			}
			g := must(New(Config{
				Policy: must(policy.Parse("test", []byte(permitAll))), Upstream: taker{}, Metrics: NewMetrics(prometheus.NewRegistry()), Book: book,
				Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
			}))
			for i := range 20 {
				group := wire.NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: "run", Value: fmt.Sprint(i)})
				for _, method := range []string{http.MethodPut, http.MethodDelete} {
					a := g.Push(t.Context(), Request{Method: method, Path: fmt.Sprintf("/metrics/job/j/run/%d", i), Body: strings.NewReader("m 1\n"), Length: 4})
					there, err := os.ReadFile(filepath.Join(path, "ledger.1.log"))
					if err != nil || a.Status/100 != 2 {
						t.Fatal(a.Status, string(a.Body), err)
					}
					if has := bookOf(t, there).Has(group); has != (method == http.MethodPut) {
						t.Errorf("after the answer to the %s of group %d it is there: %t", method, i, has)
					}
				}
			}
		})
	}
}

var bookSecret = [16]byte{1}

// bookOf opens a book whose log has come so far.
func bookOf(t *testing.T, log []byte) *ledger.Book {
	t.Helper()
	path := t.TempDir()
	dir := must(state.Open(t.Context(), path, state.Options{}))
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "ledger.1.log"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	dir = must(state.Open(t.Context(), path, state.Options{}))
	defer dir.Close()
	book, _, err := ledger.Open(dir, ledger.Config{Secret: bookSecret})
	if err != nil {
		t.Fatal(err)
	}
	return book
}
