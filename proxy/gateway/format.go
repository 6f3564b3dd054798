package gateway

import (
	"net/http"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// textOfPrometheus3 is a clause that a Prometheus 3 puts before that of version 0.0.4: it
// takes names in UTF-8.
const textOfPrometheus3 = expfmt.Format("text/plain; version=1.0.0; charset=utf-8")

// PageFormat is the format of a page for a client, as a Pushgateway chooses it: in text or
// protobuf, with names as the client wants them. Where it wants OpenMetrics first, or a
// version of text that a Pushgateway does not write, and says there how it takes names, that
// is how it gets them in the text that it takes as well.
func PageFormat(h http.Header) expfmt.Format {
	format := expfmt.NegotiateAccept(h, expfmt.DefaultAcceptedFormats()...)
	if format.FormatType() != expfmt.TypeTextPlain || format.ToEscapingScheme() != model.NameEscapingScheme {
		return format
	}
	first := expfmt.NegotiateAccept(h, append(expfmt.DefaultOpenMetricsAcceptedFormats(), textOfPrometheus3)...)
	return expfmt.NewFormat(expfmt.TypeTextPlain).WithEscapingScheme(first.ToEscapingScheme())
}
