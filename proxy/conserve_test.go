package proxy_test

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

const delimited = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

// values are what generated labels may hold. Those of run_id, user and day have
// no bound, and the shapes that normalForms tells.
var values = map[string]*rapid.Generator[string]{
	"run_id": rapid.Map(rapid.IntRange(0, 5), func(n int) string { return fmt.Sprintf("3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b%02x", n) }),
	"user":   rapid.Map(rapid.IntRange(0, 5), func(n int) string { return fmt.Sprintf("user%d@example.com", n) }),
	"day":    rapid.Map(rapid.IntRange(1, 4), func(n int) string { return fmt.Sprintf("2026-01-%02d", n) }),
	"region": rapid.SampledFrom([]string{"eu", "us", ""}),
	"status": rapid.SampledFrom([]string{"ok", "late", `a"b\c`, "größe"}),
	"note":   rapid.SampledFrom([]string{"two\nlines", "more\nlines\n"}),
}

// The labels of bodies and of grouping keys are kept apart: where both have one,
// the Pushgateway lets the key's win, which is not what is tested here.
var (
	bodyLabels = []string{"run_id", "user", "day", "region", "status", "note"}
	keyLabels  = []string{"key_day", "key_region", "key_run_id"}
)

// drawLabels draws values for some of the labels.
func drawLabels(t *rapid.T, names []string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		if rapid.Bool().Draw(t, "has "+name) {
			out[name] = values[strings.TrimPrefix(name, "key_")].Draw(t, name)
		}
	}
	return out
}

var allLabels = slices.Concat(bodyLabels, keyLabels)

func drawPolicy(t *rapid.T) aPolicy {
	var p aPolicy
	if rapid.IntRange(0, 3).Draw(t, "allowlist") == 0 {
		p.allow = rapid.SliceOfNDistinct(rapid.SampledFrom(allLabels), 0, 6, rapid.ID).Draw(t, "allow")
		p.allow = append([]string{}, p.allow...) // an empty allowlist is not none
	}
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		r := aRule{
			labels: rapid.SliceOfNDistinct(rapid.SampledFrom(allLabels), 1, 3, rapid.ID).Draw(t, "labels"),
			action: rapid.SampledFrom([]string{"drop", "template", "replace", "keep"}).Draw(t, "action"),
		}
		if r.action == "replace" {
			r.replacement = rapid.SampledFrom([]string{"any", "eu"}).Draw(t, "replacement")
		}
		p.rules = append(p.rules, r)
	}
	return p
}

func (p aPolicy) yaml() string {
	var b strings.Builder
	b.WriteString("version: v1\ndefault:\n  mode: enforce\n  counters: {route: snapshot}\n")
	if p.allow != nil {
		fmt.Fprintf(&b, "  labels: [%s]\n", strings.Join(p.allow, ", "))
	}
	if len(p.rules) > 0 {
		b.WriteString("  rules:\n")
	}
	for i, r := range p.rules {
		fmt.Fprintf(&b, "  - {id: r%d, labels: [%s], action: %s", i, strings.Join(r.labels, ", "), r.action)
		if r.replacement != "" {
			b.WriteString(", replacement: " + r.replacement)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// quarter draws a number whose sums are exact.
func quarter(t *rapid.T, what string) float64 {
	return float64(rapid.IntRange(0, 1_000_000).Draw(t, what)) / 4
}

var names = map[string][]string{
	"counter": {"rows_total", "bytes_read"}, "gauge": {"lag_seconds"}, "untyped": {"steps_total", "temperature"},
	"summary": {"latency_seconds"}, "histogram": {"size_bytes", "duration_seconds"}, "bare": {"wait_seconds"},
}

func drawPush(t *rapid.T) aPush {
	push := aPush{key: drawLabels(t, keyLabels)}
	for _, typ := range slices.Sorted(maps.Keys(names)) {
		for _, name := range names[typ] {
			if f := drawFamily(t, name, typ); len(f.metrics) > 0 {
				push.families = append(push.families, f)
			}
		}
	}
	return push
}

func drawFamily(t *rapid.T, name, typ string) aFamily {
	f := aFamily{name: name, typ: typ}
	seen := map[string]bool{}
	for range rapid.IntRange(0, 5).Draw(t, name) {
		m := aMetric{labels: drawLabels(t, bodyLabels), value: quarter(t, "value")}
		if seen[labelText(m.labels)] {
			continue
		}
		seen[labelText(m.labels)] = true
		switch typ {
		case "histogram", "bare":
			drawBuckets(t, &m)
		case "summary":
			m.count = float64(rapid.IntRange(0, 1000).Draw(t, "count"))
			m.quantiles = map[string]float64{"0.5": quarter(t, "median"), "0.9": quarter(t, "p90")}
		}
		f.metrics = append(f.metrics, m)
	}
	return f
}

func drawBuckets(t *rapid.T, m *aMetric) {
	m.les = []float64{0.5, 1, 10}
	if rapid.IntRange(0, 9).Draw(t, "unlike bounds") == 0 {
		m.les = []float64{0.5, 2, 10}
	}
	for range m.les {
		m.count += float64(rapid.IntRange(0, 50).Draw(t, "bucket"))
		m.buckets = append(m.buckets, m.count)
	}
	m.count += float64(rapid.IntRange(0, 50).Draw(t, "above"))
}

// stored reads a group as the model writes one.
func stored(t tb, g heldGroup) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	number := func(into, s string) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatalf("%s: %v", into, err)
		}
		out[into] = v
	}
	for name, f := range g.families {
		typ := strings.ToLower(f.Type)
		for _, m := range f.Metrics {
			delete(m.Labels, "job")
			at := func(part string) string { return typ + " " + name + part + labelText(m.Labels) }
			if m.Count == "" {
				number(at(""), m.Value)
				continue
			}
			number(at(""), m.Sum)
			number(at(" count "), m.Count)
			if typ == "histogram" {
				number(at(fmt.Sprintf(" le %g ", math.Inf(1))), m.Count)
			}
			for le, n := range m.Buckets {
				number(at(" le "+le+" "), n)
			}
			for q, v := range m.Quantiles {
				number(at(" quantile "+q+" "), v)
			}
		}
	}
	return out
}

