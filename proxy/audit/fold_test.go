package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/rules/finding"
)

// folder is a log that folds, by a clock that the test sets.
func folder(t *testing.T, now *time.Time) (*Log, func() []Record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Start(path, Rotation{}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return *now }
	t.Cleanup(func() { _ = l.Close() })
	return l, func() (out []Record) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var r Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			out = append(out, r)
		}
		return out
	}
}

func total(records []Record) (n int) {
	for _, r := range records {
		n += max(r.Count, 1)
	}
	return n
}

func TestATightLoopIsFolded(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	l, records := folder(t, &now)
	refusal := func() Record {
		return Record{
			Time: now, Job: "load", Client: fmt.Sprint("192.0.2.7:", 1000+now.Nanosecond()%1000), Outcome: "refused", Status: 422,
			Findings: []finding.Finding{{ID: "label_limit", Metric: "x", Count: 40}},
		}
	}
	for i := range 1000 {
		l.Write(refusal())
		if i == 0 && len(records()) != 1 {
			t.Error("the first was not written at once")
		}
		now = now.Add(time.Millisecond)
	}
	l.flush(false)
	if n := len(records()); n != 1 {
		t.Errorf("%d records after a second, want 1", n)
	}
	now = now.Add(foldFor)
	l.flush(false)
	got := records()
	if len(got) != 2 || got[1].Count != 999 || !got[1].First.Equal(got[0].Time.Add(time.Millisecond)) || !got[1].Time.Equal(got[0].Time.Add(999*time.Millisecond)) {
		t.Fatalf("%d records, the last %+v", len(got), got[len(got)-1])
	}
	l.Write(refusal())
	l.flush(false)
	now = now.Add(foldFor)
	l.flush(false)
	if got = records(); len(got) != 3 || got[2].Count != 1 {
		t.Errorf("%d records: one that went on was not written", len(got))
	}
	now = now.Add(foldFor)
	l.flush(false)
	l.Write(refusal())
	if got = records(); len(got) != 4 || got[3].Count != 0 {
		t.Errorf("%d records: one after a pause was not written at once", len(got))
	}
	l.Write(refusal())
	l.flush(true)
	if n := total(records()); n != 1003 {
		t.Errorf("%d pushes in the log, want 1003", n)
	}
}

// TestWriteTellsWhichRecord has a client refused twice a second for two minutes, for one
// of two reasons: whatever Write says of a push is the time of a record in the log, of the
// same reason, and not older than the counts that were written since.
func TestWriteTellsWhichRecord(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	l, records := folder(t, &now)
	ids := [2]string{"label_limit", "series_budget"}
	for i := range 240 {
		id := ids[i%2]
		told := l.Write(Record{Time: now, Job: "load", Client: "192.0.2.7:1", Outcome: "refused", Status: 422, Findings: []finding.Finding{{ID: id}}})
		at := slices.IndexFunc(records(), func(r Record) bool { return r.Time.Equal(told) })
		if at < 0 || records()[at].Findings[0].ID != id {
			t.Fatalf("push %d, %s, is told of by %v, which is record %d of %v", i, id, told, at, records())
		}
		if age := now.Sub(told); age > 2*foldFor {
			t.Errorf("push %d is told of by a record of %v before", i, age)
		}
		now = now.Add(500 * time.Millisecond)
		l.flush(false)
	}
	if n := len(records()); n > 2*14 {
		t.Errorf("%d records of 240 pushes", n)
	}
}

// TestWriteTellsOfNoRecord has nothing that could be found: of a record that stands for
// various kinds, of one that could not be written, and of no log.
func TestWriteTellsOfNoRecord(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	refusal := func(id int) Record {
		return Record{Time: now, Job: "load", Client: "192.0.2.7:1", Outcome: "refused", Status: 422, Findings: []finding.Finding{{ID: fmt.Sprint("rule-", id)}}}
	}
	l, _ := folder(t, &now)
	for i := range maxKindsOfClient + 1 {
		if told := l.Write(refusal(i)); !told.Equal(now) {
			t.Errorf("the first of kind %d is told of by %v", i, told)
		}
	}
	now = now.Add(time.Second)
	if told := l.Write(refusal(maxKindsOfClient + 5)); !told.IsZero() {
		t.Errorf("one of various kinds is told of by %v", told)
	}
	full, _ := folder(t, &now)
	full.onError = nil
	if err := full.file.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if told := full.Write(refusal(1)); !told.IsZero() {
			t.Errorf("one that could not be written is told of by %v", told)
		}
	}
	if told := (*Log)(nil).Write(refusal(1)); !told.IsZero() {
		t.Errorf("no log tells of %v", told)
	}
}

func TestNothingElseIsFolded(t *testing.T) {
	now := time.Now()
	l, records := folder(t, &now)
	kinds := []Record{
		{Client: "192.0.2.7:1", Outcome: "changed"},
		{Client: "192.0.2.7:1", Outcome: "passed"},
		{Client: "192.0.2.7:1", Outcome: "passed", Would: "changed"},
		{Outcome: "removed"},
		{Outcome: "failed", Reason: "stale"},
	}
	for range 3 {
		for _, r := range kinds {
			l.Write(r)
		}
	}
	if n := len(records()); n != 3*len(kinds) {
		t.Errorf("%d records, want %d", n, 3*len(kinds))
	}
}

// A client that gives every push another job has no more than its share of kinds.
func TestAClientWithManyKinds(t *testing.T) {
	now := time.Now()
	l, records := folder(t, &now)
	const pushes = 5000
	for i := range pushes {
		l.Write(Record{Time: now, Client: "192.0.2.7:1", Job: fmt.Sprint("j", i), Outcome: "refused"})
	}
	l.Write(Record{Time: now, Client: "192.0.2.8:1", Job: "other", Outcome: "refused"})
	if n := len(records()); n != maxKindsOfClient+2 {
		t.Errorf("%d records at once, want %d", n, maxKindsOfClient+2)
	}
	l.flush(true)
	got := records()
	if last := got[len(got)-1]; !last.Various || last.Count != pushes-maxKindsOfClient-1 {
		t.Errorf("the last: %+v", last)
	}
	if n := total(got); n != pushes+1 {
		t.Errorf("%d pushes in the log, want %d", n, pushes+1)
	}
}

// Beyond the kinds that are remembered, records are written one by one.
func TestManyClients(t *testing.T) {
	for _, clients := range []int{maxKinds, maxKinds + 1} {
		now := time.Now()
		l, records := folder(t, &now)
		for range 2 {
			for i := range clients {
				l.Write(Record{Time: now, Client: fmt.Sprint("c", i), Outcome: "refused"})
			}
		}
		if want := maxKinds + 2*(clients-maxKinds); len(records()) != want || len(l.folding.kinds) > maxKinds {
			t.Errorf("%d clients: %d records, want %d; %d kinds", clients, len(records()), want, len(l.folding.kinds))
		}
		l.flush(true)
		if n := total(records()); n != 2*clients || len(l.folding.kinds)+len(l.folding.clients) != 0 {
			t.Errorf("%d pushes, want %d; %d kinds are left", n, 2*clients, len(l.folding.kinds))
		}
	}
}
