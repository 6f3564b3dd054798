package store

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// TestLabelsOfAKnownShape: what was laid out of a shape is not shown for a push of
// that shape whose metric goes on with other labels.
func TestLabelsOfAKnownShape(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	memo := &gateway.Memo{}
	for _, value := range []string{"b", "__other__", "b"} {
		p := &wire.Push{}
		if err := p.Parse([]byte("x{t=\"b\",id=\"7\"} 1\n"), wire.Text, key(), wire.Options{}); err != nil {
			t.Fatal(err)
		}
		ls := []labels.Label{{Name: "t", Value: value}}
		fates := []wire.Fate{{Act: wire.Relabel, Labels: ls, Block: wire.AppendLabels(nil, wire.Text, ls), Output: wire.Fingerprint(1, ls)}}
		a, err := s.Do(t.Context(), gateway.Request{Method: http.MethodPut, Key: key(), Push: p, Fates: fates, Memo: memo})
		if err != nil || a.Status != http.StatusOK {
			t.Fatal(a.Status, err)
		}
		if got, want := page(t, s), `x{instance="",job="a",t="`+value+`"} 1`; !strings.Contains(got, want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
}

// TestAKnownHistogram shows the values of a histogram of a known shape by what they are of,
// though it is pushed in another order than it is shown, with equal values at first.
func TestAKnownHistogram(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	memo := &gateway.Memo{}
	for _, body := range []string{
		"# TYPE h histogram\nh_count 1\nh_sum 1\nh_bucket{le=\"1\"} 1\n",
		"# TYPE h histogram\nh_count 7\nh_sum 5\nh_bucket{le=\"1\"} 3\n",
	} {
		p := &wire.Push{}
		if err := p.Parse([]byte(body), wire.Text, key(), wire.Options{}); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Do(t.Context(), gateway.Request{Method: http.MethodPut, Key: key(), Push: p, Memo: memo}); err != nil || a.Status != http.StatusOK {
			t.Fatal(a.Status, err)
		}
		if memo.Load() == nil {
			t.Fatal("the shape was not remembered")
		}
	}
	got := page(t, s)
	for _, want := range []string{`le="1"} 3`, `le="+Inf"} 7`, `h_sum{instance="",job="a"} 5`, `h_count{instance="",job="a"} 7`} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
}
