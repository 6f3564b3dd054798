package wire

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
)

// errDoubt says that a line is not of the plain form whose reading is sure.
var errDoubt = errors.New("expfmt must decide")

// walkText walks a text body of the plain form that every client library writes.
// It is sure only of what expfmt, the parser inside a Pushgateway, accepts and
// reads alike; of anything else it is not, and the tables are of no use. The
// error is a *LimitError. The samples are kept if they are to be filed.
func (p *Push) walkText(body []byte, files bool) (sure bool, err error) {
	p.Body, p.Encoding, p.unfiled = body, Text, !files
	if len(body) == 0 {
		return true, nil
	}
	if body[len(body)-1] != '\n' || len(body) > math.MaxUint32 {
		return false, nil
	}
	if len(body) > largeBody {
		p.makeRoom(countLines(body))
	}
	w := textWalk{Push: p, family: -1}
	for at := 0; at < len(body); {
		next := at + bytes.IndexByte(body[at:], '\n') + 1
		if err := w.line(at, next); err == errDoubt {
			return false, nil
		} else if err != nil {
			return false, err
		}
		at = next
	}
	if len(body) > largeBody { // these are only for the walk
		p.byName, p.bySeries = map[string]int32{}, map[uint64]int32{}
	}
	return true, nil
}

// makeRoom makes room for the samples and families of a large text.
func (p *Push) makeRoom(samples, types int) {
	n := p.limits.atMost(samples)
	p.metrics = slices.Grow(p.metrics, n)
	if !p.unfiled {
		p.samples = slices.Grow(p.samples, n)
	}
	n = min(n, types) // who declares more than there can be metrics waits for the room
	p.Families = slices.Grow(p.Families, n)
	if len(p.byName) == 0 {
		p.byName = make(map[string]int32, n)
	}
}

// countLines counts the lines that begin as a sample does, and as a type.
func countLines(body []byte) (samples, types int) {
	for len(body) > 0 {
		switch {
		case isNameStart(body[0]):
			samples++
		case bytes.HasPrefix(body, []byte("# TYPE ")):
			types++
		}
		body = body[bytes.IndexByte(body, '\n')+1:]
	}
	return samples, types
}

type textWalk struct {
	*Push
	family int32 // of the latest sample, negative after metadata
}

// line reads the line from start up to end, its newline included.
func (w *textWalk) line(start, end int) error {
	switch c := w.Body[start]; {
	case isNameStart(c):
		return w.series(start, end)
	case c == '#':
		return w.comment(w.Body[start:end])
	case c == '\n':
		return nil
	default:
		return errDoubt
	}
}

// comment reads a line that begins with '#'. The newline at its end stops every
// scan.
func (w *textWalk) comment(line []byte) error {
	i := skipBlanks(line, 1)
	isHelp, isType := bytes.HasPrefix(line[i:], []byte("HELP")), bytes.HasPrefix(line[i:], []byte("TYPE"))
	if !isHelp && !isType || !isBlank(line[i+4]) {
		return nil
	}
	i = skipBlanks(line, i+4)
	if line[i] == '\n' {
		return nil
	}
	name := line[i : i+nameLength(line[i:])]
	i += len(name)
	switch {
	case len(name) > 0 && line[i] == '\n':
		return nil
	case len(name) == 0 || !isBlank(line[i]):
		return errDoubt
	}
	f, err := w.declare(name)
	if err != nil {
		return err
	}
	rest := line[skipBlanks(line, i) : len(line)-1]
	switch {
	case len(rest) == 0:
		return nil
	case isHelp:
		return w.declareHelp(f, rest)
	default:
		return f.declareType(rest)
	}
}

func (w *textWalk) declareHelp(f *Family, text []byte) error {
	if f.helped || !escapesKnown(text) || !utf8.Valid(text) {
		return errDoubt
	}
	start := uint32(offset(w.Body, text))
	f.helped, f.Help = true, Span{start, start + uint32(len(text))}
	return nil
}

func (f *Family) declareType(word []byte) error {
	if f.typed {
		return errDoubt
	}
	f.typed = true
	switch string(word) {
	case "counter":
		f.Type = dto.MetricType_COUNTER
	case "gauge":
		f.Type = dto.MetricType_GAUGE
	case "histogram":
		f.Type = dto.MetricType_HISTOGRAM
	case "summary":
		f.Type = dto.MetricType_SUMMARY
	case "untyped":
		f.Type = dto.MetricType_UNTYPED
	default:
		return errDoubt
	}
	return nil
}

