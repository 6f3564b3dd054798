package proxy

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"
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
		in.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(model.NoEscaping)))
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

// writeOpenMetrics writes the upstream's page with the totals among its families, and the
// findings behind. The totals are done once all of it is written.
func (g *Guard) writeOpenMetrics(w http.ResponseWriter, r *http.Request, header http.Header, page io.Reader) error {
	format := expfmt.NewFormat(expfmt.TypeOpenMetrics)
	w.Header().Set("Content-Type", string(format))
	out := bufio.NewWriter(w)
	totals := g.cfg.Totals.Page(r.Context(), g.scraper(r))
	families := totals.Families()
	withInstance(families)
	to := strictly{expfmt.NewEncoder(out, format, expfmt.WithCreatedLines()), g.isOnPage(families), map[string]bool{}}
	if err := join(to, expfmt.NewDecoder(page, expfmt.ResponseFormat(header).WithEscapingScheme(model.NoEscaping)), families, g.heldToo(families)); err != nil {
		return err
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

// join encodes the families of a page, each with the metrics of the totals of its name and
// type, and then the totals that the page has no family for. Twice are the totals whose
// metrics the page may hold, too: the page's copies are left out.
func join(to expfmt.Encoder, page expfmt.Decoder, totals []*dto.MetricFamily, twice map[string]*dto.MetricFamily) error {
	left := map[string]*dto.MetricFamily{}
	for _, total := range totals {
		left[total.GetName()] = total
	}
	for {
		family := &dto.MetricFamily{}
		err := page.Decode(family)
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
		if total := left[family.GetName()]; total != nil && total.GetType() == family.GetType() {
			family.Metric = append(family.Metric, total.Metric...)
			delete(left, family.GetName())
		}
		if err := to.Encode(family); err != nil {
			return err
		}
	}
	for _, total := range totals {
		if left[total.GetName()] == nil {
			continue
		}
		if err := to.Encode(total); err != nil {
			return err
		}
	}
	return nil
}

// isOnPage tells which families a page with these totals may have.
func (g *Guard) isOnPage(totals []*dto.MetricFamily) func(name string) bool {
	return func(name string) bool {
		return g.book.HeldByOthers(name) || slices.ContainsFunc(totals, func(mf *dto.MetricFamily) bool { return mf.GetName() == name })
	}
}

// strictly encodes families as OpenMetrics, in which the counts of a histogram are whole,
// and the counter x_total is called x: of a histogram that has other counts the buckets,
// the sum and the count are families without a type, and so is a counter x_total beside
// another x, or nobody would get the page.
type strictly struct {
	expfmt.Encoder
	isOnPage func(name string) bool
	// seen are the families that were encoded, among them those that an upstream has of
	// itself, in the order of their names; nil if there are no such.
	seen map[string]bool
}

// Encode is part of expfmt.Encoder.
func (to strictly) Encode(mf *dto.MetricFamily) error {
	if to.seen != nil {
		to.seen[mf.GetName()] = true
	}
	if base, ok := strings.CutSuffix(mf.GetName(), "_total"); ok && mf.GetType() == dto.MetricType_COUNTER && (to.seen[base] || to.isOnPage(base)) {
		return to.Encoder.Encode(typeless(mf))
	}
	if !slices.ContainsFunc(mf.Metric, func(m *dto.Metric) bool { return isFloat(m.GetHistogram()) }) {
		return to.Encoder.Encode(mf)
	}
	for _, part := range parts(mf) {
		if err := to.Encoder.Encode(part); err != nil {
			return err
		}
	}
	return nil
}

// isFloat reports whether a histogram has counts that OpenMetrics does not.
func isFloat(h *dto.Histogram) bool {
	return h.GetSampleCountFloat() > 0 ||
		slices.ContainsFunc(h.GetBucket(), func(b *dto.Bucket) bool { return b.GetCumulativeCountFloat() > 0 })
}

// typeless is a family of counters without their type.
func typeless(mf *dto.MetricFamily) *dto.MetricFamily {
	out := &dto.MetricFamily{Name: mf.Name, Help: mf.Help, Type: dto.MetricType_UNTYPED.Enum()}
	for _, m := range mf.Metric {
		out.Metric = append(out.Metric, &dto.Metric{
			Label: m.Label, Untyped: &dto.Untyped{Value: m.Counter.Value}, TimestampMs: m.TimestampMs,
		})
	}
	return out
}

// parts are the samples of a family of histograms, as families without a type.
func parts(mf *dto.MetricFamily) []*dto.MetricFamily {
	part := func(suffix string) *dto.MetricFamily {
		return &dto.MetricFamily{Name: proto.String(mf.GetName() + suffix), Help: mf.Help, Type: dto.MetricType_UNTYPED.Enum()}
	}
	buckets, sums, counts := part("_bucket"), part("_sum"), part("_count")
	add := func(to *dto.MetricFamily, m *dto.Metric, value float64, more ...*dto.LabelPair) {
		to.Metric = append(to.Metric, &dto.Metric{
			Label: slices.Concat(m.Label, more), Untyped: &dto.Untyped{Value: &value}, TimestampMs: m.TimestampMs,
		})
	}
	for _, m := range mf.Metric {
		h := m.GetHistogram()
		count := max(float64(h.GetSampleCount()), h.GetSampleCountFloat())
		endless := false
		for _, b := range h.GetBucket() {
			add(buckets, m, max(float64(b.GetCumulativeCount()), b.GetCumulativeCountFloat()), boundLabel(b.GetUpperBound()))
			endless = endless || math.IsInf(b.GetUpperBound(), 1)
		}
		if !endless {
			add(buckets, m, count, boundLabel(math.Inf(1)))
		}
		add(sums, m, h.GetSampleSum())
		add(counts, m, count)
	}
	return []*dto.MetricFamily{buckets, sums, counts}
}

// boundLabel is the bound of a bucket as OpenMetrics writes it.
func boundLabel(bound float64) *dto.LabelPair {
	return &dto.LabelPair{Name: proto.String(model.BucketLabel), Value: proto.String(labels.FormatOpenMetricsFloat(bound))}
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
