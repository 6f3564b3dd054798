package trial_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/trial"
)

// What a replay says of pushes that come one after the other, by their own clock.
func TestReplay(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
default:
  mode: enforce
  stale_after: 1h
  rules:
  - {id: ids, labels: [id], action: drop}
  - {id: secrets, labels: [secret], action: reject}
jobs:
- job: tiny
  budget: {groups: 1}
  on_over_budget: reject
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := trial.NewReplay(trial.Config{Policy: p, Caps: caps})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name       string
		at         time.Duration
		path, body string
		want       trial.Replayed
		series     []string
	}{
		{
			"a gauge loses a label", 0, "/metrics/job/a/id/7", "x{id=\"1\"} 1\n",
			trial.Replayed{Job: "a", Entry: "default", Outcome: "changed", Findings: []string{"ids"}},
			[]string{`x{job="a"}`},
		},
		{
			"a counter goes to the totals", 0, "/metrics/job/a", "# TYPE y_total counter\ny_total 1\n",
			trial.Replayed{Job: "a", Entry: "default", Outcome: "passed"},
			[]string{`y_total{job="a"}`},
		},
		{
			"one is refused", 0, "/metrics/job/a", "x{secret=\"1\"} 1\n",
			trial.Replayed{Job: "a", Entry: "default", Outcome: "refused", Findings: []string{"secrets"}},
			nil,
		},
		{
			"a first group", 0, "/metrics/job/tiny/instance/1", "x 1\n",
			trial.Replayed{Job: "tiny", Entry: "tiny", Outcome: "passed"},
			[]string{`x{instance="1", job="tiny"}`},
		},
		{
			"a second is over the budget", time.Minute, "/metrics/job/tiny/instance/2", "x 1\n",
			trial.Replayed{Job: "tiny", Entry: "tiny", Outcome: "refused", Findings: []string{"groups_budget"}, Budgets: []string{"groups"}},
			nil,
		},
		{
			"but not once the first is stale", 2 * time.Hour, "/metrics/job/tiny/instance/2", "x 1\n",
			trial.Replayed{Job: "tiny", Entry: "tiny", Outcome: "passed"},
			[]string{`x{instance="2", job="tiny"}`},
		},
		{
			"no group at all", 2 * time.Hour, "/metrics/nowhere/", "x 1\n",
			trial.Replayed{Outcome: "refused"},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := r.Push(t.Context(), start.Add(tc.at), proxy.Request{
				Method: http.MethodPost, Path: tc.path, Header: http.Header{}, Body: strings.NewReader(tc.body), Length: int64(len(tc.body)),
			})
			if diff := cmp.Diff(tc.series, textOf(got.Series)); diff != "" {
				t.Errorf("series (-want +got):\n%s", diff)
			}
			got.Series = nil
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func textOf(series []model.Metric) []string {
	var out []string
	for _, m := range series {
		out = append(out, m.String())
	}
	slices.Sort(out)
	return out
}
