package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/testing/protocmp"
)

// transcoded are pushes that must be written as protobuf, beside those of texts
// that are.
var transcoded = []string{
	"a 1\n",
	"a{b=\"c\"} 1\na{b=\"d\"} 2\nb NaN\nc +Inf\nd -0\n",
	"a{ b = \"c\" ,\td=\"e\" , } 1\n",
	"a{b=\"\\\\\\\"\\n\",c=\"é\",d=\"\",e=\"" + strings.Repeat("x", 200) + "\\\\\"} 1e300\n",
	"# HELP a a \\\\ \\n \" line \n# TYPE a counter\na 1\n# HELP b late\n# TYPE c gauge\n# TYPE b gauge\nb 3\nc 1\n",
	"b 1\n# HELP b after its sample\n",
	"# TYPE empty counter\na 1\n# HELP empty2 x\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"} 1\nh_bucket{le=\"+Inf\",a=\"x\"} 9007199254740992\nh_sum{a=\"x\"} -3.5\nh_count{a=\"x\"} 2\nh_sum{a=\"y\"} 1\n",
	"# TYPE h histogram\nh_count 0\n# TYPE s summary\ns{quantile=\"0.5\",x=\"y\"} NaN\ns{x=\"y\",quantile=\"0.9\"} 2\ns_sum{x=\"y\"} 3\ns_count{x=\"y\"} 2\n",
	"h_bucket{le=\"1\"} 1.5\nh_sum 1\nh_count 1\n",
	"a 1\na 2\n",
	"a{b=\"c\"}1\n",
}

// asText are pushes that go on as text.
var asText = []string{
	"",
	"# TYPE a counter\n",
	"a 1 123\n",
	"b 1\na 1\nb{c=\"d\"} 2\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"} 1\nh_bucket{a=\"y\",le=\"1\"} 1\nh_sum{a=\"x\"} 3\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_count 2\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1.5\n",
	" a 1\n",
	"a{b=\"c\"} 1 \n",
	"# HELP a a \\\"quote\\\"\na 1\n",
}

func TestTranscode(t *testing.T) {
	for _, body := range transcoded {
		if !checkTranscode(t, []byte(body)) {
			t.Errorf("%q: goes on as text", body)
		}
	}
	for _, body := range asText {
		p := &Push{}
		if err := p.Parse([]byte(body), Text, someKey, Options{}); err != nil && !strings.HasSuffix(body, " \n") {
			t.Fatalf("%q: %v", body, err)
		}
		if out, ok := Transcode([]byte("before"), p, passing(p)); ok || string(out) != "before" {
			t.Errorf("%q: goes on as protobuf %q", body, out)
		}
	}
	for _, body := range texts {
		checkTranscode(t, []byte(body))
	}
}

func FuzzTranscode(f *testing.F) {
	for _, body := range slices.Concat(texts, transcoded, asText) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkTranscode(t, body) })
}

// TestCapturesTranscode has nearly every text push that a client library writes go
// on as protobuf.
func TestCapturesTranscode(t *testing.T) {
	yes, no := 0, 0
	for name, body := range capturedTexts(t) {
		if checkTranscode(t, body) {
			yes++
		} else if len(body) > 0 {
			no++
			t.Logf("%s goes on as text", name)
		}
	}
	if yes < 70 || no > yes/4 {
		t.Errorf("%d captured text pushes go on as protobuf, %d as text", yes, no)
	}
}

// capturedTexts are the text bodies that clients pushed uncompressed, by the name of
// their capture.
func capturedTexts(t testing.TB) map[string][]byte {
	t.Helper()
	files, _ := filepath.Glob("../../testdata/captures/*.json")
	out := map[string][]byte{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Request struct {
				Method     string
				Headers    [][2]string
				BodyBase64 string `json:"body_base64"`
			}
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		other := slices.ContainsFunc(c.Request.Headers, func(h [2]string) bool {
			return strings.EqualFold(h[0], "Content-Encoding") || strings.Contains(h[1], "encoding=delimited")
		})
		if body, _ := base64.StdEncoding.DecodeString(c.Request.BodyBase64); !other && c.Request.Method != "DELETE" {
			out[filepath.Base(file)] = body
		}
	}
	if len(out) < 90 {
		t.Fatalf("only %d captured text pushes", len(out))
	}
	return out
}

func passing(p *Push) []Fate {
	fates := make([]Fate, len(p.Metrics()))
	for i := range fates {
		fates[i].Act = Pass
	}
	return fates
}

// checkTranscode holds the rendition of a push as protobuf, unchanged and changed in
// several ways, to what expfmt reads of its rendition as text, to the order of
// metrics, labels and buckets. It reports whether there is one.
func checkTranscode(t *testing.T, body []byte) bool {
	t.Helper()
	p := &Push{}
	if err := p.Parse(body, Text, someKey, Options{}); err != nil {
		return false
	}
	ok := sameTranscoded(t, p, passing(p))
	if p.Encoding != Text {
		return ok
	}
	first := passing(p)
	for i := range first {
		switch ls := p.Labels(nil, i); {
		case i%4 == 3:
			first[i].Fields = AppendLabels(nil, Protobuf, ls)
		case i%3 == 2:
			first[i].Act = LeaveOut
		case len(ls) > 0:
			first[i] = relabelled(ls[1:])
		}
	}
	if Merge(p, first, Key{}) == nil {
		sameTranscoded(t, p, first)
		sameByMould(t, p, first)
	}
	sameByMould(t, p, passing(p))
	sameByMould(t, p, nil)
	joined := passing(p) // all metrics of a family become one, where they can
	for i := range joined {
		joined[i] = relabelled([]labels.Label{{Name: "all", Value: "\"o\\n\ne\""}})
	}
	if Merge(p, joined, Key{}) == nil {
		sameTranscoded(t, p, joined)
		sameByMould(t, p, joined)
	}
	return ok
}

