package learn

import (
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// maxGroups is how many groups are told apart where pushes are learned from.
const maxGroups = 1 << 20

// Push is what is known of a push that went on.
type Push struct {
	Job   string // as it was sent
	Group string // the grouping key, as its String has it
	At    time.Time
	// Samples are those of the body.
	Samples  int
	Findings []Finding
}

// Finding is what a rule of a policy had to say about a label of a push.
type Finding struct {
	Rule, Label string
	Sample      string // redacted
}

// anyShape stands for the shapes of a rule where a finding does not tell which it was.
const anyShape = "*"

// groups are those of pushes: of each the most samples.
type groups map[uint64]int

// Push takes a push into account, of which the labels of metrics are not known but for
// those with findings. Beyond a million groups each push is taken for one of a new
// group.
func (s *Summary) Push(p Push) {
	j := s.jobOf(p.Job)
	if j == nil {
		s.beyond++
		return
	}
	if s.groups == nil {
		s.groups = groups{}
	}
	s.pushes++
	j.pace(p.At)
	s.pushed(j, float64(p.At.Unix()))
	grown, isNew := s.groups.grow(p.Group, p.Samples+ownSeries)
	j.series += grown
	s.series += grown
	if isNew {
		j.groups++
		groupLabels(p.Group).Range(func(l labels.Label) { s.label(j, l) })
	}
	for _, f := range p.Findings {
		s.found(j, f)
	}
}

// ownSeries are what a Pushgateway adds to each group, the times of its pushes.
const ownSeries = 2

// grow returns by how much a group has become larger than it ever was.
func (g groups) grow(key string, series int) (grown int, isNew bool) {
	h := xxhash.Sum64String(key)
	before, known := g[h]
	if !known && len(g) >= maxGroups {
		return series, true
	}
	if series <= before {
		return 0, false
	}
	g[h] = series
	return series - before, !known
}

// groupLabels reads a grouping key; one that is no label set, as it was cut, has none.
func groupLabels(key string) labels.Labels {
	p := textparse.NewPromParser([]byte("g"+key+" 1\n"), labels.NewSymbolTable(), false)
	ls := labels.EmptyLabels()
	if entry, err := p.Next(); err == nil && entry == textparse.EntrySeries {
		p.Labels(&ls)
	}
	return ls
}

// pace counts the pushes of a minute and finds the longest time without one. Pushes
// come in the order of time.
func (j *job) pace(at time.Time) {
	if !j.newest.IsZero() {
		j.gap = max(j.gap, at.Sub(j.newest))
	}
	if minute := at.Truncate(time.Minute); !minute.Equal(j.minute) {
		j.minute, j.inMinute = minute, 0
	}
	j.inMinute++
	j.mostInMinute = max(j.mostInMinute, j.inMinute)
}

// found notes a finding of a rule that is one of the advice, or was learned of it.
func (s *Summary) found(j *job, f Finding) {
	for i := range s.advice.rules {
		r := &s.advice.rules[i]
		if f.Rule != r.ID && !strings.HasPrefix(f.Rule, r.ID+"-") || !r.matches(f.Label) {
			continue
		}
		of := j.label(f.Label)
		if of == nil {
			return
		}
		why := reason{i, anyShape}
		if of.advice[why] == nil {
			of.advice[why] = &tally{}
		}
		s.tally(of.advice[why], f.Label, f.Sample)
		return
	}
}
