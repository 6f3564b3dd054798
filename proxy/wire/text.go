package wire

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// errDoubt says that textparse and expfmt may read a line differently.
var errDoubt = errors.New("expfmt must decide")

// walkText walks a text body by textparse. It is sure only of what expfmt, the
// parser inside a Pushgateway, accepts and reads alike; of anything else it is
// not, and the tables are of no use. The error is a *LimitError.
func (p *Push) walkText(body []byte) (sure bool, err error) {
	p.Body, p.Encoding = body, Text
	if len(body) == 0 {
		return true, nil
	}
	// textparse mends a missing final newline and takes NUL for the end.
	if body[len(body)-1] != '\n' || bytes.IndexByte(body, 0) >= 0 || len(body) > math.MaxUint32 {
		return false, nil
	}
	w := textWalk{Push: p, parser: textparse.NewPromParser(body, nil, false), family: -1}
	switch err := w.run(); {
	case err == nil:
		return true, nil
	case errors.As(err, new(*LimitError)):
		return false, err
	default:
		return false, nil
	}
}

type textWalk struct {
	*Push
	parser textparse.Parser
	family int32 // of the latest sample
	block  block // of the line at hand
}

func (w *textWalk) run() error {
	for {
		entry, err := w.parser.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch entry {
		case textparse.EntrySeries:
			err = w.series()
		case textparse.EntryType:
			err = w.declareType()
		case textparse.EntryHelp:
			err = w.declareHelp()
		case textparse.EntryComment:
			err = plainComment(w.parser.Comment())
		default:
			err = errDoubt
		}
		if err != nil {
			return err
		}
	}
}

// plainComment is in doubt about "#HELP" and "#TYPE" without a blank, which
// expfmt takes for metadata and textparse for a comment.
func plainComment(text []byte) error {
	if bytes.Contains(text, []byte("HELP")) || bytes.Contains(text, []byte("TYPE")) {
		return errDoubt
	}
	return nil
}

func (w *textWalk) declareType() error {
	name, word := w.parser.Type()
	f, err := w.declare(name)
	if err != nil {
		return err
	}
	if f.typed {
		return errDoubt
	}
	f.typed = true
	switch word {
	case model.MetricTypeCounter:
		f.Type = dto.MetricType_COUNTER
	case model.MetricTypeGauge:
		f.Type = dto.MetricType_GAUGE
	case model.MetricTypeHistogram:
		f.Type = dto.MetricType_HISTOGRAM
	case model.MetricTypeSummary:
		f.Type = dto.MetricType_SUMMARY
	case model.MetricTypeUnknown:
		f.Type = dto.MetricType_UNTYPED
	default:
		return errDoubt
	}
	return nil
}

func (w *textWalk) declareHelp() error {
	name, text := w.parser.Help()
	f, err := w.declare(name)
	if err != nil {
		return err
	}
	rest := w.Body[offset(w.Body, name)+len(name):]
	if f.helped || !escapesKnown(rest[:bytes.IndexByte(rest, '\n')]) {
		return errDoubt
	}
	f.helped = len(text) > 0
	return nil
}

// declare returns the family that a HELP or TYPE line names.
func (w *textWalk) declare(name []byte) (*Family, error) {
	// A quoted name, or one that ends in what expfmt takes for part of it.
	start := offset(w.Body, name)
	if c := w.Body[start+len(name)]; w.Body[start-1] == '"' || c != ' ' && c != '\t' && c != '\n' {
		return nil, errDoubt
	}
	i, k, ok := w.resolve(name)
	switch {
	case !ok:
		i = w.addFamily(name)
	case k != 0:
		// expfmt takes the metadata of x_count for that of a summary x.
		return nil, errDoubt
	}
	w.family = -1
	return &w.Families[i], nil
}

func (w *textWalk) addFamily(name []byte) int32 {
	i := int32(len(w.Families))
	s := unsafe.String(unsafe.SliceData(name), len(name))
	w.Families = append(w.Families, Family{Name: s, Type: dto.MetricType_UNTYPED})
	w.byName[s] = i
	return i
}

