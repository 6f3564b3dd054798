package event

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pushguard/pushguard/proxy/seldom"
)

const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	toldEvery  = time.Minute // of rejections
	// mostTimeouts is how often a batch is sent that got no answer in time before it is
	// taken to be more than the event log can work on in that: some of what was sent may
	// have been taken, so not at once.
	mostTimeouts = 3
)

// shipper brings what is in a queue to a sink, a batch at a time.
type shipper struct {
	name   string
	sink   sink
	queue  *queue
	limits batchLimits
	stats  *stats
	logger *slog.Logger
	pause  func(context.Context, time.Duration) error // not to be woken by records

	outage seldom.Outage
	told   time.Time // of records that were rejected
	left   []item    // given up at the end
}

// run ships until ctx ends, or until the queue is closed and empty.
func (s *shipper) run(ctx context.Context) {
	for {
		items, err := s.queue.next(ctx, s.limits)
		if err != nil && !errors.Is(err, errClosed) && ctx.Err() == nil {
			s.logger.Error("Events on disk cannot be read: what cannot is skipped", "sink", s.name, "err", err)
			s.stats.errors.Add(1)
		}
		if len(items) > 0 {
			s.stats.onTheWay(len(items), sizeOf(items))
			if s.deliver(ctx, items) != nil {
				return // what is on disk comes again
			}
			if err := s.queue.done(items); err != nil {
				s.logger.Warn("What was delivered is not marked so, and may be sent again", "sink", s.name, "err", err)
			}
			continue
		}
		if errors.Is(err, errClosed) || ctx.Err() != nil {
			return
		}
	}
}

// deliver tries until every record was taken or rejected. Its error is that of ctx.
func (s *shipper) deliver(ctx context.Context, items []item) error {
	timeouts := 0
	for wait := firstRetry; len(items) > 0; wait = min(2*wait, lastRetry) {
		records := make([][]byte, len(items))
		for i := range items {
			records[i] = items[i].json
		}
		d, err := s.sink.send(ctx, records)
		var refused *refusedError
		switch {
		case err == nil:
			s.took(items, d)
			if items = pick(items, d.again); len(items) == 0 {
				return nil
			}
			s.failed(d.waits)
		case errors.As(err, &refused) && len(items) > 1:
			return s.halve(ctx, items)
		case errors.As(err, &refused):
			s.stats.onTheWay(-1, -sizeOf(items))
			s.reject(1, refused)
			return nil
		default:
			s.failed(err)
			if errors.Is(err, context.DeadlineExceeded) {
				timeouts++
			}
		}
		if err := s.pause(ctx, max(laterOf(err), jitter(wait))); err != nil {
			s.left = append(s.left, items...)
			return err
		}
		if timeouts == mostTimeouts && len(items) > 1 {
			return s.halve(ctx, items)
		}
	}
	return nil
}

// halve delivers a batch in two.
func (s *shipper) halve(ctx context.Context, items []item) error {
	s.stats.halved.Add(1)
	half := len(items) / 2
	if err := s.deliver(ctx, items[:half]); err != nil {
		s.left = append(s.left, items[half:]...)
		return err
	}
	return s.deliver(ctx, items[half:])
}

// took counts what became of a batch that was answered.
func (s *shipper) took(items []item, d delivery) {
	lost := len(d.rejected) + d.lost
	done, bytes := len(items)-len(d.again), sizeOf(items)-sizeOf(pick(items, d.again))
	s.stats.onTheWay(-done, -bytes)
	s.stats.took(done-lost, bytes-sizeOf(pick(items, d.rejected)))
	if lost > 0 {
		s.reject(lost, d.why)
	}
	if len(d.again) == 0 && s.outage.End() {
		s.stats.down.Store(false)
		s.logger.Info("The event log takes records again", "sink", s.name)
	}
}

func (s *shipper) reject(n int, why error) {
	s.stats.dropped("rejected", n)
	if now := time.Now(); now.Sub(s.told) >= toldEvery {
		s.told = now
		s.logger.Warn("The event log does not want records: they are dropped", "sink", s.name, "records", n, "err", why)
	}
}

func (s *shipper) failed(err error) {
	s.stats.errors.Add(1)
	s.stats.down.Store(true)
	if s.outage.IsNew(err) {
		s.logger.Warn("The event log takes no records: they wait", "sink", s.name, "err", err)
	}
}

// pick returns the items of these indices.
func pick(items []item, indices []int) []item {
	out := make([]item, 0, len(indices))
	for _, i := range indices {
		out = append(out, items[i])
	}
	return out
}

// sizeOf is how many bytes the records have.
func sizeOf(items []item) (n int) {
	for i := range items {
		n += len(items[i].json)
	}
	return n
}

// jitter is a time between half of d and d, so that guards do not come together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2)
}

// pauseUntil makes a pause that ctx ends, and the end of the log cuts short: what does not
// get through then may be lost.
func pauseUntil(ending <-chan struct{}) func(context.Context, time.Duration) error {
	return func(ctx context.Context, d time.Duration) error {
		woken := ending
		select {
		case <-ending:
			d, woken = min(d, firstRetry), nil
		default:
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-woken:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
