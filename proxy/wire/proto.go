package wire

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
)

// The field numbers of io.prometheus.client, from client_model's metrics.proto.
const (
	familyName   = 1
	familyHelp   = 2
	familyType   = 3
	familyMetric = 4
	familyUnit   = 5

	metricLabel     = 1
	metricGauge     = 2
	metricCounter   = 3
	metricSummary   = 4
	metricUntyped   = 5
	metricTimestamp = 6
	metricHistogram = 7

	histogramSchema = 5  // the first of the native fields
	histogramCounts = 14 // the last

	labelName  = 1
	labelValue = 2

	summaryQuantile = 3
	histogramBucket = 3
	bucketBound     = 2
)

// errWire is what proto.Unmarshal says of bytes that are no message.
var errWire = &Error{
	Reason: "proto: cannot parse invalid wire-format data",
	Fix:    "send varint-delimited io.prometheus.client.MetricFamily messages, or text with another Content-Type",
}

// walkProtobuf walks varint-delimited MetricFamily messages. A length prefix is
// believed only as far as there are bytes.
func (p *Push) walkProtobuf(body []byte) error {
	p.Body, p.Encoding = body, Protobuf
	if len(body) > math.MaxUint32 {
		return &LimitError{What: "bytes", Limit: math.MaxUint32}
	}
	for at := 0; at < len(body); {
		size, n := protowire.ConsumeVarint(body[at:])
		if n < 0 || size > uint64(len(body)-at-n) {
			return &Error{
				Reason: io.ErrUnexpectedEOF.Error(),
				Fix:    "a message is announced longer than the body: the push was cut short, or it is not varint-delimited protobuf",
			}
		}
		at += n
		if err := p.family(Span{uint32(at), uint32(at + int(size))}); err != nil {
			return err
		}
		at += int(size)
	}
	return nil
}

// field is one field of a message, as written.
type field struct {
	raw []byte // tag and value
	// value is the content of a string or message, the encoded value of any other
	// field.
	value []byte
	num   protowire.Number
	typ   protowire.Type
}

// nextField reads the first field of msg, as proto.Unmarshal would.
func nextField(msg []byte) (field, error) {
	// Nearly all fields are short strings and messages with small numbers.
	if len(msg) >= 2 && msg[0]&0x87 == byte(protowire.BytesType) && msg[0] > 7 && msg[1] < 0x80 {
		if end := 2 + int(msg[1]); end <= len(msg) {
			return field{raw: msg[:end], value: msg[2:end], num: protowire.Number(msg[0] >> 3), typ: protowire.BytesType}, nil
		}
		return field{}, errWire
	}
	if len(msg) >= 9 && msg[0]&0x87 == byte(protowire.Fixed64Type) && msg[0] > 7 { // and most values doubles
		return field{raw: msg[:9], value: msg[1:9], num: protowire.Number(msg[0] >> 3), typ: protowire.Fixed64Type}, nil
	}
	num, typ, n := protowire.ConsumeTag(msg)
	if n < 0 || num > protowire.MaxValidNumber {
		return field{}, errWire
	}
	size := protowire.ConsumeFieldValue(num, typ, msg[n:])
	if size < 0 {
		return field{}, errWire
	}
	f := field{raw: msg[:n+size], value: msg[n : n+size], num: num, typ: typ}
	if typ == protowire.BytesType {
		f.value, _ = protowire.ConsumeBytes(f.value)
	}
	return f, nil
}

// is reports whether the field is a string or message of the given number.
func (f *field) is(num protowire.Number) bool {
	return f.num == num && f.typ == protowire.BytesType
}

// varint is the value of a varint field.
func (f *field) varint() uint64 {
	v, _ := protowire.ConsumeVarint(f.value)
	return v
}

// fields calls visit for each field of a message and ends early on an error,
// its own or visit's.
func fields(msg []byte, visit func(field) error) error {
	for len(msg) > 0 {
		f, err := nextField(msg)
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		msg = msg[len(f.raw):]
	}
	return nil
}

