package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

func TestSamplesOfListedMetrics(t *testing.T) {
	for listed, want := range map[string]int32{
		`"value":"1"`: 1,
		`"buckets":{"1":"2"},"count":"2","sum":"3"`:            4, // +Inf is made by the exposition
		`"buckets":{"1":"2","+Inf":"2"},"count":"2","sum":"3"`: 4,
		`"buckets":{},"count":"2","sum":"3"`:                   3,
		`"buckets":[[0,"1","2","3"]],"count":"2","sum":"3"`:    3, // native
		`"quantiles":{},"count":"2","sum":"3"`:                 2,
		`"count":"2","quantiles":{"0.5":"1","0.9":"1"}`:        4,
	} {
		in := `{"data":[{"a":{"metrics":[{"labels":{"job":"j"},` + listed + `}]},"labels":{"job":"j"}}]}`
		groups, err := readGroups(strings.NewReader(in), 1, clock{now: time.Now()})
		if err != nil || len(groups) != 1 || len(groups[0].Families[0].Metrics) != 1 {
			t.Fatalf("%s: %+v, %v", listed, groups, err)
		}
		if got := groups[0].Families[0].Metrics[0].Samples; got != want {
			t.Errorf("%s: %d series, want %d", listed, got, want)
		}
	}
}

// TestListedMetricsAreThosePushed pushes a body and reads it both ways: as the
// guard does before it is pushed, and as the upstream lists it afterwards.
func TestListedMetricsAreThosePushed(t *testing.T) {
	const seed = 42
	const body = `a{x="1"} 1
a{x="2",instance="i"} 1
# TYPE h histogram
h_bucket{x="1",le="0.5"} 1
h_bucket{x="1",le="1"} 1
h_bucket{x="1",le="+Inf"} 1
h_sum{x="1"} 1
h_count{x="1"} 1
h_bucket{le="1"} 1
h_sum 1
h_count 1
# TYPE s summary
s{quantile="0.5"} 1
s_sum 1
s_count 1
s_sum{empty="",other="v"} 1
plain{zone="overwritten"} 1
`
	u := open(t, Config{URL: gatewaytest.Start(t)})
	for _, key := range []wire.Key{
		wire.NewKey(label("job", "j"), label("zone", "z")),
		wire.NewKey(label("job", "j"), label("zone", "1"), label("instance", "")),
		wire.NewKey(label("job", "j"), label("zone", "é/"), label("instance", "k")),
	} {
		if a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key, Body: []byte(body)}); err != nil || a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s %v", key, a.Status, a.Body, err)
		}
		var p wire.Push
		if err := p.Parse([]byte(body), wire.Text, key, wire.Options{}); err != nil {
			t.Fatal(err)
		}
		want := make([]wire.FamilyPrint, len(p.Families))
		seen := map[string]bool{}
		for i, m := range p.Metrics() {
			f := &want[m.Family]
			f.Name, f.Type = p.Families[m.Family].Name, p.Families[m.Family].Type
			fp, values := wire.Print(seed, key, p.Labels(nil, i), nil)
			f.Metrics = append(f.Metrics, wire.MetricPrint{Fingerprint: fp, Samples: m.Samples})
			for _, v := range values {
				if k := fmt.Sprint(f.Name, v); !seen[k] {
					seen[k] = true
					f.Values = append(f.Values, v)
				}
			}
		}
		groups, err := u.Groups(t.Context(), seed)
		if err != nil || len(groups) != 1 {
			t.Fatalf("%v, %v", groups, err)
		}
		anyOrder := []cmp.Option{
			cmpopts.EquateEmpty(),
			cmpopts.SortSlices(func(a, b wire.FamilyPrint) bool { return a.Name < b.Name }),
			cmpopts.SortSlices(func(a, b wire.MetricPrint) bool { return a.Fingerprint < b.Fingerprint }),
			cmpopts.SortSlices(func(a, b wire.LabelValue) bool { return a.Value < b.Value }),
		}
		if d := cmp.Diff(want, groups[0].Families, anyOrder...); d != "" {
			t.Errorf("%s (-pushed +listed):\n%s", key, d)
		}
		if _, err := u.Do(t.Context(), Request{Method: http.MethodDelete, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
}

func label(name, value string) labels.Label { return labels.Label{Name: name, Value: value} }
