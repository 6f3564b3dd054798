package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/wire"
)

func get(t testing.TB, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var times = regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?push_(failure_)?time_seconds.*\n`)

// lines are those of the page but for the times of pushes.
func lines(t testing.TB, s *Store) string {
	t.Helper()
	return times.ReplaceAllString(page(t, s), "")
}

func TestGroupsOnThePage(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	push(t, s, http.MethodPut, key("run", "r1"), "# HELP x A \\\\ and\\n more.\n# TYPE x gauge\nx{t=\"\\\"q\\\"\"} 1\nx 2\n")
	push(t, s, http.MethodPost, key("instance", "i"), "x{instance=\"j\"} 3\ny 4\n")
	if status, body := push(t, s, http.MethodPost, key("instance", "i"), "# TYPE x gauge\nx{run=\"r2\"} 3\n"); status != 200 {
		t.Fatal(body)
	}
	const want = `# HELP x A \\ and\n more.
# TYPE x gauge
x{instance="i",job="a",run="r2"} 3
x{instance="",job="a",run="r1",t="\"q\""} 1
x{instance="",job="a",run="r1"} 2
`
	got := lines(t, s)
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			t.Errorf("%q is not on the page:\n%s", line, got)
		}
	}
	if strings.Contains(got, "y") && strings.Contains(got, "instance=\"j\"") {
		t.Errorf("the page:\n%s", got)
	}
	push(t, s, http.MethodDelete, key("instance", "i"), "")
	push(t, s, http.MethodDelete, key("run", "r1"), "")
	if got := page(t, s); got != "" {
		t.Errorf("left is\n%s", got)
	}
	if groups, series, shapes := s.sizes(); groups+series+shapes != 0 || len(s.index.families)+len(s.index.jobs) != 0 {
		t.Errorf("left are %d groups, %d series, %d shapes, %d families, %d jobs", groups, series, shapes, len(s.index.families), len(s.index.jobs))
	}
}

func TestOneShapeOfManyGroups(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	for i := range 100 {
		push(t, s, http.MethodPut, key("run", fmt.Sprint(i)), fmt.Sprintf("x{t=\"a\"} %d\nx{t=\"b\"} %d\n", i, 2*i))
	}
	if groups, series, shapes := s.sizes(); groups != 100 || series != 200 || shapes != 1 {
		t.Errorf("%d groups, %d series, %d shapes", groups, series, shapes)
	}
}

// TestCountsThatAreNone are on the page as they were pushed: a Pushgateway takes them.
func TestCountsThatAreNone(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	push(t, s, http.MethodPut, key(), "# TYPE h histogram\nh_bucket{le=\"1\"} NaN\nh_bucket{le=\"2\"} 1.5\nh_count NaN\n")
	for _, line := range []string{`h_bucket{instance="",job="a",le="1"} NaN`, `h_bucket{instance="",job="a",le="2"} 1.5`, `h_bucket{instance="",job="a",le="+Inf"} NaN`, `h_count{instance="",job="a"} NaN`} {
		if got := lines(t, s); !strings.Contains(got, line+"\n") {
			t.Errorf("%q is not on the page:\n%s", line, got)
		}
	}
}

// TestNoTwoGroupsHaveOneSeries, whichever comes first.
func TestNoTwoGroupsHaveOneSeries(t *testing.T) {
	t.Parallel()
	below, above := key(), key("run", "1")
	for name, tc := range map[string]struct {
		first, second wire.Key
		a, b          string
	}{
		"the body has the label of the group above": {above, below, "x 1\n", "x{run=\"1\"} 2\n"},
		"the same the other way round":              {below, above, "x{run=\"1\"} 2\n", "x 1\n"},
		"groups beside each other":                  {key("zone", "z"), above, "x{run=\"1\"} 2\n", "x{zone=\"z\"} 1\n"},
		"a label without a value is none":           {above, below, "x{t=\"b\",u=\"\"} 1\nx{t=\"a\"} 1\n", "x{t=\"b\",run=\"1\",v=\"\"} 2\n"},
		"one of many":                               {above, below, manySeries(100, ""), "x{t=\"no\",run=\"1\"} 1\nx{t=\"57\",run=\"1\"} 1\n"},
		"the second of other label names":           {above, below, "x{t=\"a\"} 1\n", "x{u=\"a\"} 1\nx{t=\"a\",run=\"1\"} 1\n"},
		"a histogram":                               {above, below, histogram(""), histogram("run=\"1\",")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := opened(t, Config{})
			if status, body := push(t, s, http.MethodPost, tc.first, tc.a); status != 200 {
				t.Fatal(body)
			}
			status, body := push(t, s, http.MethodPost, tc.second, tc.b)
			if status != 400 || !strings.HasPrefix(body, inconsistent+`collected metric "x" {`) || !strings.Contains(body, "was collected before") {
				t.Errorf("%d %s", status, body)
			}
			push(t, s, http.MethodDelete, tc.first, "")
			if status, body := push(t, s, http.MethodPost, tc.second, tc.b); status != 200 {
				t.Errorf("once the other is gone: %s", body)
			}
		})
	}
}

// TestRefusedBesideAnother: what is refused is noted while a push to a group beside
// looks for its series there.
func TestRefusedBesideAnother(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	push(t, s, http.MethodPut, key(), "x{instance=\"i\"} 1\n")
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for range 500 {
			if status, text, err := try(t.Context(), s, http.MethodPost, key(), "x{t=\"b\"} 1\nx{t=\"b\"} 1\n"); err != nil || status != http.StatusBadRequest {
				t.Error(status, text, err)
			}
		}
	})
	for range 500 {
		if status, text := push(t, s, http.MethodPost, key("instance", "i"), "x 1\n"); status != http.StatusBadRequest {
			t.Fatal(status, text)
		}
	}
}

// manySeries is a body of n series of x, each with these labels before its own.
func manySeries(n int, before string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "x{%st=\"%d\"} 1\n", before, i)
	}
	return b.String()
}

func histogram(labels string) string {
	return "# TYPE x histogram\nx_bucket{" + labels + "le=\"1\"} 1\nx_bucket{" + labels + "le=\"+Inf\"} 2\nx_sum{" + labels + "} 3\nx_count{" + labels + "} 2\n"
}

// TestBesideALargeGroup: what a push costs beside a group that could have its series
// does not grow with what that group holds. It cannot run beside other tests, whose
// allocations would be counted.
func TestBesideALargeGroup(t *testing.T) {
	cost := func(stored int) float64 {
		s := opened(t, Config{})
		push(t, s, http.MethodPost, key("run", "1"), manySeries(stored, ""))
		body := manySeries(10, "run=\"1\",own=\"\",other=\"a\",")
		return testing.AllocsPerRun(5, func() {
			if status, text := push(t, s, http.MethodPost, key(), body); status != http.StatusOK {
				t.Fatal(text)
			}
		})
	}
	if small, large := cost(10), cost(5000); large > 2*small {
		t.Errorf("a push allocates %v times beside 10 series, %v times beside 5,000", small, large)
	}
}

// TestPagesAreWhole: whatever is pushed meanwhile, a page has of each group one push,
// and Prometheus' parsers take it.
func TestPagesAreWhole(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	var pushing sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		pushing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				k := key("run", fmt.Sprint(w), "n", fmt.Sprint(n%7))
				switch {
				case n%50 == 49:
					push(t, s, http.MethodDelete, k, "")
				case n%2 == 0:
					push(t, s, http.MethodPut, k, fmt.Sprintf("a %d\nb %d\nc{t=\"%d\"} %d\n", n, n, n%3, n))
				default:
					push(t, s, http.MethodPut, k, fmt.Sprintf("a %d\nb %d\n# TYPE d gauge\nd %d\n", n, n, n))
				}
			}
		})
	}
	for range 50 {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(page(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, mf := range families {
			if mf.GetName() != "a" && mf.GetName() != "b" {
				continue
			}
			for _, m := range mf.Metric {
				group := fmt.Sprint(m.Label)
				if v, ok := values[group]; ok && v != m.GetUntyped().GetValue() {
					t.Fatalf("group %s has values of two pushes", group)
				}
				values[group] = m.GetUntyped().GetValue()
			}
		}
	}
	close(stop)
	pushing.Wait()
}

// TestFirstPushIsWhole: a group is nowhere to be seen before its first push was taken
// or refused.
func TestFirstPushIsWhole(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	g := s.enter(key()) // as a push does, before it is checked
	if got := page(t, s); got != "" {
		t.Errorf("the page has a group that nothing was pushed to:\n%s", got)
	}
	if groups, _, _ := s.sizes(); groups != 0 {
		t.Errorf("%d groups", groups)
	}
	g.turn.Unlock()
	push(t, s, http.MethodPut, key(), "")
	if got := page(t, s); !strings.Contains(got, `push_time_seconds{instance="",job="a"}`) {
		t.Errorf("the page lacks a group that was pushed to:\n%s", got)
	}
}

func TestPageInEveryFormat(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	push(t, s, http.MethodPut, key(), "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 3\nh_count 4\n# TYPE q summary\nq{quantile=\"0.5\"} 1\nq_sum 2\nq_count 3\n# TYPE c counter\nc 7\n")
	for accept, mediaType := range map[string]string{
		"": "text/plain; version=0.0.4; charset=utf-8; escaping=values",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=values",
	} {
		w := get(t, s.Proxy(), "/metrics", "Accept", accept)
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, strings.Split(mediaType, ";")[0]) {
			t.Errorf("%q: Content-Type %q", accept, got)
		}
		decoder := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))
		n, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, mustDecode(t, decoder)...)
		if err != nil || len(n) != 2+4+3+1 {
			t.Errorf("%q: %d samples, %v", accept, len(n), err)
		}
	}
	if w := get(t, s.Proxy(), "/metrics", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" && w.Header().Get("Content-Encoding") != "gzip" {
		t.Error(w.Header())
	}
}

func TestPathsThatAreNone(t *testing.T) {
	t.Parallel()
	h := opened(t, Config{}).Proxy()
	for path, want := range map[string]int{
		"/": 200, "/status": 200, "/metrics": 200, "/-/healthy": 200, "/-/ready": 200, "/api/v1/status": 200, "/api/v1/metrics": 200,
		"/metrics/": 404, "/Metrics": 404, "/api/v1": 404, "/api/v1/": 404, "/metrics/job/a": 405, "/metrics/job@base64/YQ": 405, "/static/x": 404,
	} {
		if got := get(t, h, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// TestMarkupOnThePageForPeople is text.
func TestMarkupOnThePageForPeople(t *testing.T) {
	t.Parallel()
	s := opened(t, Config{})
	push(t, s, http.MethodPut, key("run", `"><script>alert(1)</script>`), "# HELP x </pre><img src=x onerror=alert(1)>\nx{t=\"<b>\"} 1\n")
	got := get(t, s.Proxy(), "/").Body.String()
	if strings.Count(got, "<script>") != 1 || strings.Contains(got, "<img") || strings.Contains(got, "<b>") || !strings.Contains(got, "&lt;script&gt;") {
		t.Error(got)
	}
}

func mustDecode(t *testing.T, d expfmt.Decoder) (out []*dto.MetricFamily) {
	t.Helper()
	for {
		mf := &dto.MetricFamily{}
		err := d.Decode(mf)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, mf)
	}
}