// resolve finds the family a name belongs to and which part of it the name's
// suffix says, in the order expfmt looks: the exact name, then a summary, then a
// histogram.
func (w *textWalk) resolve(name []byte) (int32, part, bool) {
	if i, ok := w.byName[string(name)]; ok {
		return i, 0, true
	}
	base, p := name, part(0)
	if b, ok := bytes.CutSuffix(name, []byte("_count")); ok {
		base, p = b, partCount
	} else if b, ok := bytes.CutSuffix(name, []byte("_sum")); ok {
		base, p = b, partSum
	} else if b, ok := bytes.CutSuffix(name, []byte("_bucket")); ok {
		base, p = b, partBound
	} else {
		return 0, 0, false
	}
	i, ok := w.byName[string(base)]
	if !ok || len(base) == 0 {
		return 0, 0, false
	}
	switch w.Families[i].Type {
	case dto.MetricType_HISTOGRAM:
		return i, p, true
	case dto.MetricType_SUMMARY:
		return i, p, p != partBound
	default:
		return 0, 0, false
	}
}

// series files the sample of one line.
func (w *textWalk) series() error {
	series, ts, value := w.parser.Series()
	start := offset(w.Body, series)
	eol := bytes.IndexByte(w.Body[start:], '\n')
	if eol < len(series) { // a newline inside a label value
		return errDoubt
	}
	end := start + eol + 1
	// A blank at either end of a line: textparse passes over it, expfmt does not
	// always.
	if c := w.Body[end-2]; c == ' ' || c == '\t' || !isNameStart(series[0]) {
		return errDoubt
	}
	n := bytes.IndexByte(series, '{')
	if n < 0 {
		n = len(series)
	}
	name := series[:n]
	if c := name[n-1]; c == ' ' || c == '\t' {
		return errDoubt
	}
	p, err := w.enter(name)
	if err != nil {
		return err
	}
	s := Sample{
		Value: value,
		Line:  Span{uint32(start), uint32(end)},
		Block: Span{uint32(start + n), uint32(start + len(series))},
	}
	f := &w.Families[w.family]
	if err := w.block.scan(series[n:], boundName(f.Type), w.limits); err != nil {
		if limit, ok := err.(*LimitError); ok {
			limit.Where = strings.Clone(f.Name)
		}
		return err
	}
	if err := w.file(&s, f.Type, p); err != nil {
		return err
	}
	if ts != nil {
		m := &w.Metrics[s.Metric]
		m.timestamp, m.hasTimestamp = *ts, true
	}
	w.Samples = append(w.Samples, s)
	return nil
}

// enter makes w.family the family of a sample's name and returns the part that
// the name's suffix says.
func (w *textWalk) enter(name []byte) (part, error) {
	if w.family >= 0 {
		if f := &w.Families[w.family]; f.Name == string(name) {
			return 0, nil
		}
	}
	i, p, ok := w.resolve(name)
	if !ok {
		i = w.addFamily(name)
	}
	w.family = i
	w.Families[i].typed = true // a TYPE line from here on comes too late
	return p, nil
}

func boundName(t dto.MetricType) string {
	switch t {
	case dto.MetricType_HISTOGRAM:
		return model.BucketLabel
	case dto.MetricType_SUMMARY:
		return model.QuantileLabel
	default:
		return ""
	}
}

// file finds or makes the metric of a sample.
func (w *textWalk) file(s *Sample, t dto.MetricType, p part) error {
	if t != dto.MetricType_HISTOGRAM && t != dto.MetricType_SUMMARY {
		s.Metric = w.addMetric(w.block.inner)
		return w.count(s.Metric, 1)
	}
	if err := w.bound(s, t, p); err != nil {
		return err
	}
	m, err := w.metricOf()
	if err != nil {
		return err
	}
	s.Metric = m
	return w.addPart(s, t)
}

