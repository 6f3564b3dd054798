package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// gathers reports whether a registry of client_golang, the one inside a
// Pushgateway, takes the families together.
func gathers(families map[string]map[Family]bool) bool {
	var all []*dto.MetricFamily
	for group, held := range families {
		for f := range held {
			m := &dto.Metric{Label: []*dto.LabelPair{{Name: proto.String("group"), Value: proto.String(group)}}}
			switch f.Type {
			case dto.MetricType_COUNTER:
				m.Counter = &dto.Counter{Value: proto.Float64(1)}
			case dto.MetricType_GAUGE:
				m.Gauge = &dto.Gauge{Value: proto.Float64(1)}
			case dto.MetricType_SUMMARY:
				m.Summary = &dto.Summary{SampleCount: proto.Uint64(1)}
			case dto.MetricType_HISTOGRAM:
				m.Histogram = &dto.Histogram{SampleCount: proto.Uint64(1)}
			default:
				m.Untyped = &dto.Untyped{Value: proto.Float64(1)}
			}
			i := slices.IndexFunc(all, func(mf *dto.MetricFamily) bool { return mf.GetName() == f.Name })
			if i < 0 {
				all = append(all, &dto.MetricFamily{Name: proto.String(f.Name), Type: f.Type.Enum(), Metric: []*dto.Metric{m}})
				continue
			}
			all[i].Metric = append(all[i].Metric, m)
		}
	}
	_, err := prometheus.Gatherers{prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return all, nil })}.Gather()
	return err == nil
}

// TestIndexLikeARegistry: a family is taken exactly where a registry takes it beside
// all that is held.
func TestIndexLikeARegistry(t *testing.T) {
	t.Parallel()
	names := []string{"x", "x_count", "x_sum", "x_bucket", "x_count_count", "y", "_count"}
	types := []dto.MetricType{dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_SUMMARY, dto.MetricType_HISTOGRAM, dto.MetricType_UNTYPED}
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex()
		held := map[string]map[Family]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				group := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "group")
				var take, give []Family
				after := map[Family]bool{}
				for f := range held[group] {
					give = append(give, f)
				}
				for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, "names") {
					f := Family{name, rapid.SampledFrom(types).Draw(t, "type")}
					take, after[f] = append(take, f), true
				}
				before := held[group]
				held[group] = after
				want := gathers(held)
				err := x.Take(take, give)
				if (err == nil) != want {
					t.Fatalf("%v of %s, in place of %v: %v; a registry says %v", take, group, give, err, want)
				}
				if err != nil {
					held[group] = before
					if !errors.As(err, new(*Clash)) {
						t.Fatal(err)
					}
					return
				}
				x.Drop(give)
			},
			"delete": func(t *rapid.T) {
				group := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "group")
				for f := range held[group] {
					x.Drop([]Family{f})
				}
				delete(held, group)
			},
			"": func(t *rapid.T) {
				n := map[string]int{}
				for _, families := range held {
					for f := range families {
						n[f.Name]++
					}
				}
				got := map[string]int{}
				for name, u := range x.families {
					got[name] = u.groups
				}
				if diff := cmp.Diff(n, got); diff != "" {
					t.Fatal(diff)
				}
			},
		})
	})
}

func TestOtherGroupsOfAJob(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	x.Enter("a", []string{"instance"})
	x.Enter("a", []string{"instance"})
	for name, tc := range map[string]struct {
		own, series []string
		want        string
	}{
		"its own group":         {[]string{"instance"}, []string{"instance", "t"}, "[]"},
		"of the group below":    {nil, []string{"instance", "t"}, "[[instance]]"},
		"without the label":     {nil, []string{"t"}, "[]"},
		"of a group beside":     {[]string{"zone"}, []string{"instance", "zone"}, "[[instance]]"},
		"of a job of no groups": {[]string{"zone"}, []string{"zone"}, "[]"},
	} {
		if got := fmt.Sprint(x.Others("a", tc.own, tc.series)); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	x.Enter("a", nil)
	if got := fmt.Sprint(x.Others("a", []string{"instance"}, []string{"instance"})); got != "[[]]" {
		t.Errorf("the group of the job alone: %s", got)
	}
	if !x.Mixed("a") || x.Mixed("b") {
		t.Error("which jobs are mixed")
	}
	x.Leave("a", []string{"instance"})
	x.Leave("a", []string{"instance"})
	if x.Mixed("a") {
		t.Error("what has left is there")
	}
	x.Leave("a", nil)
	if len(x.jobs) != 0 {
		t.Errorf("%d jobs are left", len(x.jobs))
	}
}

// TestManyLabelNames: a job whose groups have thousands of sets of label names costs
// a push that has none of them nothing.
func TestManyLabelNames(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	for i := range 10_000 {
		x.Enter("a", []string{fmt.Sprint("l", i)})
	}
	if got := x.Others("a", nil, []string{"l7", "t"}); len(got) != 1 {
		t.Errorf("%d other sets", len(got))
	}
	if n := len(x.jobs["a"].byLast["l7"]); n != 1 {
		t.Errorf("%d sets are looked at for a name", n)
	}
}
