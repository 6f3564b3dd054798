// Package record keeps pushes for a later replay: what a client sent, redacted so that
// the rules make of it what they made of the original, and what became of it.
//
// A recorded file is a file of captures, one on each line. Keeping them never slows or
// fails a push: whatever does not fit is left out, and counted.
package record

import (
	"net/http"
	"time"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Push is a write as it came, and what became of it. It shares no memory with the
// request.
type Push struct {
	Time   time.Time
	Method string
	Key    wire.Key
	// ContentType is that of the body, IdempotencyKey the client's.
	ContentType, IdempotencyKey string
	// Body is as it came, without its Content-Encoding; Unread is set if nobody saw it.
	Body   []byte
	Unread bool
	// Families are the names of those in the body, in its order. What the budgets have
	// no room for is told by that.
	Families []string
	// Happened is without its series, which Sent, SentKey and Added have.
	Happened Happened
	// Sent is the body that went on to SentKey, if that is not the one that came. Its
	// encoding is the same.
	Sent    []byte
	SentKey wire.Key
	// Added are the totals that the push added to.
	Added []*counter.Series
}

// Entry is a line of a recorded file. Its JSON is part of the interface: fields are
// added, never renamed.
type Entry struct {
	Time    time.Time `json:"time"`
	Request Request   `json:"request"`
	// Unread says that nobody could read the body, which is left out for it.
	Unread bool `json:"unread,omitempty"`
	// Dropped is how many pushes came before this one, since the entry before it, that
	// were not recorded.
	Dropped uint64 `json:"dropped,omitempty"`
	// Happened is nil for a capture that no guard recorded.
	Happened *Happened `json:"happened,omitempty"`
}

// Request is the write, as a capture has it.
type Request struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Headers [][2]string `json:"headers,omitempty"`
	Body    []byte      `json:"body_base64"`
}

// Happened is what became of a push.
type Happened struct {
	// Job is the one that pushed, Entry that of the policy which governed it, and
	// Policy the digest of that.
	Job    string `json:"job"`
	Entry  string `json:"entry,omitempty"`
	Mode   string `json:"mode,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Outcome is passed, changed, refused, skipped or failed, Would what enforcement
	// would have made of it in report, Status what the client was answered.
	Outcome string `json:"outcome"`
	Would   string `json:"would,omitempty"`
	Status  int    `json:"status,omitempty"`
	// Findings are the ids of what was noticed, sorted, each once.
	Findings []string `json:"findings,omitempty"`
	// AsPushed says that the push went on as it came; else Series are those that went
	// on or were added to.
	AsPushed bool           `json:"as_pushed,omitempty"`
	Series   []model.Metric `json:"series,omitempty"`
}

// SeriesOf are the series of what happened, those of the request if it went on as it
// came.
func (e *Entry) SeriesOf(key wire.Key) []model.Metric {
	if e.Happened.AsPushed && e.Request.Method != http.MethodDelete {
		return Series(e.Request.Body, e.contentType(), key)
	}
	return e.Happened.Series
}

func (e *Entry) contentType() string {
	for _, h := range e.Request.Headers {
		if http.CanonicalHeaderKey(h[0]) == "Content-Type" {
			return h[1]
		}
	}
	return ""
}
