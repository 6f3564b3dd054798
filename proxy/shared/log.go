package shared

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/proxy/clock"
)

// ErrAway says that Redis does not answer, so that nobody can tell what the other
// guards do. A retry may succeed.
var ErrAway = errors.New("the Redis that the guards share does not answer")

// ErrUnsent is the ErrAway of a command that was not sent: no guard will ever apply it.
var ErrUnsent = fmt.Errorf("%w", ErrAway)

// errClosed says that the log is closed.
var errClosed = errors.New("the guard is about to end")

// Guard names a guard from its start to its end.
type Guard string

// Entry is a command in its place in the order.
type Entry struct {
	Guard Guard // whose command it is
	At    time.Time
	Body  []byte // what was given to Do or Post; not to be changed, free to keep
	// Own is what was given with it, on the guard whose command it is; else nil.
	Own any
	// Did is when a guard did that while it was by itself, which is before At; zero if
	// nothing was done yet.
	Did time.Time
}

// Room is what the commands of all guards change: a replica on each of them. What
// it makes of the same commands must be the same everywhere. Its methods are called
// one at a time.
type Room interface {
	// Apply carries out a command. An error says that it cannot read it, wholly or in
	// part; what it did nonetheless must be the same everywhere, too.
	Apply(e Entry) error
	// Leave ends what a guard has begun that has left.
	Leave(guard Guard, at time.Time)
	// Save appends all there is.
	Save(dst []byte) []byte
	// Restore replaces all there is by what Save wrote; nothing empties the room.
	Restore(saved []byte) error
}

// Config is what a Log is made of.
type Config struct {
	// URL of the Redis, as redis.ParseURL reads it: redis://, rediss:// or unix://.
	URL string
	// TLS is how to speak to a Redis of rediss://, nil as Go does by itself.
	TLS *tls.Config
	// Fleet leads the names of all keys; guards of one name share what they know.
	// Empty is "pushguard".
	Fleet string
	// Timeout bounds each round trip, and a connection's beginning. 0 is 1s.
	Timeout time.Duration
	// Lease is for how long a guard that is not heard of is thought to be there. 0 is
	// 10s.
	Lease time.Duration
	// Election is for how long guards that find a Redis which has forgotten wait for one
	// another, and one that comes for those. It has to be longer than it takes them to
	// notice that the Redis answers, which is a pause of a second and a round trip that
	// hangs. 0 is 3s.
	Election time.Duration
	// Degrade has a guard go on by itself while Redis is away, see Door.Alone.
	Degrade bool
	// OutageBytes bounds what a guard keeps that goes on by itself, in bytes of
	// commands. Beyond that it does so no more. 0 is 64 MiB.
	OutageBytes int
	// SnapshotAfter is after how many bytes of commands, as they are in Redis, the rooms
	// are written down. 0 is 32 MiB.
	SnapshotAfter int
	// Version is that of this guard's program: one that says what guards of another
	// version cannot read ends their part, see ErrVersion. Empty is "unknown".
	Version string
	// Logger is told what an operator should know. Nil is told nothing.
	Logger *slog.Logger
}