// TestWhatTextCannotSay is in a message all the same: native buckets, exemplars and
// created timestamps.
func TestWhatTextCannotSay(t *testing.T) {
	t.Parallel()
	created := timestamppb.New(time.Unix(1_700_000_000, 0))
	pushed := []*dto.MetricFamily{
		{Name: proto.String("c"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{
			Label:   []*dto.LabelPair{{Name: proto.String("t"), Value: proto.String("a")}},
			Counter: &dto.Counter{Value: proto.Float64(3), CreatedTimestamp: created, Exemplar: &dto.Exemplar{Value: proto.Float64(1)}},
		}}},
		{Name: proto.String("h"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{
			Histogram: &dto.Histogram{
				SampleCount: proto.Uint64(3), SampleSum: proto.Float64(4), Schema: proto.Int32(0), ZeroThreshold: proto.Float64(0.001),
				PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(1)}}, PositiveDelta: []int64{3},
			},
		}}},
	}
	var body bytes.Buffer
	for _, mf := range pushed {
		if _, err := protodelim.MarshalTo(&body, mf); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s, end := openedDir(t, dir)
	p := &wire.Push{}
	if err := p.Parse(body.Bytes(), wire.Protobuf, key(), wire.Options{}); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Do(t.Context(), gateway.Request{Method: http.MethodPut, Key: key(), Push: p}); err != nil || a.Status != 200 {
		t.Fatal(a, err)
	}
	end()
	s, end = openedDir(t, dir)
	defer end()
	const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	w := get(t, s.Proxy(), "/metrics", "Accept", protobuf)
	got := map[string]*dto.MetricFamily{}
	for _, mf := range mustDecode(t, expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header()))) {
		got[mf.GetName()] = mf
	}
	for _, want := range pushed {
		m := got[want.GetName()].GetMetric()[0]
		m.Label = slices.DeleteFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() != "t" })
		if !proto.Equal(m, want.Metric[0]) {
			t.Errorf("%s: %v, pushed was %v", want.GetName(), m, want.Metric[0])
		}
	}
	if text := lines(t, s); !strings.Contains(text, "h_bucket{instance=\"\",job=\"a\",le=\"+Inf\"} 3\n") || !strings.Contains(text, "c{instance=\"\",job=\"a\",t=\"a\"} 3\n") {
		t.Error(text)
	}
}

