package console

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

const (
	// minutes and tens are how far back the history reaches: an hour by the minute,
	// and a day by ten minutes.
	minutes = 60
	tens    = 144
	// maxFollowed is how many jobs have a history, some 1.1 KiB each. Those that hold
	// most come first; of one beyond there is none until another has been gone for a
	// day. maxName is the longest name of one that has.
	maxFollowed = 2000
	maxName     = 1024
	// unknown stands for a time of which nothing is known.
	unknown = math.MaxUint32
)

// history is what happened within the last hour and day. It is safe for concurrent
// use.
type history struct {
	mu      sync.Mutex
	minute  int64 // of the last sample, since 1970; 0: there is none
	begun   int64 // of the first
	counts  counts
	outcome [minutes]tally
	behind  [minutes]answers
	jobs    map[string]*past
	// beyond is a job for which there was no room, by the minute: of the minute in which the
	// room ended, so that it is new. full says that some job had none at the last sample.
	beyond [minutes]string
	full   bool
}

// past is that of one job.
type past struct {
	first, last int64 // the minutes in which it first held something, and was seen last
	byMinute    [minutes]uint32
	byTen       [tens]uint32
	refused     [minutes]uint32
}

func newHistory() *history { return &history{jobs: map[string]*past{}} }

// add takes a snapshot as that of its minute.
func (h *history) add(now time.Time, s *snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := now.Unix() / 60
	if at < h.minute {
		return // the clock was set back; it will catch up
	}
	h.turn(at)
	if h.begun == 0 {
		h.begun = at
	} else {
		h.outcome[at%minutes] = h.outcome[at%minutes].plus(s.counts.all.since(h.counts.all))
		h.behind[at%minutes] = h.behind[at%minutes].plus(s.counts.behind.since(h.counts.behind))
	}
	beyond := ""
	for i := range s.jobs.Jobs {
		if name := s.jobs.Jobs[i].Job; !h.hold(at, &s.jobs.Jobs[i]) && len(name) <= maxName {
			beyond = cmp.Or(beyond, name)
		}
	}
	if !h.full {
		h.beyond[at%minutes] = beyond
	}
	h.full = beyond != ""
	for name, t := range s.counts.byJob {
		if n := t.since(h.counts.byJob[name])[refused]; name != "" && n > 0 && h.begun < at {
			if p := h.past(name, at); p != nil {
				p.refused[at%minutes] += uint32(n)
			}
		}
	}
	h.minute, h.counts = at, counts{all: s.counts.all, behind: s.counts.behind, byJob: s.counts.byJob}
}

// turn clears the places of the minutes since the last sample, and forgets jobs that
// are gone for a day.
func (h *history) turn(at int64) {
	for m := max(h.minute+1, at-minutes+1); m <= at; m++ {
		h.outcome[m%minutes], h.behind[m%minutes], h.beyond[m%minutes] = tally{}, answers{}, ""
	}
	for name, p := range h.jobs {
		if at-p.last > tens*10 {
			delete(h.jobs, name)
			continue
		}
		p.turn(h.minute, at)
	}
}

func (p *past) turn(from, to int64) {
	for m := max(from+1, to-minutes+1); m <= to; m++ {
		p.byMinute[m%minutes], p.refused[m%minutes] = unknown, 0
	}
	for t := max(from/10+1, to/10-tens+1); t <= to/10; t++ {
		p.byTen[t%tens] = unknown
	}
}

// past is the history of a job; nil if there is no room for it.
func (h *history) past(name string, at int64) *past {
	p := h.jobs[name]
	if p == nil {
		if len(h.jobs) >= maxFollowed || len(name) > maxName {
			return nil
		}
		p = &past{}
		p.turn(at-tens*10, at)
		h.jobs[name] = p
	}
	p.last = at
	return p
}

