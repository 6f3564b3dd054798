package wire

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
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
	if len(body) > largeBody {
		n := p.limits.atMost(countMetrics(body))
		p.metrics, p.messages = slices.Grow(p.metrics, n), slices.Grow(p.messages, n)
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

// countMetrics counts the Metric messages of a body up to where it cannot be read.
func countMetrics(body []byte) int {
	count := 0
	for len(body) > 0 {
		msg, n := protowire.ConsumeBytes(body)
		if n < 0 {
			break
		}
		body = body[n:]
		for len(msg) > 0 {
			f, err := nextField(msg)
			if err != nil {
				return count
			}
			if f.is(familyMetric) {
				count++
			}
			msg = msg[len(f.raw):]
		}
	}
	return count
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
	if err := family.read(p.Body); err != nil {
		return err
	}
	if err := p.limits.checkText("", len(family.Name)); err != nil {
		return err
	}
	if err := p.checkFamily(family); err != nil {
		return err
	}
	err := fields(p.bytes(msg), func(f field) error {
		if !f.is(familyMetric) {
			return nil
		}
		family.Metrics++
		return p.metric(at, f.value)
	})
	if err == nil && family.Metrics == 0 {
		return &Error{
			Reason: fmt.Sprintf("metric family %.100q without a metric", family.Name),
			Fix:    "leave the family out: a Pushgateway looks at its type or not, by chance, and where that contradicts another's every scrape and every later push of any job may fail",
		}
	}
	return err
}

// read takes from its message what that says of the family, which may come after its
// metrics. Of a field that comes twice the last one holds, as everywhere in protobuf.
func (family *Family) read(body []byte) error {
	var help, unit []byte
	err := fields(body[family.Message.Start:family.Message.End], func(f field) error {
		switch {
		case f.is(familyName):
			b := f.value
			family.Name = unsafe.String(unsafe.SliceData(b), len(b))
		case f.num == familyType && f.typ == protowire.VarintType:
			family.Type = dto.MetricType(int32(f.varint()))
		case f.is(familyHelp):
			help = f.value
		case f.is(familyUnit):
			unit = f.value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !utf8.Valid(help) || !utf8.Valid(unit) {
		return helpError(family.Name)
	}
	if help != nil {
		start := uint32(offset(body, help))
		family.Help = Span{start, start + uint32(len(help))}
	}
	return nil
}

// protobufLabels appends the labels of an identity that a metricWalk accepted.
func protobufLabels(dst []labels.Label, id string) []labels.Label {
	start := len(dst)
	dst = viewProtobufLabels(dst, id)
	for i := start; i < len(dst); i++ {
		dst[i] = labels.Label{Name: strings.Clone(dst[i].Name), Value: strings.Clone(dst[i].Value)}
	}
	return dst
}

// viewProtobufLabels is protobufLabels in the memory of the identity.
func viewProtobufLabels(dst []labels.Label, identity string) []labels.Label {
	for id := unview(identity); len(id) > 0; {
		f, err := nextField(id)
		if err != nil {
			return dst
		}
		lp, _ := decodePair(f.value)
		dst = append(dst, labels.Label{Name: view(lp.name), Value: view(lp.value)})
		id = id[len(f.raw):]
	}
	return dst
}

func helpError(family string) error {
	return &Error{
		Reason: fmt.Sprintf("help text of metric %.100q is not valid UTF-8", family),
		Fix:    "encode the HELP text as UTF-8: Prometheus refuses the whole scrape, of every job, over one that is not",
	}
}

// offset is where a slice of body begins in it.
func offset(body, slice []byte) int { return cap(body) - cap(slice) }
