package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/state"
)

// scripted is a sink that does as it is told, batch after batch.
type scripted struct {
	mu      sync.Mutex
	batches []string
	do      func(batch []string) (delivery, error)
}

func (s *scripted) close() error { return nil }

func (s *scripted) send(_ context.Context, records [][]byte) (delivery, error) {
	var batch []string
	for _, r := range records {
		batch = append(batch, string(r))
	}
	s.mu.Lock()
	s.batches = append(s.batches, strings.Join(batch, " "))
	s.mu.Unlock()
	return s.do(batch)
}

// ship runs a shipper over the records until all are gone, and returns what it
// sent and how long it paused.
func ship(t *testing.T, s *scripted, records ...string) (st *stats, pauses []time.Duration) {
	t.Helper()
	st = newStats()
	q := newQueue(Limits{}, nil, func(_ lane, reason string, n int) { st.dropped(reason, n) })
	for _, r := range records {
		q.add(facts, []byte(r))
	}
	q.close()
	sh := &shipper{
		name: "s", sink: s, queue: q, stats: st, logger: Config{}.withDefaults().Logger,
		limits: batchLimits{records: 1, most: 100, bytes: 1 << 20},
		pause: func(_ context.Context, d time.Duration) error {
			pauses = append(pauses, d)
			return nil
		},
	}
	sh.run(t.Context())
	return st, pauses
}

func TestBadRecordIsIsolated(t *testing.T) {
	t.Parallel()
	s := &scripted{do: func(batch []string) (delivery, error) {
		for _, r := range batch {
			if r == "bad" {
				return delivery{}, &refusedError{errors.New("status 400")}
			}
		}
		return delivery{}, nil
	}}
	st, _ := ship(t, s, "a", "b", "bad", "c", "d")
	want := []string{"a b bad c d", "a b", "bad c d", "bad", "c d"}
	if diff := cmp.Diff(want, s.batches); diff != "" {
		t.Error(diff)
	}
	if st.sent.Load() != 4 || st.drops["rejected"].Load() != 1 || st.halved.Load() != 2 {
		t.Errorf("sent %d, rejected %d, halved %d", st.sent.Load(), st.drops["rejected"].Load(), st.halved.Load())
	}
}

// TestSlowEventLogGetsLess has an event log that takes longer for three records than there
// is time.
func TestSlowEventLogGetsLess(t *testing.T) {
	t.Parallel()
	s := &scripted{}
	s.do = func(batch []string) (delivery, error) {
		if len(batch) > 2 {
			if len(s.batches) > 20 {
				t.Fatal("the whole batch is sent for ever")
			}
			return delivery{}, fmt.Errorf("event log: %w", context.DeadlineExceeded)
		}
		return delivery{}, nil
	}
	st, pauses := ship(t, s, "a", "b", "c", "d", "e")
	want := []string{"a b c d e", "a b c d e", "a b c d e", "a b", "c d e", "c d e", "c d e", "c", "d e"}
	if diff := cmp.Diff(want, s.batches); diff != "" {
		t.Error(diff)
	}
	if st.sent.Load() != 5 || st.halved.Load() != 2 || len(pauses) != 6 {
		t.Errorf("sent %d, halved %d, pauses %v", st.sent.Load(), st.halved.Load(), pauses)
	}
}

func TestOnlyWhatWasNotTakenComesAgain(t *testing.T) {
	t.Parallel()
	tries := 0
	s := &scripted{do: func([]string) (delivery, error) {
		if tries++; tries == 1 {
			return delivery{again: []int{1, 3}, waits: errors.New("busy"), rejected: []int{0}, why: errors.New("no")}, nil
		}
		return delivery{}, nil
	}}
	st, pauses := ship(t, s, "a", "b", "c", "d")
	if diff := cmp.Diff([]string{"a b c d", "b d"}, s.batches); diff != "" {
		t.Error(diff)
	}
	if st.sent.Load() != 3 || st.drops["rejected"].Load() != 1 || len(pauses) != 1 {
		t.Errorf("sent %d, rejected %d, pauses %v", st.sent.Load(), st.drops["rejected"].Load(), pauses)
	}
}

// TestTakingNoneIsNoSuccess has an event log answer well, and take none of a batch.
func TestTakingNoneIsNoSuccess(t *testing.T) {
	t.Parallel()
	tries := 0
	st := newStats()
	s := &scripted{do: func([]string) (delivery, error) {
		if tries++; tries <= 2 {
			return delivery{again: []int{0}, waits: errors.New("status 503")}, nil
		}
		return delivery{}, nil
	}}
	ups := []bool{}
	q := newQueue(Limits{}, nil, func(lane, string, int) {})
	q.add(facts, []byte("a"))
	q.close()
	sh := &shipper{
		sink: s, queue: q, stats: st, logger: Config{}.withDefaults().Logger, limits: batchLimits{records: 1, most: 1, bytes: 1 << 20},
		pause: func(context.Context, time.Duration) error {
			ups = append(ups, !st.down.Load() || st.last.Load() != 0)
			return nil
		},
	}
	sh.run(t.Context())
	if diff := cmp.Diff([]bool{false, false}, ups); diff != "" {
		t.Error(diff)
	}
	if st.down.Load() || st.sent.Load() != 1 || st.batches.Load() != 1 || st.errors.Load() != 2 {
		t.Errorf("down %v, %d sent in %d batches, %d errors", st.down.Load(), st.sent.Load(), st.batches.Load(), st.errors.Load())
	}
}

