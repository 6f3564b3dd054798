package event

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

func benchRecord() Record {
	one := 1.0
	return Record{
		ID: NewID(noon), Time: noon, Kind: TaskState, Job: "airflow", JobRaw: "airflow", Owner: "data-eng", Method: "POST", RemoteIP: "10.0.0.1",
		DagID: "load_orders", TaskID: "extract", RunID: "scheduled__2026-11-28T00:00:00+00:00", TryNumber: "1", State: "success",
		Metric: "task_state", Type: "gauge", Value: &one,
		Labels:       map[string]string{"dag_id": "load_orders", "task_id": "extract", "run_id": "scheduled__2026-11-28T00:00:00+00:00", "state": "success"},
		SeriesLabels: map[string]string{"dag_id": "load_orders", "task_id": "extract"},
	}
}

// BenchmarkAdd is what a push pays for a record, with an event log that takes
// everything, one that is dead, and none.
func BenchmarkAdd(b *testing.B) {
	for name, targets := range map[string][]Target{
		"none": nil, "stdout": {{URL: "stdout:"}}, "dead": {{URL: "loki+http://127.0.0.1:1"}},
	} {
		b.Run(name, func(b *testing.B) {
			l, err := Open(Config{Targets: targets, Stdout: io.Discard, Drain: time.Millisecond})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = l.Run(ctx) })
			r := benchRecord()
			b.ReportAllocs()
			for b.Loop() {
				l.Add(r)
			}
			cancel()
			running.Wait()
		})
	}
}

// BenchmarkFileSink is a record's way from Add through a queue on disk into a
// file.
func BenchmarkFileSink(b *testing.B) {
	dir := b.TempDir()
	d, err := state.Open(b.Context(), dir+"/state", state.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	l, err := Open(Config{Dir: d, Targets: []Target{{URL: "file://" + filepath.Join(dir, "events.jsonl")}}, Drain: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	r := benchRecord()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		l.Add(r)
		if n++; n%1000 == 0 {
			if err := l.Commit(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	cancel()
	running.Wait()
	if lost := uint64(n) - l.shippers[0].stats.sent.Load(); lost > 0 {
		b.Errorf("%d of %d records are not in the file", lost, n)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
