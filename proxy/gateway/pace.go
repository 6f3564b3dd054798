package gateway

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pace spreads requests to a Pushgateway in time, so that many of them are no burst. The
// zero value begins at once. Not safe for concurrent use.
type Pace struct{ next time.Time }

// Wait keeps to a rate a second, above 0, with half as much more or less from one request
// to the next, and reports whether to go on: not once ctx has ended.
func (p *Pace) Wait(ctx context.Context, rate int) bool {
	now, between := time.Now(), float64(time.Second)/float64(rate)
	if p.next.Before(now) {
		p.next = now
	}
	due := p.next
	p.next = due.Add(time.Duration(between * (0.5 + rand.Float64())))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(due.Sub(now)):
		return ctx.Err() == nil
	}
}
