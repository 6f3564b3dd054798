package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// dropRuns is a policy in the given mode that permits all but the label run_id, and
// leaves counters where they are.
func dropRuns(mode string) string {
	return "version: v1\ndefault:\n  mode: " + mode + "\n  counters: {route: snapshot}\n  rules:\n  - {id: runs, labels: [run_id], action: drop}\n"
}

// hostileCase is a push that breaks a Pushgateway, its scrape or other jobs, and
// that a guard refuses whatever the policy says.
type hostileCase struct {
	name    string
	request world.Request
	cut     int    // how many bytes of the request are never sent
	says    string // what the answer has to name, a pattern in any case
	known   bool   // the answer is in the Pushgateway's own words, which say how to mend nothing
}

// mends finds a word by which the answer says what to do.
var mends = regexp.MustCompile(`(?i)\b(use|give|name|rename|encode|write|push|send|delete|leave|remove|drop|set|raise|split|escape|run)\b`)

func pb(families ...*dto.MetricFamily) world.Request {
	return post("/metrics/job/hostile", delimited(families...), protobufType)
}

func typed(t dto.MetricType, f *dto.MetricFamily) *dto.MetricFamily {
	f.Type = &t
	return f
}

func helped(help string, f *dto.MetricFamily) *dto.MetricFamily {
	f.Help = &help
	return f
}

// native is a sound native histogram of 3 observations, made unsound by spoil.
// Prometheus checks them as it appends, and drops a whole scrape over one.
func native(spoil func(h *dto.Histogram)) *dto.MetricFamily {
	f := histogram("h")
	h := f.Metric[0].Histogram
	h.Bucket = nil
	h.Schema = proto.Int32(0)
	h.ZeroThreshold = proto.Float64(1e-9)
	h.ZeroCount = proto.Uint64(0)
	h.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(2)}}
	h.PositiveDelta = []int64{1, 1}
	spoil(h)
	return f
}

var classic = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n"

