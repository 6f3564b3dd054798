package policy_test

import (
	"testing"

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
		if got := p.Entry(tc.job).PlaceOf(tc.id); got.Line != tc.want {
			t.Errorf("line of %s for job %s: %v, want %d", tc.id, tc.job, got, tc.want)
		}
	}
}
