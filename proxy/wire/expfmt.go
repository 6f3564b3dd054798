package wire

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
)

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
		return nil, &Error{Reason: err.Error(), Fix: TextFix(err)}
	}
	buf := bytes.NewBuffer(dst)
	for _, mf := range slices.SortedFunc(maps.Values(families), func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }) {
		if _, err := protodelim.MarshalTo(buf, mf); err != nil {
			return nil, &Error{Reason: "text format parsing error: " + err.Error()}
		}
	}
	return buf.Bytes(), nil
}

// TextFix says how to mend the mistakes that people make most, of a text that expfmt cannot
// read.
func TextFix(err error) string {
	var pe expfmt.ParseError
	if errors.As(err, &pe) && pe.Msg == "unexpected end of input stream" {
		return "end every line, the last one too, with a newline; with curl use --data-binary, since --data strips them"
	}
	return "see the line named above; the format is text 0.0.4: lines end in LF, without a blank before it, and there is no byte order mark and no exemplar"
}

// maxLabelWork bounds the sum of the squares of the lines' labels in a body that
// expfmt reads: it copies what it has of a line's labels at each. The bound is
// about a second of its time; 100,000 lines of 20 labels are below it.
const maxLabelWork = 50_000_000

// prescan holds a body against the caps before expfmt, which knows none, sees it.
func prescan(body []byte, limits Limits) error {
	samples, work := 0, 0
	for line := range bytes.Lines(body) {
		line = bytes.TrimLeft(line, " \t")
		if len(line) == 0 || line[0] == '#' || line[0] == '\n' {
			continue
		}
		if samples++; limits.Samples > 0 && samples > limits.Samples {
			return &LimitError{What: "samples", Limit: limits.Samples}
		}
		quotes := bytes.Count(line, []byte{'"'}) - bytes.Count(line, []byte(`\"`))
		if work += quotes / 2 * (quotes / 2); work > maxLabelWork {
			return &LimitError{What: "labels in the lines of a body that is not of the plain form: the sum of their squares", Limit: maxLabelWork}
		}
		// A quoted metric name is one string more.
		if limits.Labels > 0 && quotes/2 > limits.Labels+1 {
			return &LimitError{What: "labels", Limit: limits.Labels}
		}
	}
	return nil
}
