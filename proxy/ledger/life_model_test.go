package ledger

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pushguard/pushguard/proxy/wire"
)

// life is a book in plain words: groups of one family that are replaced whole, by
// jobs with windows, guarantees and lifetimes. Time is in seconds.
type life struct {
	wall, now int64 // as the clock shows, and as windows roll
	groups    []*lifeGroup
	order     []int              // existing groups, least recently pushed to first
	brought   map[string][]event // new series, by job
	pushes    map[string][]event
	newJobs   map[int][]event // by entry
	gone      map[string]int64
	promised  map[int]lifePromise
	terms     map[string]Budget
}

type lifeGroup struct {
	job                             string
	exists, unsure, success, failed bool
	content                         map[string]bool
	most                            int // series that there may be at once
	at                              int64
	push                            *lifePush
}

type lifePush struct {
	grant         *Grant
	pushed        map[string]bool // nil: a DELETE
	at            int64
	fresh         int
	made, success bool
	newJob        bool
}

type lifePromise struct {
	by    *Grant
	until int64
}

type event struct {
	at int64
	n  int
}

// within counts the events of a window of 60 steps.
func within(events []event, now, step int64) (n int) {
	for _, e := range events {
		if e.at/step+60 >= now/step {
			n += e.n
		}
	}
	return n
}

func without(events []event, e event) []event {
	if i := slices.Index(events, e); i >= 0 && e.n > 0 {
		return slices.Delete(slices.Clone(events), i, i+1)
	}
	return events
}

var (
	lifeKeys    = []wire.Key{key("job", "a"), key("job", "a", "k", "1"), key("job", "a", "k", "2"), key("job", "b"), key("job", "b", "k", "1"), key("job", "c")}
	lifeEntries = map[string]int{"a": 1, "b": 2, "c": 2}
)

func (g *lifeGroup) live() bool { return g.exists || g.push != nil && g.push.pushed != nil }

func (g *lifeGroup) booked() int {
	all := maps.Clone(g.content)
	n := 0
	if g.live() {
		n = 2
	}
	if g.push != nil {
		maps.Copy(all, g.push.pushed)
	}
	return n + len(all)
}

// atMost is what of the group can be there at once.
func (g *lifeGroup) atMost() int {
	n := g.most
	if g.push != nil {
		n = max(n, len(g.push.pushed))
	}
	if g.live() {
		n += 2
	}
	return n
}

func (l *life) sum(of func(*lifeGroup) int, where func(int) bool) (n int) {
	for i, g := range l.groups {
		if where(i) {
			n += of(g)
		}
	}
	return n
}

// lastSuccess is the job's newest group that tells of a success, or -1.
func (l *life) lastSuccess(job string) int {
	for _, i := range slices.Backward(l.order) {
		if l.groups[i].job == job && l.groups[i].success {
			return i
		}
	}
	return -1
}

func (l *life) pinned(job string) int {
	if !l.terms[job].KeepLast {
		return -1
	}
	if i := l.lastSuccess(job); i >= 0 {
		return i
	}
	for _, i := range slices.Backward(l.order) {
		if l.groups[i].job == job {
			return i
		}
	}
	return -1
}

// lifeRuling is what the book must say.
type lifeRuling struct {
	refused Limit // the push is, for it
	passes  []string
	trimmed []int
	evict   []int
	fresh   int
	newJob  bool
}

func one(*lifeGroup) int { return 1 }

// lifeTally is what there would be once a push is applied.
type lifeTally struct {
	*life
	lifeRuling
	i                           int
	job                         string
	b                           Budget
	used, shared, others, total int
	victims                     []int // that are left to evict
}

func (l *life) ofJob(job string) func(int) bool {
	return func(k int) bool { return l.groups[k].job == job }
}

func (l *life) ofEntry(job string) func(int) bool {
	return func(k int) bool { return lifeEntries[l.groups[k].job] == lifeEntries[job] }
}

// stays leaves out what is promised to be evicted.
func (t *lifeTally) stays(k int) bool {
	_, promised := t.promised[k]
	return t.groups[k].job == t.job && (k == t.i || !promised)
}

func (l *life) lives(where func(int) bool) int {
	return l.sum(one, func(k int) bool { return where(k) && l.groups[k].live() })
}

