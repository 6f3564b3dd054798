package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/pushguard/pushguard/proxy/admission"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// promised is what a claimed length is worth before anything has come, and
	// firstBytes what a body of no claimed length counts until it is longer.
	// As many connections as there may be that claim much and send nothing leave others
	// their place.
	promised   = 64 << 10
	firstBytes = 64 << 10
	// maxRetryAfter spreads those who come again.
	maxRetryAfter = 5
)

// enter takes a place among the pushes in flight, before the body is read. What the guard
// knows, and is within its budget, comes first.
func (g *Guard) enter(v *passage) error {
	v.most = g.cfg.Caps.InFlightBytes
	if g.gate == nil || v.foresees() { // what is only explained takes nobody's place
		return nil
	}
	first := min(v.request.Length, promised)
	switch {
	case v.request.Method == http.MethodDelete, v.request.Length > v.largest(g.cfg.Caps.Body):
		first = 0 // nothing of it is read
	case first < 0:
		first = firstBytes
	}
	return g.gate.Enter(&v.place, v.job, g.book.Within(v.job), first)
}

// receive reads the body. What of it was not counted at first counts as it comes.
func (v *passage) receive(limit int64) ([]byte, error) {
	from, most := v.request.Body, limit
	if v.request.Length >= 0 {
		most = v.request.Length
	}
	if length := v.request.Length; length < 0 {
		from = &metered{from: from, place: &v.place, counted: firstBytes, room: func(come int64) int64 { return min(2*come, most) }}
	} else if length > promised {
		from = &metered{from: from, place: &v.place, counted: promised, room: func(come int64) int64 { return wire.Room(length, come) }}
	}
	return wire.ReadBody(v.received, from, v.request.Length, limit)
}

// metered is a body that grows a place as it comes, by as much as its memory does.
type metered struct {
	from    io.Reader
	place   *admission.Place
	all     int64
	counted int64
	// room is how much its memory is once so much has come.
	room func(come int64) int64
}

// Read is part of io.Reader.
func (c *metered) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.all += int64(n)
	if c.all > c.counted {
		more := max(c.all, c.room(c.all)) - c.counted
		if err := c.place.Grow(more); err != nil {
			return n, err
		}
		c.counted += more
	}
	return n, err
}

const (
	// What a push that is new takes while it is worked on, tables, verdicts, what is
	// rendered and what is kept of it: so many times its body, and so much for each
	// sample. Measured with pushes of 200,000 samples of 9 to 60 bytes and of 900 of
	// 16 KiB, to a guard that keeps them itself, which takes the most.
	bodyCost   = 8
	sampleCost = 1 << 10
	// usualRatio is how much a body may unpack to before more is set aside for it.
	usualRatio = 32
)

// decode undoes the Content-Encoding. What a body unpacks to counts before it is there:
// a few times the body, and where that is not enough twice as much, again and again.
func (v *passage) decode(caps Caps) error {
	encoding := v.request.Header.Get("Content-Encoding")
	most := v.largest(caps.Decoded)
	limit := most
	if unpacks(encoding) {
		limit = min(most, roomFor(len(v.received)))
		if err := v.hold(limit); err != nil {
			return err
		}
	}
	var shed, err error
	v.decoded, err = wire.DecodeContent(v.unpacked, encoding, v.received, limit, func(limit int64) int64 {
		next := min(most, 2*limit+1)
		if shed = v.hold(next); shed != nil {
			return limit
		}
		return next
	})
	if shed != nil {
		return shed
	}
	if err != nil {
		return bodyError{err}
	}
	if len(v.received) > 0 && len(v.decoded) > 0 && &v.decoded[0] != &v.received[0] {
		v.unpacked = v.decoded
	}
	return nil
}

// roomFor is how much a packed body may unpack to before it has to ask for more: at least
// usualRatio times its length, and a byte less than a power of two, since the memory of what
// comes grows in those.
func roomFor(packed int) int64 { return 1<<bits.Len64(usualRatio*uint64(packed)) - 1 }

// unpacks reports whether a body of this Content-Encoding is another once it is decoded.
func unpacks(encoding string) bool {
	name := strings.ToLower(encoding)
	return name == "gzip" || name == "snappy"
}

// largest is the largest body that can be worked on, of at most so many bytes.
func (v *passage) largest(limit int64) int64 {
	if v.most > 0 {
		return max(1, min(limit, v.most/bodyCost))
	}
	return limit
}

// hold counts so many bytes beside the body as it came, if they are more than before.
func (v *passage) hold(bytes int64) error {
	if bytes <= v.held {
		return nil
	}
	if err := v.place.Grow(bytes - v.held); err != nil {
		return err
	}
	v.held = bytes
	return nil
}

// weigh counts what the push will take once it is parsed, before it is: a sample of text
// has a line.
func (v *passage) weigh(enc wire.Encoding, limits wire.Limits) error {
	samples := 0
	if enc == wire.Text {
		samples = min(bytes.Count(v.decoded, []byte{'\n'})+1, limits.Samples)
	}
	return v.weighs(samples)
}

// weighs counts what a push of so many samples takes. The error is one of size if it takes
// more than all pushes together may.
func (v *passage) weighs(samples int) error {
	cost := bodyCost*int64(len(v.decoded)) + sampleCost*int64(samples)
	if v.most > 0 && cost > v.most {
		return &wire.TooLargeError{What: "what the push takes in memory is", Limit: v.most}
	}
	return v.hold(cost)
}

// tooMuch answers a push that is not taken because there are too many, or because there is
// no memory for it. It is nobody's finding, and the log says so once for many.
func (g *Guard) tooMuch(v *passage, err *admission.ShedError) Answer {
	v.turnedAway, v.shed = true, err.Reason.String()
	g.warn.shed.Log(g.logger, "Pushes are shed", "reason", v.shed, "err", err, "job", v.raw.Job())
	a := textAnswer(http.StatusServiceUnavailable, "pushguard: "+err.Error()+"\npush it again later")
	a.Header.Set("Retry-After", strconv.Itoa(1+rand.IntN(maxRetryAfter)))
	a.outcome = Refused
	return a
}

// isShed returns the error of a push that was shed, nil for every other.
func isShed(err error) *admission.ShedError {
	var shed *admission.ShedError
	errors.As(err, &shed)
	return shed
}
