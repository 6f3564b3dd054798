package counter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

func count(name, ls string, v float64) Increment {
	return Increment{Series: series(name, ls), Value: v}
}

// text is the page that a scraper sees.
func text(t testing.TB, p *Page) string {
	t.Helper()
	var b strings.Builder
	for _, mf := range p.Families() {
		if _, err := expfmt.MetricFamilyToText(&b, mf); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestTotalsRenderSortedInTheKindsTheyAre(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	took := series("took_seconds", `job=j`)
	took.Kind, took.Bounds, took.Help = Histogram, []float64{0.5, 1}, "How long."
	sizes := series("sizes", `job=j`)
	sizes.Kind = Summary
	totals.Add([]Increment{
		count("x_total", "job=j,queue=b", 2), count("x_total", "job=j,queue=a", 0.5), count("x_total", "job=j,queue=b", 1),
		{Series: took, Count: 4, Sum: 2.5, Buckets: []float64{1, 3}},
		{Series: took, Count: 1, Sum: 2, Buckets: []float64{0, 0}},
		{Series: sizes, Count: 3, Sum: 9},
	})
	want := `# TYPE sizes summary
sizes_sum{job="j"} 9
sizes_count{job="j"} 3
# HELP took_seconds How long.
# TYPE took_seconds histogram
took_seconds_bucket{job="j",le="0.5"} 1
took_seconds_bucket{job="j",le="1"} 3
took_seconds_bucket{job="j",le="+Inf"} 5
took_seconds_sum{job="j"} 4.5
took_seconds_count{job="j"} 5
# TYPE x_total counter
x_total{job="j",queue="a"} 0.5
x_total{job="j",queue="b"} 3
`
	if diff := cmp.Diff(want, text(t, totals.Page(context.Background(), ""))); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if got, want := totals.Stats(), (TotalsStats{Series: 4, Families: 3}); got != want {
		t.Errorf("stats = %+v, want %+v", got, want)
	}
}

// Prometheus' own parser reads the created timestamps and float histograms.
func TestTotalsSayWhenTheyWereCreated(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	took := series("took_seconds", `job=j`)
	took.Kind, took.Bounds = Histogram, []float64{1}
	totals.Add([]Increment{count("x_total", "job=j", 2), {Series: took, Count: 1.5, Sum: 1, Buckets: []float64{0.5}}})
	var body bytes.Buffer
	enc := expfmt.NewEncoder(&body, expfmt.NewFormat(expfmt.TypeProtoDelim))
	for _, mf := range totals.Page(context.Background(), "").Families() {
		if err := enc.Encode(mf); err != nil {
			t.Fatal(err)
		}
	}
	p := textparse.NewProtobufParser(body.Bytes(), false, true, false, false, labels.NewSymbolTable())
	got := map[string]float64{}
	for {
		entry, err := p.Next()
		if err != nil {
			break
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, v := p.Series()
		var ls labels.Labels
		p.Labels(&ls)
		if st := p.StartTimestamp(); st != c.now.UnixMilli() {
			t.Errorf("%s was created at %d, want %d", ls, st, c.now.UnixMilli())
		}
		got[ls.String()] = v
	}
	want := map[string]float64{
		`{__name__="x_total", job="j"}`:                        2,
		`{__name__="took_seconds_count", job="j"}`:             1.5,
		`{__name__="took_seconds_sum", job="j"}`:               1,
		`{__name__="took_seconds_bucket", job="j", le="1.0"}`:  0.5,
		`{__name__="took_seconds_bucket", job="j", le="+Inf"}`: 1.5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("as Prometheus reads it (-want +got):\n%s", diff)
	}
}

func TestClaims(t *testing.T) {
	totals := NewTotals(TotalsConfig{Series: 10})
	claim := func(name string, kind Kind, conflicts string) {
		t.Helper()
		err := totals.Claim(name, kind)
		var conflict *ConflictError
		if got := errors.As(err, &conflict); got != (conflicts != "") || !got && err != nil {
			t.Fatalf("claiming %s %s: %v", kind, name, err)
		}
		if conflicts != "" && conflict.Holder != conflicts {
			t.Errorf("claiming %s %s is in conflict with %s, want %s", kind, name, conflict.Holder, conflicts)
		}
		sample := name == conflicts+"_count" // of a histogram that is held
		if got, want := totals.Holds(name), conflicts == "" || conflicts == name || sample; got != want {
			t.Errorf("holds %s: %v", name, got)
		}
	}
	claim("x_total", Counter, "")
	claim("x_total", Counter, "")
	claim("x_total", Histogram, "x_total")
	claim("x", Counter, "x_total") // one family in OpenMetrics
	claim("took", Histogram, "")
	claim("took_count", Counter, "took")
	claim("took", Summary, "took")
	claim("size_sum", Counter, "")
	claim("size", Summary, "size_sum")
	if err := totals.Claim("took_count", Counter); err == nil || !strings.Contains(err.Error(), "took_count") {
		t.Errorf("error = %v", err)
	}
	totals.Add([]Increment{{Series: &Series{Name: "took", Kind: Counter}, Value: 1}})
	if got := totals.Stats().Dropped; got != 1 {
		t.Errorf("dropped = %d, want 1", got)
	}
}

// Over the bound totals collapse and stay exact.
func TestTotalsAreBounded(t *testing.T) {
	totals := NewTotals(TotalsConfig{Series: 20})
	sum := 0.0
	for n := range 100 {
		for job := range 5 {
			v := float64(n*job + 1)
			sum += v
			totals.Add([]Increment{count("x_total", fmt.Sprintf("job=j%d,n=%d", job, n), v)})
		}
		stats := totals.Stats()
		if want := min(20, 5*(n+1)); stats.Series < want || stats.Series > 23 {
			t.Fatalf("after %d: %+v", 5*(n+1), stats)
		}
	}
	page := text(t, totals.Page(context.Background(), ""))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["x_total"].Metric {
		sum -= m.Counter.GetValue()
	}
	if sum != 0 {
		t.Errorf("%v is missing", sum)
	}
	for _, want := range []string{`x_total{job="j0",n="3"} 1`, `x_total{job="j0",n="__other__"}`, `x_total{job="__other__"}`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in:\n%s", want, page)
		}
	}
	if got := totals.Stats().Collapsed; got != 480 {
		t.Errorf("collapsed = %d, want 480", got)
	}
	totals.Add([]Increment{count("x_total", "job=j0,n=3", 1), count("x_total", "job=j0,n=new", 1)})
	if got := totalOf(totals, "x_total", "job=j0,n=3"); got != 2 {
		t.Errorf("a total from before = %v, want 2", got)
	}
	if err := totals.Claim("y_total", Counter); !errors.Is(err, ErrFull) {
		t.Errorf("claiming one more family: %v, want %v", err, ErrFull)
	}
}

func TestUnlikeBoundsKeepWhatTheyHaveInCommon(t *testing.T) {
	totals := NewTotals(TotalsConfig{})
	add := func(bounds, buckets []float64, n float64) {
		s := series("took_seconds", "job=j")
		s.Kind, s.Bounds = Histogram, bounds
		totals.Add([]Increment{{Series: s, Count: n, Sum: n, Buckets: buckets}})
	}
	add([]float64{1, 2, 5}, []float64{1, 2, 3}, 4)
	add([]float64{1, 2, 5, 10}, []float64{1, 1, 1, 1}, 1)
	add([]float64{0.5, 1, 5}, []float64{1, 2, 3}, 4)
	add([]float64{1, 2, 5}, []float64{1, 1, 1}, 1)
	want := `# TYPE took_seconds histogram
took_seconds_bucket{job="j",le="1"} 5
took_seconds_bucket{job="j",le="5"} 8
took_seconds_bucket{job="j",le="+Inf"} 10
took_seconds_sum{job="j"} 10
took_seconds_count{job="j"} 10
`
	if diff := cmp.Diff(want, text(t, totals.Page(context.Background(), ""))); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestATotalNeverBecomesInfinite(t *testing.T) {
	totals := NewTotals(TotalsConfig{})
	for range 3 {
		totals.Add([]Increment{count("x_total", "job=j", math.MaxFloat64)})
	}
	if got := totalOf(totals, "x_total", "job=j"); got != math.MaxFloat64 {
		t.Errorf("total = %v", got)
	}
}

// shownAt is the value of x_total on a page.
func shownAt(p *Page) float64 {
	for _, mf := range p.Families() {
		if mf.GetName() == "x_total" {
			return mf.Metric[0].Counter.GetValue()
		}
	}
	return math.NaN()
}

func TestAScraperSeesANewTotalAtZeroOnce(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	totals.Page(context.Background(), "a").Done()
	totals.Add([]Increment{count("x_total", "job=j", 10)})
	see := func(name, scraper string, done bool, want float64) {
		t.Helper()
		p := totals.Page(context.Background(), scraper)
		if got := shownAt(p); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if done {
			p.Done()
		}
	}
	see("a person", "", true, 10)
	see("a scrape that is cut short", "a", false, 0)
	see("the scraper's first", "a", true, 0)
	see("its second", "a", true, 10)
	see("another scraper's first", "b", true, 0)
	see("the scraper's third", "a", true, 10)
	totals.Add([]Increment{count("y_total", "job=j", 1)})
	see("an old total beside a new one", "a", true, 10)
	c.advance(newFor)
	see("a scraper that comes when the total is old", "c", true, 10)
}

func TestATotalBornDuringAScrapeIsNewInTheNext(t *testing.T) {
	totals := NewTotals(TotalsConfig{})
	p := totals.Page(context.Background(), "a")
	totals.Add([]Increment{count("x_total", "job=j", 10)})
	p.Done()
	if got := shownAt(totals.Page(context.Background(), "a")); got != 0 {
		t.Errorf("the next scrape sees %v, want 0", got)
	}
}

func TestHistogramsAreBornAtZeroAsAWhole(t *testing.T) {
	totals := NewTotals(TotalsConfig{})
	s := series("took_seconds", "job=j")
	s.Kind, s.Bounds = Histogram, []float64{1}
	totals.Add([]Increment{{Series: s, Count: 2, Sum: 3, Buckets: []float64{1}}})
	want := `# TYPE took_seconds histogram
took_seconds_bucket{job="j",le="1"} 0
took_seconds_bucket{job="j",le="+Inf"} 0
took_seconds_sum{job="j"} 0
took_seconds_count{job="j"} 0
`
	if diff := cmp.Diff(want, text(t, totals.Page(context.Background(), "a"))); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

// A scraper that was forgotten is not shown zero again: that would be a reset.
func TestScrapersAreBounded(t *testing.T) {
	c := newClock()
	totals := NewTotals(TotalsConfig{Now: c.Now})
	totals.Add([]Increment{count("x_total", "job=j", 10)})
	totals.Page(context.Background(), "first").Done()
	for n := range scrapersMax {
		totals.Page(context.Background(), fmt.Sprint(n)).Done()
	}
	if got := len(totals.scrapers.marks); got != scrapersMax {
		t.Errorf("%d scrapers are remembered, want %d", got, scrapersMax)
	}
	if got := shownAt(totals.Page(context.Background(), "first")); got != 10 {
		t.Errorf("the forgotten scraper sees %v, want 10", got)
	}
	c.advance(time.Second)
	if got := shownAt(totals.Page(context.Background(), fmt.Sprint(scrapersMax-1))); got != 10 {
		t.Errorf("one that is remembered sees %v, want 10", got)
	}
}

func BenchmarkPage(b *testing.B) {
	totals := NewTotals(TotalsConfig{})
	var all []Increment
	for n := range 10_000 {
		all = append(all, count("x_total", fmt.Sprintf("job=j,n=%d", n), 1))
	}
	totals.Add(all)
	b.ReportAllocs()
	for b.Loop() {
		totals.Page(context.Background(), "").Families()
	}
}

// What is known of series weighs no more than it may: a push makes those anew for which
// there was no room.
func TestKnownSeriesAreBounded(t *testing.T) {
	totals := NewTotals(TotalsConfig{})
	for i := range 200 {
		totals.Add([]Increment{{Series: &Series{Name: "x_total", Kind: Counter, Help: strings.Repeat(fmt.Sprint(i%10), 1<<20)}, Value: 1}})
	}
	if kept := len(totals.known); kept > knownBytes>>20 || kept == 0 {
		t.Errorf("%d series of a MiB are known", kept)
	}
	if page := text(t, totals.Page(context.Background(), "")); !strings.Contains(page, "x_total 200\n") {
		t.Errorf("not all is counted: …%s", page[max(0, len(page)-100):])
	}
}
