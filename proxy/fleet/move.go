package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// moveRate is how many groups are copied, and how many old copies deleted, a second.
	moveRate = 200
	// heldAtOnce is how many groups wait to be copied together that change too often, and
	// heldTime for how long.
	heldAtOnce, heldTime = 50, 10 * time.Second
	// readTime bounds how long one upstream is read for a pass.
	readTime = 5 * time.Minute
	// firstLook is how soon an upstream is listed again that does not show a copy yet,
	// since it may answer before it has it; each further wait is three times as long, up
	// to lastLook.
	firstLook, lastLook = 100 * time.Millisecond, 3 * time.Second
	// refusedFor is how long a group stays where it is that was refused where it belongs.
	refusedFor = time.Minute
)

// Move makes one pass: it copies groups to where they belong, each as nobody writes to it,
// looks whether they are there, and deletes the old copies of those that have been there
// for Config.Rest. What an upstream that does not answer is in the way of stays for the
// next pass. A group that is written to between being read and being copied stays for it,
// too. One call at a time works.
//
// Hold takes a group, so that nothing is written to it until release is called; ok is
// false if that is not to be had now. Done is how many copies were made and old ones
// deleted, left how many groups wait for more than their rest.
func (f *Fleet) Move(ctx context.Context, hold func(context.Context, wire.Key) (release func(), ok bool)) (done, left int) {
	f.moving.Lock()
	defer f.moving.Unlock()
	p := &pass{Fleet: f, hold: hold, away: make([]bool, len(f.all)), homes: make([]*residents, f.staying), seen: map[string]bool{}}
	for at := range f.all {
		p.copyFrom(ctx, at)
	}
	for at := range f.all[:f.staying] {
		p.verify(ctx, at)
	}
	p.retire(ctx)
	p.tell()
	return p.copied + p.retired, p.left(time.Now())
}

// pass is one call of Move.
type pass struct {
	*Fleet
	hold func(context.Context, wire.Key) (func(), bool)
	pace gateway.Pace
	away []bool // upstreams that did not answer
	// homes are those that groups of this pass belong to, nil if not listed yet.
	homes []*residents
	seen  map[string]bool // groups that were seen where they belong

	copied, retired, refused int
	refusal                  string // the first
}

// lost notes that an upstream does not answer, or not as it should.
func (p *pass) lost(at int, err error) {
	if !p.away[at] && !errors.Is(err, context.Canceled) {
		p.logger.Warn("Groups cannot move now", "pushgateway", p.all[at].Name(), "err", err)
	}
	p.away[at] = true
}

// pick returns the standings that a pass has something to do with.
func (f *Fleet) pick(is func(standing) bool) map[string]standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]standing{}
	for id, s := range f.standings {
		if is(s) {
			out[id] = s
		}
	}
	return out
}

// strays reports whether a group has yet to be copied.
func (f *Fleet) strays(s standing) bool { return s.holder != nobody && s.holder != f.Place(s.key) }

// ripe reports whether the group may be copied now.
func (f *Fleet) ripe(s standing, now time.Time) bool {
	return !s.doubtful && now.Sub(s.doubted) > f.settles && now.After(s.retry)
}

// rested reports whether the old copies of the group may go.
func (f *Fleet) rested(s standing, now time.Time) bool {
	return s.worthless || !s.seen.IsZero() && now.Sub(s.seen) >= f.rest
}

// left is how many groups are waiting for something else than their rest.
func (f *Fleet) left(now time.Time) int {
	return len(f.pick(func(s standing) bool {
		return f.strays(s) || len(s.old) > 0 && (s.seen.IsZero() && !s.worthless || f.rested(s, now))
	}))
}

// copyFrom copies the groups that one upstream has in place of others.
func (p *pass) copyFrom(ctx context.Context, at int) {
	now := time.Now()
	wanted := p.pick(func(s standing) bool { return s.holder == at && p.strays(s) && p.ripe(s, now) })
	if len(wanted) == 0 {
		return
	}
	p.visit(ctx, wanted)
	parcels, err := p.read(ctx, at, wanted)
	if err != nil {
		p.lost(at, err)
		return
	}
	var late []wire.Key
	for _, c := range parcels {
		if p.away[p.Place(c.of.Key)] {
			continue
		}
		if !p.held(ctx, c.of.Key, func() {
			if !p.copy(ctx, c, at) {
				late = append(late, c.of.Key)
			}
		}) {
			return
		}
	}
	for keys := range slices.Chunk(late, heldAtOnce) {
		p.copyHeld(ctx, at, keys)
	}
}

// visit lists where the groups belong that are to be copied.
func (p *pass) visit(ctx context.Context, wanted map[string]standing) {
	for _, s := range wanted {
		home := p.Place(s.key)
		if p.away[home] {
			continue
		}
		if _, err := p.residents(ctx, home); err != nil {
			p.lost(home, err)
		}
	}
}

