package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestPrometheus has a real Prometheus scrape through the guard what jobs pushed
// with a label that the policy drops.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", dropRuns("enforce"))})
	mustPush(t, guard, "/metrics/job/nightly/run_id/6f1c6c1e/zone/a",
		"# TYPE rows_total counter\nrows_total{table=\"t\",run_id=\"1\"} 3\nrows_total{table=\"t\",run_id=\"2\"} 4\n"+classic)
	prometheus := world.Prometheus(t, fmt.Sprintf(`
global: {scrape_interval: 500ms}
scrape_configs:
- job_name: pushed
  honor_labels: true
  static_configs: [{targets: ['%s']}]
`, guard.Addr))

	type series = map[string]string
	for query, want := range map[string]series{
		`rows_total`:          {"__name__": "rows_total", "job": "nightly", "zone": "a", "table": "t", "=": "7"},
		`h_bucket{le="1"}`:    {"__name__": "h_bucket", "job": "nightly", "zone": "a", "le": "1", "=": "1"},
		`count({run_id!=""})`: nil,
		`up{job="pushed"}`:    {"__name__": "up", "job": "pushed", "instance": guard.Addr, "=": "1"},
		`sum(push_failure_time_seconds{job="nightly"})`: {"=": "0"},
	} {
		t.Run(query, func(t *testing.T) {
			world.Eventually(t, func() error {
				up, err := ask(t, prometheus, `up{job="pushed"} == 1`)
				if err != nil || len(up) == 0 {
					return errors.Join(err, errors.New("Prometheus has not scraped yet"))
				}
				return nil
			})
			got, err := ask(t, prometheus, query)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				if len(got) > 0 {
					t.Errorf("got %v, want nothing", got)
				}
				return
			}
			if diff := cmp.Diff([]series{want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// ask queries Prometheus: each series with its labels, and its value under "=".
func ask(t *testing.T, p *world.Process, query string) ([]map[string]string, error) {
	t.Helper()
	answer := p.Get(t, "/api/v1/query?query="+url.QueryEscape(query))
	if answer.Status != http.StatusOK {
		return nil, fmt.Errorf("query %s: %d %s", query, answer.Status, answer.Body)
	}
	var reply struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal([]byte(answer.Body), &reply); err != nil {
		return nil, err
	}
	var out []map[string]string
	for _, r := range reply.Data.Result {
		if r.Metric == nil {
			r.Metric = map[string]string{}
		}
		r.Metric["="] = fmt.Sprint(r.Value[1])
		out = append(out, r.Metric)
	}
	return out, nil
}
