package gateway

import (
	"net/http"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestPageFormat holds formats to what a Pushgateway 1.11.3 answers.
func TestPageFormat(t *testing.T) {
	text := "text/plain; version=0.0.4; charset=utf-8; escaping="
	protobuf := "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping="
	for accept, want := range map[string]string{
		"":                         text + model.NameEscapingScheme.String(),
		"*/*":                      text + model.NameEscapingScheme.String(),
		"text/plain;version=0.0.4": text + model.NameEscapingScheme.String(),
		"text/plain;escaping=dots": text + "dots",
		"text/plain;version=1.0.0;escaping=allow-utf-8": text + "allow-utf-8",
		// Prometheus 2 and 3, as they come.
		"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2":                                                                                 text + model.NameEscapingScheme.String(),
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1":        text + "allow-utf-8",
		"application/openmetrics-text;version=1.0.0;escaping=dots;q=0.6,*/*;q=0.5":                                                                                                                                                   text + "dots",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2": protobuf + "allow-utf-8",
	} {
		if got := PageFormat(http.Header{"Accept": {accept}}); string(got) != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// TestFormatOf: what a Pushgateway says of its page, of 1.11.3 and of 1.5.1.
func TestFormatOf(t *testing.T) {
	for contentType, want := range map[string]model.EscapingScheme{
		"text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8":                                              model.NoEscaping,
		"text/plain; version=0.0.4; charset=utf-8; escaping=values":                                                   model.ValueEncodingEscaping,
		"text/plain; version=0.0.4; charset=utf-8":                                                                    model.NameEscapingScheme,
		"text/plain; version=0.0.4; escaping=another":                                                                 model.NameEscapingScheme,
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=dots": model.DotsEscaping,
	} {
		format := FormatOf(http.Header{"Content-Type": {contentType}})
		if got := format.ToEscapingScheme(); got != want || format == expfmt.FmtUnknown {
			t.Errorf("%s: %s, want %s", contentType, got, want)
		}
	}
	if got := FormatOf(http.Header{"Content-Type": {"text/html; escaping=allow-utf-8"}}); got != expfmt.FmtUnknown {
		t.Errorf("a page of HTML is taken for %s", got)
	}
}
