package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

var someKey = NewKey(labels.Label{Name: "job", Value: "j"})

func mustParse(t testing.TB, body string, enc Encoding) *Push {
	t.Helper()
	p := &Push{}
	if err := p.Parse([]byte(body), enc, someKey, Options{}); err != nil {
		t.Fatalf("parse: %v", err)
	}
	return p
}

func delimited(t testing.TB, families ...*dto.MetricFamily) string {
	t.Helper()
	var b bytes.Buffer
	for _, mf := range families {
		if _, err := protodelim.MarshalTo(&b, mf); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// texts are bodies on which the two text parsers were seen, or could be thought,
// to differ; every one is a seed of the fuzzer.
var texts = []string{
	"",
	"a 1\n",
	"a 1",
	"a{} 1\n",
	"a{b=\"c\"} 1\na{b=\"d\"} 2\n",
	"a{b=\"c\",} 1\n",
	"a{ b = \"c\" , d=\"e\" } 1\n",
	"a {b=\"c\"} 1\n",
	"a{b=\"c\" d=\"e\"} 1\n",
	"a{,} 1\n",
	"a{b=\"1\",b=\"2\"} 1\n",
	"a{c=\"1\",b=\"2\",c=\"3\"} 1\n",
	"a{__name__=\"b\"} 1\n",
	"a{__b=\"c\"} 1\n",
	"a{_=\"b\",__=\"c\"} 1\n",
	"a{b=\"\\x\"} 1\n",
	"a{b=\"\\\\\\\"\\n\"} 1\n",
	"a{b=\"x\ny\"} 1\n",
	"a{b=\"\xff\"} 1\n",
	"a{b=\"\x00\"} 1\n",
	"a 1\n\x00b 2\n",
	" a 1\n",
	"a 1 \n",
	"a\t1\n",
	"a 1 123\n",
	"a 1 -123\n",
	"a 1 123 \n",
	"a 0x1p3\n",
	"a 1_000\n",
	"a NaN\nb +Inf\nc -inf\n",
	"a 1e999\n",
	"# HELP a help\n# TYPE a counter\na 1\n",
	"# HELP a \xff\na 1\n",
	"# HELP a x\\y\na 1\n",
	"# HELP a x\\\\y\\n\na 1\n",
	"# HELP a x\\\na 1\n",
	"# HELP a x\n# HELP a y\na 1\n",
	"# HELP a\"b c\na 1\n",
	"# TYPE a counter\n# TYPE a gauge\na 1\n",
	"# TYPE a COUNTER\na 1\n",
	"# TYPE a-counter\na 1\n",
	"# TYPE a counter \na 1\n",
	"# TYPE a info\na 1\n",
	"a 1\n# TYPE a counter\n",
	"#HELP a x\n#TYPE a counter\na 1\n",
	"#TYPE a nonsense\na 1\n",
	"# EOF\n",
	"\r\n",
	"a 1\r\n",
	"\xef\xbb\xbfa 1\n",
	"{\"a\",b=\"c\"} 1\n",
	"{\"a.b\",b=\"c\"} 1\n",
	"a{\"b\"=\"c\"} 1\n",
	"{b=\"c\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"} 1\nh_sum{a=\"x\"} 3\nh_count{a=\"x\"} 2\nh_bucket{a=\"y\",le=\"1\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\",a=\"x\",b=\"y\"} 1\nh_sum{b=\"y\",a=\"x\"} 3\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\",} 1\nh_sum{a=\"x\",} 3\nh_bucket{le=\"1\",} 1\nh_sum 1\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"} 1\nh_bucket{a=\"y\",le=\"1\"} 1\nh_sum{a=\"x\"} 3\n",
	"# TYPE h histogram\nh_bucket{a = \"x\",le=\"1\"} 1\nh_sum{a=\"x\"} 3\n",
	"# TYPE h histogram\nh 1\n",
	"# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"NaN\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\",le=\"2\"} 1\n",
	"# TYPE h histogram\nh_bucket 1\nh_count{le=\"1\"} 1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} -1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_count 1.5\n",
	"# TYPE h histogram\nh_bucket{a=\"x\",le=\"1\"}.1\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} NaN\nh_count +Inf\n",
	"# TYPE h histogram\nh_sum 1\nh_sum 2\nh_count 1\nh_count 2\n",
	"h_count 1\n# TYPE h histogram\nh_count 2\nh_sum 1\n",
	"# TYPE h histogram\n# HELP h_count x\nh_count 2\n",
	"# TYPE h histogram\n# TYPE h_count counter\nh_count 2\n",
	"# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.9\"} 2\ns_sum 3\ns_count 2\n",
	"# TYPE s summary\ns 1\ns_count 1.5\n",
	"# TYPE s summary\ns_count{quantile=\"0.5\"} 1\n",
	"# TYPE s summary\ns_count -1\n",
	"# TYPE s summary\ns_bucket{le=\"1\"} 1\n",
	"# TYPE s summary\ns{quantile=\"0.5\"} 1 123\ns_sum 3 124\n",
	"h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
	"a 1\nb 2\na{x=\"y\"} 3\n",
	"_count 1\n_sum 2\n",
	"# TYPE a untyped\na 1\n",
	"# just a comment\n\n   \n# HELP\n# TYPE\n# HELP a\n# TYPE a\na 1\n",
}

// TestTextAgainstExpfmt holds the pipeline to the parser inside a Pushgateway.
func TestTextAgainstExpfmt(t *testing.T) {
	for _, body := range texts {
		checkText(t, []byte(body))
	}
}

func FuzzText(f *testing.F) {
	for _, body := range texts {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkText(t, body) })
}

// checkText holds the three properties: expfmt refuses → so do we, in its words;
// expfmt accepts → we accept, invalid help aside; both → the same series.
func checkText(t *testing.T, body []byte) {
	t.Helper()
	want, wantErr := readAsGateway(body, Text)
	p := &Push{}
	err := p.Parse(body, Text, someKey, Options{})
	if wantErr != nil {
		var e *Error
		if !errors.As(err, &e) || e.Reason != wantErr.Error() {
			t.Fatalf("%q: got %v, want expfmt's %v", body, err, wantErr)
		}
		return
	}
	if err != nil {
		if breaks(want) == "" {
			t.Fatalf("%q: refused (%v), expfmt accepts", body, err)
		}
		return
	}
	if why := breaks(want); why != "" && why != "help" {
		t.Fatalf("%q: accepted, but would break the scrape by its %s", body, why)
	}
	if d := cmp.Diff(series(want), series(tables(t, p))); d != "" {
		t.Fatalf("%q: series differ (-expfmt +tables):\n%s", body, d)
	}
	checkCopy(t, p)
	if p.Encoding == Text {
		checkUnfiled(t, p)
	}
}

// checkUnfiled walks a text push as one that is large, whose samples are not filed
// before somebody asks for them.
func checkUnfiled(t *testing.T, p *Push) {
	t.Helper()
	large := mustParse(t, string(p.Body), Text)
	large.Reset()
	if _, err := large.walkText(p.Body, false); err != nil || len(large.samples) > 0 {
		t.Fatalf("%q: walked to %d samples, %v", p.Body, len(large.samples), err)
	}
	if p.Single() {
		got, want := large.Values(nil), p.Values(nil)
		if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
			t.Fatalf("%q: values differ (-filed +unfiled):\n%s", p.Body, d)
		}
	}
	if large.Let(); len(large.metrics) > 0 {
		t.Fatalf("%q: %d metrics are there yet", p.Body, len(large.metrics))
	}
	if d := cmp.Diff(p.Metrics(), large.Metrics(), cmp.AllowUnexported(Metric{})); d != "" || len(large.samples) > 0 {
		t.Fatalf("%q: metrics differ (-filed +walked again), beside %d samples:\n%s", p.Body, len(large.samples), d)
	}
	if d := cmp.Diff(tablesOf(p), tablesOf(large), cmp.AllowUnexported(Family{}, Metric{}, Sample{})); d != "" {
		t.Fatalf("%q: tables differ (-filed +unfiled):\n%s", p.Body, d)
	}
}

