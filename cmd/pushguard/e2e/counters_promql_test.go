package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// routePolicy sends the increments of some jobs to a StatsD socket, and keeps
// those of others.
const routePolicy = `version: v1
default:
  mode: enforce
  rules: [{id: runs, labels: [task_id], action: drop}]
jobs:
- job: sent
  counters: {route: statsd}
- job: kept
  counters: {route: totals}
`

// TestIncreaseInPrometheus has a real Prometheus scrape the guard's totals and a
// statsd_exporter, and asks it how much counters and histograms grew: from their
// very first increment, which came before the first scrape that could see it.
func TestIncreaseInPrometheus(t *testing.T) {
	t.Parallel()
	exporter, behind := statsdtest.Start(t), world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind, Policy: world.Write(t, "policy.yml", routePolicy),
		Flags: []string{"--statsd.address=" + exporter.Unixgram.String(), "--statsd.zero-hold=10s"},
	})
	server := world.Prometheus(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
- {job_name: guard, honor_labels: true, static_configs: [{targets: ['%s']}]}
- {job_name: exporter, honor_labels: true, static_configs: [{targets: ['%s']}]}
`, guard.Addr, exporter.Metrics.Host))
	world.Eventually(t, func() error {
		up, err := ask(t, server, `sum(up) == 2`)
		if err != nil || len(up) == 0 {
			return errors.Join(err, errors.New("Prometheus has not scraped both yet"))
		}
		return nil
	})
	// Three waves of five tasks, each a process of its own: 10 observations, 3 done.
	const waves, tasks = 3, 5
	for wave := range waves {
		for _, job := range []string{"sent", "kept"} {
			for task := range tasks {
				observeTask(t, guard.URL, job, strconv.Itoa(wave)+"."+strconv.Itoa(task))
			}
		}
		time.Sleep(1500 * time.Millisecond)
	}
	const runs = waves * tasks
	for _, job := range []string{"sent", "kept"} {
		t.Run(job, func(t *testing.T) {
			at := settled(t, server, fmt.Sprintf(`load_seconds_count{job=%q}`, job), 10*runs)
			for query, want := range map[string]float64{
				`increase(work_total{job="%s"}[5m])`:                                                  3 * runs,
				`increase(load_seconds_count{job="%s"}[5m])`:                                          10 * runs,
				`increase(load_seconds_sum{job="%s"}[5m])`:                                            21 * runs,
				`increase(load_seconds_bucket{job="%s",le="2"}[5m])`:                                  6 * runs,
				`histogram_quantile(0.5, sum by (le) (increase(load_seconds_bucket{job="%s"}[5m])))`:  1.75,
				`histogram_quantile(0.75, sum by (le) (increase(load_seconds_bucket{job="%s"}[5m])))`: 3,
				`histogram_quantile(0.9, sum by (le) (rate(load_seconds_bucket{job="%s"}[5m])))`:      4,
				`count(work_total{job="%s"})`:                                                         1,
				`resets(work_total{job="%s"}[5m])`:                                                    0,
			} {
				query = fmt.Sprintf(query, job)
				if job == "sent" { // bounds are sent as Prometheus 3 writes them
					query = strings.Replace(query, `le="2"`, `le="2.0"`, 1)
				}
				got := askAt(t, server, query, at)
				if math.Abs(got-want) > 1e-9*want {
					t.Errorf("%s = %v, want %v", query, got, want)
				}
			}
		})
	}
}

// observeTask is one task: 10 observations in buckets up to 1, 2 and 4, and 3 done.
func observeTask(t *testing.T, url, job, task string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	work := prometheus.NewCounter(prometheus.CounterOpts{Name: "work_total", Help: "Work done."})
	load := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "load_seconds", Help: "Time of a load.", Buckets: []float64{1, 2, 4}})
	registry.MustRegister(work, load)
	work.Add(3)
	for value, times := range map[float64]int{0.5: 2, 1.5: 4, 3: 3, 5: 1} {
		for range times {
			load.Observe(value)
		}
	}
	if err := push.New(url, job).Grouping("task_id", task).Gatherer(registry).Push(); err != nil {
		t.Fatal(err)
	}
}

// settled waits until a series has come to a value, in two scrapes at least, and
// returns the time of the last of them. At that time increase() has nothing to
// guess: it begins at 0 and ends at a sample.
func settled(t *testing.T, server *world.Process, series string, want float64) string {
	t.Helper()
	last := 0.0
	world.Eventually(t, func() error {
		var reply struct {
			Data struct {
				Result []struct{ Values [][2]any }
			}
		}
		body := server.Get(t, "/api/v1/query?query="+url.QueryEscape(series+"[5m]")).Body
		if err := json.Unmarshal([]byte(body), &reply); err != nil {
			return err
		}
		if len(reply.Data.Result) != 1 {
			return fmt.Errorf("%s: %d series", series, len(reply.Data.Result))
		}
		values := reply.Data.Result[0].Values
		if first := fmt.Sprint(values[0][1]); first != "0" {
			t.Fatalf("%s begins at %s, want 0", series, first)
		}
		if len(values) < 2 || fmt.Sprint(values[len(values)-2][1]) != strconv.FormatFloat(want, 'f', -1, 64) {
			return fmt.Errorf("%s: %v, want %v", series, values[len(values)-1][1], want)
		}
		last = values[len(values)-1][0].(float64)
		return nil
	})
	return strconv.FormatFloat(last, 'f', 3, 64)
}

// askAt is the one value of a query at a time.
func askAt(t *testing.T, server *world.Process, query, at string) float64 {
	t.Helper()
	answer := server.Get(t, "/api/v1/query?time="+at+"&query="+url.QueryEscape(query))
	var reply struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(answer.Body), &reply); err != nil || answer.Status != http.StatusOK || len(reply.Data.Result) != 1 {
		t.Fatalf("%s: %d %s", query, answer.Status, answer.Body)
	}
	value, err := strconv.ParseFloat(fmt.Sprint(reply.Data.Result[0].Value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
