package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/pushguard/pushguard/proxy/admission"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// promised is what a claimed length is worth before anything has come, and
	// firstBytes what a body of no claimed length counts until it is longer.
	promised   = 1 << 20
	firstBytes = 64 << 10
	// sayShedEvery is how often the log says that pushes are shed.
	sayShedEvery = 10 * time.Second
	// maxRetryAfter spreads those who come again.
	maxRetryAfter = 5
)

// enter takes a place among the pushes in flight, before the body is read. What the guard
// knows, and is within its budget, comes first.
func (g *Guard) enter(v *passage) error {
	if g.gate == nil || v.foresees() { // what is only explained takes nobody's place
		return nil
	}
	first := min(v.request.Length, promised)
	switch {
	case v.request.Method == http.MethodDelete, v.request.Length > g.cfg.Caps.Body:
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
		from = &metered{from: from, place: &v.place, left: firstBytes, most: most, growth: 2}
	} else if length > promised {
		from = &metered{from: from, place: &v.place, left: promised, most: most, growth: wire.Growth}
	}
	return wire.ReadBody(v.received, from, v.request.Length, limit)
}

// metered is a body that grows a place as it comes, by as much as its memory does.
type metered struct {
	from  io.Reader
	place *admission.Place
	all   int64
	left  int64 // of what was counted
	most  int64 // that can come
	// growth is how many times what has come its memory may be.
	growth int64
}

// Read is part of io.Reader.
func (c *metered) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.all += int64(n)
	if c.left -= int64(n); c.left < 0 {
		more := max(-c.left, min((c.growth-1)*c.all, c.most-c.all)-c.left)
		if err := c.place.Grow(more); err != nil {
			return n, err
		}
		c.left += more
	}
	return n, err
}

// tooMuch answers a push that is not taken because there are too many. It is nobody's
// finding, and the log says so once for many.
func (g *Guard) tooMuch(v *passage, shed *admission.ShedError) Answer {
	v.turnedAway, v.shed = true, shed.Reason.String()
	now := time.Now().UnixNano()
	if last := g.saidShed.Load(); now-last >= int64(sayShedEvery) && g.saidShed.CompareAndSwap(last, now) {
		g.logger.Warn("Pushes are shed", "reason", v.shed, "limit", shed.Limit, "job", v.raw.Job())
	}
	a := textAnswer(http.StatusServiceUnavailable, "pushguard: "+shed.Error()+"\npush it again later")
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
