package counter

import "github.com/hashicorp/golang-lru/v2/simplelru"

const (
	periodicPushes = 4   // in a row that make a pattern
	patternMax     = 128 // groups that a shard watches
	patternWidth   = 32  // readings that are watched of each
)

// patterns watches the anonymous readings of groups: who pushes a running total
// again and again without evidence is counted too often.
type patterns struct {
	groups *simplelru.LRU[uint64, *pattern]
}

type pattern struct {
	pushes int // in a row, each above the one before
	width  int
	ids    [patternWidth]uint64
	values [patternWidth]float64
}

func newPatterns() *patterns {
	lru, _ := simplelru.NewLRU[uint64, *pattern](patternMax, nil) // fails only for no size
	return &patterns{groups: lru}
}

// observe takes the readings of one push of a group and reports whether they look
// periodic.
func (p *patterns) observe(group uint64, readings []Reading) bool {
	now, pushes := p.look(group, readings)
	if pushes == 0 {
		return false
	}
	now.pushes = pushes
	if before, ok := p.groups.Get(group); ok {
		*before = now
	} else {
		kept := now
		p.groups.Add(group, &kept)
	}
	return pushes >= periodicPushes
}

// look finds what observe does, and keeps nothing: pushes in a row, each above the
// one before, this one among them; none if there is nothing to watch.
func (p *patterns) look(group uint64, readings []Reading) (now pattern, pushes int) {
	for i := range readings {
		r := &readings[i]
		if r.Source != Anonymous || r.Semantics != Auto || now.width == patternWidth {
			continue
		}
		now.ids[now.width], now.values[now.width] = r.Identity.lo, max(r.Value, r.Count)
		now.width++
	}
	if now.width == 0 {
		return now, 0
	}
	if before, ok := p.groups.Peek(group); ok && now.above(before) {
		return now, before.pushes + 1
	}
	return now, 1
}

// above reports whether both are of the same counters, none fell and one rose.
func (p *pattern) above(before *pattern) bool {
	if p.ids != before.ids {
		return false
	}
	rose := false
	for i, v := range p.values {
		if v < before.values[i] {
			return false
		}
		rose = rose || v > before.values[i]
	}
	return rose
}
