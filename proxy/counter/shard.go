package counter

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// shards is how many tables there are. A group is in one of them, so that a push
// takes one lock.
const (
	shardBits = 5
	shards    = 1 << shardBits
)

// shard is the baselines of some groups.
type shard struct {
	mu   sync.Mutex
	book *Book
	*table
	patterns *patterns

	// tail is when the baseline was seen that is the longest unseen, never if there
	// is none. It is read without the lock.
	tail atomic.Uint32
}

const never = math.MaxUint32

func newShard(b *Book) *shard {
	s := &shard{book: b, table: newTable(), patterns: newPatterns()}
	s.tail.Store(never)
	return s
}

// shardOf is the shard of a group, see groupHash.
func (b *Book) shardOf(group uint64) *shard { return b.shards[group>>(64-shardBits)] }

// assign makes a value or count, and for a histogram or summary its sum and
// buckets, the baseline of a key. It reports whether that is worth writing down.
func (s *shard) assign(key Identity, group uint64, seen uint32, last float64, wide []float64) (slot uint32, changed bool) {
	if slot = s.find(key); slot == 0 {
		slot, changed = s.insert(key, group, seen), true
		s.book.weight.Add(1)
	} else {
		changed = s.see(slot, seen)
	}
	b := s.at(slot)
	changed = changed || b.last != last
	b.last = last
	if len(wide) == 0 {
		return slot, changed
	}
	before := s.weight(slot)
	w := s.setWide(slot, len(wide))
	changed = changed || !slices.Equal(w, wide)
	copy(w, wide)
	s.book.weight.Add(s.weight(slot) - before)
	return slot, changed
}

// see makes a baseline the newest of all. It reports whether that is worth
// writing down.
func (s *shard) see(slot, seen uint32) bool {
	before := s.at(slot).seen
	s.touch(slot, seen)
	return before/relevant != seen/relevant
}

// forget drops a baseline.
func (s *shard) forget(slot uint32) {
	s.book.weight.Add(-s.weight(slot))
	s.remove(slot)
}

// forgetGroup drops all baselines of a group.
func (s *shard) forgetGroup(group uint64) {
	for {
		slot := s.groups.cells[s.findGroup(group)]
		if slot == 0 {
			s.settle()
			return
		}
		s.forget(slot)
	}
}

// anew drops all baselines and idempotency keys, and writes that down.
func (b *Book) anew(unit []byte) []byte {
	for i := range b.shards {
		b.shards[i] = newShard(b)
	}
	b.weight.Store(0)
	b.retries = newRetries(b.watch)
	return append(unit, recordAnew)
}

// settle says when the oldest was seen, once the shard has changed.
func (s *shard) settle() {
	if s.oldest == 0 {
		s.tail.Store(never)
		return
	}
	s.tail.Store(s.at(s.oldest).seen)
}

// evict drops the longest unseen while that is wanted.
func (s *shard) evict(wanted func(seen uint32) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, last := 0, uint32(0)
	for s.oldest != 0 && wanted(s.at(s.oldest).seen) {
		last = max(last, s.at(s.oldest).seen)
		s.forget(s.oldest)
		n++
	}
	s.settle()
	if n > 0 {
		s.book.raise(after(last))
	}
	return n
}

// after is the first nanosecond after the second in which a baseline was seen.
func after(seen uint32) int64 { return (int64(seen) + 1) * int64(time.Second) }

// raise makes the watermark at least w.
func (b *Book) raise(w int64) {
	for {
		before := b.watermark.Load()
		if before >= w || b.watermark.CompareAndSwap(before, w) {
			return
		}
	}
}

// clock returns the time, which never goes back, in seconds since 1970.
func (b *Book) clock() uint32 {
	now := uint32(b.cfg.Now().Unix())
	for {
		before := b.seconds.Load()
		if now <= before {
			return before
		}
		if b.seconds.CompareAndSwap(before, now) {
			return now
		}
	}
}

// shrink drops what is over the bound, the longest unseen of all shards first,
// and in one shard, another each time, what is idle for too long.
func (b *Book) shrink(now uint32) {
	for b.weight.Load() > int64(b.cfg.Baselines) {
		s := b.oldest()
		tail := s.tail.Load()
		n := s.evict(func(seen uint32) bool {
			return seen <= tail && b.weight.Load() > int64(b.cfg.Baselines)
		})
		b.stats.evictions.Add(uint64(n))
	}
	s := b.shards[b.turn.Add(1)%shards]
	idle := uint32(b.cfg.Idle / time.Second)
	if now < idle || s.tail.Load() >= now-idle {
		return
	}
	idle += uint32(b.watch.Ahead(b.cfg.Idle) / time.Second)
	if now < idle || s.tail.Load() >= now-idle {
		return
	}
	left := idleBatch
	n := s.evict(func(seen uint32) bool { left--; return left >= 0 && seen < now-idle })
	b.stats.expirations.Add(uint64(n))
}

// idleBatch bounds what one push does for those that no longer push.
const idleBatch = 1000

// oldest is the shard with the baseline that is the longest unseen.
func (b *Book) oldest() *shard {
	best := b.shards[0]
	for _, s := range b.shards[1:] {
		if s.tail.Load() < best.tail.Load() {
			best = s
		}
	}
	return best
}
