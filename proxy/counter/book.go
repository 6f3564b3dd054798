package counter

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/proxy/clock"
	"github.com/pushguard/pushguard/proxy/state"
)

// Config is what a Book is made of. The zero value is good for a guard without
// state.
type Config struct {
	// Baselines bounds the baselines that are kept; the longest unseen make room. A
	// histogram is one, and one more for every 12 numbers it has. 0 is 200,000.
	Baselines int
	// Idle is how long a baseline is kept that no push shows, in whole seconds. 0 is
	// 48 hours: who pushes once a day is seen again in time, late as it may be.
	Idle time.Duration
	// NewSecret says that the secret of the Hasher is not the one that the baselines
	// were made with that Open finds: they are dropped.
	NewSecret bool
	// Now is the clock, nil that of the system.
	Now func() time.Time
}

// Book keeps baselines: the last reading of each counter of each source. It is
// safe for concurrent use, but pushes and deletes of one group are the caller's
// to serialise, from Difference to Commit or to giving up.
type Book struct {
	cfg     Config
	shards  [shards]*shard
	watch   *clock.Watch // what was seen is younger than it looks by that
	retries *retries
	stats   bookCounts
	journal *journal // nil if nothing is kept
	shared  *sharing // nil if no other guard has this book

	// weight is that of all baselines, see table.weight.
	weight atomic.Int64
	// watermark is the latest time at which a baseline was seen that is no longer
	// kept, in nanoseconds since 1970: what began before it may have been counted.
	watermark atomic.Int64
	seconds   atomic.Uint32 // see clock
	turn      atomic.Uint32 // the shard that is looked through for idle baselines
}

// NewBook returns an empty book that is kept in memory alone. What began before
// it was made may have been counted by another.
func NewBook(cfg Config) *Book {
	b := &Book{cfg: cfg}
	b.cfg.Baselines = cmp.Or(cfg.Baselines, 200_000)
	b.cfg.Idle = cmp.Or(cfg.Idle, 48*time.Hour)
	if b.cfg.Now == nil {
		b.cfg.Now = time.Now
	}
	b.watch = clock.New(b.cfg.Now)
	b.retries = newRetries(b.watch)
	for i := range b.shards {
		b.shards[i] = newShard(b)
	}
	b.watermark.Store(b.cfg.Now().UnixNano())
	return b
}

// Difference fills dst with what the readings of one push add to their outputs.
// It changes nothing: what is not committed did not happen. The error is a
// *ValueError; dst is empty then. dst keeps the slices of readings and push until
// it is committed or filled again; its zero value is ready.
func (b *Book) Difference(dst *Increments, readings []Reading, push Push) error {
	dst.reset(b, readings, push)
	for i := range readings {
		if err := readings[i].check(); err != nil {
			dst.reset(b, nil, Push{})
			return err
		}
	}
	if dst.retry = b.retries.look(&dst.push, b.cfg.Now()); dst.retry.known {
		dst.repeat()
		return nil
	}
	b.differenceAll(dst)
	return nil
}

func (b *Book) differenceAll(dst *Increments) {
	s := b.shardOf(groupHash(dst.push.Group))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range dst.readings {
		s.difference(dst, &dst.readings[i])
	}
}

// Lost remembers that the reply to a push which was committed did not reach the
// client: one push equal to it within two minutes counts nothing. The retry of one with
// an idempotency key is known by that.
func (b *Book) Lost(push Push) {
	if push.IdempotencyKey != "" {
		return
	}
	print := pushPrint(&push)
	if b.shared != nil {
		b.shared.lost(print)
		return
	}
	b.retries.lose(print, b.cfg.Now())
}

// Forget drops the baselines of a group, and the replies to it that were lost: a
// client deleted it, the next push counts in full. A sweep must not call it, or
// who pushes on after a pause counts twice. An error is that of Commit.
func (b *Book) Forget(ctx context.Context, group Identity) error {
	if b.shared != nil {
		return b.shared.forget(ctx, group)
	}
	b.retries.forget(group)
	return b.journal.commit(ctx, b.forget(groupHash(group)))
}

func (b *Book) forget(group uint64) state.Position {
	j := b.journal
	if j != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
	}
	s := b.shardOf(group)
	s.mu.Lock()
	s.forgetGroup(group)
	s.mu.Unlock()
	if j == nil {
		return 0
	}
	return j.append(appendForgotten(nil, group))
}