func (l *life) rule(i int, values []string, word OverBudget, success bool) lifeRuling {
	g := l.groups[i]
	t := &lifeTally{life: l, i: i, job: g.job, b: l.terms[g.job]}
	if t.b.PushesPerMinute > 0 && within(l.pushes[t.job], l.now, 1) >= t.b.PushesPerMinute {
		return lifeRuling{refused: PushesPerMinuteLimit}
	}
	t.count(values)
	if word == EvictOldest {
		t.findVictims(success)
	}
	if !g.exists {
		if t.refused = t.begin(); t.refused != 0 {
			return t.lifeRuling
		}
	}
	for k, v := range values {
		grows, fresh := 0, 0
		if !g.content[v] || g.unsure {
			grows = 1
		}
		if !g.content[v] {
			fresh = 1
		}
		limit := Limit(0)
		if grows > 0 {
			limit = t.fits(grows, fresh)
		}
		if limit == 0 {
			t.passes = append(t.passes, v)
			continue
		}
		t.trimmed = append(t.trimmed, k)
		if word == Reject && t.refused == 0 {
			t.refused = limit
		}
	}
	if word == EvictOldest && g.exists {
		t.makeUp()
	}
	return t.lifeRuling
}

// makeUp evicts for what there is for certain beyond the budget, without what the push
// brings: as many groups as are too many, and for series if that is enough.
func (t *lifeTally) makeUp() {
	certain := func(of func(*lifeGroup) int) int {
		return t.sum(of, func(k int) bool {
			g := t.groups[k]
			deleting := g.push != nil && g.push.pushed == nil
			return k != t.i && t.stays(k) && g.exists && !g.unsure && !deleting && !slices.Contains(t.evict, k)
		})
	}
	settled := func(g *lifeGroup) int {
		if g.push != nil {
			return 0
		}
		return g.booked()
	}
	doubt := t.used - certain(settled) - 2 - len(t.passes)
	for n := certain(one) + 1; n > t.b.Groups && len(t.victims) > 0; n-- {
		t.evictOne()
	}
	t.used -= doubt
	before := *t
	for !t.jobHasRoom() && len(t.victims) > 0 {
		t.evictOne()
	}
	if !t.jobHasRoom() {
		*t = before
	}
	t.used += doubt
}

func (t *lifeTally) jobHasRoom() bool {
	borrowed := max(0, t.used-t.b.Series)
	lent := max(0, t.shared-t.b.Guaranteed)
	return borrowed == 0 || borrowed <= t.b.Borrow && t.others+max(lent, borrowed) <= t.b.GuardSeries-t.b.Reserved
}

// count adds up what there is, without what the push replaces.
func (t *lifeTally) count(values []string) {
	g := t.groups[t.i]
	gone := len(g.content)
	for _, v := range values {
		if g.content[v] && !g.unsure {
			gone--
		}
	}
	ofEntry := t.ofEntry(t.job)
	t.used = t.sum((*lifeGroup).booked, t.stays) - gone
	t.shared = t.sum((*lifeGroup).booked, ofEntry) - gone
	t.others = t.sum((*lifeGroup).booked, func(k int) bool { return !ofEntry(k) })
	for job, terms := range t.terms {
		if lifeEntries[job] != lifeEntries[t.job] {
			t.others = max(0, t.others-terms.Guaranteed)
			break // there are two entries
		}
	}
	t.total = t.sum((*lifeGroup).atMost, func(k int) bool { return k != t.i }) + g.booked() - gone
}

// over is the first limit that a push would pass.
func (t *lifeTally) over(n, fresh int) Limit {
	lent, room := max(0, t.shared+n-t.b.Guaranteed), t.b.GuardSeries-t.b.Reserved
	borrowed := max(0, t.used+n-t.b.Series)
	switch {
	case borrowed > t.b.Borrow || borrowed > 0 && t.others+max(lent, borrowed) > room:
		return SeriesLimit
	case t.shared+n > t.b.EntrySeries:
		return EntrySeriesLimit
	case lent > 0 && t.others+lent > room:
		return map[bool]Limit{true: RemainderLimit, false: GuardSeriesLimit}[t.b.Reserved > 0]
	case t.total+n > t.b.GuardSeries:
		return GuardSeriesLimit
	case fresh > 0 && within(t.brought[t.job], t.now, 60)+t.fresh+fresh > t.b.NewSeriesPerHour:
		return NewSeriesPerHourLimit
	case fresh > 0 && within(t.brought[t.job], t.now, 1440)+t.fresh+fresh > t.b.NewSeriesPerDay:
		return NewSeriesPerDayLimit
	}
	return 0
}

// findVictims finds what may be evicted, but for what is pinned once the push is
// applied: that is not the group's own, which is the newest then.
func (t *lifeTally) findVictims(success bool) {
	kept := -1
	if t.b.KeepLast && !success {
		kept = t.lastSuccess(t.job)
	}
	for _, k := range t.order {
		if _, promised := t.promised[k]; t.groups[k].job == t.job && k != t.i && k != kept && !promised && t.groups[k].push == nil {
			t.victims = append(t.victims, k)
		}
	}
}

func (t *lifeTally) evictOne() {
	t.used -= t.groups[t.victims[0]].booked()
	t.evict, t.victims = append(slices.Clip(t.evict), t.victims[0]), t.victims[1:]
}

