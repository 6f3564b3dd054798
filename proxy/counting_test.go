package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// countedPolicy adds up under labels that name no task.
const countedPolicy = `version: v1
default:
  mode: enforce
  rules: [{id: tasks, labels: [task_id], action: drop}]
jobs:
- job: sorted
  counters:
    families:
    - {metrics: [happened_total], as: event}
    - {metrics: [dropped_total], as: drop}
    - {metrics: [rows], as: counter}
    - {metrics: [kept_total], as: snapshot}
`

// page is what Prometheus reads of the guard.
func (g *guard) page(t *testing.T, accept ...string) map[string]float64 {
	t.Helper()
	a := g.do(http.MethodGet, "/metrics", "", accept...)
	if a.Status != 200 {
		t.Fatalf("the page: %d %s", a.Status, a.Body)
	}
	return seriesOf(t, a.Body, a.Header.Get("Content-Type"))
}

// upstreamNames are the families of all groups behind.
func upstreamNames(groups []heldGroup) string {
	var names []string
	for _, g := range groups {
		for name := range g.families {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// TestValuesThatNoCounterHas are refused, whole, and nothing of the push counts.
func TestValuesThatNoCounterHas(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	for _, value := range []string{"NaN", "+Inf", "-1"} {
		a := g.push(t, 422, http.MethodPost, "/metrics/job/a", "# TYPE good_total counter\ngood_total 1\n# TYPE bad_total counter\nbad_total "+value+"\n")
		if !strings.HasPrefix(a.Body, "counter_value: metric bad_total") {
			t.Errorf("%s: %q", value, a.Body)
		}
	}
	for _, body := range []string{
		"# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n", // it falls
		"# TYPE s summary\ns_sum NaN\ns_count 1\n",
	} {
		g.push(t, 422, http.MethodPost, "/metrics/job/a", body)
	}
	if groups := held(t, upstream); len(groups) > 0 {
		t.Errorf("behind: %v", groups)
	}
	if n := len(g.page(t)); strings.Contains(fmt.Sprint(g.page(t)), "good_total") {
		t.Errorf("something was counted, of %d series", n)
	}
	// In report it is forwarded as it came: a Pushgateway takes NaN.
	g = newGuard(t, upstream, setup{policy: "version: v1\ndefault: {mode: report}\n"})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE bad_total counter\nbad_total NaN\n")
	if got := findings(t, g); !strings.Contains(got, "counter_value") {
		t.Errorf("in report: %q", got)
	}
}

// TestFamiliesAsThePolicySays: an event and what is dropped go nowhere, what is to
// be a counter counts, and what is to be a snapshot stays one.
func TestFamiliesAsThePolicySays(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	for range 2 {
		g.push(t, 200, http.MethodPost, "/metrics/job/sorted",
			"happened_total 1\ndropped_total 1\nrows 3\nkept_total 5\n# TYPE size gauge\nsize 2\n")
	}
	if got := findings(t, g); !strings.Contains(got, "event_family") || !strings.Contains(got, "dropped_family") {
		t.Errorf("findings %q", got)
	}
	names := upstreamNames(held(t, upstream))
	if len(strings.Fields(names)) != 2 || !strings.Contains(names, "kept_total") || !strings.Contains(names, "size") {
		t.Errorf("behind: %s", names)
	}
	page := g.page(t)
	if got := page[`{__name__="rows", instance="", job="sorted"}`]; got != 6 {
		t.Errorf("rows = %v, want 6 in %v", got, page)
	}
	if got := page[`{__name__="kept_total", instance="", job="sorted"}`]; got != 5 {
		t.Errorf("kept_total = %v, want 5", got)
	}
}

// TestCreatedThatIsNoTime: a gauge that tells how many orders were created is no evidence
// of when the counter beside it began, and stays; so it does where the body is known.
func TestCreatedThatIsNoTime(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	const body = "# TYPE orders_total counter\norders_total 500\n# TYPE orders_created gauge\norders_created %v\n"
	const total, gauge = `{__name__="orders_total", instance="", job="a"}`, `{__name__="orders_created", instance="", job="a"}`
	tomorrow := float64(time.Now().Add(36 * time.Hour).Unix())
	pushes := 0.0
	for _, value := range []float64{120, 120, 0, 999_999_999, tomorrow, tomorrow} {
		g.push(t, 200, http.MethodPost, "/metrics/job/a", fmt.Sprintf(body, value))
		pushes++
		page := g.page(t)
		if page[total] != 500*pushes || page[gauge] != value {
			t.Errorf("after orders_created %v: %v and %v, want %v and %v", value, page[total], page[gauge], 500*pushes, value)
		}
	}
	for range 2 { // the time of the counter's beginning, then
		g.push(t, 200, http.MethodPut, "/metrics/job/a", fmt.Sprintf(body, 1.7e9))
	}
	page := g.page(t)
	if _, there := page[gauge]; there || page[total] != 500*(pushes+1) {
		t.Errorf("with a time: %v, and orders_created is there: %t; want %v", page[total], there, 500*(pushes+1))
	}
}

// TestCreatedOfOpenMetrics: what says there when a counter or a histogram began is evidence
// though it comes without a type, and is no series.
func TestCreatedOfOpenMetrics(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: countedPolicy})
	for _, v := range []int{5, 15, 15, 25} {
		g.push(t, 200, http.MethodPost, "/metrics/job/a", fmt.Sprintf("# TYPE done counter\ndone_total{x=\"1\"} %[1]d\ndone_created{x=\"1\"} 1.7e9\n"+
			"# TYPE took histogram\ntook_bucket{le=\"1.0\"} %[1]d\ntook_bucket{le=\"+Inf\"} %[1]d\ntook_sum 1.0\ntook_count %[1]d\ntook_created 1.7e9\n# EOF\n", v))
	}
	page := g.page(t)
	if done, took := page[`{__name__="done_total", instance="", job="a", x="1"}`], page[`{__name__="took_count", instance="", job="a"}`]; done != 25 || took != 25 {
		t.Errorf("%v and %v, want 25", done, took)
	}
	for series := range page {
		if strings.Contains(series, "_created") {
			t.Errorf("a series of its own: %s", series)
		}
	}
}

// TestTotalsOfAnotherType: what two jobs count under one name as different types is of
// the first for the whole guard, so that the page stays one that anybody can read.
func TestTotalsOfAnotherType(t *testing.T) {
	const histogram = "# TYPE %[1]s histogram\n%[1]s_bucket{le=\"1\"} 1\n%[1]s_sum 3\n%[1]s_count 2\n"
	const summary, counted, parts = "# TYPE %[1]s summary\n%[1]s_sum 3\n%[1]s_count 2\n", "# TYPE %[1]s counter\n%[1]s 7\n",
		"%[1]s_bucket{le=\"1\"} 1\n%[1]s_sum 3\n%[1]s_count 2\n"
	for _, c := range []struct{ name, first, then string }{
		{"a summary after a histogram", histogram, summary},
		{"a histogram after a summary", summary, histogram},
		{"a counter after a histogram", histogram, counted},
		{"a histogram after a counter", counted, histogram},
		{"a histogram in parts after a counter", counted, parts},
		{"a counter with the name of a sample", histogram, strings.ReplaceAll(counted, "%[1]s", "%[1]s_count")},
		{"a histogram with a sample that counts already", strings.ReplaceAll(counted, "%[1]s", "%[1]s_count"), histogram},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, policy := range []string{countedPolicy, countedPolicy + "- {job: second, counters: {route: snapshot}}\n"} {
				g := newGuard(t, gatewaytest.Start(t), setup{policy: policy})
				g.push(t, 200, http.MethodPost, "/metrics/job/first", fmt.Sprintf(c.first, "took"))
				g.push(t, 200, http.MethodPost, "/metrics/job/second", fmt.Sprintf(c.then, "took")+"other 1\n")
				if got := findings(t, g); !strings.Contains(got, "family_conflict") {
					t.Errorf("findings %q", got)
				}
				parser := expfmt.NewTextParser(model.UTF8Validation)
				body := g.do(http.MethodGet, "/metrics", "").Body
				families, err := parser.TextToMetricFamilies(strings.NewReader(body))
				if err != nil {
					t.Fatalf("the page: %v\n%s", err, body)
				}
				if families["other"] == nil {
					t.Error("what is nobody else's is gone, too")
				}
				for _, line := range strings.Split(body, "\n") {
					if strings.HasPrefix(line, "took") && strings.Contains(line, `job="second"`) {
						t.Errorf("beside the totals of the first: %s", line)
					}
				}
			}
		})
	}
}

