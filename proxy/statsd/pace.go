package statsd

import (
	"context"
	"time"
)

// burst is how far behind its time a line may leave: what is let through at once
// is what comes in this time.
const burst = 10 * time.Millisecond

// pacer lets so many lines pass in a second. The zero value lets all pass. It is
// for one goroutine.
type pacer struct {
	each time.Duration // a line
	next time.Time
}

func newPacer(rate int) pacer { return pacer{each: time.Second / time.Duration(rate)} }

// wait waits until so many more lines may leave, or the context ends.
func (p *pacer) wait(ctx context.Context, lines int) error {
	if p.each == 0 {
		return ctx.Err()
	}
	now := time.Now()
	p.next = p.due(now)
	if d := p.next.Sub(now); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	p.next = p.next.Add(time.Duration(lines) * p.each)
	return ctx.Err()
}

// due is when the next line may leave: time that was not used is not saved up
// beyond a burst.
func (p *pacer) due(now time.Time) time.Time {
	if floor := now.Add(-burst); p.next.Before(floor) {
		return floor
	}
	return p.next
}
