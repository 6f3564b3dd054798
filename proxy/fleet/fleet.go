// Package fleet is several Pushgateways that look like one.
//
// A group belongs to one of them: to that which rendezvous hashing finds for its job, so
// that a change of their list concerns no other groups than those of what came or went.
// A group that another one holds, from before such a change, stays there until it is
// replaced: a PUT goes where the group belongs, and then deletes it where it was; a POST
// and a DELETE go where it is.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Fleet is several Pushgateways as one upstream. Groups must have listed what there is
// before the first Do. It is safe for concurrent use, but for writes of one group, which
// the caller has come one after the other; and it collects their metrics.
type Fleet struct {
	all     []*gateway.Upstream
	seeds   []uint64 // of their names, for the hash
	staying int      // the first of them, which groups belong to
	logger  *slog.Logger

	listing sync.Mutex

	mu     sync.Mutex
	strays map[string]int  // the groups that are not where they belong, and who has them
	moved  map[string]bool // the groups that have moved since a listing began; nil if none is under way
	up     []bool          // whether the last page came
}

// New returns the fleet of these upstreams, at least one. The leaving ones are read and
// hold what they have, but no group belongs to them.
func New(staying, leaving []*gateway.Upstream, logger *slog.Logger) *Fleet {
	f := &Fleet{all: append(append([]*gateway.Upstream(nil), staying...), leaving...), staying: len(staying), logger: logger, strays: map[string]int{}}
	for _, u := range f.all {
		f.seeds = append(f.seeds, xxhash.Sum64String(u.Name()))
	}
	f.up = make([]bool, len(f.all))
	return f
}

// Place returns which of the upstreams a group belongs to.
func (f *Fleet) Place(key wire.Key) int {
	job := xxhash.Sum64String(key.Job())
	best, most := 0, uint64(0)
	for i, seed := range f.seeds[:f.staying] {
		if w := mix(job ^ seed); i == 0 || w > most {
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

func (f *Fleet) holder(key wire.Key) (at int, stray bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, stray = f.strays[key.ID()]; stray {
		return at, true
	}
	return f.Place(key), false
}

// Do sends a write to the upstream that is to have it.
func (f *Fleet) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	at, stray := f.holder(r.Key)
	if stray && r.Method == http.MethodPut {
		return f.move(ctx, r, at)
	}
	answer, err := f.all[at].Do(ctx, r)
	if stray && r.Method == http.MethodDelete && taken(answer, err) {
		f.settled(r.Key)
	}
	return answer, err
}

func taken(a gateway.Answer, err error) bool { return err == nil && a.Status >= 200 && a.Status < 300 }

// move replaces a group where it belongs, and deletes it where it was. If that ends in
// between both have it, of which the next listing makes one.
func (f *Fleet) move(ctx context.Context, r gateway.Request, from int) (gateway.Answer, error) {
	answer, err := f.all[f.Place(r.Key)].Do(ctx, r)
	if !taken(answer, err) {
		return answer, err
	}
	f.settled(r.Key)
	f.erase(ctx, r.Key, from)
	return answer, nil
}

// erase deletes the old copy of a group.
func (f *Fleet) erase(ctx context.Context, key wire.Key, from int) {
	answer, err := f.all[from].Do(ctx, gateway.Request{Method: http.MethodDelete, Key: key})
	if !taken(answer, err) {
		f.logger.Warn("The old copy of a group that has moved is not deleted yet: the next listing finds it", "group", key.String(), "pushgateway", f.all[from].Name(), "status", answer.Status, "err", err)
	}
}

func (f *Fleet) settled(key wire.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.strays, key.ID())
	if f.moved != nil {
		f.moved[key.ID()] = true
	}
}

// Forward sends a request to a listed endpoint of all, and returns the first answer that
// is no success, or the last.
func (f *Fleet) Forward(ctx context.Context, escapedPath string, r gateway.Request) (answer gateway.Answer, err error) {
	for _, u := range f.all {
		if answer, err = u.Forward(ctx, escapedPath, r); !taken(answer, err) {
			return answer, err
		}
	}
	if escapedPath == "/api/v1/admin/wipe" {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.strays)
	}
	return answer, nil
}

// located is a group and the upstream that has it.
type located struct {
	gateway.Group
	at int
}

// Groups lists what all of them hold, one call at a time; it fails if one does not tell.
// Of a group that two have, the one that was pushed to later stands, and the other is
// deleted.
func (f *Fleet) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	f.listing.Lock()
	defer f.listing.Unlock()
	f.begin()
	found := map[string]located{}
	var old []located
	for at, u := range f.all {
		groups, err := u.Groups(ctx, seed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.Name(), err)
		}
		for _, g := range groups {
			mine := located{g, at}
			if other, twice := found[g.Key.ID()]; twice {
				if f.before(mine, other) {
					mine, other = other, mine
				}
				old = append(old, other)
			}
			found[g.Key.ID()] = mine
		}
	}
	out, strays := make([]gateway.Group, 0, len(found)), map[string]int{}
	for id, g := range found {
		out = append(out, g.Group)
		if g.at != f.Place(g.Key) {
			strays[id] = g.at
		}
	}
	f.relearn(strays)
	for _, g := range old {
		f.erase(ctx, g.Key, g.at)
	}
	return out, nil
}

// before reports whether a copy of a group is older than another. A copy that no push
// was ever accepted in is the oldest; of two of one time, it is the stray.
func (f *Fleet) before(a, b located) bool {
	if !a.Pushed.Equal(b.Pushed) {
		return a.Pushed.Before(b.Pushed)
	}
	return a.at != f.Place(a.Key)
}

func (f *Fleet) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = map[string]bool{}
}

// relearn takes over which groups are elsewhere, but of those that have moved since.
func (f *Fleet) relearn(strays map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.moved {
		delete(strays, id)
	}
	if before, now := len(f.strays), len(strays); now != before {
		f.logger.Info("Groups are not on the Pushgateway they belong to: each moves with its next PUT", "groups", now, "before", before)
	}
	f.strays, f.moved = strays, nil
}

// OwnFamilies are those that any of them exposes of itself.
func (f *Fleet) OwnFamilies(ctx context.Context) (map[string]dto.MetricType, error) {
	out := map[string]dto.MetricType{}
	var errs []error
	for _, u := range f.all {
		own, err := u.OwnFamilies(ctx)
		maps.Copy(out, own)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// Started is when the last of them started.
func (f *Fleet) Started(ctx context.Context) (last time.Time, err error) {
	for _, u := range f.all {
		t, err := u.Started(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if t.After(last) {
			last = t
		}
	}
	return last, nil
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
