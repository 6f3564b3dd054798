// Package fleet is several Pushgateways that look like one.
//
// A group belongs to one of them: to that which rendezvous hashing finds for its job, so
// that a change of their list concerns no other groups than those of what came or went.
// A group that another one holds, from before such a change, is moved by Move: copied,
// seen where it belongs, and then deleted where it was. Until it is copied a POST and a
// DELETE go where it is; a PUT always goes where it belongs. At every moment one of those
// that have a group is its holder, and what the others have is on no page twice.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Config configures a Fleet.
type Config struct {
	// Staying are those that groups belong to, at least one. Leaving ones are read, and
	// hold what they have until it has moved.
	Staying, Leaving []*gateway.Upstream
	// Rest is for how long after a group was seen where it belongs its old copy stays:
	// the new place may have it in memory alone.
	Rest time.Duration
	// Logger is told what an operator should know. Nil is told nothing.
	Logger *slog.Logger
}

// Fleet is several Pushgateways as one upstream. Groups must have listed what there is
// before the first Do. It is safe for concurrent use, but for writes of one group, which
// the caller has come one after the other; and it collects their metrics.
type Fleet struct {
	all     []*gateway.Upstream
	seeds   []uint64 // of their names, for the hash
	staying int      // the first of them, which groups belong to
	rest    time.Duration
	settles time.Duration // settles, but in tests
	logger  *slog.Logger
	seed    uint64 // of the fingerprints by which groups are read

	listing sync.Mutex
	moving  sync.Mutex
	wiping  sync.RWMutex // held by a wipe, and shared by whoever copies
	reads   reads
	stats   stats
	journal *journal
	twins   map[twins]bool // those that are one, and whether that was told; guarded by listing

	mu        sync.Mutex
	standings map[string]standing // of groups that are not, or not only, where they belong
	changed   map[string]bool     // standings that changed since a listing began; nil if none is under way
	ticks     int
	aged      map[string]aged // by canonical keys
	doubles   map[string]bool // canonical keys that several groups have; it is not changed
	told      bool            // there was a listing
	up        []bool          // who was on the last page that was read to its end; nil before one was
	starts    []time.Time     // when each started, as it said last
	restarts  int             // how often any of them was seen to have started again
}

// New returns the fleet of these upstreams, which keeps what it finds in memory alone.
func New(cfg Config) *Fleet {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{
		all: append(append([]*gateway.Upstream(nil), cfg.Staying...), cfg.Leaving...), staying: len(cfg.Staying),
		rest: cfg.Rest, settles: settles, logger: cfg.Logger, seed: rand.Uint64(),
		standings: map[string]standing{}, aged: map[string]aged{}, twins: map[twins]bool{},
	}
	for _, u := range f.all {
		f.seeds = append(f.seeds, xxhash.Sum64String(u.Name()))
	}
	f.starts = make([]time.Time, len(f.all))
	return f
}

// Place returns which of the upstreams a group belongs to.
func (f *Fleet) Place(key wire.Key) int { return f.home(key.Job()) }

// Target returns which of the upstreams a write of a group is sent to.
func (f *Fleet) Target(key wire.Key, method string) int {
	s, elsewhere := f.standing(key.ID())
	if !elsewhere || s.frozen || s.holder == nobody || method == http.MethodPut {
		return f.Place(key)
	}
	return s.holder
}

func (f *Fleet) home(job string) int {
	hash := xxhash.Sum64String(job)
	best, most := 0, uint64(0)
	for i, seed := range f.seeds[:f.staying] {
		if w := mix(hash ^ seed); i == 0 || w > most {
			best, most = i, w
		}
	}
	return best
}

// mix is the finalizer of SplitMix64: every bit of x concerns every bit of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Do sends a write to the upstream that is to have it.
func (f *Fleet) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	s, elsewhere := f.written(r.Key)
	switch {
	case !elsewhere:
		return f.all[f.Place(r.Key)].Do(ctx, r)
	case r.Method == http.MethodPut, s.holder == nobody && r.Method == http.MethodPost:
		return f.replace(ctx, r, s)
	case s.frozen:
		return gateway.Answer{}, errFrozen
	case r.Method == http.MethodDelete:
		return f.remove(ctx, r, s)
	}
	answer, err := f.all[s.holder].Do(ctx, r)
	f.answered(r.Key, err)
	return answer, err
}