// TestOtherOriginsRead the API, and nobody keeps it, as of a Pushgateway.
func TestOtherOriginsRead(t *testing.T) {
	t.Parallel()
	resp, err := http.Get(gatewaytest.Start(t).String() + "/api/v1/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got := get(t, opened(t, Config{}).Proxy(), "/api/v1/metrics").Header()
	for name, want := range resp.Header {
		if name != "Date" && name != "Content-Length" && !slices.Equal(got[name], want) {
			t.Errorf("%s: %q, of a Pushgateway %q", name, got[name], want)
		}
	}
}

// TestSeriesOfAGroupWithAnEmptyLabel: to Prometheus a label without a value is none, so
// that such a group can have a series of another as well as one without the label can.
func TestSeriesOfAGroupWithAnEmptyLabel(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"instance", "y"} {
		padded, other := key(name, ""), key("x", "1")
		for _, first := range []bool{true, false} {
			dir := t.TempDir()
			s, end := openedDir(t, dir)
			keys, bodies := []wire.Key{padded, other}, []string{"m{x=\"1\"} 1\n", "m 2\n"}
			if !first {
				slices.Reverse(keys)
				slices.Reverse(bodies)
			}
			for _, restored := range []bool{false, true} {
				if status, text := push(t, s, http.MethodPut, keys[0], bodies[0]); status != 200 {
					t.Fatal(status, text)
				}
				if status, text := push(t, s, http.MethodPut, keys[1], bodies[1]); status != 400 {
					t.Errorf("%s, restored: %v: %d %s", name, restored, status, text)
				}
				end() // and so once it is restored
				s, end = openedDir(t, dir)
			}
			push(t, s, http.MethodDelete, keys[0], "")
			if status, text := push(t, s, http.MethodPut, keys[1], bodies[1]); status != 200 {
				t.Error(status, text)
			}
			end()
		}
	}
}
