package proxy_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/wire"
)

var update = flag.Bool("update", false, "write what the examples give as what they should")

// An example is a directory of testdata/examples: a policy.yml, the requests in
// push.txt or push.json, and in want.txt what becomes of them: each answer, what
// was forwarded, the audit record, and in the end what the Pushgateway holds, and
// what the guard's page has beyond that: its totals.

// request is one request of an example. push.json is a list of them; push.txt
// has them as they go over the wire, with a line of ### between two.
type request struct {
	Method, Path string
	Headers      map[string]string
	Body         string
	// Prototext are metric families in place of a body.
	Prototext []string
	// Gzip compresses the body.
	Gzip bool
	// Times is how often it is sent, each time with the same result; 0 is once.
	Times int
}

func readRequests(t *testing.T, dir string) []request {
	t.Helper()
	if raw, err := os.ReadFile(filepath.Join(dir, "push.json")); err == nil {
		var out []request
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	raw, err := os.ReadFile(filepath.Join(dir, "push.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out []request
	for part := range strings.SplitSeq(string(raw), "###\n") {
		head, body, _ := strings.Cut(part, "\n\n")
		lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
		r := request{Headers: map[string]string{}, Body: body}
		r.Method, r.Path, _ = strings.Cut(lines[0], " ")
		for _, h := range lines[1:] {
			name, value, _ := strings.Cut(h, ": ")
			r.Headers[name] = value
		}
		out = append(out, r)
	}
	return out
}

func (r request) body(t *testing.T) string {
	t.Helper()
	body := bytes.NewBufferString(r.Body)
	for _, text := range r.Prototext {
		mf := &dto.MetricFamily{}
		if err := prototext.Unmarshal([]byte(text), mf); err != nil {
			t.Fatal(err)
		}
		if _, err := protodelim.MarshalTo(body, mf); err != nil {
			t.Fatal(err)
		}
	}
	if !r.Gzip {
		return body.String()
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(body.Bytes())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

// recorder stands between the guard and a Pushgateway and writes down what is
// sent to change something.
type recorder struct {
	url *url.URL
	logtest.Buffer
}

func newRecorder(t *testing.T, pushgateway *url.URL) *recorder {
	t.Helper()
	rec := &recorder{}
	proxy := httputil.NewSingleHostReverseProxy(pushgateway)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			fmt.Fprintf(rec, "%s %s\n%s%s", r.Method, r.URL.EscapedPath(), shown(r.Header), shownBody(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	rec.url, _ = url.Parse(s.URL)
	return rec
}

// shown are the headers that an example tells.
func shown(h http.Header) string {
	var b strings.Builder
	for _, name := range []string{"Content-Type", "Content-Encoding", "X-Content-Type-Options", "Retry-After"} {
		for _, v := range h.Values(name) {
			if seconds, err := strconv.Atoi(v); err == nil && seconds >= 55 && seconds <= 61 {
				v = "about a minute"
			}
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	return b.String()
}

// shownBody is a body as it is if it is text, and in hexadecimal otherwise.
func shownBody(body []byte) string {
	isText := utf8.Valid(body) && !bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\n' })
	switch {
	case len(body) == 0:
		return ""
	case !isText:
		return "\n" + hex.Dump(body)
	case body[len(body)-1] != '\n':
		return "\n" + string(body) + "(no newline)\n"
	default:
		return "\n" + string(body)
	}
}

// shownState is one line a series.
func shownState(groups []heldGroup) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "group %s\n", labelText(g.key))
		for _, name := range slices.Sorted(maps.Keys(g.families)) {
			f := g.families[name]
			var lines []string
			for _, m := range f.Metrics {
				line := fmt.Sprintf("  %s %s%s", strings.ToLower(f.Type), name, labelText(m.Labels))
				if m.Count == "" {
					line += " " + m.Value
				} else {
					line += fmt.Sprintf(" count %s sum %s%s%s", m.Count, m.Sum, pairs(m.Buckets), pairs(m.Quantiles))
				}
				lines = append(lines, line)
			}
			slices.Sort(lines)
			b.WriteString(strings.Join(lines, "\n") + "\n")
		}
	}
	return b.String()
}

func pairs(m map[string]string) string {
	out := ""
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out += " " + k + ":" + m[k]
	}
	return out
}

// shownRecord is the audit record without what differs from run to run.
func shownRecord(t *testing.T, r map[string]any) string {
	t.Helper()
	fields := []string{"time", "ms", "client"}
	if r["reason"] != nil {
		fields = fields[:2] // of what the guard did by itself
	}
	for _, field := range fields {
		if _, ok := r[field]; !ok {
			t.Errorf("no %s in the audit record %v", field, r)
		}
		delete(r, field)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// play sends the requests of an example and tells what happened.
func play(t *testing.T, dir string, pushgateway *url.URL) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(dir, "policy.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(t, pushgateway)
	g := newGuard(t, rec.url, setup{policy: string(rules)})
	var b strings.Builder
	for i, r := range readRequests(t, dir) {
		told, times := tell(t, g, rec, r), ""
		for range r.Times - 1 {
			if again := tell(t, g, rec, r); again != told {
				t.Errorf("%s %s, once more: %s", r.Method, r.Path, cmp.Diff(told, again))
			}
		}
		if r.Times > 1 {
			times = fmt.Sprintf(" (%d times)", r.Times)
		}
		fmt.Fprintf(&b, "=== %d. %s %s%s\n%s", i+1, r.Method, r.Path, times, told)
	}
	b.WriteString("=== held\n" + shownState(settled(t, pushgateway)))
	if totals := shownTotals(t, g, pushgateway); totals != "" {
		b.WriteString("=== totals\n" + totals)
	}
	return b.String()
}

// tell sends a request and tells what happened.
func tell(t *testing.T, g *guard, rec *recorder, r request) string {
	t.Helper()
	var headers []string
	for name, value := range r.Headers {
		headers = append(headers, name, value)
	}
	a := g.do(r.Method, r.Path, r.body(t), headers...)
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n%s%s", a.Status, shown(a.Header), shownBody([]byte(a.Body)))
	forwarded := rec.Take()
	if forwarded == "" {
		forwarded = "nothing\n"
	}
	fmt.Fprintf(&b, "--- forwarded\n%s", forwarded)
	for _, record := range g.records(t) {
		fmt.Fprintf(&b, "--- audit\n%s", shownRecord(t, record))
	}
	return b.String()
}

// shownTotals is what somebody sees who reads the guard's page and not that of
// the Pushgateway behind, but for findings.
func shownTotals(t *testing.T, g *guard, pushgateway *url.URL) string {
	t.Helper()
	resp, err := http.Get(pushgateway.JoinPath("metrics").String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	behind := page(t, resp.Body)
	front := page(t, strings.NewReader(g.do(http.MethodGet, "/metrics", "").Body))
	delete(front, wire.JobFindings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(front)) {
		mf := front[name]
		mf.Metric = slices.DeleteFunc(mf.Metric, func(m *dto.Metric) bool {
			return slices.ContainsFunc(behind[name].GetMetric(), func(o *dto.Metric) bool {
				return slices.EqualFunc(m.Label, o.Label, func(a, b *dto.LabelPair) bool { return proto.Equal(a, b) })
			})
		})
		if len(mf.Metric) == 0 {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, mf); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// page reads a page as a Pushgateway reads a push. An empty label is none.
func page(t *testing.T, from io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	in := expfmt.NewTextParser(model.UTF8Validation)
	families, err := in.TextToMetricFamilies(from)
	if err != nil {
		t.Fatalf("a page that cannot be read: %v", err)
	}
	for _, mf := range families {
		for _, m := range mf.Metric {
			m.Label = slices.DeleteFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == "" })
		}
	}
	return families
}

// settled is what the Pushgateway holds once the deletes it has taken are done.
func settled(t *testing.T, pushgateway *url.URL) []heldGroup {
	t.Helper()
	// Writes are done in their order, and a push is answered when it is done.
	last := map[string]string{"job": "the_last_push"}
	resp, err := http.Post(pushgateway.JoinPath("metrics/job/the_last_push").String(), "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	groups := slices.DeleteFunc(held(t, pushgateway), func(g heldGroup) bool { return maps.Equal(g.key, last) })
	remove(t, pushgateway, last)
	return groups
}

func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob("../testdata/examples/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	pushgateway := gatewaytest.Start(t)
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			empty(t, pushgateway)
			got, file := play(t, dir, pushgateway), filepath.Join(dir, "want.txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("-want +got, and -update takes what came:\n%s", d)
			}
		})
	}
}
