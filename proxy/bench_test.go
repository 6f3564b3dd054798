package proxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/wire"
)

// body200 is a push of 200 series in 20 families, of about 90 bytes a line, in
// both encodings.
func body200(tb testing.TB) (text, protobuf []byte) {
	tb.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	var t, p bytes.Buffer
	for f := range 20 {
		name := fmt.Sprintf("step_%02d_rows_total", f)
		mf := &dto.MetricFamily{Name: &name, Help: proto.String("Rows of a step."), Type: dto.MetricType_COUNTER.Enum()}
		fmt.Fprintf(&t, "# HELP %s Rows of a step.\n# TYPE %s counter\n", name, name)
		for s := range 10 {
			ls := [][2]string{
				{"region", "eu-west-1"}, {"run_id", "r7f3c2a1b"}, {"status", []string{"ok", "late"}[s%2]}, {"table", fmt.Sprintf("orders_%d", s)},
			}
			m := &dto.Metric{Counter: &dto.Counter{Value: proto.Float64(float64(r.IntN(1e6)))}}
			fmt.Fprintf(&t, "%s{", name)
			for i, l := range ls {
				if i > 0 {
					t.WriteByte(',')
				}
				fmt.Fprintf(&t, "%s=%q", l[0], l[1])
				m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l[0]), Value: proto.String(l[1])})
			}
			fmt.Fprintf(&t, "} %v\n", m.Counter.GetValue())
			mf.Metric = append(mf.Metric, m)
		}
		if _, err := protodelim.MarshalTo(&p, mf); err != nil {
			tb.Fatal(err)
		}
	}
	return t.Bytes(), p.Bytes()
}

const (
	permitAll = "version: v1\ndefault: {mode: enforce, limits: {sample_limit: 5000, label_limit: 30, label_value_length_limit: 200}}\n"
	dropRunID = "version: v1\ndefault: {mode: enforce, limits: {sample_limit: 5000, label_limit: 30, label_value_length_limit: 200}, rules: [{id: ids, labels: [run_id], action: drop}]}\n"
)

// BenchmarkPush measures a push from its body to its verdict, and to its bytes
// where a rule changes them, without HTTP and forwarding. The parser inside a
// Pushgateway runs beside it on the same body.
func BenchmarkPush(b *testing.B) {
	text, protobuf := body200(b)
	for _, bm := range []struct {
		name       string
		policy     string
		body       []byte
		enc        wire.Encoding
		asProtobuf bool
	}{
		{"text/known", permitAll, text, wire.Text, false},
		{"text/label-dropped", dropRunID, text, wire.Text, false},
		{"text-as-protobuf/known", permitAll, text, wire.Text, true},
		{"text-as-protobuf/label-dropped", dropRunID, text, wire.Text, true},
		{"protobuf/known", permitAll, protobuf, wire.Protobuf, true},
		{"protobuf/label-dropped", dropRunID, protobuf, wire.Protobuf, true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			rules, err := policy.Parse("bench", []byte(bm.policy))
			if err != nil {
				b.Fatal(err)
			}
			e := &epoch{policy: rules, verdicts: newVerdicts(1, demand.New(demand.Config{}), bm.asProtobuf)}
			b.SetBytes(int64(len(bm.body)))
			b.ReportAllocs()
			v := &passage{last: map[string]int32{}}
			for b.Loop() {
				v.reset()
				v.request.Path = "/metrics/job/nightly/instance/worker-1"
				if err := v.address(e, wire.Options{}); err != nil {
					b.Fatal(err)
				}
				v.judgeKey()
				v.decoded = bm.body
				if err := v.push.Parse(v.decoded, bm.enc, v.raw, wire.Options{Limits: wire.Limits{Samples: 1e6, Labels: 100, LabelValue: 1e4}}); err != nil {
					b.Fatal(err)
				}
				v.judge(e)
				v.merge()
				if v.refused() {
					b.Fatal(v.findings.All())
				}
				v.outgoing(true, bm.asProtobuf)
			}
		})
	}
	b.Run("expfmt", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			parser := expfmt.NewTextParser(model.LegacyValidation)
			if _, err := parser.TextToMetricFamilies(bytes.NewReader(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
