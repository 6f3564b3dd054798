package console_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/console"
)

// surroundings are what gauges and counters say of what is around a guard, at a time.
type surroundings struct {
	page string
	now  time.Time
}

// Gather implements prometheus.Gatherer.
func (s *surroundings) Gather() ([]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(s.page))
	var out []*dto.MetricFamily
	for name, mf := range families {
		for _, m := range mf.Metric {
			value := m.Untyped.GetValue()
			if m.Untyped = nil; strings.HasSuffix(name, "_total") {
				m.Counter = &dto.Counter{Value: &value}
			} else {
				m.Gauge = &dto.Gauge{Value: &value}
			}
		}
		out = append(out, mf)
	}
	return out, err
}

// overview returns pages that tell of these surroundings.
func (s *surroundings) overview(t *testing.T) http.Handler {
	t.Helper()
	c := console.New(console.Config{Metrics: s, Behind: "http://pushgateway:9091", Now: func() time.Time { return s.now }, Pace: time.Nanosecond})
	c.Of(newWorld(t).Guard)
	return c
}

// around is what a page says of what is around the guard, a line each.
func around(t *testing.T, pages http.Handler) []string {
	t.Helper()
	r := httptest.NewRecorder()
	pages.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/guard/", nil))
	list := regexp.MustCompile(`(?s)<ul class="health">(.*?)</ul>`).FindStringSubmatch(r.Body.String())
	if list == nil {
		t.Fatalf("%d, nothing of what is around the guard: %s", r.Code, r.Body)
	}
	var out []string
	for _, item := range strings.Split(list[1], "</li>") {
		words := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(item, " ")), " ")
		if words != "" {
			out = append(out, html.UnescapeString(words))
		}
	}
	return out
}

// TestAround has each trouble that metrics tell of on the first page, in words.
func TestAround(t *testing.T) {
	for _, c := range []struct{ page, want string }{
		{"pushguard_memory_pressure 1\n", "not well Memory nearly full: no new series are taken"},
		{
			"pushguard_memory_pressure 2\npushguard_shed_total{reason=\"memory\"} 3\npushguard_shed_total{reason=\"full\"} 9\n",
			"not well Memory full: no push is taken until there is room; 3 pushes were answered 503 for it",
		},
		{"pushguard_memory_pressure 0\npushguard_shed_total{reason=\"memory\"} 1\n", "well Memory there is room again; 1 push was answered 503 for it"},
		{"pushguard_state_written{log=\"ledger\"} 1\npushguard_state_written{log=\"groups\"} 0\n", "not well State the disk takes nothing: changes are in memory alone"},
		{
			"pushguard_state_written{log=\"ledger\"} 1\npushguard_state_damages 2\n",
			"not well State what changes is written to the state directory; 2 parts of it could not be read at the start",
		},
		{"pushguard_shared_up 1\npushguard_shared_guards 1\n", "well Fleet 1 guard by itself"},
		{"pushguard_shared_up 0\n", "not well Fleet the Redis does not answer: pushes are answered 503"},
		{"pushguard_shared_up 0\npushguard_shared_alone 1\n", "not well Fleet the Redis does not answer: this guard goes on by itself, within its share of each budget"},
		{
			"pushguard_shared_up 1\npushguard_shared_guards 3\npushguard_shared_versions 2\npushguard_shared_unreadable_total{reason=\"damaged\"} 4\n",
			"well Fleet 3 guards share what they know, and are of 2 versions; passed over 4 batches that the Redis had otherwise than a guard wrote them",
		},
		{
			"pushguard_shared_up 1\npushguard_shared_guards 2\npushguard_shared_unreadable_total{reason=\"unknown\"} 1\n",
			"not well Fleet 2 guards share what they know; 1 command that no guard could read, and that none carried out",
		},
		{
			"pushguard_upstream_breaker_open{upstream=\"http://a\"} 0\npushguard_upstream_breaker_open{upstream=\"http://b\"} 1\n",
			"not well Pushgateway http://b does not answer, and is left alone for a while; no request within the hour",
		},
		{"pushguard_statsd_up 1\npushguard_statsd_lines_total 22\n", "well StatsD 22 lines sent"},
		{
			"pushguard_statsd_up 0\npushguard_statsd_lines_total 22\npushguard_statsd_pending_series 3\npushguard_statsd_dropped_total{reason=\"name\"} 1\n",
			"not well StatsD it takes nothing: increments of 3 series wait, 1 increment not taken",
		},
		{"pushguard_audit_lost_total 2\npushguard_audit_written 0\n", "not well Audit log 2 records could not be written"},
	} {
		if got := around(t, (&surroundings{page: c.page, now: time.Now()}).overview(t)); !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+c.want+"\n") {
			t.Errorf("of %q the page says\n%s\nand not\n%s", c.page, strings.Join(got, "\n"), c.want)
		}
	}
}

// TestMetricsAreThere has no page read a metric that the guard does not have.
func TestMetricsAreThere(t *testing.T) {
	have, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("*.go")
	for _, name := range files {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, metric := range regexp.MustCompile(`"(pushguard_\w+)"`).FindAllSubmatch(code, -1) {
			if !regexp.MustCompile("(?m)^\\| `" + string(metric[1]) + "[`{]").Match(have) {
				t.Errorf("%s reads %s, which docs/metrics.md does not have", name, metric[1])
			}
		}
	}
}

// TestPushgatewayOfLate has a Pushgateway that was well for long and fails now, which is
// told at once, and not for long after it is back.
func TestPushgatewayOfLate(t *testing.T) {
	metric := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "pushguard_upstream_request_duration_seconds", Help: "."}, []string{"method", "code"})
	s := &surroundings{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	pages := console.New(console.Config{Metrics: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		r := prometheus.NewRegistry()
		r.MustRegister(metric)
		return r.Gather()
	}), Behind: "http://pushgateway:9091", Now: func() time.Time { return s.now }, Pace: time.Nanosecond})
	w := newWorld(t)
	pages.Of(w.Guard)
	for i, step := range []struct {
		later time.Duration
		code  string
		want  string
	}{
		{time.Second, "202", "well Pushgateway 1 request within the hour, none failed"},
		{time.Minute, "200", "well Pushgateway 2 requests within the hour, none failed"},
		{10 * time.Second, "0", "not well Pushgateway 1 of the last 3 requests without an answer or failed"},
		{3 * time.Minute, "200", "well Pushgateway 4 requests within the hour, 1 of them without an answer or failed, none of late"},
		{2 * time.Hour, "", "well Pushgateway no request within the hour"},
	} {
		pages.Of(w.Guard) // remembers, as it does once a minute
		s.now = s.now.Add(step.later)
		if step.later >= time.Minute {
			pages.Of(w.Guard)
		}
		if step.code != "" {
			metric.WithLabelValues("PUT", step.code).Observe(.01)
		}
		if got := around(t, pages); got[0] != step.want {
			t.Errorf("step %d: %q, want %q", i, got[0], step.want)
		}
	}
}