var hostileCases = []hostileCase{
	{name: "job not UTF-8", request: post("/metrics/job/foo%ff", onePush), says: "utf-8"},
	{name: "value not UTF-8", request: post("/metrics/job/hostile/a/b%ff", onePush), says: "utf-8"},
	{name: "base64 value not UTF-8", request: post("/metrics/job/hostile/a@base64/_w", onePush), says: "utf-8"},
	{name: "base64 job not UTF-8", request: post("/metrics/job@base64/_w", onePush), says: "utf-8"},
	{name: "empty push to a value not UTF-8", request: post("/metrics/job/hostile/a/%ff", ""), says: "utf-8"},
	{name: "reserved name behind an escape", request: post("/metrics/job/hostile/U______x/x", onePush), says: "U______x"},
	{name: "job that is no base64", request: post("/metrics/job@base64/!!", onePush), says: "base64", known: true},
	{name: "delete of a job that is no base64", request: method("DELETE", "/metrics/job@base64/!!"), says: "base64", known: true},

	{name: "family without a name", request: pb(&dto.MetricFamily{Type: dto.MetricType_GAUGE.Enum(), Metric: gauge("x", 1).Metric}), says: "name"},
	{name: "message of no length", request: post("/metrics/job/hostile", "\x00", protobufType), says: "name"},
	{name: "type out of range", request: pb(typed(9, gauge("rows", 1))), says: "type"},
	{name: "negative type", request: pb(typed(-1, gauge("rows", 1))), says: "type"},
	{name: "gauge histogram", request: pb(typed(dto.MetricType_GAUGE_HISTOGRAM, histogram("h"))), says: "gauge_?histogram"},
	{name: "metric name with a blank", request: pb(gauge("a b", 1)), says: "name"},
	{name: "metric name with a newline", request: pb(gauge("a 1\nup{job=\"db\"}", 1)), says: "name"},
	{name: "metric name with a dot", request: pb(gauge("a.b", 1)), says: "name"},
	{name: "metric name beginning with a digit", request: pb(gauge("1a", 1)), says: "name"},
	{name: "metric name not UTF-8", request: pb(gauge("a\xff", 1)), says: "name"},
	{name: "label names that escape alike", request: pb(gauge("rows", 1, pair("x-y", "1"), pair("x_y", "2"))), says: "x-y"},
	{name: "label name with a newline", request: pb(gauge("rows", 1, pair("x\ny", "1"))), says: "label"},
	{name: "label name reserved", request: post("/metrics/job/hostile", "rows{__a=\"1\"} 1\n"), says: "label name .__a"},
	{name: "label name reserved, protobuf", request: pb(gauge("rows", 1, pair("__a", "1"))), says: "label name .__a"},
	{name: "family without a metric", request: pb(&dto.MetricFamily{Name: proto.String("kept"), Type: dto.MetricType_HISTOGRAM.Enum()}), says: "kept.* without a metric"},
	{name: "failure time without a metric", request: pb(&dto.MetricFamily{Name: proto.String("push_failure_time_seconds"), Type: dto.MetricType_HISTOGRAM.Enum()}), says: "without a metric"},
	{name: "help not UTF-8, protobuf", request: pb(helped("a\xff", gauge("rows", 1))), says: "utf-8"},
	{name: "help not UTF-8, text", request: post("/metrics/job/hostile", "# HELP rows a\xff\nrows 1\n"), says: "utf-8"},
	{name: "grouping label le on a histogram", request: post("/metrics/job/hostile/le/5", classic), says: `\ble\b`},
	{name: "grouping label le on a protobuf histogram", request: post("/metrics/job/hostile/le/5", delimited(histogram("h")), protobufType), says: `\ble\b`},
	{name: "label le on a protobuf histogram", request: pb(histogram("h", pair("le", "5"))), says: `\ble\b`},
	{name: "grouping label quantile on a summary", request: post("/metrics/job/hostile/quantile/0.5", delimited(summary("s")), protobufType), says: "quantile"},
	{name: "label quantile on a protobuf summary", request: pb(summary("s", pair("quantile", "0.5"))), says: "quantile"},
	{name: "native histogram without its buckets", request: pb(native(func(h *dto.Histogram) { h.PositiveDelta = []int64{3} })), says: "histogram"},
	{name: "native histogram with a negative bucket", request: pb(native(func(h *dto.Histogram) { h.PositiveDelta = []int64{4, -5} })), says: "histogram"},
	{name: "native histogram of another count", request: pb(native(func(h *dto.Histogram) { h.SampleCount = proto.Uint64(2) })), says: "histogram"},
	{name: "native histogram of spans that go back", request: pb(native(func(h *dto.Histogram) {
		h.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(1)}, {Offset: proto.Int32(-1), Length: proto.Uint32(1)}}
	})), says: "histogram"},
	{name: "native histogram of an unknown schema", request: pb(native(func(h *dto.Histogram) { h.Schema = proto.Int32(100) })), says: "histogram"},
	{name: "empty label beside none", request: post("/metrics/job/hostile", "rows{x=\"\"} 1\nrows 2\n"), says: "rows"},
	{name: "empty label beside none, and one that the path overwrites", request: post("/metrics/job/hostile/zone/z", "rows{instance=\"\",zone=\"a\"} 1\nrows 2\n"), says: "rows"},

	{name: "length prefix of 32 GiB", request: post("/metrics/job/hostile", "\x80\x80\x80\x80\x80\x01\x0a\x01", protobufType), says: "EOF|length", known: true},
	{name: "length prefix of 2^63", request: post("/metrics/job/hostile", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x0a", protobufType), says: "EOF|length|proto", known: true},
	{name: "length prefix that never ends", request: post("/metrics/job/hostile", strings.Repeat("\xff", 20), protobufType), says: "EOF|length|proto|varint", known: true},
	{name: "length prefix cut", request: post("/metrics/job/hostile", "\x80", protobufType), says: "EOF|length|proto|varint", known: true},
	{name: "protobuf cut", request: post("/metrics/job/hostile", strings.TrimSuffix(delimited(gauge("a", 1), gauge("rows", 1)), "\x00\x00\xf0\x3f"), protobufType), says: "EOF|length|proto", known: true},

	{name: "text cut at a line", request: post("/metrics/job/hostile", "a 1\nb 2\n"), cut: 4, says: ".", known: true},
	{name: "chunks cut", request: world.Request{Target: "/metrics/job/hostile", Body: strings.Repeat("a 1\n", 500), Chunked: true}, cut: 700, says: ".", known: true},
	{name: "chunks without an end", request: world.Request{Target: "/metrics/job/hostile", Body: "a 1\n", Chunked: true}, cut: len("0\r\n\r\n"), says: ".", known: true},
	{name: "gzip cut", request: post("/metrics/job/hostile", cut(zipped("a 1\nb 2\n"), 8), [2]string{"Content-Encoding", "gzip"}), says: "EOF|gzip", known: true},
	{name: "gzip with a bad checksum", request: post("/metrics/job/hostile", cut(zipped("a 1\n"), 8)+"12345678", [2]string{"Content-Encoding", "gzip"}), says: "gzip", known: true},
	{name: "gzip with junk behind it", request: post("/metrics/job/hostile", zipped("a 1\n")+"junk that is no gzip", [2]string{"Content-Encoding", "gzip"}), says: "gzip|EOF", known: true},
}

func cut(s string, n int) string { return s[:len(s)-n] }

// TestHostile sends every push that is known to break a Pushgateway, in every
// mode: it is refused, nothing arrives behind, and other jobs notice nothing.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "report", "enforce"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", dropRuns(mode))})
			mustPush(t, guard, seedPath, seedBody)
			for _, c := range hostileCases {
				t.Run(c.name, func(t *testing.T) {
					before := behind.State(t)
					t.Cleanup(func() { restore(t, guard, behind, before) })
					got := sendCut(t, guard, c)
					holdHostile(t, c, got)
					behind.Unchanged(t, before)
					holdHealthy(t, guard, behind)
				})
			}
			if err := promtoolCheck(t, behind.Get(t, "/metrics").Body); err != nil {
				t.Errorf("promtool check metrics: %v", err)
			}
		})
	}
}