// copyHeld copies groups that are written to so often that they change while they are
// read: they are read while nobody writes to them.
func (p *pass) copyHeld(ctx context.Context, at int, keys []wire.Key) {
	wanted := map[string]standing{}
	for _, key := range keys {
		release, ok := p.hold(ctx, key)
		if !ok {
			continue
		}
		defer release()
		if s, ok := p.standing(key.ID()); ok && s.holder == at && p.ripe(s, time.Now()) {
			wanted[key.ID()] = s
		}
	}
	if len(wanted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	parcels, err := p.read(ctx, at, wanted)
	if err != nil {
		p.lost(at, err)
		return
	}
	for _, c := range parcels {
		if p.away[p.Place(c.of.Key)] || !p.pace.Wait(ctx, moveRate) {
			return
		}
		p.copy(ctx, c, at)
	}
}

// held does something with a group that nobody writes to, if it is to be had, and reports
// whether the pass goes on.
func (p *pass) held(ctx context.Context, key wire.Key, do func()) bool {
	if !p.pace.Wait(ctx, moveRate) {
		return false
	}
	if release, ok := p.hold(ctx, key); ok {
		defer release()
		do()
	}
	return true
}

// copy puts a group where it belongs, unless it has changed since it was read: then it
// reports false.
func (p *pass) copy(ctx context.Context, c *parcel, from int) bool {
	p.wiping.RLock()
	defer p.wiping.RUnlock()
	s, ok := p.standing(c.of.Key.ID())
	switch {
	case !ok || s.holder != from:
		return true
	case s.writes != c.writes:
		return false
	}
	home := p.Place(s.key)
	if err := p.homes[home].contradicted(c.of); err != nil {
		c.unfit = err
	}
	if c.unfit != nil {
		p.set(p.refuse(s, c.unfit.Error()))
		return true
	}
	answer, err := p.put(ctx, home, c)
	switch {
	case taken(answer, err):
		p.homes[home].add(c.of)
		p.set(s.copiedTo(home, p.original(c.of)))
		p.copied++
		return true
	case err == nil && answer.Status == http.StatusBadRequest:
		s = p.refuse(s, string(answer.Body))
	case err == nil:
		p.lost(home, reason(answer, nil))
	case untouched(err):
		p.lost(home, err)
	default:
		s.frozen, s.doubted = true, time.Now()
		p.lost(home, err)
	}
	p.set(s)
	return true
}

// refuse has a group stay where it is for a while.
func (p *pass) refuse(s standing, why string) standing {
	s.retry = time.Now().Add(refusedFor)
	if p.refused++; p.refused == 1 {
		p.refusal = fmt.Sprintf("%s: %.200s", s.key, why)
	}
	return s
}

// put sends a group as it is: what was pushed, and whether the last push failed. It
// returns the answer that decides.
func (p *pass) put(ctx context.Context, home int, c *parcel) (answer gateway.Answer, err error) {
	steps := make([]func() (gateway.Answer, error), 0, 2)
	if !c.of.Pushed.IsZero() {
		steps = append(steps, func() (gateway.Answer, error) {
			return p.all[home].Do(ctx, gateway.Request{
				Method: http.MethodPut, Key: c.of.Key, Body: c.body.Bytes(), ContentType: wire.Protobuf.ContentType(),
			})
		})
	}
	if !c.of.Failed.IsZero() {
		steps = append(steps, func() (gateway.Answer, error) { return p.fail(ctx, home, c.of.Key) })
	}
	if c.of.Pushed.After(c.of.Failed) {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if answer, err = step(); !taken(answer, err) {
			break
		}
	}
	return answer, err
}

// fail has an upstream note that a push of a group has failed, by one that every
// Pushgateway refuses.
func (p *pass) fail(ctx context.Context, at int, key wire.Key) (gateway.Answer, error) {
	answer, err := p.all[at].Do(ctx, gateway.Request{
		Method: http.MethodPost, Key: key, Body: []byte("refused 0 0\n"), ContentType: wire.TextType,
	})
	if err == nil && answer.Status == http.StatusBadRequest {
		answer.Status = http.StatusOK // as it was to be
	}
	return answer, err
}

// original is a group as it was before it ever moved.
func (f *Fleet) original(g gateway.Group) gateway.Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.aged[g.Key.Canonical().ID()]; ok && a.stamp == g.Stamp {
		g.Pushed, g.Failed, g.Stamp = a.pushed, a.failed, a.was
	}
	return g
}

// tell says what the pass came to.
func (p *pass) tell() {
	p.stats.add(p.copied, p.retired, p.refused)
	if p.copied+p.retired > 0 {
		p.logger.Info("Groups were copied to the Pushgateway they belong to, and old copies deleted", "copied", p.copied, "deleted", p.retired)
	}
	if p.refused > 0 {
		p.logger.Error("Groups contradict what the Pushgateway they belong to holds, or were refused by it, and stay where they are", "groups", p.refused, "first", p.refusal)
	}
}

// reason is why a request did not come to what it should.
func reason(a gateway.Answer, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("it answers %d", a.Status)
}
