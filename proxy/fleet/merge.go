package fleet

import (
	"maps"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// view is where groups stand, as one page sees it from its beginning to its end. Whoever
// reads the upstreams with it finds every group with the holder that it names or, if it
// has moved meanwhile, where it belongs.
type view struct {
	*Fleet
	groups *atlas[standing]
	aged   map[string]aged
	alike  map[string]bool    // canonical keys that several groups have
	told   bool               // where groups stand is known from a listing
	homes  map[string]int     // of jobs, by and by
	shown  []*atlas[wire.Key] // what each shows of the jobs that groups has, if that is known
}

// view returns it. Until end is called no old copy of a group is deleted.
func (f *Fleet) view() (v *view, end func()) {
	end = f.reads.begin()
	v = &view{Fleet: f, groups: newAtlas[standing](), homes: map[string]int{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.standings {
		v.groups.add(s.key, s)
	}
	v.aged, v.alike, v.told = maps.Clone(f.aged), f.doubles, f.told
	return v, end
}

// learn notes which groups each of them shows, by the times of their pushes.
func (v *view) learn(times []part) {
	if !v.told {
		v.guess(times)
	}
	v.shown = make([]*atlas[wire.Key], len(v.all))
	for _, p := range times {
		v.shown[p.at] = newAtlas[wire.Key]()
		for _, m := range p.Metric {
			if job, ok := jobIn(m); ok && v.groups.sets[job] != nil {
				key := wire.NewKey(labelsOf(m)...).Canonical()
				v.shown[p.at].add(key, key)
			}
		}
	}
}

// guess has groups stand where a listing would have them, as far as a page tells, before
// the first one does.
func (v *view) guess(times []part) {
	found := map[string]standing{}
	latest := map[string]float64{}
	for _, p := range times {
		for _, m := range p.Metric {
			if _, ok := jobIn(m); !ok {
				continue
			}
			key := wire.NewKey(labelsOf(m)...).Canonical()
			pushed := m.GetGauge().GetValue()
			if a, ok := v.aged[key.ID()]; ok && a.stamp == pushed {
				pushed = a.was
			}
			s, twice := found[key.ID()]
			switch before := latest[key.ID()]; {
			case !twice:
				s = standing{key: key, holder: p.at, hidden: true}
			case pushed > before || pushed == before && p.at == v.home(key.Job()):
				s.old = append(s.old, s.holder)
				s.holder = p.at
			default:
				s.old = append(s.old, p.at)
				pushed = before
			}
			found[key.ID()], latest[key.ID()] = s, pushed
		}
	}
	for _, s := range found {
		if len(s.old) > 0 || s.holder != v.home(s.key.Job()) {
			v.groups.add(s.key, s)
		}
	}
}

// counts reports whether a series of a job that belongs to an upstream is what its group
// holds, as that shows it: not if all groups there that it may be of are held by others.
func (v *view) counts(m *dto.Metric, job string, home int) bool {
	if v.groups.sets[job] == nil || v.shown[home] == nil {
		return true
	}
	known, counts := false, false
	v.shown[home].find(labelsOf(m), func(key wire.Key) bool {
		s, elsewhere := v.groups.groups[key.ID()]
		known, counts = true, !elsewhere || s.holder == home || v.alike[key.ID()]
		return counts
	})
	return counts || !known
}

// home returns where a job belongs.
func (v *view) home(job string) int {
	at, ok := v.homes[job]
	if !ok {
		at = v.Fleet.home(job)
		v.homes[job] = at
	}
	return at
}

// part is what one upstream shows of a family.
type part struct {
	*dto.MetricFamily
	at int
}

// join returns a family of which several upstreams show something, nil if it is nothing:
// no series twice, and none of what they say of themselves, which has no job. Where types
// contradict, as only somebody else can have brought about, the first stands and the
// others are left out.
func (v *view) join(parts []part) *dto.MetricFamily {
	var out *dto.MetricFamily
	var elsewhere []*stray
	for _, p := range parts {
		strays := v.split(p)
		switch {
		case len(p.Metric)+len(strays) == 0:
			continue
		case out == nil:
			out = p.MetricFamily
		case out.GetType() != p.GetType():
			v.logger.Warn("Two Pushgateways hold a family with unlike types: it is on the page with the first", "family", p.GetName())
			continue
		default:
			out.Metric = append(out.Metric, p.Metric...)
		}
		elsewhere = append(elsewhere, strays...)
	}
	if len(elsewhere) > 0 {
		v.add(out, elsewhere)
	}
	if out.GetName() == pushTimes {
		v.date(out)
	}
	return out
}

// stray is a series that is not where its job belongs.
type stray struct {
	*dto.Metric
	labels []labels.Label
	at     int
	of     standing // the zero standing if that is not known
}

// split leaves in a part what belongs there and counts, and returns what is elsewhere and
// counts.
func (v *view) split(p part) (out []*stray) {
	p.Metric = slices.DeleteFunc(p.Metric, func(m *dto.Metric) bool {
		job, ok := jobIn(m)
		if !ok || v.home(job) == p.at {
			return !ok || !v.counts(m, job, p.at)
		}
		s := &stray{Metric: m, labels: labelsOf(m), at: p.at}
		v.groups.find(s.labels, func(of standing) bool {
			if of.holder != p.at && !slices.Contains(of.old, p.at) {
				return false
			}
			s.of = of
			return true
		})
		if !s.of.hidden || s.of.holder == p.at {
			out = append(out, s)
		}
		return true
	})
	return out
}

// add puts the series that are elsewhere into a family, or in place of what is there of
// them: a group counts where its holder is, and where it belongs if nobody knows.
func (v *view) add(to *dto.MetricFamily, elsewhere []*stray) {
	jobs := map[string]bool{}
	for _, s := range elsewhere {
		jobs[jobOf(s.labels)] = true
	}
	there := map[string]int{}
	for i, m := range to.Metric {
		if job, _ := jobIn(m); jobs[job] {
			there[identity(labelsOf(m))] = i
		}
	}
	for _, s := range elsewhere {
		id := identity(s.labels)
		i, twice := there[id]
		switch {
		case !twice:
			there[id] = len(to.Metric)
			to.Metric = append(to.Metric, s.Metric)
		case s.of.key.Job() != "" && s.of.holder == s.at, s.of.untouched() && to.GetName() == pushTimes:
			to.Metric[i] = s.Metric
		}
	}
}

// date has the groups that were moved, and not pushed to since, be as old as they were.
func (v *view) date(times *dto.MetricFamily) {
	if len(v.aged) == 0 {
		return
	}
	for _, m := range times.Metric {
		a, ok := v.aged[wire.NewKey(labelsOf(m)...).Canonical().ID()]
		if ok && m.Gauge != nil && m.Gauge.GetValue() == a.stamp {
			m.Gauge = &dto.Gauge{Value: &a.was}
		}
	}
}

func jobIn(m *dto.Metric) (string, bool) {
	for _, l := range m.Label {
		if l.GetName() == model.JobLabel {
			return l.GetValue(), true
		}
	}
	return "", false
}

// holder returns who has what counts of a group.
func (v *view) holder(key wire.Key) int {
	if s, ok := v.groups.groups[key.Canonical().ID()]; ok {
		return s.holder
	}
	return v.home(key.Job())
}

// shows reports whether what one of them has of a group may be what counts.
func (v *view) shows(key wire.Key, at int) bool {
	s, ok := v.groups.groups[key.Canonical().ID()]
	return !ok || !s.hidden || s.holder == at
}