// TestSumsThatFall: where observations are negative the sum of a histogram or a summary
// goes down, and so does that of its total.
func TestSumsThatFall(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: countedPolicy})
	const body = "# TYPE degrees histogram\ndegrees_bucket{run_id=\"%[1]s\",le=\"0\"} %[2]d\ndegrees_sum{run_id=\"%[1]s\"} %[3]v\ndegrees_count{run_id=\"%[1]s\"} %[2]d\n" +
		"# TYPE change summary\nchange_sum{run_id=\"%[1]s\"} %[3]v\nchange_count{run_id=\"%[1]s\"} %[2]d\n"
	for _, run := range []string{"a", "b"} {
		for n, sum := range []float64{-5, -2, -2, -9.5} { // together -9.5 in the end, of 4
			g.push(t, 200, http.MethodPost, "/metrics/job/a", fmt.Sprintf(body, run, n+1, sum))
		}
	}
	page := g.page(t)
	for _, name := range []string{"degrees", "change"} {
		sum, count := 0.0, 0.0
		for _, run := range []string{"a", "b"} {
			ls := fmt.Sprintf(`", instance="", job="a", run_id="%s"}`, run)
			sum += page[`{__name__="`+name+`_sum`+ls]
			count += page[`{__name__="`+name+`_count`+ls]
		}
		if sum != -19 || count != 8 {
			t.Errorf("%s: sum %v of %v, want -19 of 8", name, sum, count)
		}
	}
}

