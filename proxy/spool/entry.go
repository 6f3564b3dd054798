package spool

import (
	"bytes"
	"container/list"
	"net/http"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// part is one write that waits, without what later ones of its group replace. It is not
// changed once it is made.
type part struct {
	method string
	came   time.Time
	header [len(kept)]string // of the request: the fields of kept
	body   []byte
}

// kept are the fields of a request that matter to an upstream.
var kept = [...]string{"Content-Type", "Content-Encoding", "Authorization"}

// overhead is about what a part takes beside its texts, and a group.
const overhead = 200

func (p *part) size() int {
	n := overhead + len(p.body)
	for _, value := range p.header {
		n += len(value)
	}
	return n
}

// newPart returns a copy of a write, which owns its memory.
func newPart(r gateway.Request, now time.Time) *part {
	p := &part{method: r.Method, came: now, body: bytes.Clone(r.Body)}
	for i, name := range kept {
		p.header[i] = strings.Clone(r.Header.Get(name))
	}
	if r.ContentType != "" {
		p.header[0], p.header[1] = r.ContentType, ""
	}
	return p
}

// request is the part as it goes to the upstream. The push, if it can be read, is parsed
// into into.
func (p *part) request(key wire.Key, into *wire.Push, o Limits) gateway.Request {
	r := gateway.Request{Method: p.method, Key: key, Header: http.Header{}, Body: p.body}
	for i, name := range kept {
		if p.header[i] != "" {
			r.Header.Set(name, p.header[i])
		}
	}
	if p.method != http.MethodDelete && p.parse(key, into, o) == nil {
		r.Push = into
	}
	return r
}

func (p *part) parse(key wire.Key, into *wire.Push, o Limits) error {
	body, err := wire.DecodeContent(nil, p.header[1], p.body, o.Decoded, nil)
	if err != nil {
		return err
	}
	encoding := wire.Text
	if wire.IsProtobuf(p.header[0]) {
		encoding = wire.Protobuf
	}
	return into.Parse(body, encoding, key, o.Options)
}

// without returns the part without the families of these names, nil if nothing is left.
// A part that cannot be read stays: what is delivered before the others costs nothing.
func (p *part) without(key wire.Key, names map[string]bool, o Limits) *part {
	var push wire.Push
	if p.parse(key, &push, o) != nil {
		return p
	}
	fates := make([]wire.Fate, len(push.Metrics()))
	left, gone := 0, 0
	metrics := push.Metrics()
	for i := range metrics {
		if fates[i].Act = wire.Pass; names[push.Families[metrics[i].Family].Name] {
			fates[i].Act = wire.LeaveOut
			gone++
			continue
		}
		left++
	}
	switch {
	case gone == 0 && (left > 0 || p.method == http.MethodPut):
		return p
	case left == 0 && p.method == http.MethodPost:
		return nil
	}
	out := *p
	out.body = wire.Render(nil, &push, fates)
	out.header[0], out.header[1] = push.Encoding.ContentType(), ""
	return &out
}

// names are the families that a push brings, once its fates are carried out.
func names(r gateway.Request) map[string]bool {
	out := map[string]bool{}
	if r.Push == nil {
		return out
	}
	for i, m := range r.Push.Metrics() {
		if r.Fates == nil || r.Fates[i].Act != wire.LeaveOut {
			out[strings.Clone(r.Push.Families[m.Family].Name)] = true
		}
	}
	return out
}

// entry is what waits of one group. It is guarded by the spool's lock.
type entry struct {
	key   wire.Key
	lane  *lane // nil before it is queued
	parts []*part
	size  int
	// sending says that the first part is on its way: it stays the first, whatever comes.
	sending bool
	// unsafe says that what came last is not on disk yet: nothing is delivered until then.
	unsafe  bool
	queued  *list.Element
	retry   time.Time // not sooner is it tried again
	backoff time.Duration
}

func sizeOf(parts []*part) int {
	n := 0
	for _, p := range parts {
		n += p.size()
	}
	return n
}

// superseding returns the parts that are left once a write came after them: none but one
// on its way behind a PUT or DELETE, those of other families behind a POST. A POST behind
// a DELETE, which it would leave alone, goes as a PUT.
func superseding(before []*part, sending bool, add *part, r gateway.Request, o Limits) []*part {
	var out []*part
	waiting := before
	if sending {
		out, waiting = append(out, before[0]), before[1:]
	}
	if add.method != http.MethodPost {
		return append(out, add)
	}
	if n := len(waiting); n > 0 && waiting[n-1].method == http.MethodDelete {
		add.method = http.MethodPut
		return append(out, add)
	}
	brought := names(r)
	for _, p := range waiting {
		if left := p.without(r.Key, brought, o); left != nil {
			out = append(out, left)
		}
	}
	return append(out, add)
}

// snapshot is what waited of a group at a moment, and whether the first of it was on its
// way.
type snapshot struct {
	parts   []*part
	sending bool
}

// waiting is what of it still waits: all but a first part that was delivered since.
func (s snapshot) waiting(e *entry) []*part {
	if s.sending && (len(e.parts) == 0 || e.parts[0] != s.parts[0]) {
		return s.parts[1:]
	}
	return s.parts
}
