package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// settling is how long everything may take to arrive once nobody pushes, on a machine that
// has much else to do.
const settling = 3 * time.Minute

// check has the jobs pause, and compares what stands with the model, as soon as
// everything has arrived.
func (s *stage) check(ctx context.Context) error {
	s.load.gate.Lock()
	defer s.load.gate.Unlock()
	if wrong := s.load.complaints(); len(wrong) > 0 {
		return s.failure(errors.New(strings.Join(wrong, "\n")))
	}
	if err := s.arrive(ctx); err != nil {
		return s.failure(err)
	}
	var wrong []string
	for deadline := time.Now().Add(settling); ; wait(ctx, again) {
		shown, differences := s.differences(ctx)
		if len(differences) == 0 {
			s.model.settle(shown)
			break
		}
		if wrong = differences; ctx.Err() != nil || time.Now().After(deadline) {
			return s.failure(errors.New(strings.Join(wrong[:min(len(wrong), 40)], "\n")))
		}
	}
	return s.watch.quiet(ctx, s)
}

// failure tells what was done to the stage before.
func (s *stage) failure(err error) error {
	return fmt.Errorf("%s, after %s:\n%w", s.name, strings.Join(s.past[max(0, len(s.past)-5):], ", "), err)
}

// differences are all that is not as the model has it, and the snapshots.
func (s *stage) differences(ctx context.Context) (shown page, wrong []string) {
	door, err := readPage(ctx, s.guard.URL+"/metrics")
	if err != nil {
		return nil, []string{err.Error()}
	}
	own, err := readPage(ctx, s.guard.URL+"/guard/metrics")
	if err != nil {
		return nil, []string{err.Error()}
	}
	wrong = s.held(door, own)
	for id, v := range own {
		if strings.Contains(id, `"pushguard_state_written"`) && v != 1 {
			wrong = append(wrong, id+" is 0: the state is not on disk")
		}
	}
	shown = maps.Clone(door)
	shown.without(s.model.totals)
	if s.gateway != nil {
		wrong = append(wrong, differ("pushguard_spool_groups", own, 0)...)
		if shown, err = readPage(ctx, s.gateway.URL+"/metrics"); err != nil {
			return nil, []string{err.Error()}
		}
		wrong = append(wrong, s.delivered(ctx, own)...)
	}
	for id := range shown { // what servers say of themselves
		if jobOf(id) == "" || strings.Contains(id, `__name__="pushguard_`) {
			delete(shown, id)
		}
	}
	wrong = append(wrong, door.differ(s.model.totals, "a total")...)
	return shown, append(wrong, s.model.compare(shown)...)
}

// held compares what the guard says that each job holds with the page, and what it was
// given for StatsD.
func (s *stage) held(door, own page) []string {
	want := page{}
	for id := range door {
		if job := jobOf(id); job != "" && !strings.Contains(id, `__name__="pushguard_`) {
			want[seriesID("pushguard_series_held", "job", job)]++
		}
	}
	for id := range s.model.sent {
		want[seriesID("pushguard_series_held", "job", jobOf(id))]++
	}
	wrong := own.differ(want, "of "+fmt.Sprint(len(want))+" jobs")
	for id, v := range own {
		if _, ok := want[id]; !ok && v != 0 && strings.Contains(id, `"pushguard_series_held"`) {
			wrong = append(wrong, fmt.Sprintf("%s is %v, and the job has nothing", id, v))
		}
	}
	return wrong
}

func differ(name string, own page, want float64) []string {
	return own.differ(page{seriesID(name): want}, "of the guard")
}

// marked is a counter for StatsD: what was sent before it is there when it is.
const marked = "marks"

// arrive waits until the exporter has all that was sent to it. What it gets is read in
// its order, and sent once a second: a second mark is behind all that the first was with.
func (s *stage) arrive(ctx context.Context) error {
	if s.exporter == nil {
		return nil
	}
	var err error
	for range 2 {
		s.marks++
		o := post("sent-" + marked)
		o.gauge("last_push", float64(s.marks))
		o.once = fmt.Sprint(marked, s.marks)
		name := fmt.Sprintf("%s_%d_total", marked, s.marks)
		o.body += fmt.Sprintf("# TYPE %s counter\n%s 1\n", name, name)
		o.sends = page{seriesID(name, o.key...): 1}
		s.load.insist(ctx, http.DefaultClient, o)
		for deadline := time.Now().Add(settling); ; wait(ctx, again) {
			var shown page
			if shown, err = readPage(ctx, s.exporter.URL+"/metrics"); err == nil && shown[seriesID(name, o.key...)] == 1 {
				break
			}
			if ctx.Err() != nil || time.Now().After(deadline) {
				return fmt.Errorf("%s did not reach StatsD within %s (%v)", name, settling, err)
			}
		}
	}
	return nil
}

// delivered compares what the exporter shows with what it was given since the last time:
// all of it, or, if one of the two was killed, no more than that.
func (s *stage) delivered(ctx context.Context, own page) []string {
	wrong := differ("pushguard_statsd_pending_series", own, 0)
	shown, err := readPage(ctx, s.exporter.URL+"/metrics")
	if err != nil {
		return append(wrong, err.Error())
	}
	for id, sum := range s.model.sent {
		want := sum - s.given[id]
		got := shown[id] - s.reached[id]
		if got > want || !s.cut && got != want {
			wrong = append(wrong, fmt.Sprintf("StatsD: %s has grown by %v, want %v (something killed: %t)", id, got, want, s.cut))
		}
	}
	if len(wrong) == 0 {
		s.reached, s.given, s.cut = shown, maps.Clone(s.model.sent), false
	}
	return wrong
}