// TestAnotherReasonIsLogged has an event log be gone, and then there with another password.
func TestAnotherReasonIsLogged(t *testing.T) {
	t.Parallel()
	said := []error{syscall.ECONNREFUSED, syscall.ECONNREFUSED, errors.New("status 401: no"), errors.New("status 401: no"), nil}
	s := &scripted{do: func([]string) (delivery, error) {
		err := said[0]
		said = said[1:]
		return delivery{}, err
	}}
	log := &logtest.Buffer{}
	q := newQueue(Limits{}, nil, func(lane, string, int) {})
	q.add(facts, []byte("a"))
	q.close()
	sh := &shipper{
		sink: s, queue: q, stats: newStats(), logger: slog.New(slog.NewTextHandler(log, nil)), limits: batchLimits{records: 1, most: 1, bytes: 1 << 20},
		pause: func(context.Context, time.Duration) error { return nil },
	}
	sh.run(t.Context())
	for _, want := range []string{"connection refused", "status 401", "takes records again"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, log.String())
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	tries := 0
	s := &scripted{do: func([]string) (delivery, error) {
		switch tries++; {
		case tries == 3:
			return delivery{}, &laterError{errors.New("status 429"), time.Minute}
		case tries < 12:
			return delivery{}, errors.New("connection refused")
		default:
			return delivery{}, nil
		}
	}}
	st, pauses := ship(t, s, "a")
	for i, p := range pauses {
		least, most := min(firstRetry<<i, lastRetry)/2, min(firstRetry<<i, lastRetry)
		if i == 2 {
			least, most = time.Minute, time.Minute
		}
		if p < least || p > most {
			t.Errorf("pause %d is %v, want %v to %v", i, p, least, most)
		}
	}
	if len(pauses) != 11 || st.sent.Load() != 1 || st.errors.Load() != 11 {
		t.Errorf("%d pauses, %d sent, %d errors", len(pauses), st.sent.Load(), st.errors.Load())
	}
}