// bound checks that a sample of a histogram or summary is what expfmt makes of
// it without dropping or bending anything, and reads its bound.
func (w *textWalk) bound(s *Sample, t dto.MetricType, p part) error {
	bounded := p == partBound || (t == dto.MetricType_SUMMARY && p == 0)
	if bounded != w.block.hasBound || (t == dto.MetricType_HISTOGRAM && p == 0) {
		return errDoubt
	}
	s.part = p
	if bounded {
		s.part = partBound
		raw := w.block.boundValue
		v, err := parseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)))
		if err != nil || math.IsNaN(v) {
			return errDoubt
		}
		s.Bound = v
		base := s.Block.Start
		s.BoundLabel = Span{base + w.block.boundStart, base + w.block.boundEnd}
	}
	switch {
	case t == dto.MetricType_HISTOGRAM && p != partSum:
		if !(s.Value >= 0 && s.Value < 1<<63) {
			return errDoubt
		}
	case p == partCount:
		if !(s.Value >= 0 && s.Value < 1<<63) || s.Value != math.Trunc(s.Value) {
			return errDoubt
		}
	}
	return nil
}

// metricOf finds the metric that the labels at hand belong to. Lines of one
// metric mostly follow each other; where they do not, or write the same labels
// in another way, the sum of the hashes of the pairs finds it.
func (w *textWalk) metricOf() (int32, error) {
	mark := len(w.scratch)
	w.scratch = w.block.appendIdentity(w.scratch)
	id := w.scratch[mark:]
	if last := int32(len(w.Metrics)) - 1; last >= 0 && w.Metrics[last].Family == w.family && bytes.Equal(w.Metrics[last].Identity, id) {
		w.scratch = w.scratch[:mark]
		return last, nil
	}
	h := w.block.pairHash(w.seed) + uint64(w.family)*0x9E3779B97F4A7C15
	if m, ok := w.bySeries[h]; ok {
		same := w.Metrics[m].Family == w.family && bytes.Equal(w.Metrics[m].Identity, id)
		w.scratch = w.scratch[:mark]
		if !same {
			return 0, errDoubt
		}
		return m, nil
	}
	m := w.addMetric(id)
	w.bySeries[h] = m
	return m, nil
}

// addPart counts the sample as a part of its metric: what the exposition adds
// (+Inf bucket, sum, count) is billed with the first.
func (w *textWalk) addPart(s *Sample, t dto.MetricType) error {
	m := &w.Metrics[s.Metric]
	n := 0
	if m.Samples == 0 {
		n = 2
		if t == dto.MetricType_HISTOGRAM {
			n = 3
		}
	}
	switch {
	case s.part == partBound && t == dto.MetricType_HISTOGRAM && math.IsInf(s.Bound, 1):
		if m.parts&partInf != 0 {
			return errDoubt
		}
		m.parts |= partInf
	case s.part == partBound:
		n++
	default:
		if m.parts&s.part != 0 {
			return errDoubt
		}
		m.parts |= s.part
	}
	return w.count(s.Metric, n)
}

func (w *textWalk) addMetric(id []byte) int32 {
	w.Metrics = append(w.Metrics, Metric{Identity: id, Family: w.family})
	w.Families[w.family].Metrics++
	return int32(len(w.Metrics) - 1)
}

func (w *textWalk) count(m int32, n int) error {
	w.Metrics[m].Samples += int32(n)
	return w.bill(n)
}

// offset is where a slice of body begins in it; textparse hands out slices of
// the body it was given.
func offset(body, slice []byte) int { return cap(body) - cap(slice) }

func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
}

// parseFloat reads a float as expfmt does: no hexadecimal, no underscore.
func parseFloat(s string) (float64, error) {
	if strings.ContainsAny(s, "pP_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, 64)
}

// textLabels appends the labels of an identity that a textWalk was sure of.
func textLabels(dst []labels.Label, id []byte) []labels.Label {
	s := string(id)
	for {
		s = strings.TrimLeft(s, ", \t")
		name, rest, ok := strings.Cut(s, "=")
		if !ok {
			return dst
		}
		rest = strings.TrimLeft(rest, " \t")[1:]
		end := closingQuote(rest)
		dst = append(dst, labels.Label{Name: strings.TrimRight(name, " \t"), Value: unescape(rest[:end])})
		s = rest[end+1:]
	}
}

var valueUnescaper = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return valueUnescaper.Replace(s)
}
