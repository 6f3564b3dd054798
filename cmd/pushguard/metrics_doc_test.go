package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/fleet"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
	"github.com/pushguard/pushguard/proxy/spool"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/statsd"
)

// The policy of a guard that has something to say under every one of its metrics.
const talkative = `
version: v1
budget: {series: 1000, groups: 10}
jobs:
- job: forecast
- job: refused
  mode: enforce
  rules: [{id: tokens, labels: [token], action: reject}]
- job: held
  mode: enforce
  budget: {series: %d, groups: 1, new_series_per_hour: 100, new_series_per_day: 100}
  on_over_budget: evict_oldest
  stale_after: 1h
  counters: {route: totals}
  rules: [{id: ids, labels: [id], action: drop}]
`

// docs/metrics.md lists what the guard says of itself, as it says it: a metric
// that is new, gone or told of otherwise makes this fail.
func TestMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	talk(t, registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	const file, header = "../../docs/metrics.md", "| metric | type | what it says |\n|---|---|---|\n"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(doc), header)
	table, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table of metrics", file)
	}
	want := strings.Join(metricRows(t, registry, families), "\n")
	if *update {
		if err := os.WriteFile(file, []byte(before+header+want+"\n\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("%s is not what the code says; run the test with -update (-want +got):\n%s", file, diff)
	}
}

// talk registers all the metrics of a guard and has something happen for each.
func talk(t *testing.T, registry *prometheus.Registry) {
	flags := stateFlags{dir: filepath.Join(t.TempDir(), "state"), wait: time.Second, sync: state.SyncNever, interval: time.Second}
	known, err := flags.open(t.Context(), time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = known.close() })
	registry.MustRegister(newConnections(1, mostTold, nil))
	registry.MustRegister(known.metrics(&behind{})...)
	together, err := shared.Open(t.Context(), shared.Config{URL: redistest.Start(t).URL(), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = together.Close() })
	registry.MustRegister(together.Collectors()...)
	sender, err := statsd.New(statsd.Config{Address: &url.URL{Scheme: "udp", Host: "127.0.0.1:9125"}, Tags: statsd.DogStatsD})
	if err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(sender)
	events, err := event.Open(event.Config{Dir: known.dir, Targets: []event.Target{{URL: "stdout:"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = events.Run(ended)
	})
	registry.MustRegister(events)
	recorder, err := record.Open(record.Config{Path: filepath.Join(t.TempDir(), "recorded.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = recorder.Close() })
	registry.MustRegister(recorder)
	metrics := proxy.NewMetrics(registry)
	upstream, err := gateway.New(gateway.Config{URL: gatewaytest.Start(t), Timeout: 20 * time.Second, Observe: metrics.ObserveUpstream})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	several := fleet.New(fleet.Config{Staying: []*gateway.Upstream{upstream}})
	several.Proxy().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
	registry.MustRegister(several)
	kept, err := spool.Open(spool.Config{Upstream: upstream, Dir: known.dir})
	if err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(kept)
	guard, err := proxy.New(proxy.Config{
		Policy: talkativePolicy(t, 100), Upstream: upstream, Metrics: metrics, GroupWait: 20 * time.Second,
		Caps: proxy.Caps{InFlight: 64, Body: 1 << 20, Decoded: 1 << 20, Samples: 100, Labels: 10, LabelValue: 100},
		Book: known.book, Secret: known.secret, Counters: known.store.Book, Totals: known.store.Totals, StatsD: sender,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"forecast", "held/run/1", "held/run/2"} {
		w := httptest.NewRecorder()
		guard.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/metrics/job/"+path, strings.NewReader("rows{id=\"1\"} 1\nruns_total 1\n")))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: status %d: %s", path, w.Code, w.Body)
		}
	}
	guard.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/metrics/job/refused", strings.NewReader("rows{token=\"x\"} 1\n")))
	guard.SetPolicy(talkativePolicy(t, 1))
}

func talkativePolicy(t *testing.T, series int) *policy.Policy {
	p, err := policy.Parse("policy.yml", fmt.Appendf(nil, talkative, series))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", .*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// metricRows are the rows of the table: of all that is registered, or the test
// fails, since what says nothing cannot be told of.
func metricRows(t *testing.T, registry *prometheus.Registry, families []*dto.MetricFamily) []string {
	said := map[string]*dto.MetricFamily{}
	for _, f := range families {
		said[f.GetName()] = f
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		registry.Describe(descs)
	}()
	var rows []string
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("not understood: %s", d)
		}
		f := said[m[1]]
		if f == nil {
			t.Errorf("%s says nothing in this test", m[1])
			continue
		}
		row := fmt.Sprintf("| `%s%s` | %s | %s |", m[1], labelNames(m[2], m[3]), strings.ToLower(f.GetType().String()),
			strings.ReplaceAll(f.GetHelp(), "__other__", "`__other__`"))
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	return rows
}

// labelNames writes labels as a selector does, without their values.
func labelNames(fixed, variable string) string {
	var names []string
	for l := range strings.SplitSeq(fixed+","+variable, ",") {
		if name, _, _ := strings.Cut(l, "="); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "{" + strings.Join(names, ",") + "}"
}
