package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/store"
)

// TestTotalsLeaveWithTheirPolicy has counters added up until a policy says otherwise:
// what the job pushes then is what a scrape sees, once the totals are left behind. Those
// of a job that is still enforced stay, however long nobody adds to them.
func TestTotalsLeaveWithTheirPolicy(t *testing.T) {
	for name, after := range map[string]string{
		"back to report": "version: v1\ndefault: {mode: report}\njobs: [{job: other, mode: enforce}]\n",
		"as a snapshot":  "version: v1\ndefault: {mode: enforce, counters: {route: snapshot}}\njobs: [{job: other, counters: {route: totals}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_800_000_000, 0)
			clock := func() time.Time { return now }
			kept, err := store.Open(store.Config{Now: clock})
			if err != nil {
				t.Fatal(err)
			}
			parse := func(text string) *policy.Policy {
				p, err := policy.Parse("policy.yml", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			g, err := New(Config{
				Policy: parse("version: v1\ndefault: {mode: enforce}\n"), Upstream: kept, Now: clock, Restored: true,
				Metrics: NewMetrics(prometheus.NewRegistry()), Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 100, Labels: 20, LabelValue: 100},
				GroupWait: time.Minute, Counters: counter.NewBook(counter.Config{Now: clock}), Totals: counter.NewTotals(counter.TotalsConfig{Now: clock}),
			})
			if err != nil {
				t.Fatal(err)
			}
			face := g.Handler()
			send := func(method, path, body string) string {
				w := httptest.NewRecorder()
				face.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
				if w.Code != http.StatusOK {
					t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
				}
				return w.Body.String()
			}
			for _, job := range []string{"load", "other"} {
				send(http.MethodPost, "/metrics/job/"+job, "rows_total 9\n"+job+"_total 9\n")
			}
			g.SetPolicy(parse(after))
			now = now.Add(leftBehind + time.Second)
			g.Sweep(t.Context())
			send(http.MethodPost, "/metrics/job/other", "rows_total 1\n")
			send(http.MethodPost, "/metrics/job/load", "load_total 11\n")
			now = now.Add(time.Hour)
			g.Sweep(t.Context())
			page := send(http.MethodGet, "/metrics", "")
			for _, line := range []string{
				`load_total{instance="",job="load"} 11`, `rows_total{instance="",job="other"} 10`, `other_total{instance="",job="other"} 9`,
			} {
				if !strings.Contains(page, "\n"+line+"\n") {
					t.Errorf("%s is not on the page:\n%s", line, page)
				}
			}
			if strings.Contains(page, `rows_total{instance="",job="load"} 9`) {
				t.Errorf("a total stays to which nobody adds:\n%s", page)
			}
		})
	}
}
