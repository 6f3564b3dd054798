package proxy

import (
	"bufio"
	"context"
	"io"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
)

// pageOwner is an upstream that is a store of the guard's own: its page is not
// asked for over HTTP, but written together with the guard's, family by family.
type pageOwner interface{ Pin() *store.Page }

// page serves /metrics.
func (g *Guard) page(upstream http.Handler) http.Handler {
	if g.own == nil {
		return g.scrape(upstream)
	}
	// The options are sound.
	compressed, _ := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed))
	return compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.writeOwn(w, r); err != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	}))
}

const pageBuffer = 256 << 10

// writeOwn writes the store's page with the totals and the findings among it. A total
// takes the place of a series that has its labels: that one is an old copy.
func (g *Guard) writeOwn(w http.ResponseWriter, r *http.Request) error {
	totals := g.cfg.Totals.Page(r.Context(), g.scraper(r))
	p := ownPage{
		Page: g.own.Pin(), out: bufio.NewWriterSize(w, pageBuffer), families: totals.Families(),
		format: gateway.PageFormat(r.Header),
	}
	withInstance(p.families)
	p.twice = g.heldToo(p.families)
	if found := g.findings(); found != nil {
		p.families = append(p.families, found)
	}
	if onlyOpenMetrics(r) {
		p.format = expfmt.NewFormat(expfmt.TypeOpenMetrics)
	}
	w.Header().Set("Content-Type", string(p.format))
	p.encoder = expfmt.NewEncoder(p.out, p.format, expfmt.WithCreatedLines())
	if p.format.FormatType() == expfmt.TypeOpenMetrics {
		p.isOnPage = g.isOnPage(p.families)
		p.encoder = strictly{p.encoder, p.isOnPage, nil}
	}
	if err := p.write(r); err != nil {
		return err
	}
	totals.Done() // only a page that was written whole was seen
	return nil
}

// ownPage is a page that is being written.
type ownPage struct {
	*store.Page
	out      *bufio.Writer
	format   expfmt.Format
	encoder  expfmt.Encoder
	isOnPage func(name string) bool         // for OpenMetrics, whether some family has the name
	families []*dto.MetricFamily            // the guard's own
	twice    map[string]*dto.MetricFamily   // of them, by the names under which the store may have something
	written  map[*dto.MetricFamily]struct{} // of them, those that were joined
}

func (p *ownPage) write(r *http.Request) error {
	p.written = map[*dto.MetricFamily]struct{}{}
	for _, name := range p.Families() {
		if err := r.Context().Err(); err != nil {
			return err
		}
		if err := p.stored(r.Context(), name); err != nil {
			return err
		}
	}
	for _, family := range p.families {
		if _, joined := p.written[family]; joined {
			continue
		}
		if err := p.encoder.Encode(family); err != nil {
			return err
		}
	}
	if p.format.FormatType() == expfmt.TypeOpenMetrics {
		if _, err := expfmt.FinalizeOpenMetrics(p.out); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

// stored writes a family of the store, and the total of its name with it.
func (p *ownPage) stored(ctx context.Context, name string) error {
	total := p.twice[name]
	switch {
	case total != nil:
	case p.format.FormatType() == expfmt.TypeOpenMetrics:
		return p.WriteLines(ctx, p.out, name, func(w io.Writer) expfmt.Encoder {
			return strictly{expfmt.NewEncoder(w, p.format), p.isOnPage, nil}
		})
	default:
		return p.Write(ctx, p.out, name, p.format)
	}
	mf := p.Message(name)
	if dropCopies(mf, total); len(mf.Metric) == 0 {
		return nil
	}
	same := mf.GetType() == total.GetType()
	if name != total.GetName() || !same && p.format.FormatType() != expfmt.TypeTextPlain {
		return p.encoder.Encode(mf)
	}
	p.written[total] = struct{}{}
	if same {
		mf.Metric = append(mf.Metric, total.Metric...)
		return p.encoder.Encode(mf)
	}
	bare, err := bareText(total, p.format)
	if err != nil {
		return err
	}
	if err := p.encoder.Encode(mf); err != nil {
		return err
	}
	_, err = p.out.Write(bare)
	return err
}
