package proxy

import "testing"

const relabelled = `version: v1
default:
  mode: enforce
  relabel_configs:
  - {source_labels: [instance, table], separator: "", regex: (.*)x, target_label: node}
  - {source_labels: [__name__], regex: go_.*, action: drop}
  - {source_labels: [instance], regex: tmp.*, action: drop}
`

// The same body means another thing in another group, also when its verdicts
// are cached.
func TestRelabellingReadsTheGroupingKey(t *testing.T) {
	j := newJudging(t, relabelled)
	const body = "rows{table=\"x\"} 7\ngo_threads 5\n"
	for range 2 {
		for group, want := range map[string]string{
			"nightly/instance/a": "rows{table=\"x\",node=\"a\"} 7\n",
			"nightly/instance/b": "rows{table=\"x\",node=\"b\"} 7\n",
		} {
			if got := j.push(t, group, body); got != want {
				t.Errorf("%s: %q, want %q", group, got, want)
			}
			if j.v.refused() || !j.v.changed {
				t.Errorf("%s: refused %t, changed %t", group, j.v.refused(), j.v.changed)
			}
		}
	}
	if n := j.epoch.verdicts.tables.Len(); n != 2 {
		t.Errorf("%d tables of verdicts for two groups", n)
	}
	j.push(t, "nightly/instance/tmp7", body)
	if !j.v.refused() {
		t.Error("a group that relabel_configs drop is not refused")
	}
}
