package ledger

import (
	"cmp"
	"math"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Restored says what a book found in its directory.
type Restored struct {
	Groups, Series int
	// Foreign are records of groups that were kept under another secret. What they
	// hold cannot be told from anything else, so they were dropped: Load finds the
	// groups.
	Foreign int
}

// Open returns a book as the directory has it. What changes in it is written there
// from now on, and survives as Commit says; Run has to be called for that to go on.
//
// Windows, ages, last writers and what the groups hold are kept. Requests under
// way, pushes a minute, promises of evictions and the terms of jobs are not:
// Regovern, or the first claim, tells those, and until then a job is of the entry
// 0. A restored group is as young as it was, or up to a minute younger; so is one that
// Load finds beside them, of a push that had no answer yet: it is the newest of its job,
// and must not look as the oldest.
//
// What a damaged file has lost is missing, and is no error; see state.Dir.Damage.
func Open(dir *state.Dir, cfg Config) (*Book, Restored, error) {
	b := NewBook(cfg)
	b.clock.read()
	r := restorer{book: b, ours: true}
	log, err := dir.Log(logName, state.LogOptions{}, r.apply)
	if err != nil {
		return nil, Restored{}, err
	}
	r.finish()
	if b.size > 0 {
		b.restored = toSecond(b.clock.last)
	}
	b.journal = &journal{log: log, bulk: make(chan struct{}, 1)}
	if !r.keyed { // else a guard that ends before it serves would leave a file with each start
		b.journal.buf = appendKey(b.journal.buf, b.hashKey.check())
		b.journal.flush()
	}
	return b, Restored{Groups: b.size, Series: b.series, Foreign: r.foreign}, nil
}

// restorer applies records to a book that nobody uses yet.
type restorer struct {
	book    *Book
	ours    bool // what comes is hashed by the book's key, unless a record says that it is by another
	keyed   bool // a record says that it is
	foreign int
}

func (r *restorer) apply(record []byte) error {
	in := reader{state.NewReader(record, errRecord)}
	for in.Len() > 0 {
		switch in.Byte() {
		case recordKey:
			r.key(in.Word())
		case recordGroup:
			r.group(&in, false)
		case recordTotals:
			r.group(&in, true)
		case recordTouched:
			r.touched(in.Text(), second(in.uint32()))
		case recordGone:
			r.gone(in.Text(), in.Varint(), false)
		case recordTotalsGone:
			r.gone(in.Text(), in.Varint(), true)
		case recordWiped:
			r.wiped(in.Varint())
		case recordAccount:
			r.account(&in)
		case recordEntry:
			id, days := int(in.Varint()), in.ticks()
			r.assign(&r.book.entry(id).newJobs, day, days)
		default:
			return errRecord
		}
	}
	return in.Err()
}

// pass has the book's clock be no earlier than what was kept.
func (r *restorer) pass(at int64) {
	r.book.clock.at = max(r.book.clock.at, min(at, math.MaxUint32))
}

// key begins what is hashed by a key. If it is another than that of what came
// before, that is worth nothing.
func (r *restorer) key(check uint64) {
	r.ours = check == r.book.hashKey.check()
	if r.keyed = r.ours; !r.ours {
		r.foreign += r.book.size
		r.book.wipe()
	}
}

func (r *restorer) group(in *reader, totals bool) {
	id, job, last := in.Text(), in.Text(), writer(in.Word())
	at, flags, slack := second(in.uint32()), in.Uvarint(), in.uint32()
	content := in.holdings()
	values := in.values(content)
	if in.Err() != nil {
		return
	}
	if !r.ours {
		r.foreign++
		return
	}
	b, key := r.book, wire.KeyOf(id)
	g := findIn(b.table(totals), key)
	if g == nil {
		g = b.insert(key, totals)
	}
	j := r.employ(g, job)
	var learnt []uint64
	for _, v := range values {
		if j.learn(v) {
			learnt = append(learnt, v.Value)
		}
	}
	g.restored(at, b.clock.last)
	b.change(g, func() {
		g.content, g.last, g.slack, g.exists = g.shared(content), last, slack, true
		g.unsure, g.failed, g.success = flags&flagUnsure != 0, flags&flagFailed != 0, flags&flagSuccess != 0
	})
	if totals {
		g.sums.seen = content
	}
	j.ages.mixed, j.ages.lost = true, true
	j.unlearn(learnt)
}

// employ makes a job pay for the group. When another did so last, was recorded.
func (r *restorer) employ(g *group, name string) *job {
	if g.job == nil {
		return r.book.employ(g, name, 0)
	}
	before, seen := g.job.account, g.job.seen
	j := r.book.employ(g, name, 0)
	before.seen = seen
	return j
}

func (r *restorer) touched(id string, at second) {
	if g := r.book.find(wire.KeyOf(id)); g != nil && g.exists {
		g.restored(at, r.book.clock.last)
		g.job.ages.mixed = true
	}
}

func (r *restorer) gone(id string, at int64, totals bool) {
	r.pass(at)
	g := findIn(r.book.table(totals), wire.KeyOf(id))
	if g == nil {
		return
	}
	a := g.job.account
	r.book.forget(g)
	a.seen = min(at, r.book.clock.at)
	r.book.unlink(g)
}

func (r *restorer) wiped(at int64) {
	r.pass(at)
	var accounts []*account
	for _, j := range r.book.jobs {
		accounts = append(accounts, j.account)
	}
	r.book.wipe()
	for _, a := range accounts {
		a.seen = min(at, r.book.clock.at)
	}
}

func (r *restorer) account(in *reader) {
	name, seen := in.Text(), in.Varint()
	hours, days := in.ticks(), in.ticks()
	if in.Err() != nil {
		return
	}
	b := r.book
	if j := b.jobs[name]; j != nil {
		r.remember(j.account, seen, hours, days)
		return
	}
	a := b.idles.accounts[name]
	if a == nil {
		a = &account{name: name}
	} else {
		b.idles.drop(a)
	}
	r.remember(a, seen, hours, days)
	b.idles.put(a, b.clock.at)
}

func (r *restorer) remember(a *account, seen int64, hours, days []tick) {
	r.pass(seen)
	a.seen = min(seen, r.book.clock.at)
	r.assign(&a.hour, hour, hours)
	r.assign(&a.day, day, days)
}

// assign makes steps of a window what they were.
func (r *restorer) assign(w *window, s span, ticks []tick) {
	for _, t := range ticks {
		r.pass(int64(t.step) * int64(s) / steps)
		w.assign(t)
	}
}

// finish leaves out what is too old to count, and puts the groups of each job in the
// order in which they were pushed to: what was pushed to within the last minute is all
// as young as now.
func (r *restorer) finish() {
	at := r.book.clock.at
	for _, j := range r.book.jobs {
		j.ages.arrange(func(x, y *group) int { return cmp.Compare(x.kept, y.kept) })
	}
	for _, a := range r.book.idles.accounts {
		if a.spent(at) {
			r.book.idles.drop(a)
		}
	}
}

// restored gives a group the time that was kept.
func (g *group) restored(at second, now time.Time) {
	g.kept, g.at = at, min(at, toSecond(now))
}

// values reads the values of holdings, with their labels.
func (r *reader) values(h holdings) []wire.LabelValue {
	labels := r.words()
	var out []wire.LabelValue
	h.values(func(values []uint64) {
		for _, v := range values {
			i := r.Uvarint()
			if i >= uint64(len(labels)) {
				r.Fail()
				return
			}
			out = append(out, wire.LabelValue{Label: labels[i], Value: v})
		}
	})
	return out
}
