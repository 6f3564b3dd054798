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
