package shared

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pushguard/pushguard/proxy/clock"
	"github.com/pushguard/pushguard/proxy/state"
)

const (
	// look is how often a guard that has nothing to say looks for news.
	look = 100 * time.Millisecond
	// firstAgain is how soon Redis is asked again that did not answer; each further
	// wait is twice as long, up to lastAgain.
	firstAgain, lastAgain = 50 * time.Millisecond, time.Second
	// beats is how many signs of life there are in a lease.
	beats = 5
)

// The commands of the log itself, which are of no room.
const (
	beat     = 'b'
	farewell = 'f'
	handIn   = 'h' // {room did body}: what a guard did by itself; nothing: that is all
)

// remembered is for how long the Redis keeps the number of the last batch of a guard that
// has left unless it said so: it may come back, and say once more what it does not know to
// have its place.
const remembered = 24 * time.Hour

// buried is a guard that has left.
type buried struct {
	guard Guard
	batch uint64
	until time.Time // is remembered; zero: it said farewell
}

var errState = errors.New("what the guards share is damaged, or of a newer version")

// Join takes the guard to where the others are, and then sends and applies until
// ctx ends. It calls joined once, when the first is done; an error before is why it
// cannot, and one afterwards, such as ErrVersion, why it can no longer: nobody is answered
// then.
func (l *Log) Join(ctx context.Context, joined func()) error {
	if err := l.load(ctx); err != nil {
		return err
	}
	l.post(beat)
	if err := l.cycle(ctx); err != nil {
		return l.leave(err)
	}
	l.watch.Store(clock.Beside(func() (time.Time, time.Duration) { return l.clock(), time.Since(l.started) }))
	l.joined.Store(true)
	for _, m := range l.members.list {
		l.meet(m.guard, m.version)
	}
	joined()
	next := time.Now().Add(l.cfg.Lease / beats)
	for ctx.Err() == nil {
		if now := time.Now(); now.After(next) {
			next = now.Add(l.cfg.Lease / beats)
			l.post(beat)
		}
		l.answerReunion()
		if err := l.cycle(ctx); err != nil {
			if err := l.recover(ctx, err); err != nil {
				return l.leave(err)
			}
			continue
		}
		l.saveIfDue(ctx)
		if !l.ready() {
			l.pause(ctx, look)
		}
	}
	return ctx.Err()
}

// Close sends what waits, says farewell and lets go of the connections. Join has to
// have ended. What cannot be sent within the time of a round trip or two is lost.
func (l *Log) Close() error {
	l.post(farewell)
	l.mu.Lock()
	l.closed, l.hold = true, false
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 3*l.cfg.Timeout)
	defer cancel()
	var err error
	for err == nil && l.waiting() {
		err = l.cycle(ctx)
	}
	l.abandon(errClosed)
	return errors.Join(err, l.store.close())
}

func (l *Log) post(kind byte) {
	l.enqueue(&command{body: []byte{kind}, posted: true, done: make(chan struct{})})
}

func (l *Log) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0 || len(l.flying) > 0
}

// ready reports whether there is something to send.
func (l *Log) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flying) > 0 || !l.hold && len(l.queue) > 0
}