func (p *Push) family(msg Span) error {
	at := int32(len(p.Families))
	p.Families = append(p.Families, Family{Message: msg})
	family := &p.Families[at]
	// A family's name and type may come after its metrics.
	err := fields(p.bytes(msg), func(f field) error {
		switch {
		case f.is(familyName):
			b := f.value
			family.Name = unsafe.String(unsafe.SliceData(b), len(b))
		case f.num == familyType && f.typ == protowire.VarintType:
			family.Type = dto.MetricType(int32(f.varint()))
		case f.is(familyHelp), f.is(familyUnit):
			return checkHelp(family.Name, f.value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.limits.checkText("", len(family.Name)); err != nil {
		return err
	}
	if err := p.checkFamily(family); err != nil {
		return err
	}
	return fields(p.bytes(msg), func(f field) error {
		if !f.is(familyMetric) {
			return nil
		}
		family.Metrics++
		return p.metric(at, f.value)
	})
}

// metric files one Metric message.
func (p *Push) metric(family int32, msg []byte) error {
	f := &p.Families[family]
	w := metricWalk{Push: p, family: f, metric: Metric{Family: family, Samples: 1}, mark: len(p.scratch)}
	start := uint32(offset(p.Body, msg))
	w.metric.Message = Span{start, start + uint32(len(msg))}
	w.pairs = p.pairs[:0]
	err := w.walk(msg)
	p.pairs = w.pairs
	if err != nil {
		return err
	}
	if !w.valued {
		return &Error{
			Reason: fmt.Sprintf("metric %.100q is of type %s but holds no such value", f.Name, f.Type),
			Fix:    "set the field of the metric that its family's type names",
		}
	}
	p.Metrics = append(p.Metrics, w.metric)
	return p.bill(int(w.metric.Samples))
}

// labelPair is one decoded LabelPair, its name and value still in the body.
type labelPair struct{ name, value []byte }

type metricWalk struct {
	*Push
	family *Family
	metric Metric
	mark   int // where in scratch the identity is collected, if it must be
	pairs  []labelPair
	valued bool
	end    int // of the latest label field, as an offset in the body
}

func (w *metricWalk) walk(msg []byte) error {
	for len(msg) > 0 {
		f, err := nextField(msg)
		if err != nil {
			return err
		}
		if err := w.field(f); err != nil {
			return err
		}
		msg = msg[len(f.raw):]
	}
	return w.checkPairs()
}

func (w *metricWalk) field(f field) error {
	if f.num == metricTimestamp && f.typ == protowire.VarintType {
		w.metric.timestamp, w.metric.hasTimestamp = int64(f.varint()), true
		return nil
	}
	if f.typ != protowire.BytesType {
		return nil
	}
	if f.num == metricLabel {
		w.extendIdentity(f.raw)
		return w.pair(f.value)
	}
	if f.num == valueField(w.family.Type) {
		w.valued = true
	}
	switch f.num {
	case metricGauge, metricUntyped:
		return wellFormed(f.value, flat)
	case metricCounter:
		return wellFormed(f.value, counterValue)
	case metricSummary:
		n, err := countSamples(f.value, summaryValue, summaryQuantile)
		w.metric.Samples = int32(n + 2)
		return err
	case metricHistogram:
		n, err := countSamples(f.value, histogramValue, histogramBucket)
		if err != nil {
			return err
		}
		w.metric.Samples = int32(n + 3)
		return checkNative(w.family.Name, f.value)
	}
	return nil
}

// extendIdentity adds a label field to the identity: as a span of the body as
// long as the fields follow each other, which they do from every client, as a
// copy otherwise.
func (w *metricWalk) extendIdentity(field []byte) {
	start, id := offset(w.Body, field), w.metric.Identity
	switch {
	case id == nil:
		w.metric.Identity = field
	case w.end == start && len(w.scratch) == w.mark:
		w.metric.Identity = id[:len(id)+len(field)]
	default:
		if len(w.scratch) == w.mark {
			w.scratch = append(w.scratch, id...)
		}
		w.scratch = append(w.scratch, field...)
		w.metric.Identity = w.scratch[w.mark:]
	}
	w.end = start + len(field)
}

func (w *metricWalk) pair(payload []byte) error {
	if w.limits.Labels > 0 && len(w.pairs) == w.limits.Labels {
		return &LimitError{What: "labels", Where: string(w.family.Name), Limit: w.limits.Labels}
	}
	lp, err := decodePair(payload)
	if err != nil {
		return err
	}
	w.pairs = append(w.pairs, lp)
	w.emptyValues = w.emptyValues || len(lp.value) == 0
	return w.limits.checkText(w.family.Name, max(len(lp.name), len(lp.value)))
}

func decodePair(payload []byte) (labelPair, error) {
	if lp, ok := plainPair(payload); ok {
		return lp, nil
	}
	var lp labelPair
	for len(payload) > 0 {
		f, err := nextField(payload)
		if err != nil {
			return lp, err
		}
		if f.is(labelName) {
			lp.name = f.value
		} else if f.is(labelValue) {
			lp.value = f.value
		}
		payload = payload[len(f.raw):]
	}
	return lp, nil
}

// plainPair reads a name and a value of less than 128 bytes, one after the other.
func plainPair(b []byte) (labelPair, bool) {
	if len(b) < 4 || b[0] != labelName<<3|2 || b[1] >= 0x80 {
		return labelPair{}, false
	}
	n := 2 + int(b[1])
	if len(b) < n+2 || b[n] != labelValue<<3|2 || b[n+1] >= 0x80 || len(b) != n+2+int(b[n+1]) {
		return labelPair{}, false
	}
	return labelPair{name: b[2:n], value: b[n+2:]}, true
}

// valueField is the field of a Metric that a family's type reads.
func valueField(t dto.MetricType) protowire.Number {
	switch t {
	case dto.MetricType_COUNTER:
		return metricCounter
	case dto.MetricType_GAUGE:
		return metricGauge
	case dto.MetricType_SUMMARY:
		return metricSummary
	case dto.MetricType_HISTOGRAM:
		return metricHistogram
	default:
		return metricUntyped
	}
}

// schema names the fields of a message that are messages themselves, as far as
// proto.Unmarshal would look into them, by their numbers.
type schema [17]*schema

var (
	flat           = &schema{}
	exemplarValue  = &schema{1: flat, 3: flat}          // Exemplar: label, timestamp
	counterValue   = &schema{2: exemplarValue, 3: flat} // Counter: exemplar, created_timestamp
	summaryValue   = &schema{3: flat, 4: flat}          // Summary: quantile, created_timestamp
	bucketValue    = &schema{3: exemplarValue}          // Bucket: exemplar
	histogramValue = &schema{                           // Histogram:
		3: bucketValue, 9: flat, 12: flat, // bucket, negative_span, positive_span
		15: flat, 16: exemplarValue, // created_timestamp, exemplars
	}
)

// wellFormed checks that a message can be read, nested messages included.
func wellFormed(msg []byte, s *schema) error {
	for len(msg) > 0 {
		f, err := nextField(msg)
		if err != nil {
			return err
		}
		if f.typ == protowire.BytesType && int(f.num) < len(s) && s[f.num] != nil {
			if err := wellFormed(f.value, s[f.num]); err != nil {
				return err
			}
		}
		msg = msg[len(f.raw):]
	}
	return nil
}

// countSamples checks a summary or histogram and counts its quantiles, or its
// buckets below +Inf.
func countSamples(msg []byte, s *schema, repeated protowire.Number) (int, error) {
	if err := wellFormed(msg, s); err != nil {
		return 0, err
	}
	count := 0
	err := fields(msg, func(f field) error {
		if !f.is(repeated) {
			return nil
		}
		count++
		return fields(f.value, func(b field) error {
			if repeated == histogramBucket && b.num == bucketBound && b.typ == protowire.Fixed64Type {
				if v, _ := protowire.ConsumeFixed64(b.value); math.IsInf(math.Float64frombits(v), 1) {
					count--
				}
			}
			return nil
		})
	})
	return count, err
}

// protobufLabels appends the labels of an identity that a metricWalk accepted.
func protobufLabels(dst []labels.Label, id []byte) []labels.Label {
	for len(id) > 0 {
		f, err := nextField(id)
		if err != nil {
			return dst
		}
		lp, _ := decodePair(f.value)
		dst = append(dst, labels.Label{Name: string(lp.name), Value: string(lp.value)})
		id = id[len(f.raw):]
	}
	return dst
}

// renderByExpfmt reads a text body by expfmt and appends what it read to dst as
// delimited protobuf, families in the order of their names.
func renderByExpfmt(dst, body []byte, utf8Names bool) ([]byte, error) {
	scheme := model.LegacyValidation
	if utf8Names {
		scheme = model.UTF8Validation
	}
	parser := expfmt.NewTextParser(scheme)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Reason: err.Error(), Fix: textFix(err)}
	}
	buf := bytes.NewBuffer(dst)
	for _, mf := range slices.SortedFunc(maps.Values(families), func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }) {
		if _, err := protodelim.MarshalTo(buf, mf); err != nil {
			return nil, &Error{Reason: "text format parsing error: " + err.Error()}
		}
	}
	return buf.Bytes(), nil
}

// textFix says how to mend the mistakes that people make most.
func textFix(err error) string {
	var pe expfmt.ParseError
	if errors.As(err, &pe) && pe.Msg == "unexpected end of input stream" {
		return "end every line, the last one too, with a newline; with curl use --data-binary, since --data strips them"
	}
	return "see the line named above; the format is text 0.0.4, lines end in LF"
}

// prescan holds a body against the caps before expfmt, which knows none and takes
// time that grows with the square of a line's labels, sees it.
// offset is where a slice of body begins in it.
func offset(body, slice []byte) int { return cap(body) - cap(slice) }

func prescan(body []byte, limits Limits) error {
	samples := 0
	for line := range bytes.Lines(body) {
		line = bytes.TrimLeft(line, " \t")
		if len(line) == 0 || line[0] == '#' || line[0] == '\n' {
			continue
		}
		if samples++; limits.Samples > 0 && samples > limits.Samples {
			return &LimitError{What: "samples", Limit: limits.Samples}
		}
		quotes := bytes.Count(line, []byte{'"'}) - bytes.Count(line, []byte(`\"`))
		// A quoted metric name is one string more.
		if limits.Labels > 0 && quotes/2 > limits.Labels+1 {
			return &LimitError{What: "labels", Limit: limits.Labels}
		}
	}
	return nil
}

func checkHelp(family string, text []byte) error {
	if utf8.Valid(text) {
		return nil
	}
	return &Error{
		Reason: fmt.Sprintf("help text of metric %.100q is not valid UTF-8", family),
		Fix:    "encode the HELP text as UTF-8: Prometheus refuses the whole scrape, of every job, over one that is not",
	}
}
