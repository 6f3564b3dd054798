package trial_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/trial"
	"github.com/pushguard/pushguard/rules/finding"
)

var caps = proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096}

// recorded is a request that can be sent more than once.
type recorded struct {
	name    string
	request proxy.Request
	body    []byte
}

func (r recorded) again() proxy.Request {
	out := r.request
	out.Body, out.Length = bytes.NewReader(r.body), int64(len(r.body))
	return out
}

// captures are the pushes of real clients.
func captures(t *testing.T) []recorded {
	t.Helper()
	paths, err := filepath.Glob("../../testdata/captures/*.json")
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d captures: %v", len(paths), err)
	}
	var out []recorded
	for _, path := range paths {
		r, err := trial.ParseCapture(read(t, path))
		if err != nil {
			// An HTTP server refuses the second kind before any guard sees it.
			if strings.Contains(err.Error(), "want PUT, POST or DELETE") || strings.Contains(err.Error(), "invalid URL escape") {
				continue
			}
			t.Errorf("%s: %v", path, err)
			continue
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, recorded{strings.TrimSuffix(filepath.Base(path), ".json"), r, body})
	}
	return out
}

// example reads the requests of a directory of testdata/examples.
func example(t *testing.T, dir string) []recorded {
	t.Helper()
	var written []struct {
		Method, Path, Body string
		Headers            map[string]string
		Prototext          []string
		Gzip               bool
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "push.json")); err == nil {
		if err := json.Unmarshal(raw, &written); err != nil {
			t.Fatal(err)
		}
	}
	var out []recorded
	for _, w := range written {
		body := bytes.NewBufferString(w.Body)
		for _, text := range w.Prototext {
			family := &dto.MetricFamily{}
			if err := prototext.Unmarshal([]byte(text), family); err != nil {
				t.Fatal(err)
			}
			if _, err := protodelim.MarshalTo(body, family); err != nil {
				t.Fatal(err)
			}
		}
		if w.Gzip {
			body = bytes.NewBuffer(packed(t, body.Bytes()))
		}
		r := proxy.Request{Method: w.Method, Path: escaped(t, w.Path), Header: http.Header{}}
		for name, value := range w.Headers {
			r.Header.Set(name, value)
		}
		out = append(out, recorded{filepath.Base(dir), r, body.Bytes()})
	}
	if out != nil {
		return out
	}
	for part := range strings.SplitSeq(string(read(t, filepath.Join(dir, "push.txt"))), "###\n") {
		head, body, _ := strings.Cut(part, "\n\n")
		lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
		method, path, _ := strings.Cut(lines[0], " ")
		r := proxy.Request{Method: method, Path: escaped(t, path), Header: http.Header{}}
		for _, h := range lines[1:] {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		out = append(out, recorded{filepath.Base(dir), r, []byte(body)})
	}
	return out
}

func escaped(t *testing.T, target string) string {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.EscapedPath()
}

func packed(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// decided is what serving and explaining must agree on.
type decided struct {
	Outcome, Would string
	Status         int
	Answer         string
	Findings       []finding.Finding
	Method, Path   string
	Body           []byte
}

// tap is a real upstream whose writes are kept.
type tap struct {
	*gateway.Upstream
	sent []gateway.Request
}

func (u *tap) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	kept := r
	kept.Body = bytes.Clone(r.Body)
	u.sent = append(u.sent, kept)
	return u.Upstream.Do(ctx, r)
}

func (d *decided) forwarded(sent []gateway.Request) {
	if len(sent) > 0 {
		d.Method, d.Path, d.Body = sent[0].Method, sent[0].Key.Path(), sent[0].Body
	}
}