func taken(a gateway.Answer, err error) bool { return err == nil && a.Status >= 200 && a.Status < 300 }

// untouched reports whether an upstream has certainly not acted.
func untouched(err error) bool {
	return errors.Is(err, gateway.ErrUnreachable) || errors.Is(err, gateway.ErrRedirect)
}

// replace writes a group anew where it belongs. What others have of it is worth nothing
// from then on; Move deletes it.
func (f *Fleet) replace(ctx context.Context, r gateway.Request, s standing) (gateway.Answer, error) {
	home := f.Place(r.Key)
	answer, err := f.all[home].Do(ctx, r)
	if !taken(answer, err) {
		f.answered(r.Key, err)
		return answer, err
	}
	f.set(s.replacedAt(home))
	return answer, nil
}

// remove deletes a group where it counts, and before that what others may have of it, be it
// where it belongs, of a copy or a push that was answered as failed: whatever ends in between,
// or gets no answer, nothing of that is all that is left. What there is of it counts no more,
// and Move sees to it that it goes.
func (f *Fleet) remove(ctx context.Context, r gateway.Request, s standing) (answer gateway.Answer, err error) {
	if s.holder != nobody {
		if err := f.answers(ctx, s.holder); err != nil { // what it has may be lost with it
			return gateway.Answer{}, fmt.Errorf("%w: %w", gateway.ErrUnreachable, err)
		}
	}
	left := s.replacedAt(nobody)
	if home := f.Place(r.Key); !slices.Contains(left.old, home) {
		left.old = append(left.old, home)
	}
	for _, at := range left.old {
		if at != s.holder {
			_, _ = f.all[at].Do(ctx, r)
		}
	}
	answer = gateway.Answer{Status: http.StatusAccepted, Header: http.Header{}}
	if s.holder != nobody {
		if answer, err = f.all[s.holder].Do(ctx, r); !taken(answer, err) {
			f.answered(r.Key, err)
			return answer, err
		}
	}
	f.set(left)
	return answer, nil
}

// Forward sends a request to a listed endpoint of all, whatever the others say, and returns
// the first answer that is no success, or the last.
func (f *Fleet) Forward(ctx context.Context, escapedPath string, r gateway.Request) (answer gateway.Answer, err error) {
	wipe := escapedPath == gateway.WipePath
	if wipe {
		f.wiping.Lock()
		defer f.wiping.Unlock()
	}
	for i, u := range f.all {
		if a, failed := u.Forward(ctx, escapedPath, r); i == 0 || taken(answer, err) {
			answer, err = a, failed
		}
	}
	if wipe && taken(answer, err) {
		f.forgetAll()
	}
	return answer, err
}

// OwnFamilies are those that any of them exposes of itself. If one does not tell there is
// an error beside those of the others.
func (f *Fleet) OwnFamilies(ctx context.Context) (map[string]dto.MetricType, error) {
	out := map[string]dto.MetricType{}
	var errs []error
	for at, u := range f.all {
		err := f.answers(ctx, at)
		if err == nil {
			var own map[string]dto.MetricType
			own, err = u.OwnFamilies(ctx)
			maps.Copy(out, own)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// Started is when the last of them started, as far as they have ever said, and another time
// than before once any of them has started again, whatever their clocks: so many nanoseconds
// later as they did that. It fails if none says so now.
func (f *Fleet) Started(ctx context.Context) (last time.Time, err error) {
	var errs []error
	for at, u := range f.all {
		t, err := u.Started(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.mu.Lock()
		if was := f.starts[at]; !was.IsZero() && !was.Equal(t) {
			f.restarts++
		}
		f.starts[at] = t
		f.mu.Unlock()
	}
	if len(errs) == len(f.all) {
		return time.Time{}, errors.Join(errs...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.MaxFunc(f.starts, time.Time.Compare).Add(time.Duration(f.restarts)), nil
}

// Probe asks one of them for any answer.
func (f *Fleet) Probe(ctx context.Context, number int) error {
	_, err := f.all[number].Started(ctx)
	return err
}

// Len is how many there are, the leaving among them.
func (f *Fleet) Len() int { return len(f.all) }

// Close closes their idle connections.
func (f *Fleet) Close() {
	for _, u := range f.all {
		u.Close()
	}
}
