package policy_test

import (
	"testing"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/rules/finding"
)

func TestPlaceOf(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
default:
  labels: [team, run_id]
  limits:
    sample_limit: 10
    label_limit: 5
  rules:
  - id: ids
    labels: [run_id]
    action: drop
  - {id: shapes, shapes: [uuid], action: template}
jobs:
- job: own
  limits: {sample_limit: 20, body_size_limit: 1MiB,
    label_name_length_limit: 9,
    label_value_length_limit: 9}
  rules:
  - labels: [run_id]
    id: ids
    action: keep
- {job: heir, labels: [], relabel_configs: [{action: labeldrop, regex: x}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tc := range []struct {
		job, id string
		want    int
	}{
		{"any", "ids", 8},
		{"any", "shapes", 11},
		{"any", finding.Allowlist, 3},
		{"any", finding.SampleLimit, 5},
		{"any", finding.LabelLimit, 6},
		{"any", finding.BodySizeLimit, 0},
		{"any", "nobody", 0},
		{"own", "ids", 18},
		{"own", "shapes", 0},
		{"own", finding.Allowlist, 3},
		{"own", finding.SampleLimit, 14},
		{"own", finding.BodySizeLimit, 14},
		{"own", finding.LabelNameLengthLimit, 15},
		{"own", finding.LabelValueLengthLimit, 16},
		{"own", finding.LabelLimit, 6},
		{"heir", finding.Allowlist, 21},
		{"heir", "shapes", 11},
		{"heir", finding.Relabel, 21},
		{"own", finding.Relabel, 0},
	} {
		if got := p.Entry(tc.job).PlaceOf(tc.id, now); got.Line != tc.want {
			t.Errorf("line of %s for job %s: %v, want %d", tc.id, tc.job, got, tc.want)
		}
	}
}

func TestPlaceOfBudgets(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
fold_jobs: [trailing_time]
budget:
  series: 1000
  groups: 50
auth: {users: {ada: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}
default:
  push: [ada]
  on_over_budget: reject
  budget:
    series: 30
    groups: 4
    new_series_per_hour: 5
    new_series_per_day: 6
    label_values: 7
    pushes_per_minute: 8
jobs:
- job: own
  on_over_budget: collapse
  push: [ada]
  entry_budget:
    series: 20
    jobs: 2
    new_jobs_per_day: 3
  budget:
    series: 10
    groups: 3
    until: 2026-03-31
- job: heir
`))
	if err != nil {
		t.Fatal(err)
	}
	during, after := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC), time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		job, id string
		at      time.Time
		want    int
	}{
		{"own", finding.SeriesBudget, during, 26},
		{"own", finding.NearBudget, during, 26},
		{"own", finding.SeriesBudget, after, 11},
		{"own", finding.GroupsBudget, during, 27},
		{"own", finding.GroupsBudget, after, 12},
		{"own", finding.BudgetExpired, after, 28},
		{"own", finding.NewSeriesPerHour, during, 13},
		{"own", finding.NewSeriesPerDay, after, 14},
		{"own", finding.LabelValuesBudget, during, 15},
		{"own", finding.PushesPerMinute, during, 16},
		{"own", finding.EntryBudget, during, 22},
		{"own", finding.JobsBudget, during, 23},
		{"own", finding.NewJobsPerDay, during, 24},
		{"own", finding.Collapsed, during, 19},
		{"own", finding.NotPermitted, during, 20},
		{"own", finding.GuardBudget, during, 4},
		{"own", finding.GuardGroups, during, 5},
		{"own", finding.FoldedJob, during, 2},
		{"own", finding.CounterValue, during, 0},
		{"heir", finding.SeriesBudget, during, 11},
		{"heir", finding.Evicted, during, 9},
		{"heir", finding.NotPermitted, during, 8},
		{"heir", finding.EntryBudget, during, 0},
		{"heir", finding.BudgetExpired, after, 0},
	} {
		if got := p.Entry(tc.job).PlaceOf(tc.id, tc.at); got.Line != tc.want {
			t.Errorf("line of %s for job %s: %v, want %d", tc.id, tc.job, got, tc.want)
		}
	}
	if own, heir := p.Entry("own").OverBudgetPlace(), p.Entry("heir").OverBudgetPlace(); own.Line != 19 || heir.Line != 9 {
		t.Errorf("on_over_budget: %v and %v", own, heir)
	}
}
