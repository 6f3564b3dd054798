package store

import (
	"maps"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// largeText is the smallest text that is read piece by piece, so that its tables are
	// never there beside all that is made of it, and pieceOfText how much of it at a time.
	largeText   = 4 << 20
	pieceOfText = 128 << 10
)

// fromPieces is fromTables for a large text of which everything passes. It reports
// whether it could: that it can be cut, and no family is in two pieces.
func (b *builder) fromPieces(p *wire.Push, pushed int64) ([]*family, bool) {
	families, seen := make([]*family, 0, len(p.Families)), 0
	for body := p.Body; len(body) > 0; {
		end := wire.Cut(body, b.piece)
		if end == len(p.Body) || b.push.Parse(body[:end], wire.Text, b.key, wire.Options{}) != nil || !p.Contains(&b.push, seen) {
			return nil, false
		}
		more, ok := b.fromTables(&b.push, nil, pushed)
		if !ok {
			return nil, false
		}
		families = append(families, more...)
		seen, body = seen+len(b.push.Families), body[end:]
	}
	slices.SortFunc(families, func(x, y *family) int { return strings.Compare(x.shape.Name, y.shape.Name) })
	return families, seen == len(p.Families)
}

// manyMore is for how many entries that come at once a map gets room before.
const manyMore = 1 << 10

// withRoom is a map with room for many entries more, or the same one for a few: a map that
// grows into them leaves as much behind as it holds.
func withRoom[K comparable, V any](m map[K]V, more int) map[K]V {
	if more < manyMore || more < len(m) {
		return m
	}
	grown := make(map[K]V, len(m)+more)
	maps.Copy(grown, m)
	return grown
}