// TestHistogramInParts: families without a type that are one histogram together
// are one when they are added up.
func TestHistogramInParts(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	for task := range 2 {
		l := fmt.Sprintf("task_id=\"%d\"", task)
		g.push(t, 200, http.MethodPost, "/metrics/job/a", fmt.Sprintf(
			"h_bucket{%s,le=\"1\"} 1\nh_bucket{%s,le=\"+Inf\"} 2\nh_sum{%s} 3.5\nh_count{%s} 2\n", l, l, l, l))
	}
	page := g.page(t)
	for series, want := range map[string]float64{
		`{__name__="h_bucket", instance="", job="a", le="1.0"}`:  2,
		`{__name__="h_bucket", instance="", job="a", le="+Inf"}`: 4,
		`{__name__="h_sum", instance="", job="a"}`:               7,
		`{__name__="h_count", instance="", job="a"}`:             4,
	} {
		if page[series] != want {
			t.Errorf("%s = %v, want %v", series, page[series], want)
		}
	}
	if names := upstreamNames(held(t, upstream)); names != "" {
		t.Errorf("behind: %s", names)
	}
	if body := g.do(http.MethodGet, "/metrics", "").Body; !strings.Contains(body, "# TYPE h histogram\n") {
		t.Error("it is no histogram any more")
	}
}

// TestUnlikeHistogramsCollapse: histograms that rules make one, and for which there is
// no room, are added to that of the other values each by its own buckets.
func TestUnlikeHistogramsCollapse(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: `version: v1
default:
  mode: enforce
  rules: [{id: tasks, labels: [task_id], action: drop}]
  budget: {label_values: 2}
`})
	histogram := func(zone string, task int, bounds ...string) string {
		l := fmt.Sprintf("zone=%q,task_id=\"%d\"", zone, task)
		var b strings.Builder
		for i, bound := range append(bounds, "+Inf") {
			fmt.Fprintf(&b, "h_bucket{%s,le=%q} %d\n", l, bound, i+1)
		}
		return b.String() + fmt.Sprintf("h_sum{%s} 2\nh_count{%s} %d\n", l, l, len(bounds)+1)
	}
	const typed = "# TYPE h histogram\n"
	g.push(t, 200, http.MethodPost, "/metrics/job/a", typed+histogram("a", 1, "1", "2"))
	g.push(t, 200, http.MethodPost, "/metrics/job/a", typed+histogram("b", 1, "1", "2")+histogram("b", 2, "1", "5", "10"))
	g.push(t, 200, http.MethodPost, "/metrics/job/a", typed+histogram("c", 1, "1", "2")+histogram("c", 2, "1", "7"))
	page := g.page(t)
	for series, want := range map[string]float64{
		`{__name__="h_bucket", instance="", job="a", le="1.0", zone="__other__"}`:  4,
		`{__name__="h_bucket", instance="", job="a", le="+Inf", zone="__other__"}`: 13,
		`{__name__="h_sum", instance="", job="a", zone="__other__"}`:               8,
		`{__name__="h_count", instance="", job="a", zone="__other__"}`:             13,
	} {
		if page[series] != want {
			t.Errorf("%s = %v, want %v", series, page[series], want)
		}
	}
	for _, bound := range []string{"2.0", "5.0", "7.0", "10.0"} {
		if v, ok := page[`{__name__="h_bucket", instance="", job="a", le="`+bound+`", zone="__other__"}`]; ok {
			t.Errorf("the bucket of %s, which not all have, holds %v", bound, v)
		}
	}
}