// checkCopy renders a push nobody changed, which must be its body.
func checkCopy(t *testing.T, p *Push) {
	t.Helper()
	fates := make([]Fate, len(p.Metrics()))
	for i := range fates {
		fates[i].Act = Pass
	}
	got := Render(nil, p, fates)
	if p.Encoding == Text && !bytes.Equal(got, p.Body) {
		t.Fatalf("rendered %q, want the body %q", got, p.Body)
	}
	a, _ := readAsGateway(p.Body, p.Encoding)
	b, err := readAsGateway(got, p.Encoding)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(series(a), series(b)); d != "" {
		t.Fatalf("rendered push differs (-body +rendered):\n%s", d)
	}
}

func FuzzProtobuf(f *testing.F) {
	for _, body := range protobufs(f) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkProtobuf(t, body) })
}

func TestProtobufAgainstProtodelim(t *testing.T) {
	for _, body := range protobufs(t) {
		checkProtobuf(t, []byte(body))
	}
}

func protobufs(t testing.TB) []string {
	pair := func(n, v string) *dto.LabelPair { return &dto.LabelPair{Name: &n, Value: &v} }
	one := func(name string, typ dto.MetricType, m *dto.Metric) string {
		return delimited(t, &dto.MetricFamily{Name: &name, Type: &typ, Metric: []*dto.Metric{m}})
	}
	counter := func(ls ...*dto.LabelPair) *dto.Metric {
		return &dto.Metric{Label: ls, Counter: &dto.Counter{Value: proto.Float64(1)}}
	}
	return []string{
		"", "\x00", "\x05abc", "\xff\xff\xff\xff\x7fabcdefgh", "\x80",
		one("a", dto.MetricType_COUNTER, counter(pair("b", "c"), pair("d", "e"))),
		one("a", dto.MetricType_COUNTER, counter(pair("b", "c"), pair("b", "e"))),
		one("a", dto.MetricType_COUNTER, counter(pair("b-c", "c"))),
		one("a", dto.MetricType_COUNTER, counter(pair("_", "b"), pair("__c", "d"))),
		one("a", dto.MetricType_COUNTER, counter(pair("c", "d"), pair("__b", "c"))),
		delimited(t, &dto.MetricFamily{Name: proto.String("a"), Type: dto.MetricType_HISTOGRAM.Enum()}),
		one("a", dto.MetricType_COUNTER, counter(pair("b", "\xff"))),
		one("a.b", dto.MetricType_COUNTER, counter()),
		one("", dto.MetricType_COUNTER, counter()),
		one("a", dto.MetricType_GAUGE, counter()),
		one("a", dto.MetricType_GAUGE_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{}}),
		one("a", dto.MetricType(77), counter()),
		one("h", dto.MetricType_HISTOGRAM, &dto.Metric{Label: []*dto.LabelPair{pair("le", "1")}, Histogram: &dto.Histogram{}}),
		one("h", dto.MetricType_HISTOGRAM, &dto.Metric{Histogram: &dto.Histogram{SampleCount: proto.Uint64(2), Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1), Exemplar: &dto.Exemplar{Label: []*dto.LabelPair{pair("t", "1")}}}}}}),
		one("s", dto.MetricType_SUMMARY, &dto.Metric{Summary: &dto.Summary{Quantile: []*dto.Quantile{{Quantile: proto.Float64(0.5), Value: proto.Float64(1)}}}}),
		// Labels that do not follow each other, and a field nobody knows.
		"\x1e\x0a\x01a\x22\x19\x0a\x06\x0a\x01b\x12\x01c\x1a\x02\x08\x01\x0a\x06\x0a\x01d\x12\x01e\x98\x06\x01",
		delimited(t, &dto.MetricFamily{Name: proto.String("a"), Help: proto.String("\xff"), Metric: []*dto.Metric{counter()}}),
	}
}

