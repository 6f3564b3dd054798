package gateway

import (
	"mime"
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

// FormatOf is the format in which a server says that it wrote a page, names escaped in it as
// it says, too. One that does not, as an old Pushgateway, is taken to have escaped them.
func FormatOf(h http.Header) expfmt.Format {
	format := expfmt.ResponseFormat(h)
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || format == expfmt.FmtUnknown {
		return format
	}
	scheme, err := model.ToEscapingScheme(params["escaping"])
	if err != nil {
		return format
	}
	return format.WithEscapingScheme(scheme)
}
