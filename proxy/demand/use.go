package demand

import (
	"cmp"
	"slices"
	"strings"
)

// LabelUse is how many values of a label were sent.
type LabelUse struct {
	Label  string
	Values uint64 // distinct, over the last window: exact up to 32, then estimated
}

// JobUse is how many values a job sent of some label.
type JobUse struct {
	Job    string
	Values uint64 // distinct, over the last window: exact up to 32, then estimated
}

// place is where a label of a job is counted.
type place struct {
	shard  *shard
	window *window
}

// Job returns the labels of one job by their distinct values, most first and
// equal ones by name, at most n. A job that is not tracked has none.
func (e *Estimator) Job(job string, n int) []LabelUse {
	e.Generation()
	job = clip(job)
	return rank(e.shard(job).labelsOf(job), n, func(label string, values uint64) LabelUse {
		return LabelUse{label, values}
	})
}

// Labels returns the labels of all jobs by their distinct values, most first and
// equal ones by name, at most n. A value that several jobs sent counts once.
func (e *Estimator) Labels(n int) []LabelUse {
	e.Generation()
	places := make(map[string][]place)
	for i := range e.shards {
		e.shards[i].allLabels(places)
	}
	return rank(places, n, func(label string, values uint64) LabelUse { return LabelUse{label, values} })
}

// Label returns the jobs that sent a label by their distinct values of it, most
// first and equal ones by name, at most n.
func (e *Estimator) Label(name string, n int) []JobUse {
	e.Generation()
	places := make(map[string][]place)
	for i := range e.shards {
		e.shards[i].jobsWith(clip(name), places)
	}
	return rank(places, n, func(job string, values uint64) JobUse { return JobUse{job, values} })
}

func (s *shard) labelsOf(name string) map[string][]place {
	s.mu.Lock()
	defer s.mu.Unlock()
	places := make(map[string][]place)
	if j := s.jobs[name]; j != nil {
		for label, w := range j.labels {
			places[label] = []place{{s, w}}
		}
	}
	return places
}

func (s *shard) allLabels(places map[string][]place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		for label, w := range j.labels {
			places[label] = append(places[label], place{s, w})
		}
	}
}

func (s *shard) jobsWith(label string, places map[string][]place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, j := range s.jobs {
		if w := j.labels[label]; w != nil {
			places[name] = []place{{s, w}}
		}
	}
}

// rank counts the values at the places of each name and returns the n names with
// the most. It holds a lock only while it reads one window: pushes do not wait for
// whoever looks at them.
func rank[T any](places map[string][]place, n int, use func(name string, values uint64) T) []T {
	type counted struct {
		name   string
		values uint64
	}
	all := make([]counted, 0, len(places))
	var u union
	for name, ps := range places {
		u.reset()
		for _, p := range ps {
			p.shard.read(p.window, &u)
		}
		if values := u.count(); values > 0 { // none if a generation ended meanwhile
			all = append(all, counted{name, values})
		}
	}
	slices.SortFunc(all, func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.values, a.values), strings.Compare(a.name, b.name))
	})
	all = all[:min(max(n, 0), len(all))]
	out := make([]T, len(all))
	for i, c := range all {
		out[i] = use(c.name, c.values)
	}
	return out
}