// sameByMould holds what a mould makes of other values, if there is one, to what Transcode
// does. It gives the push back as it was.
func sameByMould(t *testing.T, p *Push, fates []Fate) {
	t.Helper()
	before, _ := Transcode(nil, p, fates)
	m := NewMould(p, fates)
	if after, _ := Transcode(nil, p, fates); !bytes.Equal(before, after) {
		t.Fatalf("%q: making a mould changed the push", p.Body)
	}
	if m == nil {
		return
	}
	were := p.Values(nil)
	for i := range p.samples {
		p.samples[i].Value = []float64{float64(i), -1e300, math.NaN(), math.Float64frombits(0x0a12080a09110a09)}[i%4]
	}
	want, ok := Transcode([]byte("before"), p, fates)
	if got := m.Fill([]byte("before"), p); !ok || !bytes.Equal(got, want) {
		t.Fatalf("%q: a mould makes\n%x of what is\n%x", p.Body, got, want)
	}
	for i := range p.samples {
		p.samples[i].Value = were[i]
	}
}

// TestMould: there is one for lines, and none for what has another length with other values.
func TestMould(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		"a 1\na{b=\"c\"} 2\n# TYPE g gauge\ng 3\n": true,
		"# TYPE h histogram\nh_count 0\n":          false,
		"b 1\na 1\nb{c=\"d\"} 2\n":                 false,
	} {
		p := mustParse(t, body, Text)
		if got := NewMould(p, passing(p)) != nil; got != want {
			t.Errorf("%q: a mould: %t", body, got)
		}
	}
}

func relabelled(ls []labels.Label) Fate {
	f := Fate{Act: Relabel, Labels: ls, Block: AppendLabels(nil, Text, ls), Output: Fingerprint(1, ls)}
	if f.Output%2 == 0 {
		f.Fields = AppendLabels(nil, Protobuf, ls)
	}
	return f
}

func sameTranscoded(t *testing.T, p *Push, fates []Fate) bool {
	t.Helper()
	out, ok := Transcode(nil, p, fates)
	if !ok {
		return false
	}
	text := Render(nil, p, fates)
	want, err := readAsGateway(text, Text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	got, err := readAsGateway(out, Protobuf)
	if err != nil {
		t.Fatalf("%q of %q: %v", out, text, err)
	}
	if d := cmp.Diff(byName(t, want), byName(t, got), protocmp.Transform(), cmp.Comparer(sameFloat)); d != "" {
		t.Fatalf("%q: families differ (-expfmt +transcoded):\n%s", text, d)
	}
	return true
}

// sameFloat takes -0 for 0, since that is what the text of a merged metric says, and
// every page.
func sameFloat(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func byName(t *testing.T, families []*dto.MetricFamily) map[string]*dto.MetricFamily {
	t.Helper()
	out := map[string]*dto.MetricFamily{}
	for _, mf := range families {
		if out[mf.GetName()] != nil {
			t.Fatalf("family %q came twice: a Pushgateway takes the last", mf.GetName())
		}
		out[mf.GetName()] = mf
	}
	return out
}

// TestTranscodeAllocatesNothing is about the steady state of a guard, which uses its
// memory again.
func TestTranscodeAllocatesNothing(t *testing.T) {
	p := mustParse(t, transcoded[7]+transcoded[3], Text)
	fates, buf := passing(p), make([]byte, 0, 1<<16)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := Transcode(buf[:0], p, fates); !ok {
			t.Fatal("goes on as text")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkTranscode stands beside what the text of the same push costs.
func BenchmarkTranscode(b *testing.B) {
	var text strings.Builder
	for f := range 20 {
		fmt.Fprintf(&text, "# HELP step_%02d_rows_total Rows of a step.\n# TYPE step_%02d_rows_total counter\n", f, f)
		for s := range 10 {
			fmt.Fprintf(&text, "step_%02d_rows_total{region=\"eu-west-1\",run_id=\"r7f3c2a1b\",status=\"ok\",table=\"orders_%d\"} %d\n", f, s, 1000*f+s)
		}
	}
	p := mustParse(b, text.String(), Text)
	dropped := make([]Fate, len(p.Metrics()))
	for i := range dropped {
		dropped[i] = relabelled(slices.Delete(p.Labels(nil, i), 1, 2))
	}
	known := passing(p)
	for i := range known {
		known[i].Fields = AppendLabels(nil, Protobuf, p.Labels(nil, i))
	}
	for name, fates := range map[string][]Fate{"as-it-came": passing(p), "known": known, "label-dropped": dropped} {
		buf := make([]byte, 0, 1<<16)
		run := func(encoding string, render func()) {
			b.Run(encoding+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(text.Len()))
				b.ReportAllocs()
				for b.Loop() {
					render()
				}
			})
		}
		run("text", func() { Render(buf, p, fates) })
		run("protobuf", func() { Transcode(buf, p, fates) })
		m := NewMould(p, fates)
		run("mould", func() { m.Fill(buf, p) })
	}
}
