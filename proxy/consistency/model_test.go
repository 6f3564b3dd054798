package consistency_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/consistency"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// pair is a Pushgateway that checks, and one that does not, with a checker before it.
type pair struct {
	checked   *gateway.Upstream
	unchecked *gateway.Upstream
	pages     [2]*url.URL
	checker   *consistency.Checker
}

const seed = 7

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{pages: [2]*url.URL{gatewaytest.Start(t, "--web.enable-admin-api"), gatewaytest.Start(t, "--web.enable-admin-api", "--push.disable-consistency-check")}}
	p.checked, p.unchecked = open(t, p.pages[0]), open(t, p.pages[1])
	// From its first push on, a Pushgateway has all the families of its own.
	r := gateway.Request{Method: http.MethodPut, Key: keys[0], Header: http.Header{}, Body: []byte("first 1\n")}
	for _, up := range []*gateway.Upstream{p.checked, p.unchecked} {
		if a, err := up.Do(t.Context(), r); err != nil || a.Status/100 != 2 {
			t.Fatal(a, err)
		}
	}
	return p
}

func open(t testing.TB, u *url.URL) *gateway.Upstream {
	t.Helper()
	up, err := gateway.New(gateway.Config{URL: u, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	return up
}

// restart has the checker know nothing but what is listed.
func (p *pair) restart(t fatal) {
	p.checker = consistency.New(p.unchecked, slog.New(slog.DiscardHandler))
	if _, err := p.checker.Groups(context.Background(), seed); err != nil {
		t.Fatalf("listing: %v", err)
	}
}

type fatal interface{ Fatalf(string, ...any) }

// TestAnswersAsACheckedPushgateway drives both with the same pushes and deletes, of
// families and series that contradict one another in every way, and holds them to the
// same answers and the same pages.
func TestAnswersAsACheckedPushgateway(t *testing.T) {
	p := newPair(t)
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		p.wipe(rt)
		p.restart(rt)
		steps := rapid.IntRange(1, 25).Draw(rt, "steps")
		var told []string
		for range steps {
			o := drawOp(rt)
			told = append(told, o.String())
			if o.method == "restart" {
				p.samePages(rt, told) // one that has just begun is told of what has been applied
				p.restart(rt)
				continue
			}
			p.both(rt, o, told, seen)
		}
		p.samePages(rt, told)
	})
	for _, want := range []string{"200", "timestamps", "is not a", "was collected before", "collides with"} {
		if seen[want] == 0 {
			t.Errorf("no answer had %q: %v", want, seen)
		}
	}
}

// both sends one request to both.
func (p *pair) both(t fatal, o op, told []string, seen map[string]int) {
	r, ok := o.request()
	if !ok {
		return // the guard refuses it before
	}
	want, err := p.checked.Do(context.Background(), r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	foreseen, err := p.checker.Foresee(r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	got, err := p.checker.Do(context.Background(), r)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if foreseen.Status != got.Status || string(foreseen.Body) != string(got.Body) {
		t.Fatalf("%s\ngot      %d %s\nforeseen %d %s", strings.Join(told, "\n"), got.Status, got.Body, foreseen.Status, foreseen.Body)
	}
	const words = "pushed metrics are invalid or inconsistent with existing metrics: "
	if got.Status != want.Status || strings.HasPrefix(string(got.Body), words) != strings.HasPrefix(string(want.Body), words) {
		t.Fatalf("%s\ngot  %d %s\nwant %d %s", strings.Join(told, "\n"), got.Status, got.Body, want.Status, want.Body)
	}
	for _, word := range []string{"timestamps", "is not a", "was collected before", "collides with"} {
		if strings.Contains(string(got.Body), word) {
			seen[word]++
		}
	}
	seen[fmt.Sprint(got.Status)]++
}

// op is one step. Of a push, each line is a family or a part of one.
type op struct {
	method string
	key    wire.Key
	body   string
	fates  bool // as a policy that enforces has them
}

func (o op) String() string { return fmt.Sprintf("%s %s %q", o.method, o.key, o.body) }

func drawOp(t *rapid.T) op {
	o := op{
		method: rapid.SampledFrom([]string{"PUT", "PUT", "POST", "POST", "POST", "DELETE", "restart"}).Draw(t, "method"),
		key:    rapid.SampledFrom(keys).Draw(t, "key"),
		fates:  rapid.Bool().Draw(t, "fates"),
	}
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(families)-1), 0, 3).Draw(t, "families") {
		if o.body += families[i]; !strings.HasSuffix(o.body, "\n") {
			o.body += "\n"
		}
	}
	return o
}

func key(pairs ...string) wire.Key {
	var ls []labels.Label
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return wire.NewKey(ls...)
}

var keys = []wire.Key{
	key("job", "j"), key("job", "j", "instance", "i"), key("job", "j", "x", "1"), key("job", "j", "x", "1", "instance", "i"),
	key("job", "k"), key("job", "k", "x", "1"),
}

