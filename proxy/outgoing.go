package proxy

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// merge joins the metrics that the rules made equal.
func (v *passage) merge() {
	if v.entry.Mode == policy.Open || v.refused() || v.known != nil && v.known.distinct && v.known.apartFrom(v.group) {
		return
	}
	v.ownFates()
	if err := wire.Merge(&v.push, v.fates, v.group); err != nil {
		v.noteUnmergeable(err)
	}
}

func (v *passage) noteUnmergeable(err error) {
	f := finding.Finding{ID: finding.Unmergeable, Count: 1, Fix: err.Error()}
	var unlike *wire.MergeError
	if errors.As(err, &unlike) {
		f.Metric, f.Fix = unlike.Family, unlike.Err.Error()+"; push them with the same buckets, or keep the label that tells them apart"
	}
	v.note([]finding.Finding{f}, true)
}

// largestTwice is the largest body that is written as protobuf though it could go on as
// it came: of what is larger memory counts more than the Pushgateway's time.
const largestTwice = 1 << 20

// outgoing is the push as it goes on: as it was parsed and judged, and, for an
// upstream that wants bytes, the bytes that came if nothing in them is changed,
// spliced otherwise; or as protobuf, which costs a Pushgateway half of what text
// does, where the guard enforces and that is the same push.
func (v *passage) outgoing(bytes, asProtobuf bool) gateway.Request {
	fates := v.fates
	if !v.enforced() {
		fates = v.safety
	} else if len(fates) == 0 {
		fates = nil // of a plain push
	}
	out := gateway.Request{Header: v.request.Header, RemoteAddr: v.request.Peer, Body: v.received, Push: &v.push, Fates: fates}
	if v.known != nil {
		out.Memo = &v.known.memo
	}
	if !bytes {
		return out
	}
	passes := !v.changes(fates)
	if asProtobuf && !(passes && len(v.decoded) > largestTwice) && v.transcoded() {
		out.Body, out.ContentType = v.rendered, wire.ProtobufType
		return out
	}
	if passes {
		return out
	}
	v.rendered = wire.Render(v.rendered[:0], &v.push, fates)
	out.Body, out.ContentType = v.rendered, v.push.Encoding.ContentType()
	return out
}

// changes reports whether fates change a push.
func (v *passage) changes(fates []wire.Fate) bool {
	if v.enforced() && v.borrows() {
		return v.known.changed
	}
	return slices.ContainsFunc(fates, func(f wire.Fate) bool { return f.Act != wire.Pass })
}

// transcoded has v.rendered be the push as protobuf, if it may be. In report and open
// no byte is changed that need not be.
func (v *passage) transcoded() bool {
	if !v.enforced() || !readAlike(v.request.Header.Get("Content-Encoding")) {
		return false
	}
	if v.borrows() && v.known.mould != nil {
		v.rendered = v.known.mould.Fill(v.rendered[:0], &v.push)
		return true
	}
	var ok bool
	v.rendered, ok = wire.Transcode(v.rendered[:0], &v.push, v.fates)
	return ok
}

// readAlike reports whether a body of this Content-Encoding is read alike by every
// Pushgateway: those before 1.6 take snappy, or GZIP, for text.
func readAlike(contentEncoding string) bool {
	return contentEncoding == "gzip" || !strings.EqualFold(contentEncoding, "gzip") && !strings.EqualFold(contentEncoding, "snappy")
}

// inconsistent begins the answer to a push that a Pushgateway refused after
// reading it, and has booked as a failure of its group.
const inconsistent = "pushed metrics are invalid or inconsistent"

// settlement is what the upstream's answer, or that there is none, means for the
// ledger.
func settlement(a gateway.Answer, err error) ledger.Outcome {
	switch {
	case errors.Is(err, gateway.ErrUnreachable), errors.Is(err, gateway.ErrRedirect):
		return ledger.Untouched
	case err != nil:
		return ledger.Unknown
	case a.Status >= 200 && a.Status < 300:
		return ledger.Applied
	case a.Status == http.StatusBadRequest && strings.HasPrefix(string(a.Body), inconsistent):
		return ledger.Refused
	case a.Status >= 400 && a.Status < 500:
		return ledger.Untouched
	default:
		return ledger.Unknown
	}
}
