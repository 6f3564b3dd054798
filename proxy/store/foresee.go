package store

import (
	"net/http"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Foresee answers a write as Do would, and changes nothing. It waits, as Do does, for
// another push of the group.
func (s *Store) Foresee(r gateway.Request) (gateway.Answer, error) {
	if r.Method == http.MethodDelete {
		return gateway.Answer{Status: http.StatusAccepted}, nil
	}
	families, err := s.build(r)
	if err == nil {
		err = s.consider(r.Key, families, r.Method == http.MethodPut)
	}
	if err != nil {
		return refusal(err), nil
	}
	return gateway.Answer{Status: http.StatusOK}, nil
}

// consider says why put would not have a group hold the families.
func (s *Store) consider(key wire.Key, families []*family, all bool) error {
	g, entered := s.look(key)
	defer g.turn.Unlock()
	if err := s.owns(g, entered, families); err != nil {
		return err
	}
	after, _ := join(g.content.families, families, all)
	if err := s.journal.tooLong(key, after); err != nil {
		return err
	}
	take, give := difference(g.content.families, after)
	if err := s.index.Check(take, give); err != nil {
		return clash(err, families, key)
	}
	return nil
}

// look returns the group, its turn taken, and whether it is there; if not, one that
// nobody else knows.
func (s *Store) look(key wire.Key) (g *group, entered bool) {
	sh := s.shard(key.ID())
	for {
		sh.mu.RLock()
		g = sh.groups[key.ID()]
		sh.mu.RUnlock()
		if entered = g != nil; !entered {
			g = newGroup(key)
		}
		g.turn.Lock()
		if !g.gone {
			return g, entered
		}
		g.turn.Unlock()
	}
}

// owns looks for the series of a push in other groups. Of a group that is not there
// the index does not know whether it would be like the others of its job.
func (s *Store) owns(g *group, entered bool, families []*family) error {
	if entered {
		unlock, err := s.own(g, families)
		if err == nil {
			unlock()
		}
		return err
	}
	s.owners.Lock()
	defer s.owners.Unlock()
	for _, f := range families {
		if err := s.ownFamily(g, f); err != nil {
			return err
		}
	}
	return nil
}
