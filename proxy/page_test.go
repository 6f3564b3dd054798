package proxy_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

const enforcing = "version: v1\ndefault: {mode: enforce}\n"

// seriesOf reads a page with Prometheus' own parser.
func seriesOf(t *testing.T, page, contentType string) map[string]float64 {
	t.Helper()
	return readSeries(t, page, contentType, func(string) {})
}

// onceEach is seriesOf where no series may stand twice.
func onceEach(t *testing.T, page, contentType string) map[string]float64 {
	t.Helper()
	return readSeries(t, page, contentType, func(series string) {
		t.Errorf("%s stands twice in a page of %s", series, contentType)
	})
}

func readSeries(t *testing.T, page, contentType string, twice func(series string)) map[string]float64 {
	t.Helper()
	p, err := textparse.New([]byte(page), contentType, labels.NewSymbolTable(), textparse.ParserOptions{FallbackContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, page)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, v := p.Series()
		var ls labels.Labels
		p.Labels(&ls)
		if _, ok := out[ls.String()]; ok {
			twice(ls.String())
		}
		out[ls.String()] = v
	}
}

const openMetrics = "application/openmetrics-text;version=1.0.0"

// TestOpenMetricsForWhoTakesNothingElse: the page has everything, in the words of
// OpenMetrics, and ends as it must.
func TestOpenMetricsForWhoTakesNothingElse(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: enforcing})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE done_total counter\ndone_total{x=\"1\"} 3\n# TYPE rows gauge\nrows 7\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE done_total counter\ndone_total{x=\"1\"} 3\n")
	a := g.do(http.MethodGet, "/metrics", "", "Accept", openMetrics)
	if ct := a.Header.Get("Content-Type"); a.Status != 200 || !strings.HasPrefix(ct, "application/openmetrics-text") {
		t.Fatalf("%d %s", a.Status, ct)
	}
	if !strings.HasSuffix(a.Body, "# EOF\n") {
		t.Error("the page has no end")
	}
	got := seriesOf(t, a.Body, a.Header.Get("Content-Type"))
	for series, want := range map[string]float64{
		`{__name__="done_total", instance="", job="a", x="1"}`: 6,
		`{__name__="rows", instance="", job="a"}`:              7,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v in:\n%s", series, got[series], want, a.Body)
		}
	}
	if !strings.Contains(a.Body, `done_created{instance="",job="a",x="1"} `) {
		t.Error("the total does not say when it was created")
	}
}

// TestTextForWhoTakesIt: Prometheus asks for OpenMetrics first and gets text, in
// which no counter has another name than it was pushed under.
func TestTextForWhoTakesIt(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: enforcing})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "failure_count 1\n")
	a := g.do(http.MethodGet, "/metrics", "", "Accept", openMetrics+",text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	if got := seriesOf(t, a.Body, a.Header.Get("Content-Type"))[`{__name__="failure_count", instance="", job="a"}`]; got != 1 {
		t.Errorf("failure_count = %v in:\n%s", got, a.Body)
	}
}

// TestOpenMetricsOfAnUpstreamThatFails: its answer is the client's.
func TestOpenMetricsOfAnUpstreamThatFails(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken", http.StatusInternalServerError)
	}))
	defer up.Close()
	at, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(t, at, setup{policy: enforcing})
	if a := g.do(http.MethodGet, "/metrics", "", "Accept", openMetrics); a.Status != 500 || a.Body != "broken\n" {
		t.Errorf("%d %q", a.Status, a.Body)
	}
}

// TestANewTotalIsBornAtZero: a scraper sees it at 0 once, a person at once.
func TestANewTotalIsBornAtZero(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: enforcing})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "failure_count 2\n")
	const total = `{__name__="failure_count", instance="", job="a"}`
	for _, tc := range []struct {
		who    []string
		values []float64
	}{
		{nil, []float64{2, 2}},
		{[]string{"X-Prometheus-Scrape-Timeout-Seconds", "10", "User-Agent", "Prometheus/2.42.0"}, []float64{0, 2, 2}},
		{[]string{"X-Prometheus-Scrape-Timeout-Seconds", "10", "User-Agent", "Prometheus/3.0.0"}, []float64{0, 2}},
	} {
		for i, want := range tc.values {
			a := g.do(http.MethodGet, "/metrics", "", tc.who...)
			if got := seriesOf(t, a.Body, a.Header.Get("Content-Type"))[total]; got != want {
				t.Errorf("%v, scrape %d: %v, want %v", tc.who, i, got, want)
			}
		}
	}
}
