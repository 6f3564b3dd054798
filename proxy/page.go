package proxy

import (
	"bytes"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// scrape serves the upstream's page with what the guard adds behind it: the
// totals that it keeps, and the latest findings of the jobs. As long as there are
// none the page is the upstream's own, byte for byte.
func (g *Guard) scrape(upstream http.Handler) http.Handler {
	appended := gzhttp.GzipHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		page := &appender{ResponseWriter: w}
		upstream.ServeHTTP(page, plain)
		g.appendTotals(page, r)
		if found := g.found.family(); found != nil {
			page.append(found, false)
		}
	}))
	openMetrics := gzhttp.GzipHandler(g.scrapeOpenMetrics(upstream))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onlyOpenMetrics(r) {
			openMetrics.ServeHTTP(w, r)
			return
		}
		if g.cfg.Totals.Stats().Series == 0 && g.found.family() == nil {
			upstream.ServeHTTP(w, r)
			return
		}
		appended.ServeHTTP(w, r)
	})
}

// appendTotals appends the totals as the client of a scrape is to see them. They
// count as seen only once they are written whole.
func (g *Guard) appendTotals(page *appender, r *http.Request) {
	totals := g.cfg.Totals.Page(r.Context(), scraper(r))
	for _, family := range totals.Families() {
		page.append(family, g.book.HeldByOthers(family.GetName(), ""))
	}
	if page.whole() && r.Context().Err() == nil {
		totals.Done()
	}
}

// scraper names a Prometheus that scrapes, empty for anybody else: Prometheus
// says with every scrape how long it will wait.
func scraper(r *http.Request) string {
	if r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") == "" {
		return ""
	}
	return host(r.RemoteAddr) + " " + r.UserAgent()
}

// appender lets a page grow at its end.
type appender struct {
	http.ResponseWriter
	status int
	format expfmt.Format
	failed bool
}

// WriteHeader is part of http.ResponseWriter.
func (a *appender) WriteHeader(status int) {
	a.status = status
	a.Header().Del("Content-Length")
	a.format = expfmt.ResponseFormat(a.Header())
	a.ResponseWriter.WriteHeader(status)
}

// whole reports whether everything that was appended is on its way.
func (a *appender) whole() bool {
	return a.status == http.StatusOK && a.format != expfmt.FmtUnknown && !a.failed
}

// append writes a family in the format of the page. One that goes on stands on
// the page already, of the same name: in the text format only its samples may
// come again.
func (a *appender) append(mf *dto.MetricFamily, goesOn bool) {
	if !a.whole() {
		return
	}
	if !goesOn || a.format.FormatType() != expfmt.TypeTextPlain {
		a.failed = expfmt.NewEncoder(a.ResponseWriter, a.format).Encode(mf) != nil
		return
	}
	var text bytes.Buffer
	if err := expfmt.NewEncoder(&text, a.format).Encode(mf); err != nil {
		a.failed = true
		return
	}
	for line := range bytes.Lines(text.Bytes()) {
		if line[0] != '#' {
			if _, err := a.ResponseWriter.Write(line); err != nil {
				a.failed = true
				return
			}
		}
	}
}
