package counter

import (
	"math"
	"time"
)

// Source is the evidence for who counts: what tells a value that continues
// another from one that stands beside it. The zero value is none.
type Source uint8

// The sources, best first.
const (
	Created   Source = iota + 1 // the counter says when it was created
	Process                     // the push says when its process started
	Run                         // a label names the run
	Anonymous                   // nothing does
)

var sourceNames = [...]string{"", "created", "process", "run", "anonymous"}

// String is the source in one word, as metrics call it.
func (s Source) String() string { return sourceNames[s] }

// futureSlack is how far ahead of the guard's a sane clock is.
const futureSlack = 5 * time.Minute

// lastSecond is near the last that 64 bits of nanoseconds reach, in the year 2255.
const lastSecond = 9e9

// Nanoseconds turns a time in seconds since 1970, as _created and
// process_start_time_seconds have it, into nanoseconds. Two times that differ
// stay different. What is no time between 1970 and 2255 is 0.
func Nanoseconds(seconds float64) int64 {
	if !(seconds > 0 && seconds < lastSecond) {
		return 0
	}
	whole, part := math.Modf(seconds)
	return int64(whole)*1e9 + int64(math.Round(part*1e9))
}

// earliest and ahead bound what can be the time at which a counter was created: 2001,
// before any client told it, and by how much more than a clock's error it may be ahead.
const (
	earliest = 1e9
	ahead    = 24 * time.Hour
)

// IsCreation reports whether seconds since 1970 can be when a counter was created. What
// is called _created may as well be how many of something were.
func IsCreation(seconds float64, now time.Time) bool {
	return seconds >= earliest && seconds <= float64(now.Add(ahead).Unix())
}

// Evidence is what a push says about who counts.
type Evidence struct {
	// Created and Process are when the counter was created and its process
	// started, in nanoseconds since 1970; 0 if the push does not say.
	Created, Process int64
	// Run is set if a label of the identity names the run.
	Run bool
}

// Source returns the first source that applies, and when it says it began, which
// is 0 for Run and Anonymous. A time more than five minutes ahead of now is no
// evidence.
func (e Evidence) Source(now time.Time) (source Source, began int64) {
	latest := now.Add(futureSlack).UnixNano()
	switch {
	case e.Created > 0 && e.Created <= latest:
		return Created, e.Created
	case e.Process > 0 && e.Process <= latest:
		return Process, e.Process
	case e.Run:
		return Run, 0
	default:
		return Anonymous, 0
	}
}
