package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pushguard/pushguard/proxy"
)

// TestProtobufKeepsEveryOtherByte drops a label of a native histogram with
// exemplars, a created timestamp and a field that nobody knows yet.
func TestProtobufKeepsEveryOtherByte(t *testing.T) {
	sent := make(chan []byte, 1)
	up := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- body
	})
	g := newGuard(t, up, setup{policy: dropping})
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 999, protowire.BytesType), []byte("of a later version"))
	push := func(labels ...*dto.LabelPair) []byte {
		m := &dto.Metric{Label: labels, Histogram: &dto.Histogram{
			SampleCount: proto.Uint64(3), SampleSum: proto.Float64(1.5), Schema: proto.Int32(3),
			ZeroThreshold: proto.Float64(1e-128), ZeroCount: proto.Uint64(1),
			PositiveSpan:  []*dto.BucketSpan{{Offset: proto.Int32(-2), Length: proto.Uint32(2)}},
			PositiveDelta: []int64{1, 0},
			Exemplars: []*dto.Exemplar{{
				Label: []*dto.LabelPair{pair("run_id", "stays, it is the exemplar's")}, Value: proto.Float64(1), Timestamp: &timestamppb.Timestamp{Seconds: 1.7e9},
			}},
			CreatedTimestamp: &timestamppb.Timestamp{Seconds: 1.6e9},
		}}
		m.ProtoReflect().SetUnknown(unknown)
		counter := &dto.Metric{Label: labels, Counter: &dto.Counter{Value: proto.Float64(7), Exemplar: &dto.Exemplar{Value: proto.Float64(2)}}}
		var b bytes.Buffer
		for _, mf := range []*dto.MetricFamily{
			{Name: proto.String("size"), Help: proto.String("Sizes."), Type: dto.MetricType_HISTOGRAM.Enum(), Unit: proto.String("bytes"), Metric: []*dto.Metric{m}},
			{Name: proto.String("rows_total"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{counter}},
		} {
			mf.ProtoReflect().SetUnknown(unknown)
			if _, err := protodelim.MarshalTo(&b, mf); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	came := push(pair("run_id", "7"), pair("table", "orders"))
	if a := g.do(http.MethodPut, "/metrics/job/a", string(came), "Content-Type", delimited); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if got, want := <-sent, push(pair("table", "orders")); !bytes.Equal(got, want) {
		t.Errorf("\nsent %q\nwant %q", got, want)
	}
}

func pair(name, value string) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)}
}

// TestConcurrentPushesDoNotMix has many clients push bodies of their own, through
// pooled memory and a shared cache: each arrives as if it had been alone.
func TestConcurrentPushesDoNotMix(t *testing.T) {
	var mu sync.Mutex
	arrived := map[string]string{}
	up := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		arrived[r.URL.Path] = string(body)
	})
	g := newGuard(t, up, setup{policy: dropping})
	const clients, pushes = 8, 40
	var pushing sync.WaitGroup
	for c := range clients {
		pushing.Go(func() {
			for i := range pushes {
				// The same series of the same jobs by all, in other orders, and some of one's own.
				instance := fmt.Sprintf("%d-%d", c, i)
				body, want := &strings.Builder{}, &strings.Builder{}
				for n := range 20 {
					table := (n*(c+1) + i) % 23
					fmt.Fprintf(body, "rows{run_id=%q,table=\"t%d\",of=%q} %d\n", instance, table, instance, n)
					fmt.Fprintf(want, "rows{table=\"t%d\",of=%q} %d\n", table, instance, n)
				}
				fmt.Fprintf(body, "shared{run_id=\"same\",table=\"t\"} %d\n", i)
				fmt.Fprintf(want, "shared{table=\"t\"} %d\n", i)
				path := fmt.Sprintf("/metrics/job/job%d/instance/%s", i%3, instance)
				g.push(t, 200, http.MethodPut, path, body.String())
				mu.Lock()
				if got := arrived[path]; got != want.String() {
					t.Errorf("%s\ngot  %q\nwant %q", path, got, want)
				}
				mu.Unlock()
			}
		})
	}
	pushing.Wait()
}

// TestTextGoesOnAsProtobuf says which pushes do, and that the others go on as they
// came.
func TestTextGoesOnAsProtobuf(t *testing.T) {
	const body, packed = "# TYPE rows counter\nrows{run_id=\"7\",table=\"a\"} 1\n", "rows{table=\"a\"} 1\n"
	const report = "version: v1\ndefault: {mode: report, rules: [{id: ids, labels: [run_id], action: drop}]}\n"
	const keeping = "version: v1\ndefault: {mode: enforce, counters: {route: snapshot}}\n"
	long := func(size int, body string) string { return "#" + strings.Repeat(" ", size-len(body)-2) + "\n" + body }
	for name, tc := range map[string]struct {
		policy   string
		received bool // --pushgateway.encoding=received
		body     string
		headers  []string
		want     string // the body that is text; empty is protobuf
	}{
		"a label dropped":    {policy: dropping, body: body},
		"nothing changed":    {policy: keeping, body: body},
		"gzip":               {policy: keeping, body: gzipped(t, packed), headers: []string{"Content-Encoding", "gzip"}},
		"text, as received":  {policy: dropping, received: true, body: body, want: "# TYPE rows counter\nrows{table=\"a\"} 1\n"},
		"report":             {policy: report, body: body, want: body},
		"GZIP":               {policy: keeping, body: gzipped(t, packed), headers: []string{"Content-Encoding", "GZIP"}, want: gzipped(t, packed)},
		"a timestamp":        {policy: keeping, body: "a 1 2\n", want: "a 1 2\n"},
		"fractional buckets": {policy: keeping, body: "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\n", want: "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\n"},
		"nothing":            {policy: keeping},
		"under a mebibyte":   {policy: keeping, body: long(1<<20-1, packed)},
		"a mebibyte":         {policy: keeping, body: long(1<<20, packed)},
		"over a mebibyte":    {policy: keeping, body: long(1<<20+1, packed), want: long(1<<20+1, packed)},
		"the same, changed":  {policy: dropping, body: long(1<<20+1, body)},
		"the same, gzip":     {policy: keeping, body: gzipped(t, long(1<<20+1, packed)), headers: []string{"Content-Encoding", "gzip"}, want: gzipped(t, long(1<<20+1, packed))},
	} {
		t.Run(name, func(t *testing.T) {
			var got *http.Request
			var sent []byte
			up := upstreamFunc(t, func(_ http.ResponseWriter, r *http.Request) {
				got = r
				sent, _ = io.ReadAll(r.Body)
			})
			g := newGuard(t, up, setup{
				policy: tc.policy, asProtobuf: !tc.received,
				caps: proxy.Caps{Body: 2 << 20, Decoded: 2 << 20, Samples: 100, Labels: 64, LabelValue: 4096},
			})
			if a := g.do(http.MethodPut, "/metrics/job/a", tc.body, tc.headers...); a.Status != 200 {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			isProtobuf := got.Header.Get("Content-Type") == delimited
			switch {
			case tc.body == "" && (isProtobuf || len(sent) > 0), tc.body != "" && isProtobuf != (tc.want == ""):
				t.Errorf("sent as %q: %q", got.Header.Get("Content-Type"), sent)
			case !isProtobuf && string(sent) != tc.want:
				t.Errorf("sent %q, want %q", sent, tc.want)
			case isProtobuf && (got.Header.Get("Content-Encoding") != "" || !bytes.Contains(sent, []byte("\x12\x01a")) || len(sent) > len(body)):
				t.Errorf("sent %q %q", got.Header, sent)
			}
		})
	}
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