func checkProtobuf(t *testing.T, body []byte) {
	t.Helper()
	want, wantErr := readAsGateway(body, Protobuf)
	p := &Push{}
	err := p.Parse(body, Protobuf, someKey, Options{})
	switch {
	case wantErr != nil && err == nil:
		t.Fatalf("%x: accepted, protodelim refuses: %v", body, wantErr)
	case wantErr != nil:
		return
	case err != nil && breaks(want) == "":
		t.Fatalf("%x: refused (%v), a Pushgateway accepts and exposes it", body, err)
	case err != nil:
		return
	}
	if why := breaks(want); why != "" {
		t.Fatalf("%x: accepted, but would break the scrape by its %s", body, why)
	}
	if d := cmp.Diff(series(want), series(tables(t, p))); d != "" {
		t.Fatalf("%x: series differ (-protodelim +tables):\n%s", body, d)
	}
	checkCopy(t, p)
	checkDrop(t, p, want)
}

// checkDrop takes the first label from every metric and compares with the same
// done to the messages.
func checkDrop(t *testing.T, p *Push, want []*dto.MetricFamily) {
	t.Helper()
	fates := make([]Fate, len(p.Metrics()))
	for i := range fates {
		ls := p.Labels(nil, i)
		if len(ls) == 0 {
			fates[i] = Fate{Act: Pass}
			continue
		}
		fates[i] = Fate{Act: Relabel, Labels: ls[1:], Block: AppendLabels(nil, p.Encoding, ls[1:])}
	}
	got, err := readAsGateway(Render(nil, p, fates), p.Encoding)
	if err != nil {
		t.Fatalf("rendered push: %v", err)
	}
	for _, mf := range want {
		for _, m := range mf.Metric {
			m.Label = m.Label[min(1, len(m.Label)):]
		}
	}
	if d := cmp.Diff(series(want), series(got)); d != "" {
		t.Fatalf("dropped labels differ (-messages +rendered):\n%s", d)
	}
}

