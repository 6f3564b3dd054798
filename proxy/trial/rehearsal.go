package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Difference is one expectation of a test that was not met.
type Difference struct {
	// Step is the place of the step in its test, from 0.
	Step int
	// What was looked at, by its key in the policy.
	What string
	// Want and Got are its lines: one, or the members of a set, sorted.
	Want, Got []string
}

// Test takes the steps of a test through a guard that was always there and has seen
// nothing yet, before an empty store, and returns what is not as expected;
// nothing if all is. The StatsD socket is the test's to choose, cfg's does not
// matter. The error is that of a cfg without a policy or caps.
func Test(ctx context.Context, cfg Config, t policy.Test) ([]Difference, error) {
	r, err := rehearse(cfg, t)
	if err != nil {
		return nil, err
	}
	var out []Difference
	for i, s := range t.Steps {
		for _, d := range r.step(ctx, s, t.Start.Add(s.At)) {
			d.Step = i
			out = append(out, d)
		}
	}
	return out, nil
}

// keeper is the store that serves where there is no Pushgateway, and keeps what it is
// sent besides.
type keeper struct {
	*store.Store
	sent []gateway.Request
}

// Do is part of proxy.Upstream.
func (k *keeper) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	kept := gateway.Request{Method: r.Method, Key: r.Key}
	if r.Push != nil { // which is valid until the return
		kept.Body, kept.ContentType = bytes.Clone(r.Push.Body), r.Push.Encoding.ContentType()
		if r.Fates != nil {
			kept.Body = wire.Render(nil, r.Push, r.Fates)
		}
	}
	k.sent = append(k.sent, kept)
	return k.Store.Do(ctx, r)
}

// rehearsal is a guard under test, and what it did last.
type rehearsal struct {
	policy *policy.Policy
	caps   proxy.Caps
	guard  *proxy.Guard
	face   http.Handler
	end    *keeper
	now    time.Time
	trace  proxy.Trace
}

func rehearse(cfg Config, t policy.Test) (*rehearsal, error) {
	r := &rehearsal{policy: cfg.Policy, caps: cfg.Caps, now: longAgo()}
	clock := func() time.Time { return r.now }
	kept, err := store.Open(store.Config{Now: clock})
	if err != nil {
		return nil, err
	}
	r.end = &keeper{Store: kept}
	of := proxy.Config{
		Policy: cfg.Policy, Upstream: r.end, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
		Caps: cfg.Caps, UTF8Names: cfg.UTF8Names, AnyUser: true, Now: clock,
		Trace:    func(t proxy.Trace) { r.trace = t },
		Counters: counter.NewBook(counter.Config{Now: clock}),
	}
	if t.StatsD {
		of.StatsD = nowhere{}
	}
	r.now = t.Start
	if r.guard, err = proxy.New(of); err != nil {
		return nil, err
	}
	r.face = r.guard.Handler()
	return r, nil
}

// step sweeps what is stale by then, sends what is to be sent, and compares.
func (r *rehearsal) step(ctx context.Context, s policy.TestStep, at time.Time) []Difference {
	r.now = at
	r.guard.Sweep(ctx)
	r.trace, r.end.sent = proxy.Trace{}, nil
	if s.Method != "" {
		r.guard.Push(ctx, proxy.Request{
			Method: s.Method, Path: keyOf(s).Path(), Header: s.Header,
			Body: strings.NewReader(s.Body), Length: int64(len(s.Body)),
		})
	}
	return r.compare(ctx, s)
}

func keyOf(s policy.TestStep) wire.Key {
	return wire.NewKey(append([]labels.Label{{Name: model.JobLabel, Value: s.Job}}, s.Grouping...)...)
}

// comparison gathers what is not as expected.
type comparison []Difference

func (c *comparison) word(what, want, got string) {
	if want != "" && want != got {
		*c = append(*c, Difference{What: what, Want: []string{want}, Got: []string{got}})
	}
}

func (c *comparison) set(what string, want, got []string) {
	if want != nil && !slices.Equal(want, got) {
		*c = append(*c, Difference{What: what, Want: want, Got: got})
	}
}

func (r *rehearsal) compare(ctx context.Context, s policy.TestStep) []Difference {
	var c comparison
	w := &s.Want
	c.word("outcome", w.Outcome, r.trace.Outcome)
	c.word("would", w.Would, r.trace.Would)
	if w.Status != 0 {
		c.word("status", strconv.Itoa(w.Status), strconv.Itoa(r.trace.Answer.Status))
	}
	if !strings.Contains(r.trace.Answer.Body, w.Answer) {
		c = append(c, Difference{What: "answer", Want: lines("… " + w.Answer + " …"), Got: lines(r.trace.Answer.Body)})
	}
	c.set("findings", w.Findings, r.findings())
	if w.Group != nil {
		c.set("group", pairsOf(w.Group), r.group())
	}
	if w.Metrics != nil {
		c.set("metrics", w.Metrics, r.metrics())
	}
	if w.Increments != nil {
		c.set("increments", w.Increments, r.increments())
	}
	r.compareLeft(ctx, &c, s)
	if w.Page != nil {
		c.set("page", w.Page, r.page(ctx))
	}
	return c
}

// lines are those of a text.
func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