// serve takes a push with a serving guard before an empty Pushgateway, told by
// its answer, its audit record and what it sent.
func serve(t *testing.T, p *policy.Policy, pushgateway *url.URL, r proxy.Request) decided {
	t.Helper()
	behind, err := gateway.New(gateway.Config{URL: pushgateway, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	empty(t, behind)
	end := &tap{Upstream: behind}
	var log bytes.Buffer
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: end, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
		Caps: caps, Audit: audit.New(&log, nil), AuditAll: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	a := guard.Push(t.Context(), r)
	var record audit.Record
	if err := json.Unmarshal(log.Bytes(), &record); err != nil {
		t.Fatalf("audit record %q: %v", log.String(), err)
	}
	out := decided{Outcome: record.Outcome, Would: record.Would, Status: a.Status, Answer: string(a.Body), Findings: record.Findings}
	out.forwarded(end.sent)
	return out
}

// empty deletes every group and waits until they are gone.
func empty(t *testing.T, u *gateway.Upstream) {
	t.Helper()
	for range 20_000 {
		groups, err := u.Groups(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) == 0 {
			return
		}
		for _, g := range groups {
			if _, err := u.Do(t.Context(), gateway.Request{Method: http.MethodDelete, Key: g.Key}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the Pushgateway does not get empty")
}

// explain takes the same push by Explain. What would be sent is told twice, as
// text and by a recorder of the same guard, for the bytes.
func explain(t *testing.T, p *policy.Policy, r recorded) decided {
	t.Helper()
	told, err := trial.Explain(t.Context(), trial.Config{Policy: p, Caps: caps}, r.again())
	if err != nil {
		t.Fatal(err)
	}
	out := decided{
		Outcome: told.Outcome, Would: told.Would, Status: told.Answer.Status,
		Answer: told.Answer.Body,
	}
	for _, f := range told.Findings {
		out.Findings = append(out.Findings, f.Finding)
	}
	end := &trial.Recorder{}
	guard, err := proxy.New(proxy.Config{Policy: p, Upstream: end, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Caps: caps})
	if err != nil {
		t.Fatal(err)
	}
	guard.Push(t.Context(), r.again())
	out.forwarded(end.Sent)
	if (told.Forwarded == nil) != (len(end.Sent) == 0) {
		t.Fatalf("forwarded %+v, recorded %+v", told.Forwarded, end.Sent)
	}
	if f := told.Forwarded; f != nil && (f.Method != out.Method || f.Path != out.Path || f.Bytes != len(out.Body)) {
		t.Errorf("told %s %s, %d bytes; sent %s %s, %d bytes", f.Method, f.Path, f.Bytes, out.Method, out.Path, len(out.Body))
	}
	return out
}

// withoutReason cuts off the words for which Pushgateways differ from version to
// version.
func withoutReason(answer string) string {
	const inconsistent = "pushed metrics are invalid or inconsistent with existing metrics: "
	if strings.HasPrefix(answer, inconsistent) {
		return inconsistent
	}
	return answer
}

func agree(t *testing.T, p *policy.Policy, pushgateway *url.URL, r recorded) decided {
	t.Helper()
	served, explained := serve(t, p, pushgateway, r.again()), explain(t, p, r)
	served.Answer, explained.Answer = withoutReason(served.Answer), withoutReason(explained.Answer)
	if diff := cmp.Diff(served, explained, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: %s %s: served -, explained +:\n%s", r.name, r.request.Method, r.request.Path, diff)
	}
	return explained
}

// policies are what every capture is pushed under.
var policies = map[string]string{
	"open":    "version: v1\ndefault: {mode: open}\n",
	"report":  "version: v1\ndefault: {mode: report, labels: [instance], limits: {sample_limit: 50}}\n",
	"enforce": "version: v1\ndefault: {mode: enforce, labels: [instance, le], rules: [{id: shapes, shapes: all, action: template}]}\n",
	"refuse":  "version: v1\ndefault: {mode: enforce, owner: ops, rules: [{id: no-instance, labels: [instance, source], action: reject}]}\n",
}

func TestExplainDecidesAsServeDoesOfCaptures(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	pushes := captures(t)
	outcomes := map[string]int{}
	shipped := string(read(t, "../../deploy/policy.example.yml"))
	for name, text := range policies {
		t.Run(name, func(t *testing.T) { agreeOnAll(t, name, text, pushgateway, pushes, outcomes) })
	}
	t.Run("shipped", func(t *testing.T) { agreeOnAll(t, "shipped", shipped, pushgateway, pushes, outcomes) })
	for _, o := range []proxy.Outcome{proxy.Passed, proxy.Changed, proxy.Refused} {
		if outcomes[o.String()] < 20 {
			t.Errorf("outcomes %v: too few are %s to prove anything", outcomes, o)
		}
	}
}

func agreeOnAll(t *testing.T, name, text string, pushgateway *url.URL, pushes []recorded, outcomes map[string]int) {
	t.Helper()
	p, err := policy.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range pushes {
		outcomes[agree(t, p, pushgateway, r).Outcome]++
	}
}

// Each request of an example by itself, since a trial begins with an empty
// Pushgateway.
func TestExplainDecidesAsServeDoesOfExamples(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	dirs, err := filepath.Glob("../../testdata/examples/*/policy.yml")
	if err != nil || len(dirs) < 10 {
		t.Fatalf("%d examples: %v", len(dirs), err)
	}
	for _, file := range dirs {
		p, err := policy.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range example(t, filepath.Dir(file)) {
			agree(t, p, pushgateway, r)
		}
	}
}
