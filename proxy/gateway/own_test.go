package gateway

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

func TestReadOwn(t *testing.T) {
	page := "# HELP go_goroutines Number.\n# TYPE go_goroutines gauge\ngo_goroutines 5\ngo_goroutines{job=\"j\"} 5\n" +
		"# TYPE pushed counter\npushed{a=\"b\",job=\"j\"} 1\n" +
		"# TYPE long untyped\nlong{x=\"" + strings.Repeat("x", 200_000) + "\",job=\"j\"} 1\n" +
		"# TYPE took summary\ntook{quantile=\"0.5\"} 1\ntook_sum 1\ntook_count 1\n" +
		"# TYPE none gauge\n# TYPE quoted untyped\nquoted{a=\"{job=\\\"\"} 1"
	want := map[string]dto.MetricType{"go_goroutines": dto.MetricType_GAUGE, "took": dto.MetricType_SUMMARY}
	got, err := readOwn(strings.NewReader(page + "\n"))
	want["quoted"] = dto.MetricType_UNTYPED
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := readOwn(iotest.ErrReader(errors.New("cut off"))); err == nil {
		t.Error("a page that is cut off is read")
	}
}

// TestOwnFamilies asks a real Pushgateway to which a family of its own was pushed.
func TestOwnFamilies(t *testing.T) {
	u := open(t, Config{URL: gatewaytest.Start(t)})
	body := "# TYPE go_goroutines gauge\ngo_goroutines 1\nrows 1\n"
	a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: wire.NewKey(label("job", "j")), Body: []byte(body)})
	if err != nil || a.Status != http.StatusOK {
		t.Fatal(a, err)
	}
	got, err := u.OwnFamilies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, pushed := got["rows"]
	_, mark := got["push_time_seconds"]
	if pushed || mark || got["go_goroutines"] != dto.MetricType_GAUGE || got["go_gc_duration_seconds"] != dto.MetricType_SUMMARY ||
		got["go_memstats_alloc_bytes_total"] != dto.MetricType_COUNTER || len(got) < 20 {
		t.Errorf("own families %v", got)
	}
}

// TestFamiliesInUTF8: a Pushgateway from 1.10 on escapes names for who does not say that it
// takes them as they are. Its page is made by promhttp, which is asked here itself.
func TestFamiliesInUTF8(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "rows.read", Help: "In all."}))
	u := serve(t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP)
	got, err := u.Families(t.Context())
	if err != nil || len(got) != 1 || got[0].GetName() != "rows.read" || got[0].GetHelp() != "In all." {
		t.Errorf("%v %v", got, err)
	}
}
