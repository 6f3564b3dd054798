package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
)

const knownPolicy = `version: v1
fold_jobs: [trailing_time]
default: {mode: enforce, budget: {series: 40, label_values: 6}, limits: {sample_limit: 60, body_size_limit: 3KiB}}
jobs:
- job: drop
  rules: [{id: ids, labels: [id], action: drop}, {id: bad, labels: [b], shapes: [uuid], action: reject}]
- job: merge
  rules: [{id: ids, labels: [id], action: drop, gauges: sum}]
- job: collapse
  on_over_budget: collapse
  budget: {label_values: 3}
- job: reads
  relabel_configs: [{source_labels: [run, t], regex: "1;1", action: drop}]
- job: report
  mode: report
  rules: [{id: ids, labels: [id], action: drop}]
- job: open
  mode: open
`

// twin is a guard, and what it wrote.
type twin struct {
	*Guard
	log bytes.Buffer
}

func newTwin(t *testing.T, remembers bool) *twin {
	t.Helper()
	return new(twin).before(t, must(store.Open(store.Config{})), remembers)
}

// before has the twin be a guard before an upstream.
func (w *twin) before(t *testing.T, upstream Upstream, remembers bool) *twin {
	t.Helper()
	p, err := policy.Parse("policy.yml", []byte(knownPolicy))
	if err != nil {
		t.Fatal(err)
	}
	w.Guard, err = New(Config{
		Policy: p, Upstream: upstream, TextAsProtobuf: true, Metrics: NewMetrics(prometheus.NewRegistry()), Audit: audit.New(&w.log, nil), AuditAll: true,
		Caps:      Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 20, LabelValue: 100},
		GroupWait: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !remembers {
		w.epoch.Load().known = nil
	}
	return w
}

// timeless is a text without what tells the time. (A regular expression takes most of such
// a test under the race detector.)
func timeless(text string) string {
	for _, passing := range []struct{ before, ends string }{
		{`"time":"`, `"`}, {`_push":"`, `"`}, {`"pushed":"`, `"`}, {`"since":"`, `"`}, {`"ms":`, ",}"}, {"push_time_seconds", "\n"}, {"push_failure_time_seconds", "\n"},
	} {
		var out strings.Builder
		for {
			at := strings.Index(text, passing.before)
			if at < 0 {
				break
			}
			at += len(passing.before)
			out.WriteString(text[:at])
			text = text[at:]
			if end := strings.IndexAny(text, passing.ends); end >= 0 {
				text = text[end:]
			}
		}
		text = out.String() + text
	}
	return text
}

// seen is all that can be seen of a guard, but for times. A page's series have no order.
func (w *twin) seen() []string {
	var out []string
	h := w.Handler()
	for _, path := range []string{"/metrics", "/guard/api/v1/jobs", "/guard/api/v1/jobs/drop"} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, nil))
		lines := strings.Split(timeless(r.Body.String()), "\n")
		for i, line := range lines {
			// A number may stand as it was pushed, or as it is written anew.
			at := strings.LastIndexByte(line, ' ') + 1
			if f, err := strconv.ParseFloat(line[at:], 64); err == nil {
				if f == 0 && (strings.Contains(line, "_count{") || strings.Contains(line, "_bucket{")) {
					f = 0 // a count has no -0 once it is written anew
				}
				lines[i] = line[:at] + fmt.Sprint(f)
			}
		}
		slices.Sort(lines)
		out = append(out, lines...)
	}
	out = append(out, timeless(w.log.String()))
	w.log.Reset()
	return out
}

// TestKnownShapes: a guard that remembers shapes does as one that does not, whatever
// comes: values of all kinds, other labels, budgets that run out, rules that refuse,
// merge and collapse, counters, bodies that are no shape.
func TestKnownShapes(t *testing.T) {
	t.Parallel()
	with, without := newTwin(t, true), newTwin(t, false)
	alike(t, with, without, 4000, "")
	hits := 0
	c := with.epoch.Load().known
	for _, k := range c.jobs.Keys() {
		hits += len(c.of(k))
	}
	if hits < 10 || c.bytes <= 0 {
		t.Errorf("%d shapes of %d bytes are known", hits, c.bytes)
	}
}

// teller is a Pushgateway that takes everything and tells what came.
type teller struct {
	taker
	to io.Writer
}

func (u teller) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	fmt.Fprintf(u.to, "%s %s %q: %x\n", r.Method, r.Key, r.ContentType, r.Body)
	return u.taker.Do(ctx, r)
}

func (teller) Proxy() http.Handler { return http.NotFoundHandler() }

// TestKnownShapesGoOn: nor does it send on other bytes.
func TestKnownShapesGoOn(t *testing.T) {
	t.Parallel()
	with, without := &twin{}, &twin{}
	with.before(t, teller{to: &with.log}, true)
	without.before(t, teller{to: &without.log}, false)
	alike(t, with, without, 4000, "")
	moulds := 0
	c := with.epoch.Load().known
	for _, k := range c.jobs.Keys() {
		for _, n := range c.of(k) {
			if n.mould != nil {
				moulds++
			}
		}
	}
	if moulds < 3 {
		t.Errorf("%d shapes have moulds", moulds)
	}
}

