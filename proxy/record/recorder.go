package record

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/audit"
)

const (
	// maxBody is the largest body that is recorded.
	maxBody = 1 << 20
	// maxWaiting and maxWaitingBytes bound the pushes that wait to be written.
	maxWaiting      = 256
	maxWaitingBytes = 32 << 20
	tendEvery       = time.Second
	reportEvery     = time.Minute
)

// Config is what a Recorder is made of.
type Config struct {
	// Path is the file, Rotation when it is set aside and how long that stays.
	Path     string
	Rotation audit.Rotation
	// Rate is how many pushes a second are recorded at most, over ten seconds; 0 does
	// not limit.
	Rate int
	// Secret is what values are hidden by: equal ones stay equal under one secret.
	Secret [32]byte
	// OnError is told why pushes are lost, at most once a minute. It may be nil.
	OnError func(error)
}

// Recorder writes pushes to a file. It is safe for concurrent use, and a
// prometheus.Collector of what it did.
type Recorder struct {
	cfg      Config
	file     *audit.File
	tend     func() error // of the file
	redactor *redactor
	waiting  chan *Push
	bytes    atomic.Int64 // that wait
	rate     bucket
	missed   atomic.Uint64 // since the entry before

	written, lost atomic.Uint64
	failing       atomic.Bool // the last push could not be written
	dropped       [reasons]atomic.Uint64

	reporting sync.Mutex
	reported  time.Time
}

// Why a push is not recorded.
const (
	overRate = iota
	tooLarge
	queueFull
	reasons
)

var reasonNames = [reasons]string{"rate", "size", "queue"}

var _ prometheus.Collector = (*Recorder)(nil)

// Open opens the file, as audit.OpenFile does. Call Run, and Close after it.
func Open(cfg Config) (*Recorder, error) {
	file, err := audit.OpenFile(cfg.Path, cfg.Rotation)
	if err != nil {
		return nil, err
	}
	return &Recorder{
		cfg: cfg, file: file, tend: file.Tend, redactor: newRedactor(cfg.Secret), waiting: make(chan *Push, maxWaiting),
		rate: bucket{rate: float64(cfg.Rate), now: time.Now},
	}, nil
}

// Wants reports whether a push of so many bytes is to be recorded. One that is not is
// counted. Nobody waits.
func (r *Recorder) Wants(size int) bool {
	switch {
	case size > maxBody:
		return r.drop(tooLarge)
	case len(r.waiting) == maxWaiting || r.bytes.Load()+int64(size) > maxWaitingBytes:
		return r.drop(queueFull)
	case !r.rate.take():
		return r.drop(overRate)
	}
	return true
}

// Keep takes a push that Wants said yes to, without waiting.
func (r *Recorder) Keep(p *Push) {
	size := p.size()
	if len(p.Sent) > maxBody {
		r.drop(tooLarge)
		return
	}
	r.bytes.Add(size)
	select {
	case r.waiting <- p:
	default:
		r.bytes.Add(-size)
		r.drop(queueFull)
	}
}

func (p *Push) size() int64 { return int64(len(p.Body) + len(p.Sent)) }

func (r *Recorder) drop(reason int) bool {
	r.dropped[reason].Add(1)
	r.missed.Add(1)
	return false
}

// Run writes what comes, and tends the file, until ctx ends; then what waits. Who writes
// does not wait for a file that is compressed.
func (r *Recorder) Run(ctx context.Context) error {
	var tending sync.WaitGroup
	defer tending.Wait()
	tending.Go(func() { r.runTend(ctx) })
	for {
		select {
		case p := <-r.waiting:
			r.write(p)
		case <-ctx.Done():
			r.drain()
			return ctx.Err()
		}
	}
}

func (r *Recorder) runTend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.report(r.tend())
		case <-ctx.Done():
			return
		}
	}
}

func (r *Recorder) drain() {
	for {
		select {
		case p := <-r.waiting:
			r.write(p)
		default:
			return
		}
	}
}

// write redacts a push and appends it.
func (r *Recorder) write(p *Push) {
	defer r.bytes.Add(-p.size())
	e := r.redactor.entry(p)
	e.Dropped = r.missed.Swap(0)
	var line bytes.Buffer
	out := json.NewEncoder(&line)
	out.SetEscapeHTML(false)
	err := out.Encode(e)
	if err == nil {
		_, err = r.file.Write(line.Bytes())
	}
	r.failing.Store(err != nil)
	if err != nil {
		r.lost.Add(1)
		r.missed.Add(1 + e.Dropped)
		r.report(err)
		return
	}
	r.written.Add(1)
}

// Failing reports whether the last push that was to be recorded could not be written. That
// of nil never is.
func (r *Recorder) Failing() bool { return r != nil && r.failing.Load() }

// report tells of an error, not more often than once a minute.
func (r *Recorder) report(err error) {
	r.reporting.Lock()
	defer r.reporting.Unlock()
	if err == nil || r.cfg.OnError == nil || time.Since(r.reported) < reportEvery {
		return
	}
	r.reported = time.Now()
	r.cfg.OnError(fmt.Errorf("recorded pushes: %d lost: %w", r.lost.Load(), err))
}

// Close closes the file, once Run has ended.
func (r *Recorder) Close() error { return r.file.Close() }

// bucket permits a rate, and ten seconds of it at once.
type bucket struct {
	rate float64
	now  func() time.Time
	mu   sync.Mutex
	left float64
	last time.Time
}

func (b *bucket) take() bool {
	if b.rate == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.last.IsZero() {
		b.left = 10 * b.rate
	}
	b.left = min(b.left+now.Sub(b.last).Seconds()*b.rate, 10*b.rate)
	b.last = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
