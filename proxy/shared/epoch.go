package shared

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// found finds the fleet, or begins one.
func (l *Log) found(ctx context.Context) error {
	if _, err := l.store.restarted(ctx); err != nil {
		return fmt.Errorf("the Redis that the guards share does not answer: %w", err)
	}
	up, err := l.store.single(ctx)
	if err != nil {
		return err
	}
	h, ok, err := l.heed(ctx, up)
	if err != nil {
		return err
	}
	if !ok {
		_, _ = rand.Read(l.secret[:]) // never fails
		if err := l.crown(ctx, head{}, nil); err != nil {
			return err
		}
		if h, _, err = l.store.head(ctx); err != nil {
			return err
		}
	}
	secret, err := hex.DecodeString(h.secret)
	if err != nil || len(secret) != len(l.secret) {
		return errState
	}
	l.secret = [32]byte(secret)
	return nil
}

// heed returns what there is, and whether there is any, once nobody is about to put
// something else in its place: guards that find a Redis which has just restarted, or been
// emptied, give it what they know.
func (l *Log) heed(ctx context.Context, up time.Duration) (h head, ok bool, err error) {
	for begun := time.Now(); ctx.Err() == nil; sleep(ctx, look) {
		if h, ok, err = l.store.head(ctx); err != nil {
			return head{}, false, err
		}
		waited := time.Since(begun)
		if ok && up+waited >= 2*l.cfg.Election { // they have noticed, and done so
			return h, true, nil
		}
		if ok || waited < l.cfg.Election {
			continue
		}
		if electing, err := l.store.client.Exists(ctx, l.store.election()).Result(); err != nil || electing == 0 {
			return head{}, false, err
		}
	}
	return head{}, false, ctx.Err()
}

// leap is how far apart epochs begin, each at a multiple of it: the places of one are all
// beyond those of the epochs before, so that a Redis which comes back with one of these is
// told from one in which somebody has begun another.
const leap = 1 << 30

// crown begins an epoch with what the guard knows, unless the head is another by now
// than the one that was seen.
func (l *Log) crown(ctx context.Context, seen head, saved []byte) error {
	name := make([]byte, 8)
	_, _ = rand.Read(name)
	epoch, seq := hex.EncodeToString(name), (l.place.seq/leap+1)*leap
	chunks, err := l.store.write(ctx, epoch, seq, saved)
	if err != nil {
		return err
	}
	l.litter = append(l.litter, seen.snapshot(), snapshot{epoch, seq, chunks})
	args := []any{
		seen.epoch, "", epoch, seq, l.place.mark, l.now.Load(), hex.EncodeToString(l.secret[:]), format, chunks, lifetime.Milliseconds(),
	}
	if seen.epoch != "" {
		args[1] = strconv.FormatUint(seen.seq, 10)
	}
	for _, b := range l.buried {
		if b.until.After(l.Now()) {
			args = append(args, string(b.guard), b.batch)
		}
	}
	for _, m := range l.members.list {
		args = append(args, string(m.guard), m.batch)
	}
	err = l.store.crown_.Run(ctx, l.store.client, l.store.keys(), args...).Err()
	if err != nil {
		l.saveAgain = time.Now().Add(l.cfg.Lease) // it may come to be yet
	}
	return err
}

// rejoin brings the guard back to the others after Redis was away, or has forgotten;
// why is what happened. It returns nil once the guard may go on.
func (l *Log) rejoin(ctx context.Context, why error) error {
	restarted, err := l.store.restarted(ctx)
	if err != nil {
		return err
	}
	if !restarted && !errors.Is(why, errLost) {
		return l.cycle(ctx)
	}
	h, _, err := l.store.head(ctx)
	if err != nil {
		l.store.doubt()
		return err
	}
	if h.epoch != "" && h.epoch != l.place.epoch && h.seq >= l.place.seq {
		return l.follow(ctx) // somebody has begun an epoch
	}
	farthest, err := l.elect(ctx)
	switch {
	case err != nil:
		l.store.doubt()
		return err
	case h.epoch != "" && h.seq >= farthest.seq:
		if err := l.cycle(ctx); !errors.Is(err, errLost) {
			return err // nothing was forgotten
		}
		return l.follow(ctx)
	case farthest.guard != l.guard:
		l.store.doubt()
		return errLost // the other one does it
	}
	l.logger.Warn("The Redis has forgotten what the guards share: it is given what this one knows", "place", l.place.seq, "had", h.seq)
	if err := l.crown(ctx, h, l.save()); err != nil {
		l.store.doubt()
		return err
	}
	l.counts.crowned()
	return l.follow(ctx)
}

// follow goes on in the epoch that is.
func (l *Log) follow(ctx context.Context) error {
	if err := l.load(ctx); err != nil {
		return err
	}
	l.sayLost(ctx)
	return l.cycle(ctx)
}

// sayLost says so where the Redis has not all that this guard said and was told to have its
// place: it was in another one, as that of which this one was a replica, which went on with
// some guards when others had left it already. What these counted there nobody has any more.
func (l *Log) sayLost(ctx context.Context) {
	known, err := l.store.client.HGet(ctx, l.store.keys()[2], string(l.guard)).Uint64()
	if err != nil || known >= l.took { // forgotten by now, or away: the next round trip finds that out
		return
	}
	l.logger.Error("The Redis has not all that this guard had said to another, from which the guards moved at different times: what it counted in the last batches, if anything, is lost", "batches", l.took-known)
	l.took = known
}

type candidate struct {
	seq   uint64
	guard Guard
}

// candidacy is for how long a guard that said how far it has come is waited for, unless
// it says so again: it may have ended since.
const candidacy = 10 * time.Second

// elect says how far the guard has come, waits for the others to say it, and returns
// the farthest, which begins the epoch.
func (l *Log) elect(ctx context.Context) (candidate, error) {
	key := l.store.election()
	client := l.store.client
	now, err := client.Time(ctx).Result()
	if err != nil {
		return candidate{}, err
	}
	if err := client.HSet(ctx, key, string(l.guard), fmt.Sprint(l.place.seq, " ", now.UnixMicro())).Err(); err != nil {
		return candidate{}, err
	}
	if err := client.PExpire(ctx, key, candidacy).Err(); err != nil {
		return candidate{}, err
	}
	sleep(ctx, l.cfg.Election)
	fields, err := client.HGetAll(ctx, key).Result()
	if err != nil {
		return candidate{}, err
	}
	if now, err = client.Time(ctx).Result(); err != nil {
		return candidate{}, err
	}
	var best candidate
	for name, text := range fields {
		var seq uint64
		var said int64
		if _, err := fmt.Sscan(text, &seq, &said); err != nil {
			return candidate{}, errState
		}
		if now.UnixMicro()-said > candidacy.Microseconds() {
			continue
		}
		if seq > best.seq || seq == best.seq && strings.Compare(name, string(best.guard)) > 0 {
			best = candidate{seq, Guard(name)}
		}
	}
	return best, nil
}
