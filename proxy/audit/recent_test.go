package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/rules/finding"
)

// numbered writes records whose jobs are the numbers from and up to below to.
func numbered(l *Log, from, to int) {
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i := from; i < to; i++ {
		l.Write(Record{Time: begin.Add(time.Duration(i) * time.Second), Job: fmt.Sprint(i), Outcome: "changed"})
	}
}

func jobsOf[L ~[]E, E any](records L, text func(E) []byte) string {
	var jobs []string
	for _, r := range records {
		record, _ := parse(text(r))
		jobs = append(jobs, record.Job)
	}
	return strings.Join(jobs, " ")
}

func raw(r json.RawMessage) []byte { return r }

func ofLine(l Line) []byte { return l.Text }

func TestTheNewestStayInMemory(t *testing.T) {
	l := InMemory()
	for _, c := range []struct {
		until  int
		oldest string
	}{{0, ""}, {1, "0"}, {maxRecent - 1, "0"}, {maxRecent, "0"}, {maxRecent + 1, "1"}, {3*maxRecent + 7, fmt.Sprint(2*maxRecent + 7)}} {
		page, err := l.Page(t.Context(), &Filter{}, "", 1)
		if err != nil || page.Kept != "memory" {
			t.Fatal(page, err)
		}
		from := 0
		if len(page.Records) > 0 {
			_, _ = fmt.Sscan(jobsOf(page.Records, raw), &from)
			from++
		}
		numbered(l, from, c.until)
		var all []string
		for cursor, more := "", true; more; more = cursor != "" {
			page, err := l.Page(t.Context(), &Filter{}, cursor, 77)
			if err != nil {
				t.Fatal(err)
			}
			if jobs := jobsOf(page.Records, raw); jobs != "" {
				all = append(all, strings.Fields(jobs)...)
			}
			cursor = page.Next
		}
		oldest := ""
		if len(all) > 0 {
			oldest = all[len(all)-1]
		}
		if len(all) != min(c.until, maxRecent) || oldest != c.oldest {
			t.Errorf("of %d: %d, the oldest %q, want %q", c.until, len(all), oldest, c.oldest)
		}
	}
	if l.Lost() != 0 || l.Close() != nil {
		t.Error("something was lost")
	}
}

// TestMemoryIsBounded writes many of the largest records there can be.
func TestMemoryIsBounded(t *testing.T) {
	l := InMemory()
	huge := strings.Repeat("\x01", maxText)
	var found []finding.Finding
	for range maxFindings {
		found = append(found, finding.Finding{ID: huge, Metric: huge, Label: huge, Sample: huge, Fix: huge})
	}
	for range 40 {
		l.Write(Record{Time: time.Now(), Outcome: "changed", Findings: found})
	}
	room := 0
	for _, line := range l.recent.lines {
		room += cap(line)
	}
	if l.recent.bytes > maxRecentBytes || room > 2*maxRecentBytes+maxRecent*keptRoom {
		t.Errorf("%d bytes in room for %d, limit: %d", l.recent.bytes, room, maxRecentBytes)
	}
	if page, err := l.Page(t.Context(), &Filter{}, "", 1000); err != nil || len(page.Records) < 5 {
		t.Errorf("%d records, %v", len(page.Records), err)
	}
}

func TestSubscription(t *testing.T) {
	l := InMemory()
	numbered(l, 0, 5)
	s, err := l.Subscribe(3)
	if err != nil {
		t.Fatal(err)
	}
	if got := jobsOf(s.Before, ofLine); got != "2 3 4" {
		t.Errorf("before: %q", got)
	}
	numbered(l, 5, 7)
	for _, want := range []string{"5", "6"} {
		if got := <-s.C; got.Job != want || got.Missed != 0 || jobsOf([]Line{got.Line}, ofLine) != want {
			t.Errorf("%+v, want job %s", got, want)
		}
	}

	numbered(l, 10, 10+maxWaiting+9) // whoever does not read misses what is too much
	if s.Missed() != 9 {
		t.Errorf("%d missed, want 9", s.Missed())
	}
	<-s.C
	numbered(l, 1000, 1001)
	for range maxWaiting - 1 {
		if got := <-s.C; got.Missed != 0 {
			t.Errorf("%d missed before job %s", got.Missed, got.Job)
		}
	}
	if got := <-s.C; got.Job != "1000" || got.Missed != 9 || s.Missed() != 0 {
		t.Errorf("%+v, want job 1000 after 9 that were missed", got)
	}

	s.Close()
	s.Close()
	numbered(l, 0, 1)
	select {
	case got := <-s.C:
		t.Errorf("%+v after the end", got)
	default:
	}
}

func TestSubscribersAreLimited(t *testing.T) {
	l := InMemory()
	var last *Subscription
	for i := range maxSubscribers {
		s, err := l.Subscribe(0)
		if err != nil {
			t.Fatal(i, err)
		}
		last = s
	}
	if _, err := l.Subscribe(0); !errors.Is(err, ErrSubscribers) {
		t.Errorf("one too many: %v", err)
	}
	last.Close()
	if _, err := l.Subscribe(0); err != nil {
		t.Error(err)
	}
}

// TestReadersTogether has many write, read and follow at once; each that follows gets
// or misses every record.
func TestReadersTogether(t *testing.T) {
	l := InMemory()
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	totals := make([]int, 4)
	for i := range totals {
		s, err := l.Subscribe(10)
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer s.Close()
			for {
				select {
				case got := <-s.C:
					totals[i] += 1 + got.Missed
				case <-stop:
					for len(s.C) > 0 {
						totals[i] += 1 + (<-s.C).Missed
					}
					totals[i] += s.Missed()
					return
				}
			}
		})
	}
	for range 4 {
		writers.Go(func() {
			numbered(l, 0, 500)
			_, _ = l.Page(t.Context(), &Filter{}, "", 100)
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if diff := cmp.Diff([]int{2000, 2000, 2000, 2000}, totals); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// A record on disk is also in memory, with and without a file that can be written.
func TestMemoryBesideAFile(t *testing.T) {
	l, err := Start(t.TempDir()+"/audit.jsonl", Rotation{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	numbered(l, 0, 3)
	page, err := l.Page(t.Context(), &Filter{}, "", 10)
	if err != nil || page.Kept != "file" || jobsOf(page.Records, raw) != "2 1 0" {
		t.Errorf("%s: %v, %v", page.Kept, jobsOf(page.Records, raw), err)
	}
	_ = l.Close() // which takes the file away
	numbered(l, 3, 4)
	s, err := l.Subscribe(2)
	if err != nil || jobsOf(s.Before, ofLine) != "2 3" || l.Lost() != 1 {
		t.Errorf("%v, %v, %d lost", jobsOf(s.Before, ofLine), err, l.Lost())
	}
}

func BenchmarkInMemory(b *testing.B) {
	l := InMemory()
	r := full
	r.Outcome, r.Would = "changed", ""
	b.ReportAllocs()
	for b.Loop() {
		l.Write(r)
	}
}
