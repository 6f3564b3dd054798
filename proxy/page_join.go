package proxy

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/counter"
)

// heldToo finds the families of totals of which the upstream's page may have
// something, by the names under which it has it: what groups still hold from
// before their counters were added up, and what the jobs push that are not
// enforced. No series may stand on a page twice.
func (g *Guard) heldToo(totals []*dto.MetricFamily) map[string]*dto.MetricFamily {
	var twice map[string]*dto.MetricFamily
	for _, mf := range totals {
		for _, name := range kindOf(mf.GetType()).Names(mf.GetName()) {
			if !g.book.HeldByOthers(name) {
				continue
			}
			if twice == nil {
				twice = map[string]*dto.MetricFamily{}
			}
			twice[name] = mf
		}
	}
	return twice
}

// join writes the page that was kept back, and the totals of the families that
// stand on it among them. A total takes the place of a series that has its labels:
// that one is an old copy.
func (a *appender) join() {
	if a.kept.Len() == 0 {
		return
	}
	a.joined, a.bare = map[*dto.MetricFamily]bool{}, map[*dto.MetricFamily]bool{}
	sections := textSections
	if a.format.FormatType() == expfmt.TypeProtoDelim {
		sections = protobufSections
	}
	out := make([]byte, 0, a.kept.Len())
	for name, raw := range sections(a.kept.Bytes()) {
		total := a.twice[name]
		if total == nil {
			out = append(out, raw...)
			continue
		}
		merged, err := a.merge(name, raw, total)
		if err != nil {
			// The upstream's own page, and nothing behind it, is what is sure.
			_, _ = a.ResponseWriter.Write(a.kept.Bytes())
			a.failed = true
			return
		}
		out = append(out, merged...)
	}
	_, err := a.ResponseWriter.Write(out)
	a.failed = err != nil
}

// merge returns a family of the page without what the totals stand for, and with
// them if it is of their name and type.
func (a *appender) merge(name string, raw []byte, total *dto.MetricFamily) ([]byte, error) {
	mf, err := a.parse(name, raw)
	if err != nil {
		return nil, err
	}
	if dropCopies(mf, total); len(mf.Metric) == 0 {
		return nil, nil
	}
	if name == total.GetName() {
		if mf.GetType() == total.GetType() {
			mf.Metric = append(mf.Metric, total.Metric...)
			a.joined[total] = true
		} else {
			a.bare[total] = true
		}
	}
	var out bytes.Buffer
	err = expfmt.NewEncoder(&out, a.format).Encode(mf)
	return out.Bytes(), err
}

// dropCopies takes out of a family of the upstream's page what a total stands for.
func dropCopies(mf, total *dto.MetricFamily) {
	stands := make(map[string]bool, len(total.Metric))
	for _, m := range total.Metric {
		stands[seriesKey(m.Label, false)] = true
	}
	part := mf.GetName() == total.GetName()+"_bucket" && kindOf(total.GetType()) == counter.Histogram
	mf.Metric = slices.DeleteFunc(mf.Metric, func(m *dto.Metric) bool { return stands[seriesKey(m.Label, part)] })
}

var errSection = errors.New("the upstream's page has a family that cannot be read")

func (a *appender) parse(name string, raw []byte) (*dto.MetricFamily, error) {
	if a.format.FormatType() == expfmt.TypeProtoDelim {
		_, n := protowire.ConsumeVarint(raw)
		mf := &dto.MetricFamily{}
		return mf, proto.Unmarshal(raw[n:], mf)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if families[name] == nil {
		return nil, errSection
	}
	return families[name], nil
}

// seriesKey is the same for label sets that are one to Prometheus; of a bucket it
// is that of its histogram.
func seriesKey(pairs []*dto.LabelPair, bucket bool) string {
	var words []string
	for _, l := range pairs {
		if l.GetValue() != "" && !(bucket && l.GetName() == model.BucketLabel) {
			words = append(words, l.GetName()+"\xff"+l.GetValue())
		}
	}
	slices.Sort(words)
	return strings.Join(words, "\xff")
}

// textSections are the families of a page in the text format, in its order, by
// their names. All bytes are in one of them.
func textSections(page []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		name, start, at := "", 0, 0
		helped := false // the section is a HELP line so far
		for line := range bytes.Lines(page) {
			typed := bytes.HasPrefix(line, []byte("# TYPE "))
			help := bytes.HasPrefix(line, []byte("# HELP "))
			if (help || typed && !helped) && at > start {
				if !yield(name, page[start:at]) {
					return
				}
				name, start = "", at
			}
			if typed {
				name = typedName(string(line))
			}
			helped = help
			at += len(line)
		}
		if at > start {
			yield(name, page[start:at])
		}
	}
}

// typedName is the name in a TYPE line: what stands before the last word.
func typedName(line string) string {
	words := strings.TrimSpace(strings.TrimPrefix(line, "# TYPE "))
	name := words[:max(0, strings.LastIndexByte(words, ' '))]
	if plain, err := strconv.Unquote(name); err == nil {
		return plain
	}
	return name
}

// protobufSections are the families of a page of delimited messages.
func protobufSections(page []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(page) > 0 {
			message, n := protowire.ConsumeBytes(page)
			if n < 0 {
				yield("", page)
				return
			}
			if !yield(messageName(message), page[:n]) {
				return
			}
			page = page[n:]
		}
	}
}

// messageName is the name of the family in a message, its first field.
func messageName(message []byte) string {
	number, kind, n := protowire.ConsumeTag(message)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return ""
	}
	name, _ := protowire.ConsumeString(message[n:])
	return name
}
