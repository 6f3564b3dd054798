package proxy

import (
	"strings"

	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// TraceForwarded is the request that a Pushgateway would get. A guard without one
// keeps what is in it.
type TraceForwarded struct {
	Method          string `json:"method"`
	Path            string `json:"path"` // escaped, below the gateway's prefix
	ContentType     string `json:"content_type,omitempty"`
	ContentEncoding string `json:"content_encoding,omitempty"`
	// Rewritten is false if the body goes on byte for byte.
	Rewritten bool `json:"rewritten"`
	Bytes     int  `json:"bytes"`
	// Text is the body as people read it: decompressed, protobuf as the text
	// format, which has no words for native histograms and exemplars.
	Text string `json:"text,omitempty"`
}

// Forwarded describes a write. Of a body that decompresses to more than most bytes
// there is no text.
func Forwarded(r gateway.Request, most int64) *TraceForwarded {
	f := &TraceForwarded{
		Method: r.Method, Path: r.Key.Path(), ContentType: r.ContentType,
		Rewritten: r.ContentType != "", Bytes: len(r.Body),
	}
	if !f.Rewritten {
		f.ContentType, f.ContentEncoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	}
	f.Text = readable(r.Body, f.ContentType, f.ContentEncoding, most)
	return f
}

// readable is a body that a guard has read, as text; as far as expfmt can read it.
func readable(body []byte, contentType, encoding string, most int64) string {
	body, err := wire.DecodeContent(nil, encoding, body, most, nil)
	if err != nil || !wire.IsProtobuf(contentType) {
		return string(body)
	}
	var out strings.Builder
	for _, family := range gateway.Families(body, contentType) {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			return out.String()
		}
	}
	return out.String()
}

func (v *passage) traceForwarded(r gateway.Request, most int64) {
	v.trace.Forwarded = Forwarded(r, most)
}

// Accepted reports whether the push passes: the client is told so, and the policy
// does not drop it behind such an answer.
func (t *Trace) Accepted() bool {
	return t.Answer.Status >= 200 && t.Answer.Status < 300 && t.Outcome != Refused.String()
}