// TestCapturesParse reads every captured push and agrees with the gateway that
// answered it.
func TestCapturesParse(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/captures/*.json")
	if len(files) < 100 {
		t.Fatalf("only %d captures in testdata/captures", len(files))
	}
	sure := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Request struct {
				Headers    [][2]string
				BodyBase64 string `json:"body_base64"`
			}
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		body, _ := base64.StdEncoding.DecodeString(c.Request.BodyBase64)
		enc, packed := Text, false
		for _, h := range c.Request.Headers {
			packed = packed || strings.EqualFold(h[0], "Content-Encoding")
			if strings.EqualFold(h[0], "Content-Type") && strings.Contains(h[1], "encoding=delimited") {
				enc = Protobuf
			}
		}
		if packed {
			continue
		}
		if enc == Text {
			checkText(t, body)
			p := &Push{}
			if p.Parse(body, Text, someKey, Options{}) == nil && p.Encoding == Text {
				sure++
			}
			continue
		}
		checkProtobuf(t, body)
	}
	if sure < 80 {
		t.Errorf("only %d captured text pushes were walked without expfmt", sure)
	}
}

func TestRelabelText(t *testing.T) {
	body := "# TYPE h histogram\n" +
		"h_bucket{run=\"1\",le=\"1\"} 1 \nh_sum{run=\"1\"} 3\n"
	body = strings.ReplaceAll(body, " \n", "\n") + "a{run=\"1\",x=\"q\\\"\"} 5 # no\n"
	body = strings.ReplaceAll(body, " # no", "") + "b{run=\"1\"}7\n"
	p := mustParse(t, body, Text)
	fates := make([]Fate, len(p.Metrics()))
	for i := range fates {
		out := slices.DeleteFunc(p.Labels(nil, i), func(l labels.Label) bool { return l.Name == "run" })
		fates[i] = Fate{Act: Relabel, Labels: out, Block: AppendLabels(nil, Text, out), Output: Fingerprint(1, out)}
	}
	if err := Merge(p, fates, Key{}); err != nil {
		t.Fatal(err)
	}
	want := "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 3\na{x=\"q\\\"\"} 5\nb 7\n"
	if got := string(Render(nil, p, fates)); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestLimits(t *testing.T) {
	opts := Options{Limits: Limits{Samples: 3, Labels: 2, LabelValue: 8}}
	for name, tc := range map[string]struct {
		body  string
		limit string
	}{
		"samples at":                   {"a 1\nb 1\nc 1\n", ""},
		"samples over":                 {"a 1\nb 1\nc 1\nd 1\n", "samples"},
		"samples over, expfmt":         {" a 1\nb 1\nc 1\nd 1\n", "samples"},
		"histogram billed expanded":    {"# TYPE h histogram\nh_bucket{le=\"1\"} 1\n", "samples"},
		"histogram of nothing but Inf": {"# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\n", ""},
		"labels at":                    {"a{b=\"1\",c=\"2\"} 1\n", ""},
		"labels over":                  {"a{b=\"1\",c=\"2\",d=\"3\"} 1\n", "labels"},
		"labels over, expfmt":          {" a{b=\"1\",c=\"2\",d=\"3\"} 1\n", "labels"},
		"value at":                     {"a{b=\"12345678\"} 1\n", ""},
		"value over":                   {"a{b=\"123456789\"} 1\n", "label value bytes"},
		"name over":                    {"abcdefghi 1\n", "label value bytes"},
		"label name over":              {"a{bcdefghij=\"1\"} 1\n", "label value bytes"},
		"value over, expfmt":           {" a{b=\"123456789\"} 1\n", "label value bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Push{}).Parse([]byte(tc.body), Text, someKey, opts)
			var limit *LimitError
			switch {
			case tc.limit == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case tc.limit != "" && (!errors.As(err, &limit) || limit.What != tc.limit):
				t.Errorf("got %v, want a limit of %s", err, tc.limit)
			}
		})
	}
}

func TestKeyLimits(t *testing.T) {
	key := func(ls ...labels.Label) Key { return NewKey(append(ls, labels.Label{Name: "job", Value: "j"})...) }
	limits := Limits{Labels: 2, LabelValue: 4}
	for name, tc := range map[string]struct {
		key Key
		ok  bool
	}{
		"at":              {key(labels.Label{Name: "abcd", Value: "1234"}), true},
		"value over":      {key(labels.Label{Name: "a", Value: "12345"}), false},
		"label name over": {key(labels.Label{Name: "abcde", Value: "1"}), false},
		"labels over":     {key(labels.Label{Name: "a", Value: "1"}, labels.Label{Name: "b", Value: "1"}), false},
	} {
		if err := limits.CheckKey(tc.key); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExpfmtWork bounds what expfmt, whose time grows with the square of a line's
// labels, is given to read.
func TestExpfmtWork(t *testing.T) {
	line := " a{" + strings.Repeat("b=\"\",", 100) + "} 1\n" // the blank makes it a case for expfmt
	for lines, want := range map[int]bool{maxLabelWork / 10_000: true, maxLabelWork/10_000 + 1: false} {
		err := prescan(bytes.Repeat([]byte(line), lines), Limits{})
		if (err == nil) != want {
			t.Errorf("%d lines of 100 labels: %v", lines, err)
		}
	}
}
