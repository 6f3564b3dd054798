package ledger

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Save is part of shared.Room. What it writes is the same on every guard that has
// applied the same.
func (r room) Save(dst []byte) []byte {
	b := r.Book
	b.mu.Lock()
	defer b.mu.Unlock()
	s := saver{book: b, dst: dst}
	s.int(b.clock.at, int64(b.clock.rest), int64(b.wipes), b.idles.forgotten)
	s.dst = appendTime(s.dst, b.clock.last)
	s.entries()
	s.count(len(b.idles.accounts))
	for e := b.idles.order.Front(); e != nil; e = e.Next() {
		s.account(e.Value.(*account))
	}
	s.jobs()
	s.orphans()
	s.grants()
	s.promises()
	s.loads()
	return s.dst
}

// saver writes down a book that guards share.
type saver struct {
	book *Book
	dst  []byte
}

func (s *saver) count(n int) { s.dst = binary.AppendUvarint(s.dst, uint64(n)) }

func (s *saver) int(all ...int64) {
	for _, n := range all {
		s.dst = binary.AppendVarint(s.dst, n)
	}
}

func (s *saver) entries() {
	s.count(len(s.book.entries))
	for _, id := range slices.Sorted(maps.Keys(s.book.entries)) {
		e := s.book.entries[id]
		s.int(int64(id), int64(e.guaranteed))
		s.dst = appendTicks(s.dst, e.newJobs.ticks)
	}
}

func (s *saver) account(a *account) {
	s.dst = binary.AppendVarint(appendString(s.dst, a.name), a.seen)
	s.dst = appendTicks(appendTicks(appendTicks(s.dst, a.hour.ticks), a.day.ticks), a.pushes.ticks)
}

// jobs writes the jobs with the groups that they pay for: first those that exist, in
// the order of their ages.
func (s *saver) jobs() {
	others := map[*job][]*group{}
	for _, table := range []map[string]*group{s.book.groups, s.book.totals} {
		for _, g := range sortedTable(table) {
			for ; g != nil; g = g.twin {
				if g.job != nil && (g.sums != nil || !g.exists) {
					others[g.job] = append(others[g.job], g)
				}
			}
		}
	}
	s.count(len(s.book.jobs))
	for _, name := range s.book.jobNames() {
		j := s.book.jobs[name]
		s.account(j.account)
		s.int(int64(j.entry))
		s.dst = appendBudget(s.dst, j.terms)
		s.count(j.groups + len(others[j]))
		for g := j.ages.first(); g != nil; g = g.newer {
			s.group(g)
		}
		for _, g := range others[j] {
			s.group(g)
		}
	}
}

// orphans are groups for which nobody pays: somebody has just taken them.
func (s *saver) orphans() {
	var all []*group
	for _, table := range []map[string]*group{s.book.groups, s.book.totals} {
		for _, g := range sortedTable(table) {
			for ; g != nil; g = g.twin {
				if g.job == nil {
					all = append(all, g)
				}
			}
		}
	}
	s.count(len(all))
	for _, g := range all {
		s.group(g)
	}
}

func (s *saver) group(g *group) {
	s.dst = appendBool(appendBool(s.dst, g.sums != nil), g.exists)
	s.dst = appendWord(appendString(s.dst, g.id), uint64(g.last))
	s.int(int64(g.at), int64(g.flags()), int64(g.slack))
	s.holdings(g.job, g.content)
	if g.sums != nil {
		s.int(int64(g.sums.since))
		s.holdings(g.job, g.sums.seen)
	}
	if g.turn == nil {
		s.count(0)
		return
	}
	s.count(len(g.turn.waiting))
	for _, a := range g.turn.waiting {
		s.id(a.id)
		s.dst = appendTime(s.dst, a.until)
		s.dst = appendString(s.dst, string(a.claim))
	}
}

// holdings writes holdings with the labels that their values are of.
func (s *saver) holdings(j *job, h holdings) {
	s.dst = appendWords(s.dst, h)
	var values []wire.LabelValue
	h.values(func(vs []uint64) {
		for _, v := range vs {
			values = append(values, wire.LabelValue{Label: j.values.label(v), Value: v})
		}
	})
	slices.SortFunc(values, func(x, y wire.LabelValue) int { return cmp.Compare(x.Value, y.Value) })
	s.dst = appendLabelValues(s.dst, slices.Compact(values))
}

func (s *saver) id(id grantID) {
	s.dst = binary.AppendUvarint(appendString(s.dst, string(id.guard)), id.n)
}

func (s *saver) grants() {
	ids := slices.SortedFunc(maps.Keys(s.book.shared.grants), grantID.compare)
	s.count(len(ids))
	for _, id := range ids {
		g := s.book.shared.grants[id]
		s.id(id)
		s.dst = appendBool(appendString(s.dst, g.group.id), g.group.sums != nil)
		s.dst = appendWord(appendString(s.dst, g.Method), uint64(g.raw))
		for _, yes := range []bool{g.same, g.success, g.made, g.Skip, g.account != nil, g.entry != nil} {
			s.dst = appendBool(s.dst, yes)
		}
		s.int(int64(g.Reason), g.at, int64(g.fresh))
		if g.account == nil {
			continue // a DELETE
		}
		s.dst = appendString(s.dst, g.account.name)
		if g.entry != nil {
			s.int(int64(g.entry.id))
		}
		s.holdings(g.group.job, g.pushed)
		s.count(len(g.victims))
		for _, v := range g.victims {
			s.dst = appendString(s.dst, v.id)
		}
	}
}

func (s *saver) promises() {
	for _, name := range s.book.jobNames() {
		p := &s.book.jobs[name].promised
		groups := slices.SortedFunc(maps.Keys(p.groups), func(x, y *group) int { return strings.Compare(x.id, y.id) })
		s.count(len(groups))
		for _, g := range groups {
			s.dst = appendString(s.dst, g.id)
			s.id(p.groups[g].by.id)
			s.int(p.groups[g].until)
		}
		s.int(p.due)
	}
}

func (s *saver) loads() {
	loads := s.book.shared.loads
	s.count(len(loads))
	for _, id := range slices.SortedFunc(maps.Keys(loads), grantID.compare) {
		l := loads[id]
		s.id(id)
		s.int(int64(l.wipes))
		s.count(len(l.settled))
		for _, group := range slices.Sorted(maps.Keys(l.settled)) {
			s.dst = appendWords(appendBool(appendString(s.dst, group), l.settled[group].whole), l.settled[group].families)
		}
	}
}
