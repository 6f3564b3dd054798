package wire

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
)

// metric files one Metric message.
func (p *Push) metric(family int32, msg []byte) error {
	f := &p.Families[family]
	start := uint32(offset(p.Body, msg))
	fresh := Metric{Family: family, Samples: 1}
	w := metricWalk{Push: p, family: f, metric: fresh, mark: len(p.scratch), pairs: p.pairs[:0]}
	err := errDoubt
	if n, ok := w.plainLabels(msg); ok {
		w.plain, w.id = true, msg[:n]
		err = w.walk(msg[n:])
	}
	if err == errDoubt {
		w.plain, w.valued, w.stamped, w.native, w.metric, w.id = false, false, false, false, fresh, nil
		err = w.walk(msg)
	}
	p.pairs = w.pairs
	if err != nil {
		return err
	}
	if w.native {
		f.natives++
	}
	if !w.valued {
		return &Error{
			Reason: fmt.Sprintf("metric %.100q is of type %s but holds no such value", f.Name, f.Type),
			Fix:    "set the field of the metric that its family's type names",
		}
	}
	w.metric.Identity = view(w.id)
	p.metrics, p.messages = append(p.metrics, w.metric), append(p.messages, Span{start, start + uint32(len(msg))})
	if w.stamped {
		p.stamp(int32(len(p.metrics)-1), w.timestamp)
	}
	return p.bill(int(w.metric.Samples))
}

// labelPair is one decoded LabelPair, its name and value still in the body.
type labelPair struct{ name, value []byte }

type metricWalk struct {
	*Push
	family *Family
	metric Metric
	id     []byte // its identity so far
	mark   int    // where in scratch the identity is collected, if it must be
	pairs  []labelPair
	valued bool
	native bool // it is a histogram with native buckets alone
	plain  bool // the labels have been read and checked by plainLabels
	end    int  // of the latest label field, as an offset in the body
	// timestamp is that of the metric, if it is stamped.
	timestamp int64
	stamped   bool
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
	if w.plain {
		return nil
	}
	return w.checkPairs()
}

func (w *metricWalk) field(f field) error {
	if f.num == metricTimestamp && f.typ == protowire.VarintType {
		w.timestamp, w.stamped = int64(f.varint()), true
		return nil
	}
	if f.typ != protowire.BytesType {
		return nil
	}
	if f.num == metricLabel && w.plain {
		return errDoubt // it stands behind other fields
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
		native, err := checkNative(w.family.Name, f.value)
		w.native = native && n == 0
		return err
	}
	return nil
}

// extendIdentity adds a label field to the identity: as a span of the body as
// long as the fields follow each other, which they do from every client, as a
// copy otherwise.
func (w *metricWalk) extendIdentity(field []byte) {
	start, id := offset(w.Body, field), w.id
	switch {
	case id == nil:
		w.id = field
	case w.end == start && len(w.scratch) == w.mark:
		w.id = id[:len(id)+len(field)]
	default:
		if len(w.scratch) == w.mark {
			w.scratch = append(w.scratch, id...)
		}
		w.scratch = append(w.scratch, field...)
		w.id = w.scratch[w.mark:]
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

// plainLabels reads the label fields that msg begins with and checks them in one
// pass, if they are as every client writes them: names ascending and of the
// legacy charset, names and values shorter than 128 bytes. If not it decides
// nothing. n is where they end.
func (w *metricWalk) plainLabels(msg []byte) (n int, ok bool) {
	bound, count, empty := boundName(w.family.Type), 0, false
	var last []byte
	for n+2 <= len(msg) && msg[n] == metricLabel<<3|2 {
		end := n + 2 + int(msg[n+1])
		if msg[n+1] >= 0x80 || end > len(msg) {
			return 0, false
		}
		lp, ok := plainPair(msg[n+2 : end])
		if !ok || bytes.Compare(last, lp.name) >= 0 || !plainName(lp.name) || string(lp.name) == bound {
			return 0, false
		}
		if w.limits.LabelValue > 0 && max(len(lp.name), len(lp.value)) > w.limits.LabelValue {
			return 0, false
		}
		empty = empty || len(lp.value) == 0
		last, n = lp.name, end
		count++
	}
	if w.limits.Labels > 0 && count > w.limits.Labels || !utf8.Valid(msg[:n]) {
		return 0, false
	}
	w.emptyValues = w.emptyValues || empty
	return n, true
}

// plainName reports whether a label name is of the legacy charset and not reserved.
func plainName(name []byte) bool {
	for _, c := range name {
		if !isLabelChar(c) {
			return false
		}
	}
	return len(name) > 0 && name[0] > '9' && !reserved(name)
}

// reserved reports whether a label name is one that Prometheus keeps for itself, that of
// the metric among them. A Pushgateway that holds one fails every scrape.
func reserved(name []byte) bool { return len(name) > 1 && name[0] == '_' && name[1] == '_' }

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