// hold takes what a job holds, and reports whether there is room for it.
func (h *history) hold(at int64, j *proxy.JobView) bool {
	p := h.past(j.Job, at)
	if p == nil {
		return false
	}
	first := at
	if h.full { // it may have waited for room, so it is not called new
		first = h.begun
	}
	p.first = cmp.Or(p.first, first)
	p.byMinute[at%minutes], p.byTen[at/10%tens] = uint32(j.Held), uint32(j.Held)
	return true
}

// bar is what became of the pushes of one minute.
type bar struct {
	Time  time.Time
	Tally tally
}

// Sum is how many there were in all.
func (b bar) Sum() float64 { return b.Tally.sum() }

// lastHour is what became of the pushes of the last hour by the minute, oldest first,
// with what came since the last sample, and of all together.
func (h *history) lastHour(s *snapshot) (bars []bar, all tally) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := s.at.Unix() / 60
	for m := now - minutes + 1; m <= now; m++ {
		b := bar{Time: time.Unix(m*60, 0).UTC()}
		if m <= h.minute && m > h.minute-minutes {
			b.Tally = h.outcome[m%minutes]
		}
		if m == now && h.begun > 0 {
			b.Tally = b.Tally.plus(s.counts.all.since(h.counts.all))
		}
		bars, all = append(bars, b), all.plus(b.Tally)
	}
	return bars, all
}

// lastAnswers are how the Pushgateway behind answered within the last hour, and since a
// minute or two.
func (h *history) lastAnswers(s *snapshot) (hour, lately answers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := s.at.Unix() / 60
	for m := max(h.minute, now) - minutes + 1; m <= h.minute; m++ {
		hour = hour.plus(h.behind[m%minutes])
		if m >= now-1 {
			lately = lately.plus(h.behind[m%minutes])
		}
	}
	rest := s.counts.behind.since(h.counts.behind)
	return hour.plus(rest), lately.plus(rest)
}

// refusals are how many pushes of each job were refused within the last hour.
func (h *history) refusals(s *snapshot) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}
	for name, p := range h.jobs {
		for m := max(0, s.at.Unix()/60-minutes+1); m <= h.minute; m++ {
			out[name] += int(p.refused[m%minutes])
		}
	}
	if h.begun > 0 {
		for name, t := range s.counts.byJob {
			out[name] += int(t.since(h.counts.byJob[name])[refused])
		}
	}
	return out
}

// line is how many series a job held, oldest first; unknown where it was not seen.
type line struct {
	Values []uint32
	Step   time.Duration
	End    time.Time
}

// of returns the lines of a job for an hour and for a day, and whether it has any.
func (h *history) of(name string) (hour, day line, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.jobs[name]
	if p == nil {
		return line{}, line{}, false
	}
	end := time.Unix(h.minute*60, 0).UTC()
	hour, day = line{Step: time.Minute, End: end}, line{Step: 10 * time.Minute, End: end}
	for m := h.minute - minutes + 1; m <= h.minute; m++ {
		hour.Values = append(hour.Values, p.byMinute[m%minutes])
	}
	for t := h.minute/10 - tens + 1; t <= h.minute/10; t++ {
		day.Values = append(day.Values, p.byTen[t%tens])
	}
	return hour, day, true
}

// born is a job that first held something within the last hour. One beyond those that are
// followed stands for others of its minute, too.
type born struct {
	Job    string
	Time   time.Time
	Beyond bool
}

// newJobs are the jobs that first held something within the last hour, newest first; not
// those that did when the guard started.
func (h *history) newJobs() []born {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []born
	for name, p := range h.jobs {
		if p.first > h.begun && p.first > h.minute-minutes {
			out = append(out, born{Job: name, Time: time.Unix(p.first*60, 0).UTC()})
		}
	}
	for m := max(h.begun, h.minute-minutes) + 1; m <= h.minute; m++ {
		if name := h.beyond[m%minutes]; name != "" {
			out = append(out, born{name, time.Unix(m*60, 0).UTC(), true})
		}
	}
	slices.SortFunc(out, func(a, b born) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Job, b.Job))
	})
	return out
}
