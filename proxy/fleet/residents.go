package fleet

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/wire"
)

// residents are the groups that an upstream holds, as far as one that moves there can
// contradict them. An upstream that is sent such a group may break over it, for all jobs: it
// exposes nothing any more if it does not check, and of two groups that are equal but for
// empty labels also if it does and refuses the second.
type residents struct {
	seed   uint64
	index  *store.Index
	taken  map[string][]store.Family // what the index counts for each, by their IDs
	groups *atlas[gateway.Group]
	prints map[string]map[print]bool // of the groups that were looked at, by their IDs
}

// residents lists what an upstream holds, once a pass.
func (p *pass) residents(ctx context.Context, at int) (*residents, error) {
	if r := p.homes[at]; r != nil {
		return r, nil
	}
	groups, err := p.seenBy(ctx, at)
	if err != nil {
		return nil, err
	}
	r := &residents{
		seed: p.seed, index: store.NewIndex(), taken: map[string][]store.Family{},
		groups: newAtlas[gateway.Group](), prints: map[string]map[print]bool{},
	}
	for _, g := range groups {
		r.add(g)
	}
	p.homes[at] = r
	return r, nil
}

// add notes that a group is there, in place of what was there of it.
func (r *residents) add(g gateway.Group) {
	id := g.Key.ID()
	r.index.Drop(r.taken[id])
	r.taken[id] = nil
	delete(r.prints, id)
	for _, f := range familiesOf(g) {
		if r.index.Take([]store.Family{f}, nil) == nil { // else it is broken already
			r.taken[id] = append(r.taken[id], f)
		}
	}
	r.groups.add(g.Key, g)
}

func familiesOf(g gateway.Group) []store.Family {
	out := make([]store.Family, 0, len(g.Families))
	for _, f := range g.Families {
		out = append(out, store.Family{Name: f.Name, Type: f.Type})
	}
	return out
}

// contradicted says what of the residents a group cannot be beside, but for their series.
func (r *residents) contradicted(g gateway.Group) error {
	if twin, ok := r.groups.groups[g.Key.Canonical().ID()]; ok && !twin.Key.Equal(g.Key) {
		return fmt.Errorf("it has %s, which is equal but for labels without a value", twin.Key)
	}
	return r.index.Check(familiesOf(g), r.taken[g.Key.ID()])
}

// holds reports whether a resident other than the group has a series of it.
func (r *residents) holds(group wire.Key, family string, ls []labels.Label) (found bool) {
	r.groups.find(ls, func(other gateway.Group) bool {
		if other.Key.Equal(group) {
			return false
		}
		fingerprint, _ := wire.Print(r.seed, other.Key, ls, nil)
		found = r.printsOf(other)[print{family, fingerprint}]
		return found
	})
	return found
}

func (r *residents) printsOf(g gateway.Group) map[print]bool {
	out := r.prints[g.Key.ID()]
	if out == nil {
		out = printsOf(g)
		r.prints[g.Key.ID()] = out
	}
	return out
}