// TestDeadSinkCostsAPushNothing: adding goes on, in bounded memory, and the end is
// not held up.
func TestDeadSinkCostsAPushNothing(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang)
	f := newFake(t, func(received) (int, map[string]string, string) {
		<-hang
		return 500, nil, ""
	})
	l, err := Open(Config{Targets: []Target{{URL: "loki+" + f.url}}, Limits: Limits{Records: 100}, Drain: time.Millisecond, FlushAt: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	eventually(t, func() error {
		l.Add(Record{Time: noon, Kind: Snapshot, Job: "a"})
		if len(f.requests()) == 0 {
			return errors.New("nothing is sent")
		}
		return nil
	})
	var adding sync.WaitGroup
	for range 4 {
		adding.Go(func() {
			for range 1000 {
				l.Add(Record{Time: noon, Kind: Snapshot, Job: "a"})
			}
		})
	}
	adding.Wait()
	if n, _ := l.shippers[0].queue.size(); n != 100 {
		t.Errorf("%d wait", n)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l.Add(Record{Time: noon, Kind: Snapshot, Job: "a"})
	st := l.shippers[0].stats
	if lost := st.drops[full].Load() + st.drops["closed"].Load(); lost < 4001 {
		t.Errorf("%d are counted as lost", lost)
	}
}

// TestSinkThatComesBack gets everything, in order and once, over a restart of the
// guard.
func TestSinkThatComesBack(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	away, all := true, ""
	f := newFake(t, func(r received) (int, map[string]string, string) {
		mu.Lock()
		defer mu.Unlock()
		// What the first process gave up may be read long after.
		if away || r.header.Get("Process") == "first" {
			return 503, map[string]string{"Retry-After": "0"}, ""
		}
		all += r.body
		return 204, nil, ""
	})
	dir := t.TempDir()
	begin := func(process string) (l *Log, end func()) {
		d, err := state.Open(t.Context(), dir, state.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err = Open(Config{Dir: d, Targets: []Target{{URL: "loki+" + f.url}}, Drain: time.Millisecond, FlushAt: 1, FlushEvery: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		l.shippers[0].sink.(loki).header = http.Header{"Process": {process}}
		l.shippers[0].pause = func(ctx context.Context, _ time.Duration) error { return pauseUntil(nil)(ctx, time.Millisecond) }
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		return l, func() {
			cancel()
			running.Wait()
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	l, end := begin("first")
	for n := range 50 {
		l.Add(Record{ID: id(n), Time: noon.Add(time.Duration(n)), Kind: []Kind{Snapshot, TaskState, Rejected}[n%3], Job: "a"})
	}
	if err := l.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	end()
	l, end = begin("second")
	defer end()
	for n := 50; n < 100; n++ {
		l.Add(Record{ID: id(n), Time: noon.Add(time.Duration(n)), Kind: TaskState, Job: "a"})
	}
	mu.Lock()
	away = false
	mu.Unlock()
	eventually(t, func() error {
		if n, _ := l.shippers[0].queue.size(); n > 0 || l.shippers[0].stats.sent.Load() < 100 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	for n := range 100 {
		if c := strings.Count(all, `\"event_id\":\"`+id(n).String()); c != 1 {
			t.Errorf("record %d came %d times", n, c)
		}
	}
}

func TestMetricsOfTheLog(t *testing.T) {
	t.Parallel()
	l, err := Open(Config{Targets: []Target{{URL: "stdout:"}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Add(Record{Time: noon, Kind: Snapshot, Job: "a"})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(l)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	const want = `# HELP pushguard_events_queued Records that wait for the event log, those on their way among them.
# TYPE pushguard_events_queued gauge
pushguard_events_queued{sink="stdout-3f2cd2e4"} 1
`
	name := l.shippers[0].name
	if err := testutil.GatherAndCompare(registry, strings.NewReader(strings.ReplaceAll(want, "stdout-3f2cd2e4", name)), "pushguard_events_queued"); err != nil {
		t.Error(err)
	}
}

// TestWhatIsOnItsWayWaits has an event log take the first half of a batch and never
// answer for the second.
func TestWhatIsOnItsWayWaits(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scripted{do: func(batch []string) (delivery, error) {
				switch {
				case len(batch) == 4:
					return delivery{}, &refusedError{errors.New("status 413")}
				case strings.Contains(batch[0], `"job":"a"`):
					return delivery{}, nil
				}
				return delivery{}, errors.New("status 500")
			}}
			cfg := Config{Targets: []Target{{URL: "stdout:"}}, FlushEvery: time.Hour, FlushAt: 4, Drain: time.Millisecond}
			if dir != "" {
				d, err := state.Open(t.Context(), dir, state.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				cfg.Dir = d
			}
			l, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			sh := l.shippers[0]
			sh.sink = s
			for _, job := range []string{"a", "a", "b", "b"} {
				l.Add(Record{Time: noon, Kind: Swept, Job: job})
			}
			end := runUntilItFails(t, l)
			const want = `# HELP pushguard_events_queued Records that wait for the event log, those on their way among them.
# TYPE pushguard_events_queued gauge
pushguard_events_queued{sink="stdout-457ec994"} 2
`
			if err := testutil.CollectAndCompare(l, strings.NewReader(want), "pushguard_events_queued"); err != nil {
				t.Error(err)
			}
			end()
			lost := uint64(0)
			if dir == "" {
				lost = 2
			}
			if got := sh.stats.drops["closed"].Load(); got != lost || sh.stats.sent.Load() != 2 {
				t.Errorf("%d sent, %d lost, want 2 and %d", sh.stats.sent.Load(), got, lost)
			}
		})
	}
}

// runUntilItFails runs a log until its shipper could not deliver; end ends it.
func runUntilItFails(t *testing.T, l *Log) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	eventually(t, func() error {
		if l.shippers[0].stats.errors.Load() == 0 {
			return errors.New("nothing has failed")
		}
		return nil
	})
	return func() { cancel(); <-done }
}

// TestEventLogThatIsBackAtTheEnd wants not to be asked for an hour, and takes what waits
// when the guard ends before that.
func TestEventLogThatIsBackAtTheEnd(t *testing.T) {
	t.Parallel()
	var back atomic.Bool
	s := &scripted{do: func([]string) (delivery, error) {
		if !back.Load() {
			return delivery{}, &laterError{errors.New("status 429"), time.Hour}
		}
		return delivery{}, nil
	}}
	l, err := Open(Config{Targets: []Target{{URL: "stdout:"}}, FlushEvery: time.Millisecond, FlushAt: 1, Drain: within})
	if err != nil {
		t.Fatal(err)
	}
	sh := l.shippers[0]
	sh.sink = s
	l.Add(Record{Time: noon, Kind: Swept})
	end := runUntilItFails(t, l)
	l.Add(Record{Time: noon, Kind: Swept})
	back.Store(true)
	end()
	if sent, lost := sh.stats.sent.Load(), sh.stats.drops["closed"].Load(); sent != 2 || lost != 0 {
		t.Errorf("%d sent, %d lost", sent, lost)
	}
}

func TestRecordThatIsTooLong(t *testing.T) {
	t.Parallel()
	labels := map[string]string{}
	for i := range 64 {
		labels[fmt.Sprint("l", i)] = strings.Repeat("\x01", 4000) // six bytes each in JSON
	}
	l, err := Open(Config{Targets: []Target{{URL: "stdout:"}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Add(Record{Time: noon, Kind: Snapshot, Job: "a", Labels: labels})
	got := drained(t, l.shippers[0].queue, true)
	if len(got) != 1 || len(got[0]) > maxLine || !strings.Contains(got[0], "labels left out") {
		t.Errorf("%d records, the first of %d bytes", len(got), len(got[0]))
	}
}

func TestNoLogTakesRecords(t *testing.T) {
	t.Parallel()
	var l *Log
	l.Add(Record{})
	if err := l.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}
