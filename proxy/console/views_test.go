package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/store"
)

// crowd is a guard with many jobs, its console, and a clock that is set by hand.
type crowd struct {
	*proxy.Guard
	console *Console
	now     time.Time
	asked   atomic.Int32 // how often the guard was asked for a job or all
}

func (c *crowd) Jobs(n int) proxy.JobsView {
	c.asked.Add(1)
	return c.Guard.Jobs(n)
}

func (c *crowd) Job(name string, from, n int) (proxy.JobDetail, bool) {
	c.asked.Add(1)
	return c.Guard.Job(name, from, n)
}

func newCrowd(tb testing.TB, jobs int) *crowd {
	tb.Helper()
	rules, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce, owner: platform, budget: {series: 20}}\n"))
	if err != nil {
		tb.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	c := &crowd{now: time.Now()}
	c.Guard, err = proxy.New(proxy.Config{
		Policy: rules, Upstream: own, Audit: audit.InMemory(), Metrics: proxy.NewMetrics(registry), GroupWait: time.Minute,
		Caps: proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range jobs {
		c.push(tb, fmt.Sprintf("job_%05d", i), "rows 1\n")
	}
	c.console = New(Config{Metrics: registry, Now: func() time.Time { return c.now }})
	c.console.Of(c)
	return c
}

func (c *crowd) push(tb testing.TB, job, body string) {
	tb.Helper()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/metrics/job/"+job, strings.NewReader(body)))
	if w.Code != http.StatusOK {
		tb.Fatalf("push of %s: %d %s", job, w.Code, w.Body)
	}
}

// reader takes what a stream sends.
type reader struct{ text string }

func (*reader) Header() http.Header              { return http.Header{} }
func (*reader) WriteHeader(int)                  {}
func (*reader) Flush()                           {}
func (*reader) SetWriteDeadline(time.Time) error { return nil }
func (r *reader) Write(p []byte) (int, error) {
	r.text += string(p)
	return len(p), nil
}

// views opens n streams of a page.
func (c *crowd) views(tb testing.TB, n int, query string) (streams []*stream, readers []*reader) {
	tb.Helper()
	for range n {
		q, err := url.ParseQuery(query)
		if err != nil {
			tb.Fatal(err)
		}
		r := &reader{}
		s := &stream{console: c.console, w: r, out: http.NewResponseController(r), query: q}
		if err := s.prepare(); err != nil {
			tb.Fatal(err)
		}
		streams, readers = append(streams, s), append(readers, r)
	}
	return streams, readers
}

// BenchmarkLivePages is what one tick costs while so many look at the same page of a
// guard with 5,000 jobs.
func BenchmarkLivePages(b *testing.B) {
	c := newCrowd(b, 5000)
	for _, query := range []string{"of=overview", "of=jobs", "of=jobs&sort=last&q=job_0", "of=job&name=job_00007"} {
		for _, viewers := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/viewers=%d", query, viewers), func(b *testing.B) {
				streams, readers := c.views(b, viewers, query)
				b.ReportAllocs()
				for b.Loop() {
					c.now = c.now.Add(fresh)
					for i, s := range streams {
						readers[i].text = ""
						if err := s.update(); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// TestSharedViews has many look at once, at pages that are the same and others: the
// guard is asked once of each in a tick, all see the same, each their own page, and after
// a tick what came since.
func TestSharedViews(t *testing.T) {
	c := newCrowd(t, 300)
	queries := []string{"of=overview", "of=jobs", "of=jobs&q=job_0000&other=1", "of=jobs&sort=job&dir=up", "of=job&name=job_00007", "of=job&name=job_00008"}
	var streams []*stream
	var readers []*reader
	for _, q := range queries {
		s, r := c.views(t, 8, q)
		streams, readers = append(streams, s...), append(readers, r...)
	}
	tick := func() {
		c.now = c.now.Add(fresh)
		c.asked.Store(0)
		for _, r := range readers {
			r.text = ""
		}
		var all sync.WaitGroup
		for _, s := range streams {
			all.Go(func() {
				if err := s.update(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := c.asked.Load(); n != 3 { // for all jobs, and for each of two
			t.Errorf("the guard was asked %d times in a tick", n)
		}
		for i, r := range readers {
			if first := readers[i/8*8]; r.text != first.text {
				t.Errorf("%s: two of those who look see different pages", queries[i/8])
			}
		}
	}
	tick()
	for i, want := range []string{"300", "1–100 of 300 jobs", "1–10 of 10 jobs", "job_00099", "job_00007", "job_00008"} {
		if !strings.Contains(readers[i*8].text, want) {
			t.Errorf("%s lacks %q: %.500s", queries[i], want, readers[i*8].text)
		}
	}
	c.push(t, "job_00007", "rows{a=\"1\"} 1\nrows{a=\"2\"} 1\n")
	c.push(t, "job_00000a", "rows 1\n")
	tick()
	for i, want := range []string{"301", "1–100 of 301 jobs", "1–11 of 11 jobs", "job_00000a", "<span class=\"figure\">4 ", ""} {
		want = strings.NewReplacer("<", `\u003c`, ">", `\u003e`, `"`, `\"`).Replace(want)
		if !strings.Contains(readers[i*8].text, want) {
			t.Errorf("%s lacks %q a tick later: %.1500s", queries[i], want, readers[i*8].text)
		}
	}
}

// TestSharedViewsAreBounded has more different pages looked at within a tick than are
// kept: each is right all the same.
func TestSharedViewsAreBounded(t *testing.T) {
	c := newCrowd(t, 40)
	for i := range maxViews + 8 {
		name := fmt.Sprintf("job_%05d", i%40)
		streams, readers := c.views(t, 1, fmt.Sprintf("of=jobs&q=%s&page=%d", name, 1+i/40))
		if err := streams[0].update(); err != nil || !strings.Contains(readers[0].text, name) || strings.Contains(readers[0].text, "job_00039") && name != "job_00039" {
			t.Errorf("%s: %v: %.500s", name, err, readers[0].text)
		}
	}
	if n := len(c.console.snapshot().views); n != maxViews {
		t.Errorf("%d views are kept, want %d", n, maxViews)
	}
}

// TestJobThatIsGone has a page look at a job of which nothing is known any more, as after a
// restart: it says so, and does not go on to show what was.
func TestJobThatIsGone(t *testing.T) {
	c := newCrowd(t, 1)
	if v := c.console.view("job", url.Values{"name": {"gone"}}); v.err != nil || !strings.Contains(v.data, noJob) {
		t.Errorf("sent is %q, %v", v.data, v.err)
	}
}

// TestLabelsWithoutRoom has more labels than the guard's estimate looks at: no page says that
// none was pushed.
func TestLabelsWithoutRoom(t *testing.T) {
	c := newCrowd(t, 0)
	var many strings.Builder
	for i := range 60 {
		fmt.Fprintf(&many, "label_%d=\"v\",", i)
	}
	for i := range 180 {
		c.push(t, fmt.Sprintf("job_%05d", i), "rows{"+many.String()+"} 1\n")
	}
	c.push(t, "late", "rows{table=\"t\"} 1\n")
	w := httptest.NewRecorder()
	c.console.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/guard/job?name=late", nil))
	if page := w.Body.String(); !strings.Contains(page, "Nothing is known of its labels") || strings.Contains(page, "No label was pushed") {
		t.Errorf("the page of a job whose labels have no room:\n%s", page)
	}
}

// TestOrderBeyondTheBudget sorts jobs that hold more than they were granted by how much
// more, and puts what enforcement would refuse above all that it would change.
func TestOrderBeyondTheBudget(t *testing.T) {
	of := func(name string, held, refused, changed int) *row {
		return &row{JobView: proxy.JobView{Job: name, Mode: "report", Held: held, Granted: 10, Forecast: &proxy.OutlookView{Forecast: audit.Forecast{Refused: refused, Changed: changed}}}}
	}
	for key, want := range map[string]string{"used": "b a c", "would": "c b a"} {
		rows := []*row{of("a", 12, 0, 900), of("b", 40, 0, 5000), of("c", 11, 1, 0)}
		p := &jobsPage{Query: url.Values{"sort": {key}, "dir": {"down"}}}
		p.sort(rows)
		if got := rows[0].Job + " " + rows[1].Job + " " + rows[2].Job; got != want {
			t.Errorf("by %s: %s, want %s", key, got, want)
		}
	}
	near := nearest([]proxy.JobView{of("a", 12, 0, 0).JobView, of("b", 40, 0, 0).JobView}, 1)
	if near[0].Job != "b" {
		t.Errorf("nearest is %s", near[0].Job)
	}
}

// TestJobsWithoutNames: of a job that the guard's metrics do not name, no page says that
// nothing of it was refused, or that nothing came.
func TestJobsWithoutNames(t *testing.T) {
	c := newCrowd(t, 500) // as many as have a name
	c.push(t, "late", "rows 1\n")
	page := func(at string) string {
		w := httptest.NewRecorder()
		c.console.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		return w.Body.String()
	}
	for at, want := range map[string]string{
		"/guard/jobs?q=late": ">not counted</a>", "/guard/job?name=late": ">not counted by name</a>",
		"/guard/jobs?q=job_00001": ">0</td>", "/guard/job?name=job_00001": "<dt>Refused, last hour</dt><dd>0</dd>",
	} {
		if got := page(at); !strings.Contains(got, want) {
			t.Errorf("%s has no %s:\n%s", at, want, got)
		}
	}
	would := row{JobView: proxy.JobView{Mode: "report"}}
	if got := would.Would(); got != "nothing came yet" {
		t.Errorf("of a job to which nothing came: %q", got)
	}
	would.Overlooked = true
	if got := would.Would(); got != "not counted by name" {
		t.Errorf("of a job that may be counted without its name: %q", got)
	}
}