// TestPlain: a push so large that nothing of it is kept becomes what any other becomes.
func TestPlain(t *testing.T) {
	t.Parallel()
	plain, other := newTwin(t, false), newTwin(t, false)
	plain.epoch.Load().verdicts.kept = size{}
	alike(t, plain, other, 2000, "")
	if n := len(plain.epoch.Load().verdicts.tables.Keys()); n == 0 {
		t.Error("no push was changed")
	}
}

// TestReclaimed: nor does one of which each stage lets go of what the next may do without.
func TestReclaimed(t *testing.T) {
	t.Parallel()
	comment := "# " + strings.Repeat("x", largestKnown) + "\n"
	for name, inFront := range map[string]bool{"embedded": false, "in front": true} {
		t.Run(name, func(t *testing.T) {
			reclaimed, other := newTwin(t, false), newTwin(t, false)
			for _, w := range []*twin{reclaimed, other} {
				w.SetPolicy(must(policy.Parse("policy.yml", []byte(strings.Replace(knownPolicy, "3KiB", "1MiB", 1)))))
				if w.epoch.Load().known = nil; inFront {
					w.own = nil
				}
			}
			c := reclaimed.epoch.Load().verdicts
			c.kept, c.reclaimed = size{}, 0
			alike(t, reclaimed, other, 200, comment)
		})
	}
}

// alike sends both guards the same, whatever comes, each body behind the same text, and
// holds one to the other.
func alike(t *testing.T, one, other *twin, requests int, before string) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 7))
	bodies := shapedBodies(r)
	for i := range requests {
		job := []string{"drop", "merge", "collapse", "reads", "report", "open", "other_1690000000"}[r.IntN(7)]
		path := "/metrics/job/" + job + []string{"", "/run/1", "/run/2", "/instance/a"}[r.IntN(4)]
		method := []string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodDelete}[r.IntN(6)]
		body := before + revalued(r, bodies[r.IntN(len(bodies))])
		push := func(w *twin) Answer {
			return w.Push(t.Context(), Request{Method: method, Path: path, Header: http.Header{}, Body: strings.NewReader(body), Length: int64(len(body))})
		}
		got, want := push(one), push(other)
		if got.Status != want.Status || string(got.Body) != string(want.Body) {
			t.Fatalf("request %d, %s %s\n%s\nis answered %d %s\nthe other %d %s", i, method, path, body, got.Status, got.Body, want.Status, want.Body)
		}
		if i%20 == 0 || i == requests-1 {
			if diff := cmp.Diff(other.seen(), one.seen()); diff != "" {
				t.Fatalf("after request %d, %s %s\n%s\n(-other +one):\n%s", i, method, path, body, diff)
			}
		}
	}
}

// shapedBodies are bodies whose values are written as @.
func shapedBodies(r *rand.Rand) []string {
	var out []string
	for range 12 {
		var b strings.Builder
		for f := range 1 + r.IntN(3) {
			name := fmt.Sprintf("m%d_%d", f, r.IntN(2))
			switch r.IntN(5) {
			case 0:
				fmt.Fprintf(&b, "# TYPE %s histogram\n%[1]s_bucket{le=\"1\"} @\n%[1]s_bucket{le=\"+Inf\"} @\n%[1]s_sum @\n%[1]s_count @\n", name)
			case 1:
				fmt.Fprintf(&b, "# HELP %s_total Some.\n# TYPE %[1]s_total counter\n%[1]s_total{t=\"%d\"} @\n", name, r.IntN(3))
			default:
				fmt.Fprintf(&b, "# TYPE %s gauge\n", name)
				for range 1 + r.IntN(4) {
					ls := []string{fmt.Sprintf(`t="%d"`, r.IntN(9))}
					if r.IntN(2) == 0 {
						ls = append(ls, fmt.Sprintf(`id="%d"`, r.IntN(3)))
					}
					if r.IntN(6) == 0 {
						ls = append(ls, `b="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"`)
					}
					if r.IntN(6) == 0 {
						ls = append(ls, `run="9"`, `instance=""`)
					}
					fmt.Fprintf(&b, "%s{%s} @\n", name, strings.Join(ls, ","))
				}
			}
		}
		out = append(out, b.String())
	}
	return append(out, "no_newline @", "x @ 1700000000000\n", "x{ @\n", strings.Repeat("y{t=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaa\"} @\n", 1), "")
}

// revalued has other values in place of each @.
func revalued(r *rand.Rand, body string) string {
	parts := strings.Split(body, "@")
	out := parts[0]
	for _, p := range parts[1:] {
		out += []string{"1", "0", "12345678", "2.50", "1e3", "-3", "NaN", "+Inf", "007", "-0", "x"}[min(r.IntN(40), 10)%(2+r.IntN(9))] + p
	}
	return out
}
