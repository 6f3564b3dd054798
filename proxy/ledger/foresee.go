package ledger

import (
	"net/http"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Change is what a settled request changes for the job that pays for it.
type Change struct {
	// Series and Groups are those that it holds more, or fewer.
	Series, Groups int
	// New is how many series counted as new.
	New int
}

// foresight is what a grant has that was not admitted but foreseen.
type foresight struct {
	// probe is the group as it would be, and was what the job pays for of the one
	// that is.
	probe        group
	was, existed int
	labels       map[uint64]uint64 // of the label values that are new to the job, by value
	outcome      Outcome           // 0 until it is settled
	change       Change
}

// Foresee answers what Admit would, from the same code, and books nothing. It does
// not wait: of a group that is taken it tells from what is certain now. The grant
// holds no group; once it is settled its Change tells what that would have done.
//
// With before, a grant foreseen for the same job, the claim is one of totals that
// comes on top of it: as it stands, admitted or settled. Groups that were to make
// room for one that was applied are gone then.
func (b *Book) Foresee(c Claim, before *Grant) (*Grant, error) {
	if by := b.byItself(); by != nil {
		return by.Foresee(c, before)
	}
	d := drafts.Get().(*draft)
	if err := d.fill(b, &c); err != nil {
		d.free()
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock.read()
	g := findIn(b.table(c.Totals), c.Group)
	if g == nil {
		g = &group{id: c.Group.ID()}
		if c.Totals {
			g.sums = &sums{}
		}
	}
	grant := &Grant{book: b, group: g, raw: writer(b.hash(c.Raw.ID())), draft: d, foreseen: &foresight{}}
	if err := b.foresee(grant, &c, before); err != nil {
		d.free()
		return nil, err
	}
	return grant, nil
}

// Peek returns the ruling that Foresee does.
func (b *Book) Peek(c Claim) (Ruling, error) {
	grant, err := b.Foresee(c, nil)
	if err != nil {
		return Ruling{}, err
	}
	defer grant.Settle(Untouched)
	return grant.Ruling, nil
}

// Change is what the grant, which was foreseen and is settled, would have changed.
func (g *Grant) Change() Change { return g.foreseen.change }

// foresee decides a claim as grant does, and takes back whatever it has changed for
// that.
func (b *Book) foresee(grant *Grant, c *Claim, before *Grant) error {
	g, d := grant.group, grant.draft
	if c.Method == http.MethodDelete {
		return b.foreseeRemoval(grant, c)
	}
	j := b.jobs[c.payer()]
	if j == nil {
		j = newJob(c.Entry, b.idles.peek(c.payer(), b.clock.at))
	}
	grant.foreseen.begin(g, j)
	terms, l, budget := j.terms, &loan{job: j}, c.Budget
	j.terms = &budget
	c.Budget, c.OverBudget = b.terms(c)
	d.ahead = b.ahead(g, j, c, before, l)
	defer func() {
		j.terms, d.ahead = terms, nil
		l.back()
	}()
	v, err := b.rule(g, j, c, d, grant.raw)
	grant.foreseen.learn(j, d.fresh)
	j.unlearn(d.fresh)
	if err != nil {
		return err
	}
	grant.bring(c, &v)
	grant.take(&v, b.clock.at)
	grant.foreseen.probe.reserve(grant)
	return nil
}

func (b *Book) foreseeRemoval(grant *Grant, c *Claim) error {
	g := grant.group
	grant.foreseen.begin(g, g.job)
	v, err := b.rule(g, g.job, c, grant.draft, grant.raw)
	grant.Ruling = v.Ruling
	return err
}

func (f *foresight) begin(g *group, j *job) {
	f.probe = *g
	f.probe.turn = &turn{}
	if g.job != j {
		return // another pays for it
	}
	f.was = g.series()
	if g.exists && g.sums == nil {
		f.existed = 1
	}
}

// learn keeps the labels of values that the job is to forget.
func (f *foresight) learn(j *job, values []uint64) {
	if len(values) == 0 {
		return
	}
	f.labels = make(map[uint64]uint64, len(values))
	for _, v := range values {
		f.labels[v] = j.values.label(v)
	}
}

// settle finds out what an outcome would change.
func (f *foresight) settle(g *Grant, o Outcome) {
	f.outcome = o
	switch {
	case g.Skip:
	case g.Method == http.MethodDelete:
		if o == Applied {
			f.change = Change{Series: -f.was, Groups: -f.existed}
		}
	default:
		f.probe.settle(g, o)
		f.change = Change{Series: f.probe.series() - f.was, New: g.fresh - g.unspent(o)}
		if f.probe.exists && f.probe.sums == nil {
			f.change.Groups = 1 - f.existed
		}
		if o == Applied {
			for _, v := range g.victims {
				f.change.Series -= v.series()
			}
			f.change.Groups -= len(g.victims)
		}
	}
}

// ahead is what a claim that is foreseen finds otherwise than the book has it:
// what Admit would have booked by then.
type ahead struct {
	used, shared, total, slack int
	groups, fresh              int
	others                     int // fewer
}

// ahead finds out what the book would have booked by the time at which it ruled the
// claim, and lends the job the label values of that.
func (b *Book) ahead(g *group, j *job, c *Claim, before *Grant, l *loan) *ahead {
	a, m := &ahead{}, &moves{to: c.Entry}
	if j.entry != c.Entry {
		m.add(j.entry, j.series)
	}
	a.hire(g, j, m, l)
	if before != nil {
		a.hire(before.group, j, m, l)
		a.follow(before, l)
	}
	a.shared += m.series
	a.others = m.lent(b)
	return a
}

// hire has the job pay for a group that another has paid for.
func (a *ahead) hire(g *group, j *job, m *moves, l *loan) {
	if g.job == nil || g.job == j {
		return
	}
	l.gain(g.booked(), func(v uint64) uint64 { return g.job.values.label(v) })
	a.used += g.series()
	if g.upkeep() > 0 {
		a.groups++
	}
	if g.job.entry != m.to {
		m.add(g.job.entry, g.series())
	}
}

// follow has what a grant would have booked be there.
func (a *ahead) follow(before *Grant, l *loan) {
	f, g := before.foreseen, before.group
	l.gain(f.probe.booked(), func(v uint64) uint64 { return f.labels[v] })
	l.lose(g.booked())
	more := f.probe.series() - g.series()
	a.used, a.shared, a.total = a.used+more, a.shared+more, a.total+more
	a.slack += f.probe.spare() - g.spare()
	a.fresh += before.fresh
	if f.outcome != 0 {
		a.fresh -= before.unspent(f.outcome)
	}
	for _, v := range before.victims {
		switch f.outcome {
		case 0: // they are promised
			a.used -= v.series()
		case Applied:
			l.lose(v.booked())
			n := v.series()
			a.used, a.shared, a.total, a.slack = a.used-n, a.shared-n, a.total-n, a.slack-v.spare()
		}
	}
}

// moves are series that an entry would be charged with in place of others.
type moves struct {
	to     int
	series int
	from   map[int]int
}

func (m *moves) add(from, series int) {
	if m.from == nil {
		m.from = map[int]int{}
	}
	m.from[from] += series
	m.series += series
}

// lent is how much less the others would hold beyond what they are guaranteed.
func (m *moves) lent(b *Book) int {
	n := 0
	for id, series := range m.from {
		if e := b.entries[id]; e != nil {
			n += e.lent() - max(0, e.lent()-series)
		}
	}
	return n
}

// loan is which label values a job has more, or fewer, for one decision. What is
// lent is given back in the reverse order.
type loan struct {
	job *job
	was []valueBefore
}

type valueBefore struct {
	value uint64
	use   valueUse
	known bool
}

// gain has the job use the values of holdings; label tells that of a value which is
// new to it.
func (l *loan) gain(h holdings, label func(value uint64) uint64) {
	for c := h.read(unknown); c.next(); {
		for _, v := range c.at.values {
			if !l.note(v) {
				l.job.learn(wire.LabelValue{Label: label(v), Value: v})
			}
		}
		l.job.use(c.at.values)
	}
}

// lose has it use them no more.
func (l *loan) lose(h holdings) {
	for c := h.read(unknown); c.next(); {
		for _, v := range c.at.values {
			if l.note(v) {
				l.job.release([]uint64{v})
			}
		}
	}
}

// note keeps how a value stands, and reports whether the job has it.
func (l *loan) note(value uint64) bool {
	use, known := l.job.values.get(value)
	l.was = append(l.was, valueBefore{value, use, known})
	return known
}

func (l *loan) back() {
	j := l.job
	for i := len(l.was) - 1; i >= 0; i-- {
		was := l.was[i]
		if was.known {
			j.values.set(was.value, was.use)
		} else {
			j.values.remove(was.value)
		}
	}
}