// Log is the order, as one guard takes part in it. It is safe for concurrent use.
type Log struct {
	cfg     Config
	logger  *slog.Logger
	store   *store
	guard   Guard
	started time.Time
	secret  [32]byte
	rooms   []Room // by the number that leads their commands

	now    atomic.Int64 // of the order, in microseconds since 1970
	away   atomic.Bool
	heard  atomic.Int64 // when Redis answered last, since started
	ticked atomic.Pointer[tick]
	watch  atomic.Pointer[clock.Watch] // of the time of the order, since this guard has joined
	leads  atomic.Bool
	guards atomic.Int32
	rank   atomic.Int32 // among the guards, from 0
	joined atomic.Bool
	counts counts

	versions atomic.Int32 // of the guards that are there, as far as they have said

	mu     sync.Mutex
	queue  []*command
	closed bool
	wake   chan struct{} // holds one: there is something to send
	outage outage
	hold   bool // commands of rooms wait until the guards have handed in; see reunion
	finals int  // how often this guard has yet to say that it has

	place     place
	members   members
	reunion   reunion
	nudged    time.Time  // when this guard last looked whether that is over
	flying    []*command // of the batch that was sent last, until it is applied
	batch     uint64     // its number
	took      uint64     // the newest batch of this guard that had its place
	unsaved   int        // bytes in Redis since the snapshot
	snapshot  snapshot   // the newest in Redis, as far as this guard knows
	litter    []snapshot // which are to go from there, if they are not the newest
	tidyAgain time.Time  // not before this, after one that could not be removed
	saveAgain time.Time  // not before this, after one that could not be written
	lookAgain time.Time  // not before this whether the snapshot is there
	buried    []buried   // guards that have left, and the Redis has yet to forget

	doubted    uint64 // the place of an entry that was asked for once more
	resent     int    // how often in turn the Redis had a batch of this guard otherwise
	complained time.Time
	unsaid     int // what could not be read since
}

// place is how far a guard has come.
type place struct {
	epoch, mark string
	seq         uint64
}

// command is what somebody wants done.
type command struct {
	room   byte
	body   []byte
	own    any
	posted bool
	at     int64      // when it was posted, where guards go on by themselves, in microseconds
	did    int64      // when it was done already, while Redis was away, in microseconds; else 0
	taken  bool       // it is being handed in
	parts  []*command // of one that hands in
	done   chan struct{}
	err    error
}

func (c *command) end(err error) {
	c.err = err
	close(c.done)
}

// Open connects to the Redis of a fleet, of which it is the first guard if there is
// none, and none comes back for Config.Election. It fails if Redis does not answer, or
// keeps the order of another version.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg.Fleet, cfg.Timeout = cmp.Or(cfg.Fleet, "pushguard"), cmp.Or(cfg.Timeout, time.Second)
	cfg.Lease, cfg.SnapshotAfter = cmp.Or(cfg.Lease, 10*time.Second), cmp.Or(cfg.SnapshotAfter, 32<<20)
	cfg.Election = cmp.Or(cfg.Election, 3*time.Second)
	cfg.OutageBytes, cfg.Version = cmp.Or(cfg.OutageBytes, 64<<20), cmp.Or(cfg.Version, "unknown")
	name := make([]byte, 8)
	_, _ = rand.Read(name) // never fails
	l := &Log{cfg: cfg, logger: cfg.Logger, guard: Guard(hex.EncodeToString(name)), started: time.Now(), wake: make(chan struct{}, 1), counts: newCounts()}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Degrade {
		l.outage.parted = make(chan struct{})
	}
	var err error
	if l.store, err = newStore(cfg); err != nil {
		return nil, err
	}
	if err = l.found(ctx); err != nil {
		return nil, errors.Join(err, l.store.close())
	}
	return l, nil
}

// Secret is the fleet's own, and the same on every guard.
func (l *Log) Secret() [32]byte { return l.secret }

// Now is the time of the order: that of the last command that was applied. It never
// goes back.
func (l *Log) Now() time.Time { return time.UnixMicro(l.now.Load()) }

// Leads reports whether this guard is the one that does what one is to do. Of guards
// that go on by themselves none is.
func (l *Log) Leads() bool { return l.leads.Load() && !(l.cfg.Degrade && l.Away()) }

// Current reports whether Redis answered within half a lease: the others know then
// that this guard is there. One that goes on by itself asks nobody.
func (l *Log) Current() bool {
	return time.Since(l.started)-time.Duration(l.heard.Load()) < l.cfg.Lease/2 || l.Alone()
}

// Guards is how many guards there are, as far as this one knows.
func (l *Log) Guards() int { return int(l.guards.Load()) }

// Away reports whether Redis did not answer when it was last asked.
func (l *Log) Away() bool { return l.away.Load() }

