package store

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// TestShapesChained has shapes that are equal stand in the table side by side, as one that
// is used again and one that was shared meanwhile do, and go in any order.
func TestShapesChained(t *testing.T) {
	made := func() *family {
		r, err := request(http.MethodPut, key(), "a{x=\"1\"} 1\n")
		if err != nil {
			t.Fatal(err)
		}
		families, err := newBuilder().families(gateway.Request{Key: key(), Push: r.Push}, 7)
		if err != nil {
			t.Fatal(err)
		}
		return families[0]
	}
	for first := range 3 {
		table, used := newShapes(), []*family{made(), made(), made()}
		for i, f := range used {
			if table.share(f.shape) != f.shape {
				t.Fatal("an equal shape is still there")
			}
			table.release(used[i : i+1])
		}
		for _, f := range used {
			table.again(f.shape)
		}
		table.release(used[first : first+1])
		left := slices.Delete(slices.Clone(used), first, first+1)
		if s := table.share(made().shape); s != left[0].shape && s != left[1].shape {
			t.Errorf("without %d no equal shape is found", first)
		} else {
			table.release([]*family{{shape: s}})
		}
		if table.release(left); len(table.byHash) != 0 {
			t.Errorf("without %d: %d are left", first, len(table.byHash))
		}
	}
}

// TestKeptNames has families of several pushes have the names of their labels once, in memory
// that is no push's.
func TestKeptNames(t *testing.T) {
	b, sets := newBuilder(), [][]string{}
	for i := range 3 {
		r, err := request(http.MethodPut, key(), fmt.Sprintf("a{x=\"%d\",y=\"%d\"} 1\n", i, i))
		if err != nil {
			t.Fatal(err)
		}
		families, err := b.families(gateway.Request{Key: key(), Push: r.Push}, 7)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, families[0].shape.labels[0])
		clear(r.Push.Body)
	}
	for _, set := range sets {
		if !slices.Equal(set, []string{"x", "y"}) || &set[0] != &sets[0][0] {
			t.Errorf("%q beside %q", set, sets[0])
		}
	}
}

// TestMetricsOfAShape has a histogram of metrics with unlike numbers of buckets: each is
// found where its lines are, by its own labels.
func TestMetricsOfAShape(t *testing.T) {
	body := "# TYPE h histogram\n"
	var want []string
	for n, v := range []string{"a", "b", "c"} {
		for le := range n + 1 {
			body += fmt.Sprintf("h_bucket{t=%q,le=\"%d\"} 1\n", v, le+1)
		}
		body += fmt.Sprintf("h_bucket{t=%[1]q,le=\"+Inf\"} 4\nh_sum{t=%[1]q} 3\nh_count{t=%[1]q} 4\n", v)
		want = append(want, fmt.Sprintf("{t=%q} %d", v, n+4))
	}
	r, err := request(http.MethodPut, key(), body)
	if err != nil {
		t.Fatal(err)
	}
	families, err := newBuilder().families(gateway.Request{Key: key(), Push: r.Push}, 7)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	at := 0
	families[0].shape.each(func(m shapeMetric) {
		got = append(got, fmt.Sprint(labels.New(m.labels...), " ", m.lines))
		if m.first != at {
			t.Errorf("metric %d begins at line %d, want %d", len(got), m.first, at)
		}
		at += m.lines
	})
	if !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}