// TestSummariesAddUpWithoutQuantiles: there is no sum of quantiles.
func TestSummariesAddUpWithoutQuantiles(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	for task := range 2 {
		g.push(t, 200, http.MethodPost, "/metrics/job/a", fmt.Sprintf(
			"# TYPE s summary\ns{task_id=\"%d\",quantile=\"0.5\"} 9\ns_sum{task_id=\"%d\"} 3\ns_count{task_id=\"%d\"} 2\n", task, task, task))
	}
	body := g.do(http.MethodGet, "/metrics", "").Body
	for _, line := range []string{"# TYPE s summary\n", "s_sum{instance=\"\",job=\"a\"} 6\n", "s_count{instance=\"\",job=\"a\"} 4\n"} {
		if !strings.Contains(body, line) {
			t.Errorf("the page has no %q", line)
		}
	}
	if strings.Contains(body, "\ns{") || upstreamNames(held(t, upstream)) != "" {
		t.Errorf("quantiles went somewhere:\n%s", body)
	}
}

// TestNativeHistogramsStay: increments carry classic buckets alone, and one that has
// them counts by them. What stays of several jobs is in nobody's way.
func TestNativeHistogramsStay(t *testing.T) {
	upstream := gatewaytest.Start(t)
	g := newGuard(t, upstream, setup{policy: countedPolicy})
	mf := &dto.MetricFamily{Name: proto.String("native"), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: &dto.Histogram{
		SampleCount: proto.Uint64(2), SampleSum: proto.Float64(3), Schema: proto.Int32(3), ZeroThreshold: proto.Float64(0.001),
		PositiveSpan: []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(1)}}, PositiveDelta: []int64{2},
	}}}}
	both := proto.CloneOf(mf)
	both.Name, both.Metric[0].Histogram.Bucket = proto.String("both"), []*dto.Bucket{{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)}}
	var body bytes.Buffer
	for _, mf := range []*dto.MetricFamily{mf, both} {
		if _, err := protodelim.MarshalTo(&body, mf); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if a := g.do(http.MethodPost, "/metrics/job/a", body.String(), "Content-Type", wire.ProtobufType); a.Status != 200 {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	families := held(t, upstream)[0].families
	if got := families["native"].Metrics[0].Count; got != "2" {
		t.Errorf("behind its count is %q, want 2 as it came", got)
	}
	page := g.page(t)
	if _, stays := families["both"]; stays || page[`{__name__="both_bucket", instance="", job="a", le="1.0"}`] != 2 || page[`{__name__="both_count", instance="", job="a"}`] != 4 {
		t.Errorf("of one with classic buckets, too: behind %v, on the page %v", families["both"], page)
	}
	if a := g.do(http.MethodPost, "/metrics/job/b", body.String(), "Content-Type", wire.ProtobufType); a.Status != 200 {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	if found := findings(t, g); found != "" {
		t.Errorf("another job that pushes the same has the findings %s", found)
	}
}

// TestFaultsOfCountersAreTheUpstreams: what a Pushgateway refuses is refused, though
// the counter would not have reached it.
func TestFaultsOfCountersAreTheUpstreams(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: countedPolicy})
	for _, body := range []string{
		"x_total{a=\"1\",b=\"2\"} 1\nx_total{b=\"2\",a=\"1\"} 2\n", "x_total 1 1767225600000\n",
		"x_total{zone=\"1\"} 1\nx_total{zone=\"2\"} 2\n", // one series in a group of a zone
		"x_total{zone=\"1\",run_id=\"r\"} 1\nx_total{run_id=\"r\"} 2\n",
	} {
		a := g.push(t, 400, http.MethodPost, "/metrics/job/a/zone/c", body)
		if !strings.HasPrefix(a.Body, "pushed metrics are invalid or inconsistent") {
			t.Errorf("%q: %q", body, a.Body)
		}
	}
	if page := fmt.Sprint(g.page(t)); strings.Contains(page, "x_total") {
		t.Errorf("it was counted all the same: %s", page)
	}
}

