package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
)

// model is what must stand, as the answers to the jobs have it. It shares nothing with
// what it is compared with. It is safe for concurrent use.
type model struct {
	mu     sync.Mutex
	groups map[string]*group // by path
	totals page              // what the guard's own totals are to be
	sent   page              // what was given to it for StatsD
	losses int               // how often the Pushgateway ended, and with it all it held
}

// group is what one group holds, by family.
type group struct {
	key      []string // the labels, names and values in turn
	families map[string]*family
}

// family is the series of one family of a group.
type family struct {
	samples page
	maybe   bool // it may have been with a Pushgateway that ended since
}

func newModel() *model {
	return &model{groups: map[string]*group{}, totals: page{}, sent: page{}}
}

// lose says that a Pushgateway ended which may have had everything.
func (m *model) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.losses++
	for _, g := range m.groups {
		for _, f := range g.families {
			f.maybe = true
		}
	}
}

// lost is how often that was.
func (m *model) lost() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.losses
}

// write is what a push or a delete that was answered does to its group. It began when
// so much was lost.
func (m *model) write(o *op, began int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, by := range o.counts {
		m.totals[id] += by
	}
	for id, by := range o.sends {
		m.sent[id] += by
	}
	if o.gone != "" {
		delete(m.groups, o.gone)
	}
	if o.method != "POST" {
		delete(m.groups, o.path)
	}
	for name, samples := range o.families {
		g := m.groups[o.path]
		if g == nil {
			g = &group{key: o.key, families: map[string]*family{}}
			m.groups[o.path] = g
		}
		g.families[name] = &family{samples: samples, maybe: began != m.losses}
	}
}

// settle takes from what a Pushgateway shows whether it has what may have been lost:
// families that are not there are gone.
func (m *model) settle(shown page) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path, g := range m.groups {
		for name, f := range g.families {
			if f.maybe && !shown.hasAll(f.samples) {
				delete(g.families, name)
			}
			f.maybe = false
		}
		if len(g.families) == 0 {
			delete(m.groups, path)
		}
	}
}

// Families that a Pushgateway writes for each group.
var stamps = []string{"push_time_seconds", "push_failure_time_seconds"}

// compare returns what differs on a page of snapshots, sorted. Of what may have been
// lost a family is there whole, or not at all.
func (m *model) compare(shown page) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	wrong := []string{}
	left := maps.Clone(shown) // what nothing accounts for
	for _, g := range m.groups {
		there := false
		for name, f := range g.families {
			if f.maybe && !shown.hasAny(f.samples) {
				continue
			}
			there = true
			wrong = append(wrong, shown.differ(f.samples, name+" as pushed")...)
			left.without(f.samples)
		}
		for _, stamp := range stamps {
			id := seriesID(stamp, g.key...)
			if _, ok := shown[id]; ok != there {
				wrong = append(wrong, fmt.Sprintf("%s is there: %t, want %t", id, ok, there))
			}
			delete(left, id)
		}
	}
	for id, v := range left {
		stamp := slices.ContainsFunc(stamps, func(s string) bool { return strings.Contains(id, `"`+s+`"`) })
		if !stamp || !strings.HasPrefix(jobOf(id), refusedJob) { // what was refused may be told as failed
			wrong = append(wrong, fmt.Sprintf("%s is %v, and nobody pushed it", id, v))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// seriesID is the name of a series in a page.
func seriesID(name string, pairs ...string) string {
	b := labels.NewBuilder(labels.FromStrings(pairs...))
	return b.Set("__name__", name).Labels().String()
}
