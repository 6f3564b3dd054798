package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/seldom"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Upstream is what a Spool stands before. *gateway.Upstream is one.
type Upstream interface {
	Do(ctx context.Context, r gateway.Request) (gateway.Answer, error)
	Forward(ctx context.Context, escapedPath string, r gateway.Request) (gateway.Answer, error)
	Groups(ctx context.Context, seed uint64) ([]gateway.Group, error)
	Started(ctx context.Context) (time.Time, error)
	Proxy() http.Handler
}

// Limits are those under which pushes were accepted.
type Limits struct {
	wire.Options
	Decoded int64 // bytes of a body
}

// Config configures a Spool.
type Config struct {
	// Upstream is where everything goes as long as it answers. Required.
	Upstream Upstream
	// Dir is where what waits is kept. Required.
	Dir *state.Dir
	// After is how long the upstream may take over a write before that is kept. 0 leaves
	// it to the upstream.
	After time.Duration
	// MaxGroups and MaxBytes bound what is kept; a write beyond fails.
	MaxGroups int
	MaxBytes  int64
	Limits    Limits
	// Lanes is how many upstreams there are, and Lane tells to which of them a write of a
	// group goes: what one of them does not take keeps nothing of another's waiting. Nil is
	// one. It is called with a lock held.
	Lanes int
	Lane  func(key wire.Key, method string) int
	// Probe asks one of the upstreams for any answer, to see whether it is back. Nil
	// asks when the upstream started.
	Probe  func(ctx context.Context, lane int) error
	Logger *slog.Logger
}

// Refusal is a write that was kept, and that the upstream then refused.
type Refusal struct {
	Key    wire.Key
	Method string
	Came   time.Time
	Status int
	Body   []byte
	Bytes  int
}

// Spool is an Upstream that keeps what its own does not take. It is safe for concurrent
// use, but for writes of one group, which the caller has come one after the other.
type Spool struct {
	Upstream
	cfg   Config
	log   *state.Log
	lanes []*lane
	// settles is how long an upstream that is back has to carry out what it had received
	// before.
	settles time.Duration

	listed    atomic.Bool // whether the upstream's groups are known
	onRefusal atomic.Pointer[func(Refusal)]
	unkept    seldom.Warning

	mu      sync.Mutex
	entries map[string]*entry // by the ID of the group
	bytes   int64
	gone    state.Position // behind the last record of a group of which nothing waits any more
	emptied chan struct{}  // holds one: nothing waits, and the log has failed to say so

	stats stats
}

// Open returns a spool with what the directory holds from before. Nothing is delivered
// before Run, and before Groups has listed what the upstream holds.
func Open(cfg Config) (*Spool, error) {
	if cfg.Lane == nil {
		cfg.Lanes, cfg.Lane = 1, func(wire.Key, string) int { return 0 }
	}
	if cfg.Probe == nil {
		cfg.Probe = func(ctx context.Context, _ int) error {
			_, err := cfg.Upstream.Started(ctx)
			return err
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Spool{Upstream: cfg.Upstream, cfg: cfg, settles: settles, entries: map[string]*entry{}, emptied: make(chan struct{}, 1)}
	var err error
	if s.log, err = cfg.Dir.Log(logName, state.LogOptions{}, s.restore); err != nil {
		return nil, err
	}
	for i := range cfg.Lanes {
		s.lanes = append(s.lanes, newLane(i))
	}
	for _, e := range s.entries {
		s.bytes += int64(e.size)
		s.enqueue(e)
		if e.lane != nil {
			e.lane.down, e.lane.unsure = true, true // for who kept this: it may still carry out what that sent
		}
	}
	if n := len(s.entries); n > 0 {
		cfg.Logger.Info("Pushes wait in the spool from before", "groups", n, "bytes", s.bytes)
	}
	return s, nil
}

// OnRefusal has f be told of every write that was kept and then refused, from many
// goroutines. It is for before Run.
func (s *Spool) OnRefusal(f func(Refusal)) { s.onRefusal.Store(&f) }

var (
	errFull = errors.New("the spool is full")
	errDisk = errors.New("the spool cannot be written")
)

// Do sends a write on, or keeps it: if the upstream does not answer it, or if others of
// the group wait. What is kept is answered 202.
func (s *Spool) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	lane := s.lanes[s.cfg.Lane(r.Key, r.Method)]
	if s.mustWait(r.Key, lane) {
		if err := s.keep(ctx, r); err != nil {
			return gateway.Answer{}, fmt.Errorf("%w: %w", gateway.ErrUnreachable, err)
		}
		return accepted(), nil
	}
	s.forget(ctx)
	answer, err := s.try(ctx, r)
	if !away(answer, err) {
		return answer, err
	}
	s.lost(lane, reason(answer, err))
	if failed := s.keep(ctx, r); failed != nil {
		s.unkept.Log(s.cfg.Logger, "A push was not kept", "group", r.Key.String(), "err", failed)
		return answer, err // it fails as without a spool
	}
	return accepted(), nil
}

// forget waits until what was delivered does not wait on disk either: it would come
// again if the process ended, over what is written now.
func (s *Spool) forget(ctx context.Context) {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	_ = s.log.Commit(ctx, gone) // a disk that takes nothing is no reason not to send
}

func accepted() gateway.Answer {
	return gateway.Answer{Status: http.StatusAccepted, Header: http.Header{}, Spooled: true}
}

// away reports whether a write is to be tried again: it had no answer, or that of one
// that cannot answer now.
func away(a gateway.Answer, err error) bool {
	if err != nil {
		return !errors.Is(err, gateway.ErrRedirect)
	}
	return a.Status >= 500 || a.Status == http.StatusTooManyRequests
}

// reason is why a write is to be tried again.
func reason(a gateway.Answer, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("it answers %d", a.Status)
}

func (s *Spool) try(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	if s.cfg.After > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.After)
		defer cancel()
	}
	return s.Upstream.Do(ctx, r)
}