// pause waits until there is something to send, but not for longer than a while.
func (l *Log) pause(ctx context.Context, while time.Duration) {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// errLost says that what Redis has is not what the guard has seen.
var errLost = errors.New("the Redis has forgotten what the guards share, or a part of it")

// errAnew says that Redis has what others came to who do not know what this guard does:
// what they say of groups and counters is by another secret.
var errAnew = errors.New("the Redis had forgotten what the guards share, and one that knew nothing of it has begun anew: this one knows what was before, and can only take part once it is started again")

// isFinal reports whether an error says that the guard cannot take part any more.
func isFinal(err error) bool { return errors.Is(err, ErrVersion) || errors.Is(err, errAnew) }

// cycle is one round trip: what waits gets its place, and what has one is applied. A
// batch whose reply got lost is sent again as it was, and takes its place once.
func (l *Log) cycle(ctx context.Context) error {
	if len(l.flying) == 0 {
		if batch := l.collect(); len(batch) > 0 {
			l.mu.Lock()
			l.flying = batch
			l.mu.Unlock()
			l.batch++
		}
	}
	body := seal(l.cfg.Version, pack(l.flying))
	sent := len(body) > 0
	for more := true; more; {
		begun := time.Now()
		n, err := l.store.append(ctx, l.place, l.guard, l.batch, body)
		l.counts.trip(time.Since(begun), err)
		if err != nil {
			return err
		}
		switch n.state {
		case "ok":
		case "behind":
			if err := l.load(ctx); err != nil {
				return err
			}
			continue
		default:
			return errLost
		}
		l.hear(n.time, begun)
		l.back()
		if l.place.seq < n.seq && len(n.entries) == 0 {
			return errLost
		}
		body = nil
		if err := l.take(n.entries); err != nil {
			return err
		}
		more = l.place.seq < n.seq
	}
	if !sent {
		l.landed() // who only waited for news
	}
	return nil
}

// pack writes the commands of a batch one after the other. Those that only wait for
// their turn need no place of their own, so a batch of them is empty.
func pack(batch []*command) []byte {
	var out []byte
	for _, c := range batch {
		if c.room == 0 && c.body == nil {
			continue
		}
		out = appendBytes(append(out, c.room), c.body)
	}
	return out
}

// apply carries out a batch that has its place, if it is whole.
func (l *Log) apply(e *entry, version string, commands []byte, whole bool) error {
	name, number, _ := strings.Cut(e.mark, ":")
	guard := Guard(name)
	batch, _ := strconv.ParseUint(number, 10, 64)
	at := time.UnixMicro(e.time)
	l.now.Store(e.time)
	for _, m := range l.members.gone(at.Add(-l.cfg.Lease)) {
		l.left(m.guard, at)
		l.buried = append(l.buried, buried{guard: m.guard, batch: m.batch, until: at.Add(remembered)})
		l.reunion.miss(m.guard, at)
	}
	if guard == l.guard {
		l.took = max(l.took, batch)
	}
	if l.members.hear(guard, batch, at, version) {
		l.meet(guard, version)
		l.buried = slices.DeleteFunc(l.buried, func(b buried) bool { return b.guard == guard })
	}
	mine, err := guard == l.guard && batch == l.batch, error(nil)
	if whole {
		err = l.carryOutAll(guard, at, commands, mine)
	} else {
		err = l.damaged(guard, mine)
	}
	if err != nil {
		return err
	}
	l.place.seq, l.place.mark = e.seq, e.mark
	l.unsaved += len(e.body) + entryBytes
	l.counts.applied(len(e.body))
	if err := l.reunite(at); err != nil {
		return err
	}
	l.standing()
	if mine && whole {
		l.resent = 0
		l.landed()
	}
	return nil
}

// carryOutAll carries out the commands of a batch; those of this guard's own have their
// commands, in the same order.
func (l *Log) carryOutAll(guard Guard, at time.Time, commands []byte, own bool) error {
	var flying []*command
	if own {
		flying = l.flying
	}
	in := state.NewReader(commands, errCommand)
	for in.Len() > 0 {
		room, body := in.Byte(), in.Take(in.Uvarint())
		var mine *command
		for mine == nil && len(flying) > 0 {
			if c := flying[0]; c.room != 0 || c.body != nil {
				mine = c
			}
			flying = flying[1:]
		}
		err := in.Err()
		if err == nil {
			err = l.carryOut(guard, at, room, body, mine)
		}
		if err == nil {
			continue
		}
		if mine != nil {
			mine.err = err
		}
		if err := l.skip(guard, err); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) carryOut(guard Guard, at time.Time, room byte, body []byte, mine *command) error {
	switch {
	case room == 0 && len(body) == 1 && body[0] == beat:
	case room == 0 && len(body) == 1 && body[0] == farewell:
		l.members.remove(guard)
		l.left(guard, at)
		l.buried = append(l.buried, buried{guard: guard})
	case room == 0 && len(body) > 0 && body[0] == handIn:
		return l.takeIn(guard, at, body[1:], mine)
	case room > 0 && int(room) <= len(l.rooms):
		e := Entry{Guard: guard, At: at, Body: body}
		if mine != nil {
			e.Own = mine.own
		}
		return l.rooms[room-1].Apply(e)
	default:
		return errCommand
	}
	return nil
}

func (l *Log) left(guard Guard, at time.Time) {
	for _, r := range l.rooms {
		r.Leave(guard, at)
	}
	if guard != l.guard && l.joined.Load() {
		l.logger.Warn("A guard has left the fleet", "guard", string(guard))
	}
}

// standing notes who leads, and of how many versions the guards are.
func (l *Log) standing() {
	l.versions.Store(int32(l.members.versions()))
	l.guards.Store(int32(len(l.members.list)))
	l.leads.Store(len(l.members.list) > 0 && l.members.list[0].guard == l.guard)
	for i, m := range l.members.list {
		if m.guard == l.guard {
			l.rank.Store(int32(i))
		}
	}
}

// landed ends the batch that was sent last.
func (l *Log) landed() {
	l.mu.Lock()
	batch := l.flying
	l.flying = nil
	l.mu.Unlock()
	for _, c := range batch {
		c.end(c.err)
	}
}

// recover goes on after a round trip that failed. An error says that the guard cannot.
func (l *Log) recover(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if isFinal(err) {
		return err
	}
	l.goAway(err)
	said := err.Error()
	for wait := firstAgain; ctx.Err() == nil; wait = min(2*wait, lastAgain) {
		l.abandon(ErrUnsent)
		l.giveUp()
		if err = l.rejoin(ctx, err); err == nil || isFinal(err) {
			return err
		}
		if reply := redis.Error(nil); errors.As(err, &reply) && err.Error() != said {
			said = err.Error()
			l.logger.Error("The Redis that the guards share refuses what they ask", "err", err)
		}
		sleep(ctx, wait)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// giveUp tells those who wait for the batch under way that nobody knows of it. It is
// sent again nonetheless: it may have its place.
func (l *Log) giveUp() {
	for i, c := range l.flying {
		if c.posted {
			continue
		}
		posted := *c
		posted.posted, posted.done = true, make(chan struct{})
		l.flying[i] = &posted
		c.end(ErrAway)
	}
}
