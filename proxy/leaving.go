package proxy

import (
	"slices"
	"strings"
	"sync"
)

// maxLeaving bounds the jobs that are remembered to be leaving, over all families.
const maxLeaving = 10_000

// leaving are the jobs that would have their counters added up, by family, were it
// not for other jobs that still hold the family as a snapshot: jobs that hold it
// for nobody but one another need not wait. Safe for concurrent use.
type leaving struct {
	mu   sync.Mutex
	jobs map[string][]string // sorted
	size int
}

// with notes that the job is leaving the family, and returns all that are.
func (l *leaving) with(family, job string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	jobs := l.jobs[family]
	at, known := slices.BinarySearch(jobs, job)
	if known {
		return jobs
	}
	if l.size >= maxLeaving {
		return []string{job}
	}
	if l.jobs == nil {
		l.jobs = map[string][]string{}
	}
	jobs = inserted(jobs, at, job)
	l.jobs[strings.Clone(family)] = jobs
	l.size++
	return jobs
}

// inserted is in memory of its own: others may be reading what is there.
func inserted(jobs []string, at int, job string) []string {
	return slices.Insert(slices.Clone(jobs), at, strings.Clone(job))
}

// besides returns what with does, and notes nothing.
func (l *leaving) besides(family, job string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	jobs := l.jobs[family]
	at, known := slices.BinarySearch(jobs, job)
	switch {
	case known:
		return jobs
	case l.size >= maxLeaving:
		return []string{job}
	default:
		return inserted(jobs, at, job)
	}
}

// forget forgets all of them.
func (l *leaving) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs, l.size = nil, 0
}
