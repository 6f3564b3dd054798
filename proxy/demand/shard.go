package demand

import (
	"strings"
	"sync"
)

// shard is the jobs that share a lock.
type shard struct {
	mu        sync.Mutex
	jobs      map[string]*job
	untracked window // hashes of the job and label that had no room
}

// job is the labels of a job; it has at least one.
type job struct {
	labels map[string]*window
}

// track returns the window of a label, a new one if it has none yet; nil if there
// is no room for that. s.mu is held.
func (s *shard) track(name, label string, maxLabels int, r *room) *window {
	j := s.jobs[name]
	cost := labelCost(label)
	if j == nil {
		cost += jobCost(name)
	} else if w := j.labels[label]; w != nil {
		return w
	} else if len(j.labels) >= maxLabels {
		return nil
	}
	if !r.take(cost) {
		return nil
	}
	if j == nil {
		j = &job{labels: make(map[string]*window)}
		s.jobs[strings.Clone(name)] = j
	}
	w := new(window)
	j.labels[strings.Clone(label)] = w
	return w
}

// turn begins the next generation, so many times, and forgets what was added in
// neither of the last two.
func (s *shard) turn(times uint32, r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range min(times, 2) {
		s.untracked.turn()
		for name, j := range s.jobs {
			for label, w := range j.labels {
				if w.turn(); w.isEmpty() {
					delete(j.labels, label)
					r.give(1, labelCost(label))
				}
			}
			if len(j.labels) == 0 {
				delete(s.jobs, name)
				r.give(0, jobCost(name))
			}
		}
	}
}

// read adds a window of this shard to u.
func (s *shard) read(w *window, u *union) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.add(w)
}
