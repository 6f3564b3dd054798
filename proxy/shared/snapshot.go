package shared

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pushguard/pushguard/proxy/state"
)

// save writes down all rooms and who is there.
func (l *Log) save() []byte {
	dst := l.reunion.save(l.members.save(nil))
	dst = binary.AppendUvarint(dst, uint64(l.now.Load()))
	for _, r := range l.rooms {
		start := len(dst)
		dst = append(dst, make([]byte, 8)...)
		dst = r.Save(dst)
		binary.LittleEndian.PutUint64(dst[start:], uint64(len(dst)-start-8))
	}
	return dst
}

// restore replaces all there is by what save wrote.
func (l *Log) restore(saved []byte) error {
	in := state.NewReader(saved, errState)
	if len(saved) > 0 {
		l.members.restore(&in)
		l.reunion.restore(&in)
		l.now.Store(int64(in.Uvarint()))
	} else {
		l.members, l.reunion = members{}, reunion{}
	}
	for _, r := range l.rooms {
		var part []byte
		if len(saved) > 0 {
			part = in.Take(in.Word())
		}
		if err := in.Err(); err != nil {
			return err
		}
		if err := r.Restore(part); err != nil {
			return err
		}
	}
	l.standing()
	return nil
}

// snapshot is one that is, or may be, in Redis.
type snapshot struct {
	epoch  string
	seq    uint64
	chunks int
}

func (h head) snapshot() snapshot { return snapshot{h.epoch, h.snap, h.chunks} }

func (s *store) chunkKey(epoch string, seq uint64, i int) string {
	return fmt.Sprintf("%ssnap:%s:%d:%d", s.prefix, epoch, seq, i)
}

// write puts a snapshot into keys that nobody reads yet, and returns how many. Of one
// that cannot be written to its end nothing is left, if that can be.
func (s *store) write(ctx context.Context, epoch string, seq uint64, saved []byte) (int, error) {
	n := 0
	for ; len(saved) > 0; n++ {
		part := saved[:min(chunk, len(saved))]
		saved = saved[len(part):]
		if err := s.client.Set(ctx, s.chunkKey(epoch, seq, n), part, lifetime).Err(); err != nil {
			_ = s.remove(ctx, epoch, seq, n+1) // else it ends by itself
			return 0, err
		}
	}
	return n, nil
}

// read returns the snapshot of a head; none is nil. It fails with redis.Nil where another
// has taken its place meanwhile.
func (s *store) read(ctx context.Context, h head) ([]byte, error) {
	var saved []byte
	for i := range h.chunks {
		part, err := s.client.Get(ctx, s.chunkKey(h.epoch, h.snap, i)).Bytes()
		if err != nil {
			return nil, err
		}
		saved = append(saved, part...)
	}
	return saved, nil
}

// errGone says that somebody else than the guards deleted a snapshot.
var errGone = errors.New("the Redis has lost what the guards wrote down there: is its maxmemory-policy noeviction?")

// newest returns the newest snapshot, with the head that names it.
func (l *Log) newest(ctx context.Context) (h head, saved []byte, err error) {
	for before := h; ; before = h {
		var ok bool
		h, ok, err = l.store.head(ctx)
		switch {
		case err != nil:
			return h, nil, err
		case !ok:
			return h, nil, errLost
		case h.secret != hex.EncodeToString(l.secret[:]):
			return h, nil, errAnew
		case before.epoch == h.epoch && before.snap == h.snap:
			return h, nil, errGone
		}
		if saved, err = l.store.read(ctx, h); !errors.Is(err, redis.Nil) {
			return h, saved, err
		}
	}
}

// load takes the guard to the snapshot.
func (l *Log) load(ctx context.Context) error {
	h, saved, err := l.newest(ctx)
	if err != nil {
		return err
	}
	if err := l.restore(saved); err != nil {
		return err
	}
	l.place = place{epoch: h.epoch, mark: h.snapmark, seq: h.snap}
	if l.snapshot.epoch != h.epoch {
		l.litter = append(l.litter, l.snapshot)
	}
	l.snapshot = h.snapshot()
	l.unsaved = 0
	return l.settleBatch(ctx)
}

