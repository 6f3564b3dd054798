// Package demand estimates how many distinct values clients send for each label
// of each job. It is fed with what they sent, before any rule: a label that a
// rule drops or a budget holds shows here what it would cost, so that demand
// stays visible while it is limited, and does not seem to fall the moment the
// limit bites.
//
// Values are known by keyed hashes alone. Few values are counted exactly, many
// are estimated with a standard error of 1.6 %. An estimate covers the current
// generation and the one before, the last 12 to 24 hours.
//
// What kind of values they are is told by a sample: the 64 with the smallest hashes
// (Cohen and Kaplan: "Summarizing data using bottom-k sketches", 2007), each looked at
// once, when it comes into the sample. A value that is known costs no look, and of many
// values ever fewer are looked at. Of a value only its shape is kept, and of each shape
// one value, redacted.
//
// Names and numbers come from clients, and no client can make an Estimator grow
// past its Config. Every label is tracked with room for all that it may ever
// need, so that what is known is followed as well when the Estimator is full. A
// label without room is not tracked, and Stats says how many there are.
package demand

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// otherName is the name under which jobs and labels with names over maxName go.
const otherName = "__other__"

// maxName is the length in bytes of the longest name that is kept.
const maxName = 1024

// generation is how long values are collected before the next generation begins.
const generation = 12 * time.Hour

// maxBatch is how many values are added under one hold of a lock, some 50 µs: a
// huge push does not keep those of other jobs waiting.
const maxBatch = 1024

// shards is how many locks share the jobs; a power of two.
const shards = 64

// Config configures an Estimator. Its zero value is that of the defaults.
type Config struct {
	// MaxSketches is how many labels are tracked, each counted once for each of
	// its jobs. 0 is 10,000.
	MaxSketches int
	// MaxLabels is how many labels are tracked of one job, so that none takes all
	// the room. 0 is 200.
	MaxLabels int
	// MaxBytes bounds the memory for jobs and labels, what they may still grow to
	// included: about 10.5 KiB a label, though a label of few values takes less
	// than 1 KiB of it. 0 is 104 MiB, enough for 10,000 labels with names of usual
	// length.
	MaxBytes int
	// Shape names the kind of a label's value, in one of few words that live for ever.
	// It may be called by many at a time. nil has values without shapes.
	Shape func(label, value string) string
	// Now is the clock. nil is time.Now.
	Now func() time.Time
}

// Value is a value of a label that a client sent.
type Value struct {
	Label string
	// Hash stands for the label's name and value together. It must be well mixed
	// in all its bits, and keyed if clients are to be kept from forging counts.
	Hash uint64
	// Text is the value itself, by which its shape is found.
	Text string
}

// Stats is how full an Estimator is.
type Stats struct {
	// Tracked is how many labels are tracked, each counted once for each of its
	// jobs.
	Tracked int
	// Bytes is the memory set aside for them; Config.MaxBytes bounds it.
	Bytes int
	// Untracked estimates how many labels, counted likewise, were sent over the
	// last window and had no room.
	Untracked uint64
}

// Estimator estimates the distinct values of labels. It is safe for concurrent
// use.
type Estimator struct {
	now   func() time.Time
	start time.Time
	seed  maphash.Seed
	room  room
	max   int // labels of one job
	shape func(label, value string) string

	turning    sync.Mutex
	generation atomic.Uint32
	shards     [shards]shard
}

// New returns an empty Estimator, whose first generation begins now.
func New(cfg Config) *Estimator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Estimator{now: cfg.Now, start: cfg.Now(), seed: maphash.MakeSeed(), max: cmp.Or(cfg.MaxLabels, 200), shape: cfg.Shape}
	e.room.maxSketches = cmp.Or(cfg.MaxSketches, 10_000)
	e.room.maxBytes = cmp.Or(cfg.MaxBytes, 104<<20)
	for i := range e.shards {
		e.shards[i].jobs = make(map[string]*job)
	}
	e.generation.Store(1)
	return e
}

// Generation is the number of the current generation: 1 at first, and one more
// every 12 hours. It never goes back, even if the clock does. What is added once
// in each generation counts for as long as it is added; callers may remember
// with what they cache in which generation they added it, 0 being none.
func (e *Estimator) Generation() uint32 {
	due := uint32(max(0, e.now().Sub(e.start))/generation) + 1
	if current := e.generation.Load(); current >= due {
		return current
	}
	e.turning.Lock()
	defer e.turning.Unlock()
	current := e.generation.Load()
	if current >= due {
		return current
	}
	for i := range e.shards {
		e.shards[i].turn(due-current, &e.room)
	}
	e.generation.Store(due)
	return due
}

// Add counts values that a client sent for the job. A value that was added in
// this generation changes nothing, nor does the order. Neither the slice nor the
// strings are kept.
//
// A label that is not tracked yet and has no room, by any limit of Config, is
// counted as untracked, its values not at all.
func (e *Estimator) Add(job string, values []Value) {
	e.Generation()
	job = clip(job)
	s := e.shard(job)
	for part := range slices.Chunk(values, maxBatch) {
		if drawn := e.addTo(s, job, part); len(drawn) > 0 {
			e.look(s, job, drawn)
		}
	}
}

// addTo returns the values whose shapes are to be found.
func (e *Estimator) addTo(s *shard, job string, values []Value) (drawn []Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		label := clip(v.Label)
		if w := s.track(job, label, e.max, &e.room); w != nil {
			if w.current.add(v.Hash) && e.shape != nil && w.current.sample.draw(v.Hash) {
				drawn = append(drawn, v)
			}
		} else {
			s.untracked.current.add(maphash.Comparable(e.seed, [2]string{job, label}))
		}
	}
	return drawn
}

// Stats says how full the Estimator is.
func (e *Estimator) Stats() Stats {
	e.Generation()
	var u union
	for i := range e.shards {
		e.shards[i].read(&e.shards[i].untracked, &u)
	}
	sketches, bytes := e.room.taken()
	return Stats{Tracked: sketches, Bytes: bytes, Untracked: u.count()}
}

func (e *Estimator) shard(job string) *shard {
	return &e.shards[maphash.String(e.seed, job)%shards]
}

// clip returns the name under which a name is counted.
func clip(name string) string {
	if len(name) > maxName {
		return otherName
	}
	return name
}
