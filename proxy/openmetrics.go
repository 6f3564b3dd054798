package proxy

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// onlyOpenMetrics reports whether a client wants OpenMetrics and takes nothing
// else. Who takes text or protobuf gets that, as from a Pushgateway: OpenMetrics
// gives counters that do not end in _total another name.
func onlyOpenMetrics(r *http.Request) bool {
	wants := false
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			media, _, _ := strings.Cut(strings.TrimSpace(part), ";")
			if strings.ToLower(strings.TrimSpace(media)) != expfmt.OpenMetricsType {
				return false
			}
			wants = true
		}
	}
	return wants
}

// scrapeOpenMetrics serves the upstream's page and the guard's as OpenMetrics, a
// family at a time.
func (g *Guard) scrapeOpenMetrics(upstream http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := r.Clone(r.Context())
		in.Header.Del("Accept-Encoding")
		in.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
		reader, writer := io.Pipe()
		defer reader.Close()
		page := &piped{header: http.Header{}, to: writer, begun: make(chan struct{})}
		go func() {
			defer func() {
				page.begin(http.StatusOK)
				// A page that breaks off ends in a panic of the proxy's.
				_ = writer.CloseWithError(broken(recover()))
			}()
			upstream.ServeHTTP(page, in)
		}()
		<-page.begun
		if page.status != http.StatusOK {
			w.WriteHeader(page.status)
			_, _ = io.Copy(w, reader)
			return
		}
		if err := g.writeOpenMetrics(w, r, page.header, reader); err != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	})
}

func broken(panicked any) error {
	if panicked == nil {
		return nil
	}
	return io.ErrUnexpectedEOF
}

func (g *Guard) writeOpenMetrics(w http.ResponseWriter, r *http.Request, header http.Header, page io.Reader) error {
	format := expfmt.NewFormat(expfmt.TypeOpenMetrics)
	w.Header().Set("Content-Type", string(format))
	out := bufio.NewWriter(w)
	to := expfmt.NewEncoder(out, format, expfmt.WithCreatedLines())
	totals := g.cfg.Totals.Page(r.Context(), g.scraper(r))
	families := totals.Families()
	withInstance(families)
	twice := g.heldToo(families)
	mine := map[string]*dto.MetricFamily{}
	for _, family := range families {
		mine[family.GetName()] = family
	}
	from := expfmt.NewDecoder(page, expfmt.ResponseFormat(header))
	for {
		family := &dto.MetricFamily{}
		err := from.Decode(family)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if total := twice[family.GetName()]; total != nil {
			if dropCopies(family, total); len(family.Metric) == 0 {
				continue
			}
		}
		if own := mine[family.GetName()]; own != nil && own.GetType() == family.GetType() {
			family.Metric = append(family.Metric, own.Metric...)
			delete(mine, family.GetName())
		}
		if err := to.Encode(family); err != nil {
			return err
		}
	}
	for _, family := range families {
		if mine[family.GetName()] != nil {
			if err := to.Encode(family); err != nil {
				return err
			}
		}
	}
	if found := g.findings(); found != nil {
		if err := to.Encode(found); err != nil {
			return err
		}
	}
	if _, err := expfmt.FinalizeOpenMetrics(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	totals.Done()
	return nil
}

// piped is an answer that another goroutine reads.
type piped struct {
	header http.Header
	to     io.Writer
	status int
	begun  chan struct{} // closed with the status
}

// Header is part of http.ResponseWriter.
func (p *piped) Header() http.Header { return p.header }

// WriteHeader is part of http.ResponseWriter.
func (p *piped) WriteHeader(status int) {
	if status >= 200 { // what comes before is no answer yet
		p.begin(status)
	}
}

// Write is part of http.ResponseWriter.
func (p *piped) Write(b []byte) (int, error) {
	p.begin(http.StatusOK)
	return p.to.Write(b)
}

func (p *piped) begin(status int) {
	if p.status == 0 {
		p.status = status
		close(p.begun)
	}
}
