package event

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/state"
)

// maxLine is how long a record may be: Loki takes no longer line.
const maxLine = 250 << 10

// Config configures a Log. Zero durations and numbers mean their defaults.
type Config struct {
	// Targets are the event logs. No two may have one URL.
	Targets []Target
	// Dir is where the queues are kept. Nil keeps them in memory.
	Dir *state.Dir
	// Limits bound the queue of each target.
	Limits Limits
	// Instance tells this guard from others, in every record.
	Instance string
	// FlushEvery is how long a record waits for others to go with it: 1 s.
	FlushEvery time.Duration
	// FlushAt is how many records go at once without waiting: 500.
	FlushAt int
	// BatchRecords and BatchBytes bound a batch: 10,000 records, 4 MiB.
	BatchRecords, BatchBytes int
	// Timeout bounds one try to deliver a batch: 30 s.
	Timeout time.Duration
	// Drain is how long Run goes on to deliver once its context has ended: 5 s.
	Drain time.Duration
	// Stdout is where stdout: writes. Nil is the process's own.
	Stdout io.Writer
	// Logger is told when an event log goes and comes. Nil is told nothing.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&c.FlushEvery, time.Second)
	set(&c.Timeout, 30*time.Second)
	set(&c.Drain, 5*time.Second)
	for _, n := range []struct {
		field *int
		value int
	}{{&c.FlushAt, 500}, {&c.BatchRecords, 10_000}, {&c.BatchBytes, 4 << 20}} {
		if *n.field <= 0 {
			*n.field = n.value
		}
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Log takes records and delivers them to every target. It is safe for concurrent
// use, and a prometheus.Collector of what became of the records. A nil *Log takes
// records and drops them.
type Log struct {
	cfg      Config
	shippers []*shipper
	ending   chan struct{} // closed when Run is told to end
}

var _ prometheus.Collector = (*Log)(nil)

// Open returns the log, or every fault in its configuration. What its queues hold
// from before is delivered first. It connects to nothing: see Run.
func Open(cfg Config) (*Log, error) {
	l := &Log{cfg: cfg.withDefaults(), ending: make(chan struct{})}
	var errs []error
	names := map[string]bool{}
	for _, t := range l.cfg.Targets {
		if names[t.Name()] {
			errs = append(errs, fmt.Errorf("%.100q stands twice", t.URL))
			continue
		}
		names[t.Name()] = true
		s, err := l.open(t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.shippers = append(l.shippers, s)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, l.close())
	}
	l.tellOrphans(names)
	return l, nil
}

func (l *Log) open(t Target) (*shipper, error) {
	to, err := t.open(l.cfg.Stdout, l.cfg.Instance, l.cfg.Timeout)
	if err != nil {
		return nil, err
	}
	s := &shipper{
		name: t.Name(), sink: to, stats: newStats(), logger: l.cfg.Logger, pause: pauseUntil(l.ending),
		limits: batchLimits{
			records: l.cfg.FlushAt, most: l.cfg.BatchRecords, bytes: l.cfg.BatchBytes, wait: l.cfg.FlushEvery,
		},
	}
	var disk *spool
	if l.cfg.Dir != nil {
		if disk, err = l.openSpool(s.name); err != nil {
			return nil, err
		}
	}
	s.queue = newQueue(l.cfg.Limits, disk, func(_ lane, reason string, n int) { s.stats.dropped(reason, n) })
	return s, nil
}

const eventsDir = "events"

func (l *Log) openSpool(name string) (*spool, error) {
	root, err := l.cfg.Dir.Sub(eventsDir)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	s, err := openSpool(dir, l.cfg.Limits.withDefaults().Disk, func(what string) {
		l.cfg.Logger.Error("A part of the events could not be read and was set aside; the rest is delivered", "damage", what)
	})
	if err != nil {
		return nil, err
	}
	s.tell = func(err error) {
		if err != nil {
			l.cfg.Logger.Error("The events cannot be written: what is new is kept in memory alone", "sink", name, "err", err)
			return
		}
		l.cfg.Logger.Info("The events are written again", "sink", name)
	}
	return s, nil
}

// tellOrphans says that records wait for a target that is no longer one.
func (l *Log) tellOrphans(names map[string]bool) {
	if l.cfg.Dir == nil {
		return
	}
	root, err := l.cfg.Dir.Sub(eventsDir)
	if err != nil {
		return
	}
	dirs, _ := filepath.Glob(filepath.Join(root, "*", "*"+segmentExt))
	told := map[string]bool{}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		if name := filepath.Base(dir); !names[name] && !told[name] {
			told[name] = true
			l.cfg.Logger.Warn("Records wait for an event log that is not configured any more; remove the directory if they are not wanted", "dir", dir)
		}
	}
}

// Add takes records. It waits for nothing and does not fail: what has no room is
// dropped, those of the least worth first, and counted.
func (l *Log) Add(records ...Record) {
	if l == nil || len(l.shippers) == 0 {
		return
	}
	for i := range records {
		r := &records[i]
		r.SchemaVersion, r.GuardInstance = schemaVersion, l.cfg.Instance
		if r.ID == (ID{}) {
			r.ID = NewID(r.Time)
		}
		if r.OpenLineage == "" {
			r.OpenLineage = lineage(r.State)
		}
		r.bound()
		line, err := r.encode()
		if err == nil && len(line) > maxLine {
			r.Labels, r.SeriesLabels = nil, nil
			r.Detail = strings.TrimSpace("labels left out, too long. " + r.Detail)
			line, err = r.encode()
		}
		for _, s := range l.shippers {
			if err != nil {
				s.stats.dropped("too_large", 1)
				continue
			}
			s.queue.add(laneOf(r.Kind), line)
		}
	}
}

// NewID returns an id for a record of that time that no other will have: a UUID of
// version 7 (RFC 9562), which sorts by time.
func NewID(t time.Time) ID {
	var id ID
	_, _ = rand.Read(id[6:]) // never fails
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Commit waits until what was added so far will be delivered even if the process is
// killed. Its error is that of ctx, or that the disk does not take it; without a
// directory it returns nil at once.
func (l *Log) Commit(ctx context.Context) error {
	if l == nil {
		return nil
	}
	var errs []error
	for _, s := range l.shippers {
		if s.queue.spool != nil {
			errs = append(errs, s.queue.spool.commit(ctx, s.queue.spool.position()))
		}
	}
	return errors.Join(errs...)
}

// Err is why records are kept in memory alone, nil if they are not.
func (l *Log) Err() error {
	if l == nil {
		return nil
	}
	for _, s := range l.shippers {
		if s.queue.spool != nil && s.queue.spool.err() != nil {
			return s.queue.spool.err()
		}
	}
	return nil
}

// Run delivers until ctx ends, then for as long as Config.Drain what is left, and
// closes the log: what is added from then on is dropped. It is to be called once, and
// returns ctx's error, and what went wrong with the files.
func (l *Log) Run(ctx context.Context) error {
	shipping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	for _, s := range l.shippers {
		running.Go(func() { s.run(shipping) })
	}
	<-ctx.Done()
	for _, s := range l.shippers {
		s.queue.close()
	}
	close(l.ending)
	timer := time.AfterFunc(l.cfg.Drain, stop)
	running.Wait()
	timer.Stop()
	return errors.Join(ctx.Err(), l.close())
}

// close closes sinks and files, and counts what is lost with the memory.
func (l *Log) close() error {
	var errs []error
	for _, s := range l.shippers {
		if s.queue.spool != nil {
			errs = append(errs, s.queue.spool.close())
		}
		if lost := s.queue.lost(s.left); lost > 0 {
			s.stats.dropped("closed", lost)
			s.logger.Warn("Records were not delivered before the end and are lost", "sink", s.name, "records", lost)
		}
		errs = append(errs, s.sink.close())
	}
	return errors.Join(errs...)
}