// restore deletes what a push that should have been refused left behind, so that
// one fault is reported once.
func restore(t *testing.T, guard, behind *world.Process, before world.State) {
	for _, g := range behind.State(t) {
		if _, found := before.Group(g.Key); !found {
			guard.Send(t, method("DELETE", groupPath(g.Key)))
		}
	}
	guard.Push(t, seedPath, seedBody) // waits for the queue
}

func sendCut(t *testing.T, p *world.Process, c hostileCase) world.Answer {
	t.Helper()
	raw := c.request.Bytes(p.Addr)
	conn := p.Dial(t)
	defer conn.Close()
	conn.Write(raw[:len(raw)-c.cut])
	if c.cut > 0 {
		conn.CloseWrite()
	}
	return conn.Read(http.MethodPost)
}

func holdHostile(t *testing.T, c hostileCase, got world.Answer) {
	t.Helper()
	holdRefusal(t, got)
	if !regexp.MustCompile("(?i)" + c.says).MatchString(got.Body) {
		t.Errorf("the answer does not say what is wrong (%s): %q", c.says, got.Body)
	}
	if !c.known && !mends.MatchString(got.Body) {
		t.Errorf("the answer does not say how to mend it: %q", got.Body)
	}
}

// holdHealthy checks that Prometheus would take the whole scrape, through the
// guard and from behind it, and that another job can push.
func holdHealthy(t *testing.T, guard, behind *world.Process) {
	t.Helper()
	for _, p := range []*world.Process{guard, behind} {
		samples, err := p.Whole(t, "")
		if err != nil {
			t.Fatalf("the scrape of the %s is not whole: %v", p.Name, err)
		}
		if samples[`seeded_total{instance="a", job="seed", table="t"}`] != 3 {
			t.Errorf("the scrape of the %s lost seeded_total", p.Name)
		}
	}
	mustPush(t, guard, seedPath, seedBody)
}

func mustPush(t *testing.T, p *world.Process, path, body string) {
	t.Helper()
	if a := p.Push(t, path, body); a.Status != http.StatusOK {
		t.Fatalf("%s: POST %s: %d %s", p.Name, path, a.Status, a.Body)
	}
}