// settleBatch ends the batch under way if what was restored has it already: what
// became of it nobody can tell any more. Of a guard that was thought to have left, the
// Redis knows.
func (l *Log) settleBatch(ctx context.Context) error {
	if len(l.flying) == 0 {
		return nil
	}
	last, there := l.members.batchOf(l.guard)
	if !there {
		var err error
		if last, err = l.store.client.HGet(ctx, l.store.keys()[2], string(l.guard)).Uint64(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	if last >= l.batch {
		l.giveUp()
		l.landed()
	}
	return nil
}

// saveIfDue has the guard that leads write the rooms down once much has come since, or
// the snapshot is gone.
func (l *Log) saveIfDue(ctx context.Context) {
	begun := time.Now()
	if begun.Before(l.saveAgain) {
		return
	}
	l.tidy(ctx, begun)
	if !l.leads.Load() || l.unsaved < l.cfg.SnapshotAfter && !l.lostSnapshot(ctx, begun) {
		return
	}
	if err := l.publish(ctx); err != nil {
		l.saveAgain = time.Now().Add(l.cfg.Lease)
		l.logger.Warn("What the guards share was not written down", "err", err)
		return
	}
	l.counts.saved(time.Since(begun))
}

// lostSnapshot looks now and then whether the snapshot is there, and reports whether a
// part of it is not: nobody could join any more.
func (l *Log) lostSnapshot(ctx context.Context, now time.Time) bool {
	if now.Before(l.lookAgain) {
		return false
	}
	l.lookAgain = now.Add(l.cfg.Lease / beats)
	h, ok, err := l.store.head(ctx)
	if err != nil || !ok || h.epoch != l.place.epoch || h.chunks == 0 {
		return false // what that means the next round trip finds out
	}
	keys := make([]string, h.chunks)
	for i := range keys {
		keys[i] = l.store.chunkKey(h.epoch, h.snap, i)
	}
	there, err := l.store.client.Exists(ctx, keys...).Result()
	if err != nil || there == int64(h.chunks) {
		return false
	}
	l.logger.Warn("The Redis has lost what the guards wrote down there: it is written again", "of", h.chunks, "there", there)
	return true
}

func (l *Log) publish(ctx context.Context) error {
	at := l.place
	chunks, err := l.store.write(ctx, at.epoch, at.seq, l.save())
	if err != nil {
		return err
	}
	l.litter = append(l.litter, l.snapshot, snapshot{at.epoch, at.seq, chunks})
	args := []any{at.epoch, at.seq, at.mark, chunks}
	now := l.Now()
	for _, b := range l.buried {
		if !b.until.After(now) {
			args = append(args, string(b.guard))
		}
	}
	before, err := l.store.publish.Run(ctx, l.store.client, l.store.keys(), args...).StringSlice()
	if err != nil {
		return err
	}
	l.unsaved = 0
	l.buried = slices.DeleteFunc(l.buried, func(b buried) bool { return !b.until.After(now) })
	if len(before) == 2 { // else somebody was faster
		seq, _ := strconv.ParseUint(before[0], 10, 64)
		n, _ := strconv.Atoi(before[1])
		l.litter = append(l.litter, snapshot{at.epoch, seq, n})
	}
	return nil
}

// tidy removes the snapshots that this guard wrote or knew, but that which the head names:
// those before it, of epochs before, and those that were never published.
func (l *Log) tidy(ctx context.Context, now time.Time) {
	if len(l.litter) == 0 || now.Before(l.tidyAgain) {
		return
	}
	h, ok, err := l.store.head(ctx)
	if err != nil || !ok {
		return // what that means the next round trip finds out
	}
	l.snapshot = h.snapshot()
	for ; len(l.litter) > 0; l.litter = l.litter[1:] {
		if s := l.litter[0]; s != l.snapshot {
			err = l.store.remove(ctx, s.epoch, s.seq, s.chunks)
		}
		if err != nil {
			l.tidyAgain = now.Add(l.cfg.Lease)
			l.complain("A snapshot that no guard reads any more is left in the Redis", "err", err)
			return
		}
	}
}

func (s *store) remove(ctx context.Context, epoch string, seq uint64, chunks int) error {
	for i := range chunks {
		if err := s.client.Unlink(ctx, s.chunkKey(epoch, seq, i)).Err(); err != nil {
			return err
		}
	}
	return nil
}
