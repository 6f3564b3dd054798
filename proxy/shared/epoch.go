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
	if err := l.store.single(ctx); err != nil {
		return err
	}
	h, ok, err := l.store.head(ctx)
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

// crown begins an epoch with what the guard knows, unless the head is another by now
// than the one that was seen.
func (l *Log) crown(ctx context.Context, seen head, saved []byte) error {
	name := make([]byte, 8)
	_, _ = rand.Read(name)
	epoch := hex.EncodeToString(name)
	chunks, err := l.store.write(ctx, epoch, l.place.seq, saved)
	if err != nil {
		return err
	}
	args := []any{
		seen.epoch, "", epoch, l.place.seq, l.place.mark, l.now.Load(), hex.EncodeToString(l.secret[:]), format, chunks, lifetime.Milliseconds(),
	}
	if seen.epoch != "" {
		args[1] = strconv.FormatUint(seen.seq, 10)
	}
	for _, m := range l.members.list {
		args = append(args, string(m.guard), m.batch)
	}
	return l.store.crown_.Run(ctx, l.store.client, l.store.keys(), args...).Err()
}

// electionTime is for how long guards that find a Redis which has forgotten wait for
// one another: each says how far it has come, and the farthest begins the epoch.
const electionTime = time.Second

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
	if h.epoch != "" && h.epoch != l.place.epoch {
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
	return l.cycle(ctx)
}

type candidate struct {
	seq   uint64
	guard Guard
}

// candidacy is for how long a guard that said how far it has come is waited for, unless
// it says so again: it may have ended since.
const candidacy = 10 * electionTime

// elect says how far the guard has come, waits for the others to say it, and returns
// the farthest.
func (l *Log) elect(ctx context.Context) (candidate, error) {
	key := l.store.prefix + "election"
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
	sleep(ctx, electionTime)
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