// TestHostileWithUTF8Names covers what only breaks a Pushgateway that takes
// UTF-8 names. The one behind does not; nothing may reach it anyway.
func TestHostileWithUTF8Names(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{"--push.enable-utf8-names"}})
	mustPush(t, guard, seedPath, seedBody)
	for _, c := range []hostileCase{
		{name: "reserved name behind an escape", request: post("/metrics/job/hostile/U______x/x", onePush), says: "U______x|__x"},
		{name: "label names that escape alike", request: pb(gauge("rows", 1, pair("x-y", "1"), pair("x_y", "2"))), says: "x-y"},
		{name: "label names that escape alike, one in the path", request: post("/metrics/job/hostile/U__x_2d_y/1", delimited(gauge("rows", 1, pair("x_y", "2"))), protobufType), says: "x-y"},
		{name: "label names that escape alike by their values", request: pb(gauge("rows", 1, pair("U__x_2d_y", "1"), pair("x-y", "2"))), says: "x-y"},
		{name: "label names that escape alike, both in the path, of nothing", request: post("/metrics/job/hostile/U__x_2d_y/1/x_y/2", ""), says: "x-y"},
		{name: "label name with a colon", request: post("/metrics/job/hostile", "{\"rows\",\"of:table\"=\"t\"} 1\n"), says: "of:table"},
		{name: "label name with a colon and what has to be quoted", request: pb(gauge("rows", 1, pair("of:the.table", "t"))), says: "of:the.table"},
		{name: "label name with a NUL", request: pb(gauge("rows", 1, pair("of\x00table", "t"))), says: "of.x00table"},
		{name: "label name with a NUL in the path", request: post("/metrics/job/hostile/U__a_0_/t", ""), says: "U__a_0_"},
		{name: "metric name with a NUL", request: post("/metrics/job/hostile", "{\"rows\x00\"} 1\n"), says: "rows.x00"},
		{name: "label name with a colon in the path", request: post("/metrics/job/hostile/of:table/t", ""), says: "of:table"},
		{name: "metric name not UTF-8", request: pb(gauge("a\xff", 1)), says: "name|utf-8"},
		{name: "label name not UTF-8", request: pb(gauge("rows", 1, pair("a\xff", "1"))), says: "name|utf-8"},
		{name: "family without a name", request: post("/metrics/job/hostile", "\x00", protobufType), says: "name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := behind.State(t)
			t.Cleanup(func() { restore(t, guard, behind, before) })
			holdHostile(t, c, guard.Send(t, c.request))
			behind.Unchanged(t, before)
			holdHealthy(t, guard, behind)
		})
	}
}

// confusions are ways to write a path that a front and a Pushgateway may read
// differently. Each tries to bring the label run_id past a policy that drops it.
var confusions = []string{
	"//metrics/job/x/run_id/1", "///metrics/job/x/run_id/1", "/metrics//job/x/run_id/1", "/metrics/job//x/run_id/1",
	"/metrics/job/x//run_id/1", "/metrics/job/x/run_id//1", "/./metrics/job/x/run_id/1", "/metrics/./job/x/run_id/1",
	"/x/../metrics/job/x/run_id/1", "/metrics/job/a/../x/run_id/1", "/metrics/job/x/run_id/1/..", "/metrics/job/x/run_id/.",
	"/%2e%2e/metrics/job/x/run_id/1", "/x/%2e%2e/metrics/job/x/run_id/1", "/%2e/metrics/job/x/run_id/1",
	"/%2fmetrics/job/x/run_id/1", "/x%2f..%2fmetrics/job/x/run_id/1", "/metrics%2fjob%2fx%2frun_id%2f1", "/metrics/job%2fx/run_id/1",
	"/metrics/job/x%2frun_id/1", "/metrics/job/x%2frun_id%2f1", "/metrics/job/x%2f%2frun_id/1", "/metrics/job/x/run_id%2f1",
	"/metrics/job%40base64/eA/run_id/1", "/metrics/job/x/run_id%40base64/MQ", "/metrics/job/x/run_id@base64/MQ==",
	"/metrics/%6aob/x/run_id/1", "/m%65trics/job/x/run_id/1", "/metrics/job/x/run%5fid/1", "/metrics/job/x/%72un_id/1",
	"/METRICS/job/x/run_id/1", "/Metrics/Job/x/run_id/1", "/metrics/JOB/x/run_id/1",
	"/metrics/job/x%0a/run_id/1", "/metrics/job/x/a/b%0ac/run_id/1", "/metrics/job/x/run_id/1%0a", "/metrics/job/x%0d%0aa/run_id/1",
	"/metrics/job/x%00/run_id/1", "/metrics/job/x/run_id/1%00", "/metrics/job/x/run_id%00/1",
	"/metrics/job/x/run_id/", "/metrics/job/x/run_id/1/", "/metrics/job/x/run_id/1/run_id/2", "/metrics/job/x/job/y/run_id/1",
	"/metrics/job/x;/run_id/1", "/metrics/job/x/a/b;c/run_id/1", "/metrics/job/x?/run_id/1", "/metrics/job/x/run_id/1?a#b", "/metrics/job/x/run_id/1#a",
	"http://example.org/metrics/job/x/run_id/1", "http://example.org//metrics/job/x/run_id/1", "http:///metrics/job/x/run_id/1",
	"http://user:pw@example.org/metrics/job/x/run_id/1", "metrics/job/x/run_id/1", "*", "?/metrics/job/x/run_id/1",
	`/metrics\job\x\run_id\1`, `/metrics/job/x\run_id\1`, "/metrics/job/%", "/metrics/job/x/run_id/%zz", "/metrics/job/x/run_id/%f0%9f",
	"/api/v1/../../metrics/job/x/run_id/1", "/api/v1/metrics/job/x/run_id/1", "/static/../metrics/job/x/run_id/1", "/static//metrics/job/x/run_id/1",
	"/guard/metrics/job/x/run_id/1", "/guard/../metrics/job/x/run_id/1", "/-/../metrics/job/x/run_id/1",
	"/metrics/job", "/metrics/job/", "/metrics/jobs/x/run_id/1", "/metrics/run_id/1/job/x", "/metrics/job@base64", "/metrics/job@base64/",
}