// declare returns the family that a HELP or TYPE line names.
func (w *textWalk) declare(name []byte) (*Family, error) {
	i, p, ok := w.resolve(name)
	switch {
	case !ok:
		i = w.addFamily(name)
	case p != 0:
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
func (w *textWalk) series(start, end int) error {
	line := w.Body[start:end]
	n := nameLength(line)
	if err := w.limits.checkText("", n); err != nil {
		return err
	}
	p := w.enter(line[:n])
	f := &w.Families[w.family]
	i, err := w.block.scan(line[n:], boundName(f.Type), w.limits)
	if err != nil {
		if limit, ok := err.(*LimitError); ok {
			limit.Where = strings.Clone(f.Name)
		}
		return err
	}
	w.emptyValues = w.emptyValues || w.block.empty
	w.samples = append(w.samples, Sample{Start: uint32(start), Block: Span{uint32(start + n), uint32(start + n + i)}})
	s := &w.samples[len(w.samples)-1]
	if i == 0 && !isBlank(line[n]) || !utf8.Valid(line[n:n+i]) {
		return errDoubt
	}
	var timestamp []byte
	if s.Value, timestamp, err = value(line[n+i:]); err != nil {
		return err
	}
	if err := w.file(s, f.Type, p); err != nil {
		return err
	}
	if w.unfiled {
		w.samples, w.bounds = w.samples[:0], w.bounds[:0]
	}
	return w.stampText(s.Metric, timestamp)
}

// value reads what follows a series, a value and maybe a timestamp.
func value(rest []byte) (v float64, timestamp []byte, err error) {
	start := skipBlanks(rest, 0)
	end := start
	for c := rest[end]; c != '\n' && !isBlank(c); c = rest[end] {
		end++
	}
	if v, err = parseFloat(rest[start:end]); err != nil {
		return 0, nil, errDoubt
	}
	if rest[end] == '\n' {
		return v, nil, nil
	}
	return v, rest[skipBlanks(rest, end) : len(rest)-1], nil
}

// stampText keeps the timestamp of a sample.
func (w *textWalk) stampText(metric int32, text []byte) error {
	if text == nil {
		return nil
	}
	ms, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return errDoubt
	}
	w.stamp(metric, ms)
	return nil
}

// enter makes w.family the family of a sample's name and returns the part that
// the name's suffix says.
func (w *textWalk) enter(name []byte) part {
	if w.family >= 0 {
		if f := &w.Families[w.family]; f.Name == string(name) {
			return 0
		}
	}
	i, p, ok := w.resolve(name)
	if !ok {
		i = w.addFamily(name)
	}
	w.family = i
	w.Families[i].typed = true // a TYPE line from here on comes too late
	return p
}

func (w *textWalk) addMetric(id []byte) int32 {
	w.metrics = append(w.metrics, Metric{Identity: view(id), Family: w.family})
	w.Families[w.family].Metrics++
	return int32(len(w.metrics) - 1)
}

func (w *textWalk) count(m int32, n int) error {
	w.metrics[m].Samples += int32(n)
	return w.bill(n)
}

// nameLength is the length of the metric name that src begins with.
func nameLength(src []byte) int {
	if !isNameStart(src[0]) {
		return 0
	}
	i := 1
	for isLabelChar(src[i]) || src[i] == ':' {
		i++
	}
	return i
}

func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':'
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// parseFloat reads a float as expfmt does: no hexadecimal, no underscore.
func parseFloat(src []byte) (float64, error) {
	if n, ok := smallInteger(src); ok {
		return n, nil
	}
	if bytes.ContainsAny(src, "pP_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(unsafe.String(unsafe.SliceData(src), len(src)), 64)
}

// smallInteger reads up to 15 digits, which a float64 holds exactly: most values
// are of that kind.
func smallInteger(src []byte) (float64, bool) {
	if len(src) == 0 || len(src) > 15 {
		return 0, false
	}
	n := int64(0)
	for _, c := range src {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return float64(n), true
}

// textLabels appends the labels of an identity that a textWalk was sure of.
func textLabels(dst []labels.Label, id string) []labels.Label {
	return viewTextLabels(dst, strings.Clone(id))
}

// viewTextLabels is textLabels in the memory of the identity.
func viewTextLabels(dst []labels.Label, s string) []labels.Label {
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
