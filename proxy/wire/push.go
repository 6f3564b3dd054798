// Package wire speaks the protocol of the Prometheus Pushgateway: the path of a
// group, the bodies of pushes in both encodings, and how a judged push is
// written again.
//
// A body is walked once into flat tables of spans (families, metrics, samples),
// the same for text and protobuf. Whatever is not changed is copied from the
// body byte for byte, so that exemplars, native histograms, help texts and
// unknown fields survive.
package wire

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
)

// Encoding is how the body of a Push is written. The zero value is none.
type Encoding uint8

// The encodings.
const (
	Text     Encoding = iota + 1 // text format 0.0.4
	Protobuf                     // varint-delimited io.prometheus.client.MetricFamily
)

// The media types in which a rendered body goes on.
const (
	TextType     = "text/plain; version=0.0.4; charset=utf-8"
	ProtobufType = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// ContentType is the media type of a body in this encoding.
func (e Encoding) ContentType() string {
	if e == Protobuf {
		return ProtobufType
	}
	return TextType
}

// Limits are the hard caps of one body; they hold in every mode and are checked
// while walking, before anything is kept. Zero is no cap.
type Limits struct {
	Samples    int // series after expansion of histograms and summaries
	Labels     int // labels of one series, or of a grouping key
	LabelValue int // bytes of one label value; names are held to it too
}

// CheckKey holds a grouping key to the caps; the error is a *LimitError.
func (l Limits) CheckKey(key Key) error {
	if l.Labels > 0 && len(key.Labels()) > l.Labels {
		return &LimitError{What: "labels", Where: "the grouping key", Limit: l.Labels}
	}
	for _, lp := range key.Labels() {
		if err := l.checkText(lp.Name, len(lp.Name)); err != nil {
			return err
		}
		if err := l.checkText(lp.Name, len(lp.Value)); err != nil {
			return err
		}
	}
	return nil
}

// checkText holds a name or value of n bytes to the cap; where names its place.
func (l Limits) checkText(where string, n int) error {
	if l.LabelValue > 0 && n > l.LabelValue {
		return &LimitError{What: "label value bytes", Where: strings.Clone(where[:min(len(where), 64)]), Limit: l.LabelValue}
	}
	return nil
}

// largeBody is how many bytes of a body make it worth to count what is in it before
// its tables are made, which hold it up to three times while they grow, and to make
// none of its samples before somebody asks for them.
const largeBody = 256 << 10

// atMost is how many of n metrics may be walked before they are too many.
func (l Limits) atMost(n int) int {
	if l.Samples > 0 {
		return min(n, l.Samples)
	}
	return n
}

// Span is a range of Push.Body.
type Span struct{ Start, End uint32 }

// Family is one metric family of a push.
type Family struct {
	Name string // valid until the Push is reset
	Type dto.MetricType
	// Message is the family's whole MetricFamily message; protobuf only.
	Message Span
	// Help is the help text as written, of text its escapes included.
	Help Span
	// Metrics counts the metrics of the family.
	Metrics int32

	typed, helped bool
	natives       int32 // of the metrics, those with native buckets alone
}

// OnlyNative reports whether all metrics are histograms that have native buckets and no
// others.
func (f *Family) OnlyNative() bool { return f.natives > 0 && f.natives == f.Metrics }

// Metric is one metric of a family: a histogram or a summary is one metric, its
// buckets and quantiles are samples.
type Metric struct {
	// Identity is what tells the metric from others of its family: the bytes of
	// its labels as pushed, without le and quantile where they make samples. It is
	// valid until the Push is reset.
	Identity string
	// Family is an index into Push.Families.
	Family int32
	// Samples is how many series the metric makes in an exposition.
	Samples int32
}

// part says which samples of a histogram or summary were seen.
type part uint8

const (
	partSum part = 1 << iota
	partCount
	partInf
	partBound
)

// Sample is one line of a text body.
type Sample struct {
	Value float64
	// Metric is an index into Push.Metrics.
	Metric int32
	// Start is where the line begins in the body; Block the label block with its braces,
	// empty and in place where the line has none.
	Start uint32
	Block Span

	bound uint32 // the number of its bound in Push.bounds, from 1; 0 is none
	part  part
	width uint8 // of its value as it was written; 0 is that nobody has measured
}

// bound is the le or quantile of a sample.
type bound struct {
	value float64
	label Span // the pair le="…" or quantile="…" inside the label block
}

// Push is the body of one push as flat tables. The zero value is ready for
// Parse; a Push is reused by parsing again, which invalidates all it held. Not
// safe for concurrent use.
type Push struct {
	// Body is what the tables point into: the body as parsed, or its rendition
	// as protobuf where only expfmt could decide on the text.
	Body     []byte
	Encoding Encoding
	Families []Family
	// Expanded is the number of series an exposition of the push would have.
	Expanded int

	metrics     []Metric
	samples     []Sample // text only
	let         bool     // the metrics were walked and are not there; see Let
	unfiled     bool     // the samples were walked and are not there; see Samples
	messages    []Span   // the Metric messages of the metrics; protobuf only
	bounds      []bound
	parts       []part          // of the metrics that have any; text only
	timestamps  map[int32]int64 // of metrics, in milliseconds; mostly there are none
	limits      Limits
	utf8Names   bool
	emptyValues bool // some label has an empty value
	byName      map[string]int32
	bySeries    map[uint64]int32
	seed        maphash.Seed
	scratch     []byte
	rendition   []byte
	pairs       []labelPair
	block       block // of the text line at hand
}

// Error is a body or path that no Pushgateway should get. Its text is the
// Pushgateway's own where the Pushgateway refuses it too.
type Error struct {
	Reason string // what is wrong
	Fix    string // how to mend it; may be empty
}

// Error returns the reason, and the fix on a line of its own.
func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Reason
	}
	return e.Reason + "\n" + e.Fix
}