// TestPathConfusion checks that what reaches the Pushgateway was read by the
// guard as the Pushgateway reads it: whatever the spelling, the label that the
// policy drops is not there, and a path that is no group writes nothing.
func TestPathConfusion(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", dropRuns("enforce"))})
	mustPush(t, guard, seedPath, seedBody)
	for _, m := range []string{"POST", "PUT", "DELETE", "PATCH", "put", "post"} {
		for _, target := range confusions {
			t.Run(m+" "+target, func(t *testing.T) {
				before := behind.State(t)
				got := guard.Send(t, world.Request{Method: m, Target: target, Body: "rows{run_id=\"2\"} 1\n"})
				if got.Status == http.StatusAccepted {
					fence(t, behind, "")
				}
				if got.Status != http.StatusOK && got.Status != http.StatusAccepted {
					behind.Unchanged(t, before)
				}
				redirect := got.Status >= 300 && got.Status < 400
				if got.Status < 200 || redirect && m != "PATCH" || got.Status >= 500 && got.Status != http.StatusNotImplemented {
					t.Errorf("status %d %q", got.Status, got.Body)
				}
				holdWithout(t, behind, "run_id")
			})
		}
	}
	holdHealthy(t, guard, behind)
}

// holdWithout fails the test if the Pushgateway holds a label of this name.
func holdWithout(t *testing.T, p *world.Process, label string) {
	t.Helper()
	for _, g := range p.State(t) {
		if _, found := g.Key[label]; found {
			t.Errorf("group %v has the label %s", g.Key, label)
		}
		for name, f := range g.Families {
			for _, s := range f.Series {
				if strings.Contains(s, `"`+label+`"`) {
					t.Errorf("group %v: %s%s has the label %s", g.Key, name, s, label)
				}
			}
		}
	}
}

// TestReservedFamilies pushes the families that a Pushgateway writes itself. It
// lets a pushed failure time stand from the second push on, labels and all; a
// guard leaves them out.
func TestReservedFamilies(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind})
	for i := range 3 {
		a := guard.Push(t, "/metrics/job/clock", fmt.Sprintf(
			"# TYPE push_failure_time_seconds counter\npush_failure_time_seconds{x=\"%d\"} 1\npush_time_seconds{y=\"1\"} 5\nrows 1\n", i))
		if a.Status != http.StatusOK {
			t.Fatalf("push %d: %d %s", i, a.Status, a.Body)
		}
	}
	mustPush(t, guard, seedPath, seedBody)
	samples := guard.Scrape(t, "")
	for _, id := range []string{`push_time_seconds{job="clock"}`, `push_failure_time_seconds{job="clock"}`, `rows{job="clock"}`} {
		if _, found := samples[id]; !found {
			t.Errorf("the scrape has no %s", id)
		}
	}
	for id := range samples {
		if strings.Contains(id, `x="`) || strings.Contains(id, `y="`) {
			t.Errorf("the scrape has %s", id)
		}
	}
	holdHealthy(t, guard, behind)
}
