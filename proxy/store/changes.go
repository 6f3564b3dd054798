package store

import (
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// put has a group hold the families: besides those it holds of other names, or, if
// it replaces all, in their place.
func (s *Store) put(key wire.Key, families []*family, all bool) (state.Position, error) {
	g := s.enter(key)
	defer g.turn.Unlock()
	unlock, err := s.own(g, families)
	if err != nil {
		return 0, err
	}
	defer unlock()
	before := g.content
	after, kept := join(before.families, families, all)
	if err := s.journal.tooLong(key, after); err != nil {
		return 0, err
	}
	take, give := difference(before.families, after)
	if len(take)+len(give) > 0 {
		if err := s.index.Take(take, give); err != nil {
			return 0, clash(err, families, key)
		}
		defer s.index.Drop(give)
	}
	released := s.use(families, without(before.families, kept))
	position := s.swap(g, &content{families: after, pushed: s.cfg.Now().UnixNano(), failed: before.failed})
	s.shapes.release(released)
	return position, nil
}

// use has the shapes of families be used, and returns which of the old ones are used
// once less for it. Both are in the order of their names.
func (s *Store) use(families, old []*family) (released []*family) {
	s.shapes.expect(len(families) - len(old))
	for _, f := range families {
		for len(old) > 0 && old[0].shape.Name < f.shape.Name {
			released, old = append(released, old[0]), old[1:]
		}
		switch same := len(old) > 0 && old[0].shape.Name == f.shape.Name; {
		case same && old[0].shape == f.shape:
			old = old[1:] // as before
			continue
		case f.shared:
			s.shapes.again(f.shape)
		default:
			f.shape = s.shapes.share(f.shape)
		}
	}
	return append(released, old...)
}

// join is what a group holds after a push, and what it keeps of before.
func join(before, pushed []*family, all bool) (after, kept []*family) {
	if all {
		return pushed, nil
	}
	after = make([]*family, 0, len(before)+len(pushed))
	for _, f := range before {
		for len(pushed) > 0 && pushed[0].shape.Name < f.shape.Name {
			after, pushed = append(after, pushed[0]), pushed[1:]
		}
		if len(pushed) > 0 && pushed[0].shape.Name == f.shape.Name {
			after, pushed = append(after, pushed[0]), pushed[1:]
			continue
		}
		after, kept = append(after, f), append(kept, f)
	}
	return append(after, pushed...), kept
}

// difference is what of two contents, in the order of their names, only one has by
// name and type.
func difference(before, after []*family) (take, give []Family) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].shape.Name < after[0].shape.Name:
			give, before = append(give, before[0].shape.Family), before[1:]
		case len(before) == 0 || after[0].shape.Name < before[0].shape.Name:
			if take == nil {
				take = make([]Family, 0, len(after))
			}
			take, after = append(take, after[0].shape.Family), after[1:]
		default:
			if before[0].shape.Type != after[0].shape.Type {
				take, give = append(take, after[0].shape.Family), append(give, before[0].shape.Family)
			}
			before, after = before[1:], after[1:]
		}
	}
	return take, give
}

// without is a without the families of b, both in the order of their names.
func without(a, b []*family) []*family {
	if len(b) == 0 {
		return a
	}
	out := make([]*family, 0, len(a))
	for _, f := range a {
		if len(b) > 0 && b[0] == f {
			b = b[1:]
			continue
		}
		out = append(out, f)
	}
	return out
}

// swap changes what a group holds, and appends that to the journal.
func (s *Store) swap(g *group, after *content) state.Position {
	sh := s.shard(g.key.ID())
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := g.content
	sh.swap(g, after)
	return s.journal.record(g, before)
}

// fail notes that a push to a group was refused. It makes the group if there is
// none.
func (s *Store) fail(key wire.Key) state.Position {
	g := s.enter(key)
	defer g.turn.Unlock()
	after := *g.content
	after.failed = s.cfg.Now().UnixNano()
	return s.swap(g, &after)
}

// remove forgets a group.
func (s *Store) remove(key wire.Key) state.Position {
	sh := s.shard(key.ID())
	sh.mu.RLock()
	g := sh.groups[key.ID()]
	sh.mu.RUnlock()
	if g == nil {
		return 0
	}
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.gone {
		return 0
	}
	s.owners.RLock()
	defer s.owners.RUnlock()
	before := g.content.families
	sh.mu.Lock()
	sh.swap(g, &content{})
	sh.leave(g)
	s.padded.leave(g)
	g.gone = true
	position := s.journal.removed(g)
	sh.mu.Unlock()
	_, give := difference(before, nil)
	s.index.Drop(give)
	s.index.Leave(g.key.Job(), g.names)
	s.shapes.release(before)
	return position
}

// wipe forgets every group.
func (s *Store) wipe() state.Position {
	var last state.Position
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		keys := make([]wire.Key, 0, len(sh.groups))
		for _, g := range sh.groups {
			keys = append(keys, g.key)
		}
		sh.mu.RUnlock()
		for _, key := range keys {
			last = max(last, s.remove(key))
		}
	}
	return last
}