// LimitError is a body over one of the hard caps.
type LimitError struct {
	What  string // samples, labels, label value bytes
	Where string // the metric or label, may be empty
	Limit int
}

// Error names the cap and where it was passed.
func (e *LimitError) Error() string {
	if e.Where == "" {
		return fmt.Sprintf("too many %s, limit: %d", e.What, e.Limit)
	}
	return fmt.Sprintf("too many %s in %.50q, limit: %d", e.What, e.Where, e.Limit)
}

// Reset empties the push and keeps its memory.
func (p *Push) Reset() {
	p.Body, p.Encoding, p.Expanded, p.let, p.unfiled = nil, 0, 0, false, false
	clear(p.Families)
	clear(p.metrics)
	p.Families, p.metrics, p.samples = p.Families[:0], p.metrics[:0], p.samples[:0]
	p.messages, p.bounds, p.parts = p.messages[:0], p.bounds[:0], p.parts[:0]
	clear(p.timestamps)
	clear(p.byName)
	clear(p.bySeries)
	p.scratch, p.rendition = p.scratch[:0], p.rendition[:0]
}

// Parse walks a decoded body into the tables, as a Pushgateway would read it.
// The body must stay unchanged as long as the tables are used. What a
// Pushgateway refuses is an *Error with its words; what would break one, its
// scrape or other jobs is an *Error too, whatever the Pushgateway thinks of it;
// a body over the limits is a *LimitError.
func (p *Push) Parse(body []byte, enc Encoding, key Key, opts Options) error {
	p.Reset()
	if p.byName == nil {
		p.byName, p.bySeries, p.seed = map[string]int32{}, map[uint64]int32{}, maphash.MakeSeed()
	}
	p.limits, p.utf8Names, p.emptyValues = opts.Limits, opts.UTF8Names, false
	if err := p.walk(body, enc); err != nil {
		return err
	}
	return p.check(key)
}

