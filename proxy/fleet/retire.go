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
	seen := func(groups []gateway.Group) bool {
		for _, g := range groups {
			if s, ok := due[g.Key.ID()]; ok && p.found(g, s) {
				delete(due, g.Key.ID())
			}
		}
		return len(due) == 0
	}
	if len(due) == 0 || !p.look(ctx, home, seen) {
		return
	}
	for _, s := range due {
		p.miss(s)
	}
}

// look lists what an upstream holds, again and again for a while, until enough says that
// it is. It reports whether it has looked for as long as that.
func (p *pass) look(ctx context.Context, at int, enough func([]gateway.Group) bool) bool {
	for wait := firstLook; ; wait *= 3 {
		groups, err := p.seenBy(ctx, at)
		if err != nil {
			p.lost(at, err)
			return false
		}
		if enough(groups) || wait > lastLook {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
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

// retire deletes old copies once no page is being put together that may want them, and
// looks until they are gone: a Pushgateway answers a DELETE before it has carried it out.
func (p *pass) retire(ctx context.Context) {
	now := time.Now()
	due := p.pick(func(s standing) bool {
		return len(s.old) > 0 && p.rested(s, now) && (s.worthless || p.seen[s.key.ID()])
	})
	if len(due) == 0 || p.reads.wait(ctx) != nil {
		return
	}
	sent := make([]map[string]bool, len(p.all)) // what each is to delete
	for at := range sent {
		sent[at] = map[string]bool{}
	}
	for _, id := range slices.Sorted(maps.Keys(due)) {
		if slices.ContainsFunc(due[id].old, func(at int) bool { return p.away[at] }) {
			continue
		}
		if !p.held(ctx, due[id].key, func() { p.erase(ctx, due[id], sent) }) {
			break
		}
	}
	for at := range sent {
		p.gone(ctx, at, sent[at])
	}
}

// erase has the old copies of a group be deleted, unless it stands otherwise by now.
func (p *pass) erase(ctx context.Context, was standing, sent []map[string]bool) {
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
		sent[at][was.key.ID()] = true
	}
}

// gone forgets the old copies that an upstream does not list any more. Those that it does
// are the next pass's.
func (p *pass) gone(ctx context.Context, at int, sent map[string]bool) {
	if len(sent) == 0 {
		return
	}
	p.look(ctx, at, func(groups []gateway.Group) bool {
		listed := make(map[string]bool, len(groups))
		for _, g := range groups {
			listed[g.Key.ID()] = true
		}
		for id := range sent {
			if !listed[id] {
				p.forget(id, at)
				delete(sent, id)
			}
		}
		return len(sent) == 0
	})
}

// forget has an upstream have no old copy of a group.
func (p *pass) forget(id string, at int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.standings[id]; ok && slices.Contains(s.old, at) {
		p.stand(s.without(at))
		p.retired++
	}
}
