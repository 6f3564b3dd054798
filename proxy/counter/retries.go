package counter

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/pushguard/pushguard/proxy/clock"
)

const (
	lostFor = 2 * time.Minute
	lostMax = 10_000
	keysFor = time.Hour
	keysMax = 100_000
)

// retries remembers which pushes a client may send again though they count.
type retries struct {
	watch *clock.Watch

	mu sync.Mutex
	// lost are the pushes of which the reply was lost, keys the idempotency keys of
	// those that count, both oldest first.
	lost *simplelru.LRU[lostPush, lostReplies]
	keys *simplelru.LRU[Identity, int64] // until when, in seconds since 1970
	// groups counts the lost replies of each group.
	groups map[Identity]int
}

type lostPush struct {
	group Identity
	print uint64 // of method, client and body
}

type lostReplies struct {
	count int
	until int64 // in nanoseconds since 1970
}

func newRetries(watch *clock.Watch) *retries {
	r := &retries{watch: watch, groups: map[Identity]int{}}
	// NewLRU fails only for a size that is not positive.
	r.lost, _ = simplelru.NewLRU(lostMax, func(p lostPush, _ lostReplies) {
		if r.groups[p.group]--; r.groups[p.group] == 0 {
			delete(r.groups, p.group)
		}
	})
	r.keys, _ = simplelru.NewLRU[Identity, int64](keysMax, nil)
	return r
}

// pushPrint is of method, client and body, and the same on every guard.
func pushPrint(p *Push) lostPush {
	h := sha256.New()
	for _, s := range []string{p.Method, p.Client} {
		h.Write([]byte(s))
		h.Write([]byte{0xff})
	}
	h.Write(p.Body)
	return lostPush{p.Group, binary.LittleEndian.Uint64(h.Sum(nil))}
}

// key is the identity of an idempotency key, which is one group's and method's.
func (p *Push) key() Identity {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, []uint64{p.Group.hi, p.Group.lo})
	h.Write([]byte(p.Method))
	h.Write([]byte{0xff})
	h.Write([]byte(p.IdempotencyKey))
	sum := h.Sum(nil)
	return Identity{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// lose remembers a push whose reply was lost. What is too old goes.
func (r *retries) lose(print lostPush, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		_, oldest, ok := r.lost.GetOldest()
		if !ok || !r.tooOld(oldest, now) {
			break
		}
		r.lost.RemoveOldest()
	}
	l, ok := r.lost.Peek(print)
	if !ok {
		r.groups[print.group]++
	}
	r.lost.Add(print, lostReplies{l.count + 1, now.Add(lostFor).UnixNano()})
}

// retry is how a push is known to be one that counts already.
type retry struct {
	known bool
	lost  lostPush // if the reply to it was lost, else zero
}

// look reports whether a push is a retry. Its key alone tells one that has a key: with
// another key the same is another push.
func (r *retries) look(p *Push, now time.Time) retry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.IdempotencyKey != "" {
		return retry{known: r.knows(p.key(), now)}
	}
	if r.groups[p.Group] == 0 {
		return retry{}
	}
	return r.isLost(pushPrint(p), now)
}

func (r *retries) knows(key Identity, now time.Time) bool {
	until, ok := r.keys.Peek(key)
	return ok && (until > now.Unix() || until > now.Add(-r.watch.Ahead(keysFor)).Unix())
}

func (r *retries) isLost(print lostPush, now time.Time) retry {
	if l, ok := r.lost.Peek(print); ok && !r.tooOld(l, now) {
		return retry{known: true, lost: print}
	}
	return retry{}
}

// tooOld reports whether a push like one whose reply was lost is no retry of it. One that
// may come for longer than any is from before the clock was set back.
func (r *retries) tooOld(l lostReplies, now time.Time) bool {
	left := time.Duration(l.until - now.UnixNano())
	return left > lostFor || left <= 0 && left <= -r.watch.Ahead(lostFor)
}

// settle forgets a lost reply once the retry of its push is committed.
func (r *retries) settle(print lostPush) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.lost.Peek(print)
	switch {
	case !ok:
	case l.count == 1:
		r.lost.Remove(print)
	default:
		r.lost.Add(print, lostReplies{l.count - 1, l.until})
	}
}

// remember keeps an idempotency key.
func (r *retries) remember(key Identity, until int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys.Add(key, until)
}

// appendKeys writes all idempotency keys down, the oldest first.
func (r *retries) appendKeys(dst []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.keys.Keys() {
		until, _ := r.keys.Peek(key)
		dst = appendKey(dst, key, until)
	}
	return dst
}

// forget drops the lost replies of a group.
func (r *retries) forget(group Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.groups[group] == 0 {
		return
	}
	for _, p := range r.lost.Keys() {
		if p.group == group {
			r.lost.Remove(p)
		}
	}
}

// pending is how much is remembered.
func (r *retries) pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost.Len() + r.keys.Len()
}
