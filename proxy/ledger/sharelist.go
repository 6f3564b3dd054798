package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
)

// jobNames are those of all jobs, in an order that is the same on every guard.
func (b *Book) jobNames() []string { return slices.Sorted(maps.Keys(b.jobs)) }

const (
	// listedBytes is how much of a listing one command has, about.
	listedBytes = 256 << 10
	// ageSlack is by how much the upstream may date a push later than the book did,
	// without that being news.
	ageSlack = 3
)

// loadShared is Load of a book that guards share: only what is listed otherwise than
// the book knows goes to the others.
func (b *Book) loadShared(read func() ([]Group, func(wire.Key) bool, error)) error {
	ctx := context.Background() // Do fails by itself where there is nobody
	b.mu.Lock()
	b.shared.last++
	n := b.shared.last
	b.mu.Unlock()
	door, id := b.shared.door, binary.AppendUvarint(nil, n)
	if err := door.Do(ctx, append([]byte{cmdBegin}, id...), nil); err != nil {
		return err
	}
	groups, unlisted, err := read()
	if err != nil {
		door.Post(append(append([]byte{cmdListedEnd}, id...), 0), nil)
		return err
	}
	if unlisted == nil {
		unlisted = func(wire.Key) bool { return false }
	}
	groups = slices.DeleteFunc(groups, func(g Group) bool { return unlisted(g.Key) })
	listed := make([]holdings, len(groups))
	for i := range groups {
		listed[i] = b.listed(groups[i].Families)
	}
	for _, part := range b.differences(groups, listed) {
		if err := door.Do(ctx, slices.Concat([]byte{cmdListed}, id, part), nil); err != nil {
			return err
		}
	}
	heard := new(bool)
	if err := door.Do(ctx, slices.Concat([]byte{cmdListedEnd}, id, b.missing(groups, unlisted)), heard); err != nil {
		return err
	}
	if !*heard {
		return errLeft
	}
	return nil
}

// errLeft says that a listing counts for nothing, since its guard was thought to have left
// while it read.
var errLeft = fmt.Errorf("%w in time: the others thought that this guard had left while it listed the groups", shared.ErrAway)

// differences writes down the groups that are listed otherwise than the book knows,
// in parts.
func (b *Book) differences(groups []Group, listed []holdings) (parts [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var part []byte
	for i := range groups {
		if b.isAsListed(&groups[i], listed[i]) {
			continue
		}
		if part = appendListed(part, &groups[i], listed[i]); len(part) > listedBytes {
			parts, part = append(parts, part), nil
		}
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	return parts
}

// isAsListed reports whether a listing says nothing new of a group.
func (b *Book) isAsListed(l *Group, listed holdings) bool {
	g := b.find(l.Key)
	if g == nil || !g.exists || g.unsure || g.job == nil || g.success != l.Success || g.job.name != l.payer() ||
		g.job.entry != l.Entry || *g.job.terms != l.Budget || int64(orNever(l.Pushed)) > int64(g.at)+ageSlack {
		return false
	}
	same := true
	pairs(g.content.read(g.last), listed.read(unknown), func(held, listed *family) {
		same = same && held != nil && listed != nil && held.sameMetrics(listed) && slices.Equal(held.values, listed.values)
	})
	return same
}

func (l *Group) payer() string {
	if l.Job != "" {
		return l.Job
	}
	return l.Key.Job()
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(dst, 0)
	}
	return binary.AppendVarint(dst, t.UnixNano())
}

func (r *reader) time() time.Time {
	if at := r.Varint(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

func appendListed(dst []byte, l *Group, listed holdings) []byte {
	dst = appendTerms(appendString(dst, l.Key.ID()), l.payer(), l.Entry, &l.Budget)
	dst = appendBool(appendTime(appendTime(dst, l.Pushed), l.Failed), l.Success)
	var values []wire.LabelValue
	for _, f := range l.Families {
		values = append(values, f.Values...)
	}
	return appendWords(appendLabelValues(dst, values), listed)
}

func appendWords(dst []byte, words []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(words)))
	for _, w := range words {
		dst = appendWord(dst, w)
	}
	return dst
}

func (b *Book) applyListed(in *reader, id grantID) {
	l := b.shared.loads[id]
	counts := l != nil && l.wipes == b.wipes
	now := toSecond(b.clock.last)
	for in.Len() > 0 {
		g := Group{Key: wire.KeyOf(in.Text()), Job: in.Text(), Entry: int(in.Varint()), Budget: in.budget()}
		g.Pushed, g.Failed, g.Success = in.time(), in.time(), in.Byte() == 1
		g.Families = []wire.FamilyPrint{{Values: in.labelValues()}}
		listed := in.holdings()
		if in.Err() == nil && counts {
			b.replaceGroup(&g, listed, l.settled[g.Key.ID()], now)
		}
	}
}

// missing writes down the groups that the book knows and the upstream does not list,
// but for those of which the listing says nothing.
func (b *Book) missing(groups []Group, unlisted func(wire.Key) bool) []byte {
	there := make(map[string]struct{}, len(groups))
	for i := range groups {
		there[groups[i].Key.ID()] = struct{}{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone []string
	for _, g := range b.groups {
		for ; g != nil; g = g.twin {
			if _, ok := there[g.id]; !ok && g.exists && !unlisted(g.key()) {
				gone = append(gone, g.id)
			}
		}
	}
	slices.Sort(gone)
	dst := binary.AppendUvarint(nil, uint64(len(gone)))
	for _, id := range gone {
		dst = appendString(dst, id)
	}
	return dst
}

// applyListedEnd ends a listing; heard, if it is this guard's, is told whether anybody
// knows that it began.
func (b *Book) applyListedEnd(in *reader, id grantID, heard *bool) {
	l := b.shared.loads[id]
	delete(b.shared.loads, id)
	if heard != nil {
		*heard = l != nil
	}
	counts := l != nil && l.wipes == b.wipes
	for range in.Count(1) {
		g := b.find(wire.KeyOf(in.Text()))
		if !counts || g == nil || g.turn != nil || l.settled[g.id] != nil {
			continue
		}
		b.forget(g)
		b.unlink(g)
	}
}
