package ledger

import (
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Restore is part of shared.Room. What this guard has under way goes on as far as it
// is there; nobody waits any more for what is not.
func (r room) Restore(saved []byte) error {
	b := r.Book
	b.mu.Lock()
	defer b.mu.Unlock()
	waited := map[uint64]*answer{}
	for n, a := range b.shared.asked {
		if a.waits {
			waited[n], a.waits = a, false
		}
	}
	if err := b.restore(saved); err != nil {
		return err
	}
	b.disown()
	for n, a := range waited {
		if b.shared.asked[n] == a && !a.waits {
			b.reply(grantID{b.shared.door.Guard(), n}, a, nil, shared.ErrAway)
		}
	}
	return nil
}

func (b *Book) restore(saved []byte) error {
	fresh := NewBook(Config{Wait: b.wait, Now: b.clock.now})
	b.clock, b.groups, b.totals, b.size, b.live = fresh.clock, fresh.groups, fresh.totals, 0, 0
	b.jobs, b.idles, b.families, b.entries = fresh.jobs, fresh.idles, fresh.families, fresh.entries
	b.series, b.slack, b.lent, b.wipes = 0, 0, 0, 0
	b.shared.grants, b.shared.loads = map[grantID]*Grant{}, map[grantID]*loading{}
	if len(saved) == 0 {
		return nil
	}
	l := loader{book: b, reader: newReader(saved)}
	l.all()
	return l.Err()
}

// disown gives up the grants of this guard for which nobody waits.
func (b *Book) disown() {
	me := b.shared.door.Guard()
	for id := range b.shared.grants {
		if _, held := b.shared.held[id.n]; id.guard != me || held {
			continue
		}
		if a := b.shared.asked[id.n]; a != nil {
			b.reply(id, a, nil, shared.ErrAway)
		}
		b.tellSettled(id, Untouched)
	}
}

// loader reads what saver wrote into an empty book.
type loader struct {
	reader
	book *Book
}

func (l *loader) all() {
	b := l.book
	b.clock.at, b.clock.rest, b.wipes, b.idles.forgotten = l.Varint(), time.Duration(l.Varint()), int(l.Varint()), l.Varint()
	b.clock.last = l.time()
	for range l.Count(3) {
		id, guaranteed := int(l.Varint()), int(l.Varint())
		e := b.entry(id)
		b.guarantee(e, guaranteed)
		e.newJobs.ticks = l.ticks()
	}
	for range l.Count(5) {
		a := l.account()
		a.at = b.idles.order.PushBack(a)
		b.idles.accounts[a.name] = a
	}
	for range l.Count(20) {
		l.job()
	}
	for range l.Count(5) {
		l.group(nil)
	}
	for range l.Count(10) {
		l.grant()
	}
	l.promises()
	for range l.Count(3) {
		l.loading()
	}
}

func (l *loader) account() *account {
	a := &account{name: l.Text(), seen: l.Varint()}
	a.hour.ticks, a.day.ticks, a.pushes.ticks = l.ticks(), l.ticks(), l.ticks()
	return a
}

func (l *loader) job() {
	j := newJob(0, l.account())
	j.entry = int(l.Varint())
	budget := l.budget()
	j.terms = l.book.entry(j.entry).share(&budget)
	l.book.jobs[j.name] = j
	for range l.Count(5) {
		l.group(j)
	}
}

func (l *loader) group(j *job) {
	b := l.book
	totals, exists := l.Byte() == 1, l.Byte() == 1
	g := b.insert(wire.KeyOf(l.Text()), totals)
	last, at, flags, slack := writer(l.Word()), second(l.Varint()), l.Varint(), uint32(l.Varint())
	if j != nil {
		g.job = j
		j.users++
	}
	content := l.owned(j)
	g.at, g.unsure, g.failed, g.success = at, flags&flagUnsure != 0, flags&flagFailed != 0, flags&flagSuccess != 0
	if j != nil {
		b.change(g, func() { g.content, g.last, g.exists, g.slack = g.shared(content), last, exists, slack })
	}
	if totals {
		g.sums.since = second(l.Varint())
		g.sums.seen = l.owned(j)
	}
	for range l.Count(4) {
		a := &ask{id: l.id(), until: l.time(), claim: []byte(l.Text())}
		if own := b.shared.asked[a.id.n]; own != nil && a.id.guard == b.shared.door.Guard() {
			a.own, own.waits = own, true
		}
		if g.turn == nil {
			g.turn = &turn{}
		}
		g.turn.waiting = append(g.turn.waiting, a)
	}
}

// owned reads holdings, whose values the job knows then.
func (l *loader) owned(j *job) holdings {
	h := l.holdings()
	for _, v := range l.labelValues() {
		if j != nil {
			j.learn(v)
		}
	}
	if len(h) == 0 {
		return nil
	}
	return h
}

func (l *loader) id() grantID { return grantID{shared.Guard(l.Text()), l.Uvarint()} }

func (l *loader) grant() {
	b := l.book
	grant := &Grant{book: b, id: l.id()}
	key, totals := wire.KeyOf(l.Text()), l.Byte() == 1
	grant.Method, grant.raw = l.Text(), writer(l.Word())
	var isPush, isNew bool
	for _, yes := range []*bool{&grant.same, &grant.success, &grant.made, &grant.Skip, &isPush, &isNew} {
		*yes = l.Byte() == 1
	}
	grant.Reason, grant.at, grant.fresh = Reason(l.Varint()), l.Varint(), int(l.Varint())
	g := findIn(b.table(totals), key)
	if g == nil {
		l.Fail()
		return
	}
	grant.group, grant.draft = g, drafts.Get().(*draft)
	if g.turn == nil {
		g.turn = &turn{}
	}
	g.turn.held = grant
	b.shared.grants[grant.id] = grant
	if !isPush {
		return
	}
	grant.account = b.accountOf(l.Text())
	if isNew {
		grant.entry = b.entry(int(l.Varint()))
	}
	grant.pushed = l.owned(g.job)
	if grant.same && grant.Method == "PUT" {
		grant.pushed = g.content
	}
	for range l.Count(1) {
		if v := b.find(wire.KeyOf(l.Text())); v != nil {
			grant.victims = append(grant.victims, v)
		}
	}
	b.change(g, func() { g.reserve(grant) })
}

// accountOf returns the account of a job, wherever it is.
func (b *Book) accountOf(name string) *account {
	if j := b.jobs[name]; j != nil {
		return j.account
	}
	if a := b.idles.accounts[name]; a != nil {
		return a
	}
	return &account{name: name}
}

func (l *loader) promises() {
	b := l.book
	for _, name := range b.jobNames() {
		p := &b.jobs[name].promised
		n := l.Count(4)
		if n > 0 {
			p.groups = map[*group]promise{}
		}
		for range n {
			g, by, until := b.find(wire.KeyOf(l.Text())), l.id(), l.Varint()
			if g == nil {
				continue
			}
			grant := b.shared.grants[by]
			if grant == nil {
				grant = &Grant{id: by} // it is settled
			}
			p.groups[g] = promise{by: grant, series: g.series(), until: until}
			p.series += g.series()
		}
		p.due = l.Varint()
	}
}

func (l *loader) loading() {
	id, load := l.id(), &loading{wipes: int(l.Varint()), settled: map[string]*since{}}
	for range l.Count(3) {
		group := l.Text()
		load.settled[group] = &since{whole: l.Byte() == 1, families: l.words()}
	}
	l.book.shared.loads[id] = load
}
