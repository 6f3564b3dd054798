// Package trial runs pushes through a real guard whose far end is harmless:
// what it tells is what a serving guard decides, since the same code decides.
package trial

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Config is what a trial shares with the guard it stands for. Policy and Caps are
// required.
type Config struct {
	Policy    *policy.Policy
	Caps      proxy.Caps
	UTF8Names bool
	// StatsD says that the guard has a StatsD socket for the increments of
	// counters.
	StatsD bool
}

// nowhere is a socket to which nothing is sent.
type nowhere struct{}

// Add is part of counter.Sink.
func (nowhere) Add([]counter.Increment) {}

// Explanation is how a push went, and what a Pushgateway would have got. Its
// JSON is part of the interface: fields are added, never renamed.
type Explanation struct {
	proxy.Trace
	// Forwarded is absent if nothing would be sent.
	Forwarded *Forwarded `json:"forwarded,omitempty"`
}

// Accepted reports whether the push passes: the client is told so, and the
// policy does not drop it behind such an answer.
func (e *Explanation) Accepted() bool {
	return e.Answer.Status >= 200 && e.Answer.Status < 300 && e.Outcome != proxy.Refused.String()
}

// Forwarded is the request that a Pushgateway would get.
type Forwarded struct {
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

// longAgo is when the guard of a trial started: a counter that says when it began
// did so later, and was surely not counted before.
func longAgo() time.Time { return time.Unix(0, 0) }

// Explain pushes to a guard that was always there and has seen nothing yet,
// before an empty Pushgateway, and tells how it went.
func Explain(ctx context.Context, cfg Config, r proxy.Request) (*Explanation, error) {
	var out Explanation
	end := &Recorder{}
	of := proxy.Config{
		Policy: cfg.Policy, Upstream: end, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
		Caps: cfg.Caps, UTF8Names: cfg.UTF8Names, AnyUser: true,
		Trace:    func(t proxy.Trace) { out.Trace = t },
		Counters: counter.NewBook(counter.Config{Now: longAgo}),
	}
	if cfg.StatsD {
		of.StatsD = nowhere{}
	}
	guard, err := proxy.New(of)
	if err != nil {
		return nil, err
	}
	guard.Push(ctx, r)
	if len(end.Sent) > 0 {
		out.Forwarded = forwarded(end.Sent[0], cfg.Caps.Decoded)
	}
	return &out, nil
}

func forwarded(r gateway.Request, most int64) *Forwarded {
	f := &Forwarded{
		Method: r.Method, Path: r.Key.Path(), ContentType: r.ContentType,
		Rewritten: r.ContentType != "", Bytes: len(r.Body),
	}
	if !f.Rewritten {
		f.ContentType, f.ContentEncoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	}
	f.Text = text(r.Body, f.ContentType, f.ContentEncoding, most)
	return f
}

// text is a body that a guard has read, as text; as far as expfmt can read it.
func text(body []byte, contentType, encoding string, most int64) string {
	body, err := wire.DecodeContent(nil, encoding, body, most)
	if err != nil || !wire.IsProtobuf(contentType) {
		return string(body)
	}
	var out strings.Builder
	for _, family := range families(body, contentType) {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			return out.String()
		}
	}
	return out.String()
}