// fits takes up series if they fit, perhaps after others have gone.
func (t *lifeTally) fits(n, fresh int) Limit {
	before := *t
	for t.over(n, fresh) == SeriesLimit && len(t.victims) > 0 {
		t.evictOne()
	}
	if t.over(n, fresh) != 0 {
		*t = before
		return t.over(n, fresh)
	}
	t.used, t.shared, t.total, t.fresh = t.used+n, t.shared+n, t.total+n, t.fresh+fresh
	return 0
}

// begin is what a new group must fit.
func (t *lifeTally) begin() Limit {
	if t.lives(t.ofJob(t.job)) == 0 {
		jobs := map[string]bool{}
		for k, other := range t.groups {
			if t.ofEntry(t.job)(k) && other.live() {
				jobs[other.job] = true
			}
		}
		at, known := t.gone[t.job]
		t.newJob = !known || t.now-at >= 86400
		switch {
		case len(jobs)+1 > t.b.EntryJobs:
			return EntryJobsLimit
		case t.newJob && within(t.newJobs[lifeEntries[t.job]], t.now, 1440)+1 > t.b.NewJobsPerDay:
			return NewJobsPerDayLimit
		}
	}
	if t.lives(func(int) bool { return true })+1 > t.b.GuardGroups {
		return GuardGroupsLimit
	}
	for t.lives(t.stays)+1-len(t.evict) > t.b.Groups {
		if len(t.victims) == 0 {
			return GroupsLimit
		}
		t.evictOne()
	}
	return t.fits(2, 2)
}

// renew makes a group the newest.
func (l *life) renew(i int) {
	l.order = slices.DeleteFunc(l.order, func(k int) bool { return k == i })
	for _, k := range l.order {
		if g := l.groups[k]; g.job == l.groups[i].job {
			g.at = min(g.at, l.wall)
		}
	}
	l.groups[i].at = l.wall
	l.order = append(l.order, i)
}

func (l *life) settle(i int, o Outcome) {
	g := l.groups[i]
	p := g.push
	g.push = nil
	if p.pushed == nil {
		delete(l.promised, i)
		if o == Applied {
			l.remove(i)
		}
		return
	}
	for k, promise := range l.promised {
		switch {
		case promise.by != p.grant:
		case o == Applied:
			l.promised[k] = lifePromise{p.grant, l.now + 60}
		default:
			delete(l.promised, k)
		}
	}
	if o == Untouched || o == Refused {
		left := 0
		if o == Refused && p.made {
			left = 2
		}
		l.brought[g.job] = append(without(l.brought[g.job], event{p.at, p.fresh}), event{p.at, left})
	}
	if o == Untouched {
		if p.newJob {
			e := lifeEntries[g.job]
			l.newJobs[e] = without(l.newJobs[e], event{p.at, 1})
		}
		at, known := l.gone[g.job]
		if known = known && l.now-at < 86400; !known && within(l.brought[g.job], l.now, 1440) == 0 && l.sum((*lifeGroup).booked, func(k int) bool { return l.groups[k].job == g.job }) == 0 {
			l.pushes[g.job] = nil // nobody remembers a job that never was
		}
		return
	}
	switch {
	case o == Refused:
		g.failed = g.failed || !g.exists
	case o == Applied:
		g.content, g.unsure, g.failed, g.success, g.most = p.pushed, false, false, p.success, len(p.pushed)
	case p.grant.same:
		g.success = g.success || p.success
	default:
		g.most = max(g.most, len(p.pushed))
		g.content, g.unsure = maps.Clone(g.content), true
		maps.Copy(g.content, p.pushed)
		g.success = g.success || p.success
	}
	g.exists = true
	if o != Refused || g.failed {
		l.renew(i)
	}
}

// remove takes out a group that does not exist any more.
func (l *life) remove(i int) {
	g := l.groups[i]
	if g.exists {
		l.gone[g.job] = l.now
	}
	g.exists, g.unsure, g.failed, g.success, g.content, g.most = false, false, false, false, map[string]bool{}, 0
	l.order = slices.DeleteFunc(l.order, func(k int) bool { return k == i })
	delete(l.promised, i)
}

// awaitsEviction reports whether a group is promised, and may still be evicted.
func (l *life) awaitsEviction(i int) bool {
	p, promised := l.promised[i]
	return promised && l.now < p.until
}

func (l *life) expire() {
	for k, p := range l.promised {
		if p.until <= l.now && l.groups[k].push == nil {
			delete(l.promised, k)
		}
	}
}

// sort is what a listing does to the order: by time, and otherwise as it was.
func (l *life) sort() {
	slices.SortStableFunc(l.order, func(x, y int) int { return cmp.Compare(l.groups[x].at, l.groups[y].at) })
}
