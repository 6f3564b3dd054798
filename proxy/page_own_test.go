package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/store"
)

// asOpenMetrics has a guard with each end take requests of a client that takes nothing but
// OpenMetrics. Counters of the job b stay a snapshot.
func asOpenMetrics(t *testing.T, test func(t *testing.T, embedded bool, do func(method, path, body string) string)) {
	t.Helper()
	p, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce}\njobs: [{job: b, counters: {route: snapshot}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	behind := gatewaytest.Start(t)
	upstream, err := gateway.New(gateway.Config{URL: behind, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]Upstream{"embedded": own, "a Pushgateway": upstream} {
		g, err := New(Config{
			Policy: p, Upstream: at, Metrics: NewMetrics(prometheus.NewRegistry()), GroupWait: time.Minute,
			Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			test(t, at == own, func(method, path, body string) string {
				t.Helper()
				w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, strings.NewReader(body))
				r.Header.Set("Accept", "application/openmetrics-text")
				g.Handler().ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					t.Fatal(w.Code, w.Body)
				}
				return w.Body.String()
			})
		})
	}
}

// TestOpenMetricsOfParts: histograms of counts that are not whole are none to
// OpenMetrics. Their samples are on the page all the same, be they totals or a snapshot.
func TestOpenMetricsOfParts(t *testing.T) {
	asOpenMetrics(t, func(t *testing.T, embedded bool, do func(method, path, body string) string) {
		want := []string{"whole_count{instance=\"\",job=\"a\"} 2\n", "# EOF\n"}
		do(http.MethodPost, "/metrics/job/a", "# TYPE whole histogram\nwhole_bucket{le=\"+Inf\"} 2\nwhole_sum 3\nwhole_count 2\n")
		for job, metric := range map[string]string{"a": "added", "b": "kept"} {
			if job == "b" && !embedded {
				continue // a Pushgateway truncates the counts of text
			}
			do(http.MethodPost, "/metrics/job/"+job, strings.ReplaceAll("# TYPE x histogram\nx_bucket{le=\"2\"} 1.5\nx_bucket{le=\"+Inf\"} 2.5\nx_sum 3\nx_count 2.5\n", "x", metric))
			for _, sample := range []string{"_bucket{instance=\"\",job=%,le=\"2.0\"} 1.5\n", "_bucket{instance=\"\",job=%,le=\"+Inf\"} 2.5\n", "_sum{instance=\"\",job=%} 3.0\n", "_count{instance=\"\",job=%} 2.5\n"} {
				want = append(want, metric+strings.ReplaceAll(sample, "%", `"`+job+`"`))
			}
		}
		page := do(http.MethodGet, "/metrics", "")
		for _, line := range want {
			if !strings.Contains(page, "\n"+line) {
				t.Errorf("no %q in:\n%s", line, page)
			}
		}
	})
}

// TestOpenMetricsBesideATotal: there the counter rows_total is called rows. Beside another
// rows it keeps its name, without a type, since no family may be on a page twice.
func TestOpenMetricsBesideATotal(t *testing.T) {
	asOpenMetrics(t, func(t *testing.T, _ bool, do func(method, path, body string) string) {
		do(http.MethodPost, "/metrics/job/a", "# TYPE rows gauge\nrows 3\n# TYPE rows_total counter\nrows_total 5\n# TYPE alone_total counter\nalone_total 1\n")
		do(http.MethodPost, "/metrics/job/b", "# TYPE kept gauge\nkept 3\n# TYPE kept_total counter\nkept_total 5\n")
		page := do(http.MethodGet, "/metrics", "")
		types := map[string]bool{}
		for line := range strings.Lines(page) {
			if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
				if name, _, _ = strings.Cut(name, " "); types[name] {
					t.Errorf("%s is there twice", name)
				}
				types[name] = true
			}
		}
		for _, line := range []string{
			`rows{instance="",job="a"} 3.0`, `rows_total{instance="",job="a"} 5.0`, `kept{instance="",job="b"} 3.0`, `kept_total{instance="",job="b"} 5.0`,
			"# TYPE alone counter", `alone_total{instance="",job="a"} 1.0`,
		} {
			if !strings.Contains(page, "\n"+line+"\n") && !strings.HasPrefix(page, line+"\n") {
				t.Errorf("no %q in:\n%s", line, page)
			}
		}
	})
}

// TestOneFamilyOfTwoTypes: a job that is not enforced pushes as a gauge what others
// push as a counter. The family begins once on the guard's own text page, and has the
// values of both.
func TestOneFamilyOfTwoTypes(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce}\njobs: [{job: b, mode: report}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Policy: p, Upstream: own, Metrics: NewMetrics(prometheus.NewRegistry()), GroupWait: time.Minute,
		Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, path, body string) string {
		t.Helper()
		w := httptest.NewRecorder()
		g.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		return w.Body.String()
	}
	do(http.MethodPost, "/metrics/job/a", "# TYPE done counter\ndone 3\n")
	do(http.MethodPost, "/metrics/job/b", "# TYPE done gauge\ndone 7\n")
	page := do(http.MethodGet, "/metrics", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, page)
	}
	got := map[string]float64{}
	for _, m := range families["done"].GetMetric() {
		got[job(m)] = m.GetGauge().GetValue()
	}
	if len(got) != 2 || got["a"] != 3 || got["b"] != 7 {
		t.Errorf("%v in:\n%s", got, page)
	}
}

func job(m *dto.Metric) string {
	for _, l := range m.Label {
		if l.GetName() == "job" {
			return l.GetValue()
		}
	}
	return ""
}