var families = []string{
	"a 1\n",
	"# TYPE a counter\na 1\n",
	"# TYPE a gauge\n# HELP a Other.\na{x=\"1\"} 1\n",
	"a{instance=\"i\"} 1\na{x=\"1\"} 2\na{x=\"2\"} 3\n",
	"a{x=\"1\",instance=\"i\"} 1\n",
	"a{job=\"other\",y=\"1\"} 1\na{y=\"2\"} 3\n",
	"a{y=\"1\"} 1\na{y=\"1\"} 2\n",
	"b 1\n",
	"# TYPE b counter\nb{x=\"1\"} 1\n",
	"c 1 2\n",
	"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
	"# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 1\nh_sum{x=\"1\"} 1\nh_count{x=\"1\"} 1\n",
	"# TYPE h summary\nh{quantile=\"0.5\"} 1\nh_sum 1\nh_count 1\n",
	"h_count 1\n",
	"h_bucket{y=\"1\"} 1\n",
	"# TYPE h_sum counter\nh_sum 1\n",
	"go_goroutines 1\n",
	"# TYPE go_goroutines gauge\ngo_goroutines 1\n",
	"go_gc_duration_seconds_count 1\n",
	"# TYPE pushgateway_http_requests_total counter\npushgateway_http_requests_total 1\n",
	"# TYPE pushgateway_build_info gauge\npushgateway_build_info 1\n",
	"# TYPE promhttp_metric_handler_requests_total counter\npromhttp_metric_handler_requests_total 1\n",
	"# TYPE pushgateway_http_push_size_bytes summary\npushgateway_http_push_size_bytes_sum 1\n",
}

// request is the op as the guard has it carried out.
func (o op) request() (gateway.Request, bool) {
	r := gateway.Request{Method: o.method, Key: o.key, Header: http.Header{}, Body: []byte(o.body)}
	if o.method == http.MethodDelete {
		return r, true
	}
	r.Push = &wire.Push{}
	if err := r.Push.Parse(r.Body, wire.Text, o.key, wire.Options{}); err != nil {
		return r, false
	}
	if !o.fates {
		return r, true
	}
	for i := range r.Push.Metrics() {
		ls := r.Push.Labels(nil, i)
		r.Fates = append(r.Fates, wire.Fate{Act: wire.Pass, Labels: ls, Output: wire.Fingerprint(seed, ls)})
	}
	return r, true
}

// wipe empties both through their own doors.
func (p *pair) wipe(t fatal) {
	for i, up := range []*gateway.Upstream{p.checked, p.unchecked} {
		if a, err := up.Forward(context.Background(), "/api/v1/admin/wipe", gateway.Request{Method: http.MethodPut, Header: http.Header{}}); err != nil || a.Status != http.StatusAccepted {
			t.Fatalf("%d %v", a.Status, err)
		}
		await(t, func() string {
			if n := strings.Count(page(t, p.pages[i]), "push_time_seconds{"); n > 0 {
				return fmt.Sprintf("%d groups after a wipe", n)
			}
			return ""
		})
	}
}

// samePages compares what both hold. The one answers before it has applied a push.
func (p *pair) samePages(t fatal, told []string) {
	await(t, func() string {
		if d := cmp.Diff(samples(page(t, p.pages[0])), samples(page(t, p.pages[1]))); d != "" {
			return fmt.Sprintf("%s\n-checked +unchecked:\n%s", strings.Join(told, "\n"), d)
		}
		if d := cmp.Diff(states(t, p.pages[0]), states(t, p.pages[1])); d != "" {
			return fmt.Sprintf("%s\n-checked +unchecked:\n%s", strings.Join(told, "\n"), d)
		}
		return ""
	})
}

// await waits for a fault to go away.
func await(t fatal, fault func() string) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		said := fault()
		if said == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s", said)
		}
	}
}

// samples are the pushed samples of a page, of times only that they are there and whether
// they ever were.
func samples(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "#") || !strings.Contains(line, `job="`) {
			continue
		}
		if strings.HasPrefix(line, "push_") {
			name, value, _ := strings.Cut(line, "} ")
			line = fmt.Sprintf("%s %v", name, value != "0\n")
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// states are the groups by their labels, and whether the last push was taken.
func states(t fatal, u *url.URL) map[string]bool {
	var listing struct {
		Data []struct {
			Labels map[string]string
			OK     bool `json:"last_push_successful"`
		}
	}
	if err := json.Unmarshal([]byte(get(t, u, "/api/v1/metrics")), &listing); err != nil {
		t.Fatalf("%v", err)
	}
	out := map[string]bool{}
	for _, g := range listing.Data {
		var words []string
		for _, name := range slices.Sorted(maps.Keys(g.Labels)) {
			words = append(words, name+"="+g.Labels[name])
		}
		out[strings.Join(words, ",")] = g.OK
	}
	return out
}

func page(t fatal, u *url.URL) string { return get(t, u, "/metrics") }

func get(t fatal, u *url.URL, path string) string {
	resp, err := http.Get(u.JoinPath(path).String())
	if err != nil {
		t.Fatalf("%v", err)
		return ""
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %.500s", path, resp.StatusCode, err, &b)
	}
	return b.String()
}