func (s *Spool) mustWait(key wire.Key, l *lane) bool {
	if !s.listed.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.down || s.entries[key.ID()] != nil
}

// Waits reports whether a write of the group waits. As long as the caller sends none it
// stays so, once none does.
func (s *Spool) Waits(key wire.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key.ID()] != nil
}

// keep returns once the write is on disk. If it cannot be there, nothing was kept.
func (s *Spool) keep(ctx context.Context, r gateway.Request) error {
	e, before, position, err := s.add(r)
	if err != nil {
		s.stats.refused(err)
		return err
	}
	err = s.log.Commit(ctx, position)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.unsafe = false
	if err != nil {
		s.assign(e, before.waiting(e))
		s.record(e)
		err = fmt.Errorf("%w: %w", errDisk, err)
		s.stats.refused(err)
	} else {
		s.stats.kept.Add(1)
	}
	s.enqueue(e)
	return err
}

// add puts a write behind those of its group. What it replaces is found without the lock:
// nobody else adds to the group meanwhile, and a part that was delivered since is gone.
func (s *Spool) add(r gateway.Request) (e *entry, before snapshot, at state.Position, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.Key.ID()
	if e = s.entries[id]; e == nil {
		if len(s.entries) >= s.cfg.MaxGroups {
			return nil, before, 0, fmt.Errorf("%w, groups: %d, limit: %d", errFull, len(s.entries), s.cfg.MaxGroups)
		}
		id = string([]byte(id)) // the request's memory is its own
		e = &entry{key: wire.KeyOf(id)}
	}
	before = snapshot{e.parts, e.sending}
	e.unsafe = true // and so nothing begins to be sent meanwhile
	s.mu.Unlock()
	after := snapshot{superseding(before.parts, before.sending, newPart(r, time.Now()), r, s.cfg.Limits), before.sending}
	s.mu.Lock()
	parts := after.waiting(e)
	if by := int64(sizeOf(parts) - e.size); by > 0 && s.bytes+by > s.cfg.MaxBytes {
		e.unsafe = false
		s.enqueue(e)
		return nil, before, 0, fmt.Errorf("%w, bytes: %d and %d more, limit: %d", errFull, s.bytes, by, s.cfg.MaxBytes)
	}
	s.assign(e, parts)
	return e, before, s.record(e), nil
}

// assign has a group have these parts wait. The lock is held.
func (s *Spool) assign(e *entry, parts []*part) {
	size := sizeOf(parts)
	s.bytes += int64(size - e.size)
	e.parts, e.size = parts, size
	if id := e.key.ID(); len(parts) == 0 {
		delete(s.entries, id)
	} else {
		s.entries[id] = e
	}
}

// Groups lists what the upstream holds. Of groups of which something waits that says
// nothing: the error is then a *gateway.Partial.
func (s *Spool) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	waiting := map[string]bool{}
	for _, e := range s.all() {
		waiting[e.key.ID()] = true
	}
	groups, err := s.Upstream.Groups(ctx, seed)
	var partial *gateway.Partial
	if err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	s.dropTwins(groups)
	s.requeue()
	if !s.listed.Swap(true) {
		s.wake()
	}
	if len(waiting) == 0 {
		return groups, err
	}
	return groups, &gateway.Partial{Unknown: func(k wire.Key) bool {
		return waiting[k.ID()] || partial != nil && partial.Unknown(k)
	}}
}

// requeue has what waits go where its upstream has it go by now.
func (s *Spool) requeue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		s.enqueue(e)
	}
}

// dropTwins refuses what waits for a group that would break every scrape beside one that
// the upstream holds: it was kept when nobody knew of that.
func (s *Spool) dropTwins(groups []gateway.Group) {
	held := map[string]string{}
	for _, g := range groups {
		held[g.Key.Canonical().ID()] = g.Key.ID()
	}
	for _, e := range s.all() {
		id := e.key.ID()
		twin, ok := held[e.key.Canonical().ID()]
		if !ok || twin == id {
			continue
		}
		s.mu.Lock()
		var parts []*part
		if !e.sending && !e.unsafe { // what is on its way is the upstream's to refuse
			parts = e.parts
			s.unqueue(e)
			s.assign(e, nil)
			s.record(e)
		}
		s.mu.Unlock()
		for _, p := range parts {
			s.refused(e, p, gateway.Answer{Status: http.StatusBadRequest, Body: []byte("the Pushgateway holds the group " + wire.KeyOf(twin).String())})
		}
	}
}

// Forward forgets what waits with a wipe that has succeeded.
func (s *Spool) Forward(ctx context.Context, escapedPath string, r gateway.Request) (gateway.Answer, error) {
	answer, err := s.Upstream.Forward(ctx, escapedPath, r)
	if escapedPath == gateway.WipePath && err == nil && answer.Status >= 200 && answer.Status < 300 {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.entries {
			s.unqueue(e)
			e.parts, e.size = nil, 0
		}
		s.entries, s.bytes = map[string]*entry{}, 0
		s.gone = s.log.Append([]byte{recordWipe})
	}
	return answer, err
}

// Proxy serves reads. While the upstream is away, that the guard is there and ready is
// the spool's to say.
func (s *Spool) Proxy() http.Handler {
	next := s.Upstream.Proxy()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; (p == "/-/ready" || p == "/-/healthy") && s.Status().Away {
			s.answerReady(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
