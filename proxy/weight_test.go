package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/store"
)

// What a push says once for a whole family, the guard keeps once: each of these pushes took
// as much as it weighs for each of its series.
func TestWeightOfOnePush(t *testing.T) {
	const series, long = 1000, 16_000
	text := func(help string) []byte {
		var b strings.Builder
		fmt.Fprintf(&b, "# HELP x_total %s\n# TYPE x_total counter\n", help)
		for i := range series {
			fmt.Fprintf(&b, "x_total{l=\"%d\"} 1\n", i)
		}
		return []byte(b.String())
	}
	named := func(name string) []byte {
		mf := &dto.MetricFamily{Name: &name, Type: dto.MetricType_COUNTER.Enum()}
		for i := range series {
			mf.Metric = append(mf.Metric, &dto.Metric{
				Label:   []*dto.LabelPair{{Name: proto.String("l"), Value: proto.String(fmt.Sprint(i))}},
				Counter: &dto.Counter{Value: proto.Float64(1)},
			})
		}
		var b bytes.Buffer
		if err := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeProtoDelim)).Encode(mf); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		format string
		body   []byte
	}{
		"help": {"", text(strings.Repeat("h", 100*long))},
		"name": {string(expfmt.NewFormat(expfmt.TypeProtoDelim)), named(strings.Repeat("n", long))},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce}\n"))
			if err != nil {
				t.Fatal(err)
			}
			g, err := New(Config{
				Policy: rules, Upstream: must(store.Open(store.Config{})), Metrics: NewMetrics(prometheus.NewRegistry()),
				Caps: Caps{Body: 4 << 20, Decoded: 4 << 20, Samples: 10 * series, Labels: 64, LabelValue: 16 << 10},
			})
			if err != nil {
				t.Fatal(err)
			}
			before := heap()
			a := g.Push(t.Context(), Request{
				Method: http.MethodPost, Path: "/metrics/job/j", Header: http.Header{"Content-Type": {c.format}},
				Body: bytes.NewReader(c.body), Length: int64(len(c.body)),
			})
			if a.Status != http.StatusOK {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			if grown := int64(heap()) - int64(before); grown > series*long/2 {
				t.Errorf("a push of %d bytes leaves %d MiB", len(c.body), grown>>20)
			}
			runtime.KeepAlive(g)
		})
	}
}

// What is remembered of output series weighs no more than it may, however long their labels
// are.
func TestOutputsAreBounded(t *testing.T) {
	o, h := newOutputs(), counter.NewHasher(nil)
	for i := range 200 {
		var group counter.GroupHash
		ls := []labels.Label{{Name: "l", Value: strings.Repeat(fmt.Sprint(i%10), 1<<20)}, {Name: "n", Value: fmt.Sprint(i)}}
		h.Group(&group, ls)
		o.series(group.Identity(), func() *counter.Series { return &counter.Series{Name: "x_total", Kind: counter.Counter, Labels: ls} }, shape{kind: counter.Counter})
	}
	if kept := len(o.young) + len(o.old); kept > 2*outputBytes>>20 {
		t.Errorf("%d series of a MiB are remembered", kept)
	}
}

// A help text is cut between characters.
func TestCutHelp(t *testing.T) {
	for text, want := range map[string]int{
		"short":                         5,
		strings.Repeat("h", 1<<10):      1 << 10,
		strings.Repeat("h", 1<<10+1):    1 << 10,
		"h" + strings.Repeat("ü", 600):  1023,
		"hh" + strings.Repeat("€", 600): 1022 + 0,
	} {
		if got := cutHelp(text); len(got) != want || !strings.HasPrefix(text, got) {
			t.Errorf("%.10s…, %d bytes: cut to %d, want %d", text, len(text), len(got), want)
		}
	}
}