// TestNoRoomForAFamily: a family for whose totals there is no room stays a snapshot, and
// nobody is told that another name would help.
func TestNoRoomForAFamily(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(countedPolicy))
	if err != nil {
		t.Fatal(err)
	}
	log := &logtest.Buffer{}
	inner, err := proxy.New(proxy.Config{
		Policy: p, Upstream: upstreamAtOnce{}, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Audit: audit.New(log, nil), AuditAll: true,
		Caps:   proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
		Totals: counter.NewTotals(counter.TotalsConfig{Series: 1}), GroupWait: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{Handler: inner.Handler(), Guard: inner, log: log}
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "first_total 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "second_total 1\n")
	found := fmt.Sprint(g.lastRecord(t)["findings"])
	if !strings.Contains(found, "the totals are full; until there is room") || strings.Contains(found, "another name") {
		t.Errorf("findings: %s", found)
	}
}

// TestNoSeriesTwice: groups hold copies from before counters were added up, of all
// types, and other jobs push what they will. On the page each series stands once,
// the total where there is one, in every format.
func TestNoSeriesTwice(t *testing.T) {
	upstream := gatewaytest.Start(t)
	const bodies = "# HELP x_total Of x.\n# TYPE x_total counter\nx_total 5\nx_total{a=\"1\"} 6\n" +
		"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"7\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n"
	old := newGuard(t, upstream, setup{policy: "version: v1\ndefault: {mode: open}\n"})
	old.push(t, 200, http.MethodPost, "/metrics/job/a", bodies+"rows 1\n")
	old.push(t, 200, http.MethodPost, "/metrics/job/a/zone/b", "# HELP x_total Of x.\n# TYPE x_total counter\nx_total 7\n")
	old.push(t, 200, http.MethodPost, "/metrics/job/a/zone/c", "part_count 7\npart_bucket{le=\"1\"} 7\n")

	g := newGuard(t, upstream, setup{policy: enforcing})
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE x_total counter\nx_total 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n")
	if got := findings(t, g); !strings.Contains(got, "shadowed_counter") {
		t.Errorf("findings %q", got)
	}
	g.push(t, 200, http.MethodPost, "/metrics/job/a/zone/c", "part_bucket{le=\"1\"} 1\npart_bucket{le=\"+Inf\"} 2\npart_sum 1\npart_count 2\n")
	want := map[string]float64{
		`{__name__="x_total", instance="", job="a"}`:                         1,
		`{__name__="x_total", a="1", instance="", job="a"}`:                  6,
		`{__name__="x_total", instance="", job="a", zone="b"}`:               7,
		`{__name__="h_bucket", instance="", job="a", le="1.0"}`:              1,
		`{__name__="h_bucket", instance="", job="a", le="+Inf"}`:             1,
		`{__name__="h_sum", instance="", job="a"}`:                           1,
		`{__name__="h_count", instance="", job="a"}`:                         1,
		`{__name__="part_bucket", instance="", job="a", le="1.0", zone="c"}`: 1,
		`{__name__="part_count", instance="", job="a", zone="c"}`:            2,
		`{__name__="rows", instance="", job="a"}`:                            1,
	}
	for _, accept := range []string{
		"text/plain;version=0.0.4", openMetrics,
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
	} {
		a := g.do(http.MethodGet, "/metrics", "", "Accept", accept)
		got := onceEach(t, a.Body, a.Header.Get("Content-Type"))
		for series, value := range want {
			if got[series] != value {
				t.Errorf("%s: %s = %v, want %v", accept, series, got[series], value)
			}
		}
		if _, ok := got[`{__name__="h_bucket", instance="", job="a", le="7.0"}`]; ok {
			t.Errorf("%s: a bucket of the old copy is left", accept)
		}
	}
	// Whoever replaces the group is rid of its copy.
	g.push(t, 200, http.MethodPut, "/metrics/job/a", "# TYPE x_total counter\nx_total 1\n")
	g.push(t, 200, http.MethodPost, "/metrics/job/a", "# TYPE x_total counter\nx_total 1\n")
	if got := findings(t, g); strings.Contains(got, "shadowed_counter") {
		t.Errorf("after a PUT: %q", got)
	}
}