// Options are what a Push is parsed under.
type Options struct {
	Limits
	// UTF8Names permits metric and label names of any valid UTF-8, as an upstream
	// with --push.enable-utf8-names does.
	UTF8Names bool
}

func (p *Push) walk(body []byte, enc Encoding) error {
	if enc == Protobuf {
		return p.walkProtobuf(body)
	}
	sure, err := p.walkText(body, len(body) <= largeBody)
	if sure || err != nil {
		return err
	}
	// A Pushgateway has expfmt inside, so expfmt decides on what is not plain, and
	// what it read is walked instead.
	p.Reset()
	if err := prescan(body, p.limits); err != nil {
		return err
	}
	rendition, err := renderByExpfmt(p.rendition, body, p.utf8Names)
	if err != nil {
		return err
	}
	p.rendition = rendition
	return p.walkProtobuf(rendition)
}

// Metrics are the metrics of the push, in its order.
func (p *Push) Metrics() []Metric {
	if p.let {
		p.walkAgain(false)
	}
	return p.metrics
}

// Samples are the lines of a text push, in its order. Those of a large body are filed
// by walking it again when they are asked for first: most large pushes are judged and
// go on as they came, and need none.
func (p *Push) Samples() []Sample {
	if p.unfiled {
		p.walkAgain(true)
	}
	return p.samples
}

// Let lets go of the metrics of a large text, which is walked again for who asks for
// them after that.
func (p *Push) Let() {
	if p.unfiled {
		p.metrics, p.scratch, p.let = nil, nil, true
	}
}

// walkAgain fills the tables of a large text, with samples if they are to be filed.
func (p *Push) walkAgain(files bool) {
	body := p.Body
	p.Reset()
	_, _ = p.walkText(body, files) // ends as it did before
}

// Labels appends the labels of a metric to dst, le and quantile left out where
// they make samples, in the order they were pushed.
func (p *Push) Labels(dst []labels.Label, metric int) []labels.Label {
	if p.Encoding == Protobuf {
		return protobufLabels(dst, p.Metrics()[metric].Identity)
	}
	return textLabels(dst, p.Metrics()[metric].Identity)
}

// View is Labels without memory of its own: the labels are valid until the Push is
// reset, and whoever keeps one clones it.
func (p *Push) View(dst []labels.Label, metric int) []labels.Label {
	id := p.Metrics()[metric].Identity
	if p.Encoding == Protobuf {
		return viewProtobufLabels(dst, id)
	}
	return viewTextLabels(dst, id)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unview is what a string is a view of. It is not to be written to.
func unview(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Bound is the value of le or quantile of a sample; 0 of one that has none.
func (p *Push) Bound(sample int) float64 { return p.boundOf(&p.samples[sample]).value }

func (p *Push) boundOf(s *Sample) bound {
	if s.bound == 0 {
		return bound{}
	}
	return p.bounds[s.bound-1]
}

// lineEnd is where the line of a sample ends in the body, its newline included.
func (p *Push) lineEnd(s *Sample) uint32 {
	return s.Block.End + uint32(bytes.IndexByte(p.Body[s.Block.End:], '\n')) + 1
}

// stamp keeps the timestamp of a metric.
func (p *Push) stamp(metric int32, ms int64) {
	if p.timestamps == nil {
		p.timestamps = map[int32]int64{}
	}
	p.timestamps[metric] = ms
}

// Stamped reports whether a metric was pushed with a timestamp, which no Pushgateway
// takes.
func (p *Push) Stamped(metric int) bool {
	if len(p.timestamps) == 0 {
		return false
	}
	_, ok := p.timestamps[int32(metric)]
	return ok
}

func (p *Push) bytes(s Span) []byte { return p.Body[s.Start:s.End] }

// bill counts the series of a metric against the cap.
func (p *Push) bill(n int) error {
	p.Expanded += n
	if p.limits.Samples > 0 && p.Expanded > p.limits.Samples {
		return &LimitError{What: "samples", Limit: p.limits.Samples}
	}
	return nil
}