// Room adds a room, before Join. Every guard adds the same in the same order.
func (l *Log) Room(r Room) *Door {
	l.rooms = append(l.rooms, r)
	return &Door{log: l, room: byte(len(l.rooms))}
}

// Door leads the commands of one room to all guards.
type Door struct {
	log  *Log
	room byte
}

// Guard is the name of this guard.
func (d *Door) Guard() Guard { return d.log.guard }

// Now is Log.Now.
func (d *Door) Now() time.Time { return d.log.Now() }

// Ahead returns by how much the time of the order went forward of itself within a time,
// as where the clock of the Redis was set: what looks old by that may not be.
func (d *Door) Ahead(last time.Duration) time.Duration {
	if w := d.log.watch.Load(); w != nil {
		return w.Ahead(last)
	}
	return 0
}

// Do puts a command into the order and returns once this guard has applied it. An
// error, which is ErrAway or that of ctx, says that it was not by now; it may be yet,
// unless it is ErrUnsent.
// One of Room.Apply says that it never will.
func (d *Door) Do(ctx context.Context, body []byte, own any) error {
	return d.log.do(ctx, &command{room: d.room, body: body, own: own, done: make(chan struct{})})
}

// Post puts a command into the order, some time after those posted before. It waits
// for nobody, also while Redis is away.
func (d *Door) Post(body []byte, own any) Posted {
	c := &command{room: d.room, body: body, own: own, posted: true, done: make(chan struct{})}
	d.log.enqueue(c)
	return Posted{c}
}

// Keep is Post, and returns once this guard has applied the command. An error says
// that it waits still: it is not given up while this guard lives, unless it is that of
// Room.Apply. Of a guard that goes on by itself, later says so instead.
func (d *Door) Keep(ctx context.Context, body []byte, own any) (later bool, err error) {
	c := &command{room: d.room, body: body, own: own, posted: true, done: make(chan struct{})}
	if !d.log.enqueue(c) {
		return false, errClosed
	}
	if d.log.away.Load() {
		return d.log.cfg.Degrade, d.log.awayError()
	}
	timer := time.NewTimer(2 * d.log.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return false, c.err
	case <-timer.C:
		return d.log.cfg.Degrade, d.log.awayError()
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// awayError is ErrAway, if that is an error.
func (l *Log) awayError() error {
	if l.cfg.Degrade {
		return nil
	}
	return ErrAway
}

// Sync returns once this guard knows all that was in the order when it was called.
func (d *Door) Sync(ctx context.Context) error {
	return d.log.do(ctx, &command{done: make(chan struct{})})
}

func (l *Log) do(ctx context.Context, c *command) error {
	if l.away.Load() {
		return ErrUnsent
	}
	if !l.enqueue(c) {
		return errClosed
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) enqueue(c *command) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.cfg.Degrade && c.posted && c.room != 0 {
		c.at = l.clock().UnixMicro()
	}
	if l.cfg.Degrade && l.away.Load() {
		if !c.posted {
			c.end(ErrUnsent)
			return true
		}
		l.keep(c)
	}
	l.queue = append(l.queue, c)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

const (
	batchBytes    = 1 << 20
	batchCommands = 1000
)

// collect takes what waits, as much as a batch holds. What was done while Redis was
// away is handed in by a command of its own.
func (l *Log) collect() []*command {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []*command
	kept, bytes := l.queue[:0:0], 0
	for i, c := range l.queue {
		if len(taken) == batchCommands || len(taken) > 0 && bytes+len(c.body) > batchBytes {
			kept = append(kept, l.queue[i:]...)
			break
		}
		if l.hold && c.did == 0 && (c.room != 0 || c.body == nil) {
			kept = append(kept, c)
			continue
		}
		bytes += len(c.body)
		taken = append(taken, c)
	}
	l.queue = kept
	return l.handingIn(taken)
}

// abandon ends what waits and was not posted.
func (l *Log) abandon(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.queue[:0:0]
	for _, c := range l.queue {
		if c.posted {
			kept = append(kept, c)
		} else {
			c.end(err)
		}
	}
	l.queue = kept
}