// sums adds up what is conserved: by family, and by what a line of it is.
func sums(lines map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for line, v := range lines {
		what, _, _ := strings.Cut(line, "{")
		if strings.HasPrefix(what, "gauge") || strings.HasPrefix(what, "untyped temperature") || strings.Contains(what, "quantile") {
			continue
		}
		out[what] += v
	}
	return out
}

// TestConservation pushes whatever under whatever policy: what the Pushgateway
// then holds is what the model says, and the totals are those that came.
func TestConservation(t *testing.T) {
	pushgateway := gatewaytest.Start(t)
	jobs := 0
	rapid.Check(t, func(t *rapid.T) {
		policy, push := drawPolicy(t), drawPush(t)
		g := newGuard(t, pushgateway, setup{policy: policy.yaml()})
		jobs++
		job := fmt.Sprintf("job%d", jobs)
		body, headers := "", []string(nil)
		if rapid.Bool().Draw(t, "protobuf") {
			body, headers = push.protobuf(t), []string{"Content-Type", delimited}
		} else {
			body = push.text(t)
		}
		method := rapid.SampledFrom([]string{http.MethodPut, http.MethodPost}).Draw(t, "method")
		got := g.do(method, push.path(t, job), body, headers...)

		key, want, mergeable := policy.expect(push)
		key["job"] = job
		groups := held(t, pushgateway)
		i := slices.IndexFunc(groups, func(g heldGroup) bool { return maps.Equal(g.key, key) })
		if !mergeable {
			if got.Status != http.StatusUnprocessableEntity || !strings.Contains(got.Body, "unmergeable: ") || slices.ContainsFunc(groups, func(g heldGroup) bool { return g.key["job"] == job }) { // others may be on their way out
				t.Fatalf("unlike bounds: status %d, %d groups: %s", got.Status, len(groups), got.Body)
			}
			return
		}
		if got.Status != http.StatusOK || i < 0 {
			t.Fatalf("status %d, group of %v among %v: %s\n%s", got.Status, key, groups, got.Body, body)
		}
		defer remove(t, pushgateway, key)
		after := stored(t, groups[i])
		if d := cmp.Diff(want, after); d != "" {
			t.Fatalf("model and Pushgateway differ (-want +got):\n%s\n%s\n%s", d, policy.yaml(), body)
		}
		_, came, _ := aPolicy{}.expect(push)
		if d := cmp.Diff(sums(came), sums(after)); d != "" {
			t.Fatalf("not conserved (-came +stored):\n%s", d)
		}
	})
}
