package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// scrape serves the upstream's page with what the guard adds behind it: the
// totals that it keeps, and the latest findings of the jobs. As long as there are
// none the page is the upstream's own, byte for byte.
func (g *Guard) scrape(upstream http.Handler) http.Handler {
	appended := gzhttp.GzipHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		totals := g.cfg.Totals.Page(r.Context(), g.scraper(r))
		families := totals.Families()
		withInstance(families)
		page := &appender{ResponseWriter: w, totals: families, twice: g.heldToo(families)}
		upstream.ServeHTTP(page, plain)
		page.join()
		for _, family := range page.totals {
			page.append(family)
		}
		if page.whole() && r.Context().Err() == nil {
			totals.Done() // only a page that was written whole was seen
		}
		if found := g.findings(); found != nil {
			page.append(found)
		}
	}))
	openMetrics := gzhttp.GzipHandler(g.scrapeOpenMetrics(upstream))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		totals := g.cfg.Totals.Stats().Series > 0
		switch {
		case totals && onlyOpenMetrics(r):
			openMetrics.ServeHTTP(w, r)
		case totals || g.findings() != nil:
			appended.ServeHTTP(w, r)
		default:
			upstream.ServeHTTP(w, r)
		}
	})
}

// findings are the latest of the jobs as the page shows them: as many as there is
// room for beside what the jobs hold. Where there is none they give way.
func (g *Guard) findings() *dto.MetricFamily {
	found := g.found.family()
	most := g.mostSeries(g.epoch.Load().policy.SeriesBudget())
	if found == nil || most == 0 {
		return found
	}
	room := most - g.book.Totals().Series
	if room <= 0 {
		return nil
	}
	found.Metric = found.Metric[:min(len(found.Metric), room)]
	return found
}

// withInstance gives every series without an instance an empty one, as a
// Pushgateway does: otherwise a scrape would put its own address there.
func withInstance(families []*dto.MetricFamily) {
	name, empty := model.InstanceLabel, ""
	for _, family := range families {
		for _, m := range family.Metric {
			at, ok := slices.BinarySearchFunc(m.Label, name, func(l *dto.LabelPair, name string) int {
				return strings.Compare(l.GetName(), name)
			})
			if !ok {
				m.Label = slices.Insert(m.Label, at, &dto.LabelPair{Name: &name, Value: &empty})
			}
		}
	}
}

// maxAgent is how much of a scraper's User-Agent is remembered.
const maxAgent = 200

// scraper names a Prometheus that scrapes, empty for anybody else: Prometheus
// says with every scrape how long it will wait.
func (g *Guard) scraper(r *http.Request) string {
	if r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") == "" {
		return ""
	}
	agent := r.UserAgent()
	return host(g.client(r)) + " " + agent[:min(len(agent), maxAgent)]
}

// appender lets a page grow at its end. Where families that are to be appended may
// stand on it already, it keeps the page back until it is joined with them.
type appender struct {
	http.ResponseWriter
	totals []*dto.MetricFamily
	twice  map[string]*dto.MetricFamily // of the totals, by the names under which they may stand
	kept   bytes.Buffer
	status int
	format expfmt.Format
	failed bool
	// joined are the families that need not be appended, and bare those that stand
	// on the page with another type.
	joined, bare map[*dto.MetricFamily]bool
}

// WriteHeader is part of http.ResponseWriter.
func (a *appender) WriteHeader(status int) {
	a.status = status
	a.Header().Del("Content-Length")
	a.format = gateway.FormatOf(a.Header())
	a.escape(a.format.ToEscapingScheme())
	a.ResponseWriter.WriteHeader(status)
}

// escape gives the totals the names under which they stand on the page, as the upstream
// gave its own families theirs, if they are to be found there. Else the encoder does so.
func (a *appender) escape(scheme model.EscapingScheme) {
	if scheme == model.NoEscaping || len(a.twice) == 0 {
		return
	}
	escaped := make(map[*dto.MetricFamily]*dto.MetricFamily, len(a.totals))
	for i, total := range a.totals {
		a.totals[i] = model.EscapeMetricFamily(total, scheme)
		escaped[total] = a.totals[i]
	}
	twice := make(map[string]*dto.MetricFamily, len(a.twice))
	for name, total := range a.twice {
		stands := model.EscapeMetricFamily(&dto.MetricFamily{Name: &name}, scheme).GetName()
		twice[stands] = escaped[total]
	}
	a.twice = twice
}

// Write is part of http.ResponseWriter.
func (a *appender) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if len(a.twice) > 0 && a.whole() {
		return a.kept.Write(b)
	}
	return a.ResponseWriter.Write(b)
}

// whole reports whether everything that was appended is on its way.
func (a *appender) whole() bool {
	return a.status == http.StatusOK && a.format != expfmt.FmtUnknown && !a.failed
}

// append writes a family in the format of the page, unless that was done.
func (a *appender) append(mf *dto.MetricFamily) {
	if !a.whole() || a.joined[mf] {
		return
	}
	if !a.bare[mf] || a.format.FormatType() != expfmt.TypeTextPlain {
		a.failed = expfmt.NewEncoder(a.ResponseWriter, a.format).Encode(mf) != nil
		return
	}
	text, err := bareText(mf, a.format)
	if err == nil {
		_, err = a.ResponseWriter.Write(text) // #nosec G705 -- a page of metrics, in text/plain
	}
	a.failed = err != nil
}

// bareText is a family as text without its HELP and TYPE, for a page on which its name
// stands with another type: no family may begin twice.
func bareText(mf *dto.MetricFamily, format expfmt.Format) ([]byte, error) {
	var text bytes.Buffer
	if err := expfmt.NewEncoder(&text, format).Encode(mf); err != nil {
		return nil, err
	}
	var out []byte
	for line := range bytes.Lines(text.Bytes()) {
		if line[0] != '#' {
			out = append(out, line...)
		}
	}
	return out, nil
}
