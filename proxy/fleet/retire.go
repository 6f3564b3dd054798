package fleet

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// verify looks whether an upstream holds the groups whose old copies are to go.
func (p *pass) verify(ctx context.Context, home int) {
	now := time.Now()
	due := p.pick(func(s standing) bool {
		return s.holder == home && !s.worthless && len(s.old) > 0 && (s.seen.IsZero() || p.rested(s, now))
	})
	defer p.commit(ctx)
	for wait := firstLook; len(due) > 0; wait *= 3 {
		groups, err := p.seenBy(ctx, home)
		if err != nil {
			p.lost(home, err)
			return
		}
		for _, g := range groups {
			if s, ok := due[g.Key.ID()]; ok && p.found(g, s) {
				delete(due, g.Key.ID())
			}
		}
		if len(due) == 0 || wait > lastLook {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
	for _, s := range due {
		p.miss(s)
	}
}

func (p *pass) seenBy(ctx context.Context, home int) ([]gateway.Group, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	return p.list(ctx, home, p.seed)
}

// found notes that a group is where it belongs, if all of it is.
func (p *pass) found(g gateway.Group, was standing) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := g.Key.ID()
	s, ok := p.standings[id]
	if !ok || s.holder != was.holder || s.worthless {
		return true // there is nothing to look for any more
	}
	if s.copied != nil && !s.copied.holds(g, s.writes == was.writes && s.untouched()) {
		return false
	}
	if s.untouched() && s.writes == was.writes {
		p.keep(g.Key.Canonical().ID(), agedAs(g.Stamp, s.copied.of))
	}
	if s.hidden = true; s.seen.IsZero() {
		s.seen = time.Now()
	}
	p.standings[id] = s
	p.seen[id] = true
	return true
}

// miss has a group be where it was copied from, since the copy is not there: its new place
// has lost what it had.
func (p *pass) miss(was standing) {
	s, ok := p.standing(was.key.ID())
	if !ok || s.holder != was.holder || !s.untouched() || s.writes != was.writes {
		return // the next listing tells
	}
	s = s.without(s.copied.from)
	s.holder, s.copied, s.hidden, s.seen = was.copied.from, nil, false, time.Time{}
	p.set(s)
}

// retire deletes old copies once no page is being put together that may want them.
func (p *pass) retire(ctx context.Context) {
	now := time.Now()
	due := p.pick(func(s standing) bool {
		return len(s.old) > 0 && p.rested(s, now) && (s.worthless || p.seen[s.key.ID()])
	})
	if len(due) == 0 || p.reads.wait(ctx) != nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(due)) {
		if slices.ContainsFunc(due[id].old, func(at int) bool { return p.away[at] }) {
			continue
		}
		if !p.held(ctx, due[id].key, func() { p.erase(ctx, due[id]) }) {
			return
		}
	}
}

// erase deletes the old copies of a group, unless it stands otherwise by now.
func (p *pass) erase(ctx context.Context, was standing) {
	p.wiping.RLock()
	defer p.wiping.RUnlock()
	s, ok := p.standing(was.key.ID())
	if !ok || !s.same(was) || s.worthless != was.worthless {
		return
	}
	for _, at := range was.old {
		answer, err := p.all[at].Do(ctx, gateway.Request{Method: http.MethodDelete, Key: s.key})
		if !taken(answer, err) {
			p.lost(at, reason(answer, err))
			continue
		}
		s = s.without(at)
		p.retired++
	}
	p.set(s)
}