func (r *rehearsal) findings() []string {
	out := []string{}
	for _, f := range r.trace.Findings {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func pairsOf(group map[string]string) []string {
	out := []string{}
	for name, value := range group {
		out = append(out, name+": "+value)
	}
	slices.Sort(out)
	return out
}

// group is the grouping key that was forwarded.
func (r *rehearsal) group() []string {
	if len(r.end.sent) == 0 {
		return nil
	}
	group := map[string]string{}
	for _, l := range r.end.sent[0].Key.Labels() {
		group[l.Name] = l.Value
	}
	return pairsOf(group)
}

// metrics are the series that were forwarded. A push comes before what it evicts.
func (r *rehearsal) metrics() []string {
	if len(r.end.sent) == 0 || r.end.sent[0].Method == http.MethodDelete {
		return []string{}
	}
	return seriesOf(proxy.Forwarded(r.end.sent[0], r.caps.Decoded).Text)
}

// seriesOf is the series of a text; where they cannot be told, why.
func seriesOf(text string) []string {
	out, err := policy.ParseSeries(text)
	if err != nil {
		return []string{fmt.Sprintf("(%v)", err)}
	}
	return out
}

// increments are what was added, as the series that an exposition would have.
func (r *rehearsal) increments() []string {
	sums := map[string]float64{}
	for _, inc := range r.trace.Increments {
		for _, s := range expanded(inc) {
			sums[s.line] += s.value
		}
	}
	var text strings.Builder
	for line, v := range sums {
		fmt.Fprintf(&text, "%s %s\n", line, number(v))
	}
	return seriesOf(text.String())
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// added is a series and what it grows by.
type added struct {
	line  string
	value float64
}

// expanded is an increment by the series of an exposition.
func expanded(inc counter.Increment) []added {
	s := inc.Series
	if s.Kind == counter.Counter {
		return []added{{line(s, "", ""), inc.Value}}
	}
	out := []added{{line(s, "_count", ""), inc.Count}}
	if !inc.NoSum {
		out = append(out, added{line(s, "_sum", ""), inc.Sum})
	}
	if s.Kind == counter.Histogram {
		for i, bound := range s.Bounds {
			out = append(out, added{line(s, "_bucket", number(bound)), inc.Buckets[i]})
		}
		out = append(out, added{line(s, "_bucket", "+Inf"), inc.Count})
	}
	return out
}

// line is a series of the text format, without its value.
func line(s *counter.Series, suffix, le string) string {
	b := labels.NewScratchBuilder(len(s.Labels) + 1)
	for _, l := range s.Labels {
		b.Add(l.Name, l.Value)
	}
	if le != "" {
		b.Add(model.BucketLabel, le)
	}
	b.Sort()
	return policy.SeriesLine(s.Name+suffix, b.Labels())
}

// compareLeft compares what the job may still bring of its budget.
func (r *rehearsal) compareLeft(ctx context.Context, c *comparison, s policy.TestStep) {
	if s.Want.SeriesLeft == nil && s.Want.GroupsLeft == nil {
		return
	}
	job := r.policy.FoldJob(s.Job)
	budget, _ := r.policy.Entry(job).Budget(r.now)
	series, groups := r.held(ctx, job)
	left := func(what string, want *int, granted, held int) {
		switch {
		case want == nil:
		case granted == 0:
			c.word(what, strconv.Itoa(*want), "the job has no such budget")
		default:
			c.word(what, strconv.Itoa(*want), strconv.Itoa(max(0, granted-held)))
		}
	}
	left("left: series", s.Want.SeriesLeft, budget.Series, series)
	left("left: groups", s.Want.GroupsLeft, budget.Groups, groups)
}

// held asks the guard what the job holds; under report, what it would.
func (r *rehearsal) held(ctx context.Context, job string) (series, groups int) {
	var answer struct {
		Data struct {
			Held, Groups int
			Shadow       *int
			ShadowGroups *int `json:"shadow_groups"`
		}
	}
	_ = json.Unmarshal(r.get(ctx, "/guard/api/v1/jobs/"+job), &answer) // of nobody known there is none
	if d := answer.Data; d.Shadow != nil && d.ShadowGroups != nil {
		return *d.Shadow, *d.ShadowGroups
	}
	return answer.Data.Held, answer.Data.Groups
}

// page is what a scrape gets.
func (r *rehearsal) page(ctx context.Context) []string {
	return slices.DeleteFunc(seriesOf(string(r.get(ctx, "/metrics"))), func(line string) bool {
		family, _, _ := strings.Cut(line, "{")
		return family == "pushguard_job_findings" || family == "push_time_seconds" || family == "push_failure_time_seconds"
	})
}

// get asks the guard for one of its pages.
func (r *rehearsal) get(ctx context.Context, path string) []byte {
	w := &sheet{header: http.Header{}}
	request := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: path}, Header: http.Header{}, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "pushguard",
	}
	r.face.ServeHTTP(w, request.WithContext(ctx))
	return w.Bytes()
}

// sheet is a page in memory.
type sheet struct {
	bytes.Buffer
	header http.Header
}

// Header is part of http.ResponseWriter.
func (s *sheet) Header() http.Header { return s.header }

// WriteHeader is part of http.ResponseWriter.
func (*sheet) WriteHeader(int) {}
