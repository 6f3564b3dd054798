package console

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

// holding is a snapshot of n jobs that hold as many series, with pushes by outcome.
func holding(at time.Time, prefix string, n, series int, all tally) *snapshot {
	s := &snapshot{at: at, counts: counts{all: all, byJob: map[string]tally{prefix + "0": all}}}
	for i := range n {
		s.jobs.Jobs = append(s.jobs.Jobs, proxy.JobView{Job: fmt.Sprint(prefix, i), Held: series})
	}
	return s
}

func TestHistoryIsBounded(t *testing.T) {
	h, now := newHistory(), time.Unix(1_800_000_000, 0)
	h.add(now, holding(now, "a", maxFollowed+500, 1, tally{}))
	if len(h.jobs) != maxFollowed {
		t.Errorf("%d jobs have a history, want %d", len(h.jobs), maxFollowed)
	}
	now = now.Add(23 * time.Hour)
	h.add(now, holding(now, "b", 10, 1, tally{}))
	if _, _, ok := h.of("b1"); ok || len(h.jobs) != maxFollowed {
		t.Errorf("%d jobs, one more among them: %v", len(h.jobs), ok)
	}
	now = now.Add(2 * time.Hour)
	h.add(now, holding(now, "b", 10, 1, tally{}))
	if _, _, ok := h.of("b1"); !ok || len(h.jobs) != 10 {
		t.Errorf("a day later: %d jobs, the new one among them: %v", len(h.jobs), ok)
	}
}

// TestNewJobsBeyondThoseFollowed has no number of new jobs that is not theirs where there is
// no room to follow them all, and takes none for new that has waited for room.
func TestNewJobsBeyondThoseFollowed(t *testing.T) {
	h, now := newHistory(), time.Unix(1_800_000_000, 0)
	told := func(prefix string, from, to int) (texts []string) {
		now = now.Add(time.Minute)
		s := holding(now, prefix, to, 1, tally{})
		s.jobs.Jobs = s.jobs.Jobs[from:]
		h.add(now, s)
		for _, one := range births(h.newJobs()) {
			texts = append(texts, one.Text)
		}
		return texts
	}
	check := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("told: %q, want %q", got, want)
		}
	}
	const many, one, most = "1\u202f990 jobs are new, a10 among them", "at least 1 job is new, a2000 among them", "at least 1\u202f991 jobs are new, b0 among them"
	check(told("a", 0, 10))
	check(told("a", 0, maxFollowed), many)
	check(told("a", 0, maxFollowed+3000), one, many)
	check(told("a", 0, maxFollowed+3000), one, many)
	now = now.Add(25 * time.Hour)
	check(told("a", maxFollowed, maxFollowed+10)) // they have waited for room
	check(told("b", 0, 5002), most)
	check(told("b", 0, 5002), most)
	now = now.Add(time.Hour)
	check(told("b", 0, 5002))
}

func TestHistoryOfAnHour(t *testing.T) {
	h, now := newHistory(), time.Unix(1_800_000_000, 0)
	h.add(now, holding(now, "a", 1, 5, tally{100, 0, 7}))
	for _, step := range []struct {
		after time.Duration
		all   tally
	}{
		{time.Minute, tally{110, 0, 8}},
		{5 * time.Minute, tally{120, 0, 8}},
		{time.Minute, tally{3, 0, 1}}, // the counters began anew
	} {
		now = now.Add(step.after)
		h.add(now, holding(now, "a", 1, 6, step.all))
	}
	s := holding(now.Add(10*time.Second), "a", 1, 6, tally{5, 0, 2})
	if bars, all := h.lastHour(s); len(bars) != minutes || all != (tally{25, 0, 3}) {
		t.Errorf("%d bars, %v in all", len(bars), all)
	}
	if got := h.refusals(s)["a0"]; got != 3 {
		t.Errorf("%d refusals of the job, want 3", got)
	}
	hour, day, _ := h.of("a0")
	last := hour.Values[len(hour.Values)-7:]
	if last[0] != 6 || last[1] != unknown || last[5] != 6 || last[6] != 6 || day.Values[tens-1] != 6 {
		t.Errorf("the last minutes: %v, the last ten: %d", last, day.Values[tens-1])
	}
	h.add(now.Add(-30*time.Minute), holding(now, "z", 1, 1, tally{}))
	if _, _, ok := h.of("z0"); ok {
		t.Error("a clock that was set back was believed")
	}
	later := now.Add(2 * time.Hour)
	h.add(later, holding(later, "a", 1, 6, tally{5, 0, 2}))
	if _, all := h.lastHour(holding(later, "a", 1, 6, tally{5, 0, 2})); all.sum() > 4 {
		t.Errorf("two hours later %v are of the last hour", all)
	}
}

// TestWordsOfALine has a line say no more than what was seen.
func TestWordsOfALine(t *testing.T) {
	for want, values := range map[string][]uint32{
		"nothing held":           {unknown, unknown},
		"6 series":               {unknown, 6},
		"6 series all the while": {6, 6},
		"1 series":               {1, unknown},
		"from 0 to 6 series":     {0, unknown, 6},
	} {
		if got := drawn(line{Values: values, Step: time.Minute}, 0).Title; got != want {
			t.Errorf("%v: %q, want %q", values, got, want)
		}
	}
}
