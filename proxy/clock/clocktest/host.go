// Package clocktest is a host whose clock tests may set, as an administrator or a time
// server would.
package clocktest

import (
	"sync"
	"time"
	"unsafe"
)

// Host is a host at a time. It is safe for concurrent use.
type Host struct {
	mu     sync.Mutex
	shows  time.Time // without a monotonic reading
	passed int64     // nanoseconds, which nobody sets
}

// New returns a host whose clock shows a time.
func New(shows time.Time) *Host { return &Host{shows: shows.Round(0).UTC(), passed: int64(time.Hour)} }

// Pass lets time pass.
func (h *Host) Pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shows = h.shows.Add(d)
	h.passed += int64(d)
}

// Set sets the clock forward, or back; no time passes.
func (h *Host) Set(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shows = h.shows.Add(by)
}

// Now is what time.Now would return on the host: what the clock shows and, as the
// monotonic reading, how much time has passed.
func (h *Host) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return withReading(h.shows, h.passed)
}

// withReading gives a time a monotonic reading. There is no other way to make one than to
// write it where package time keeps it; TestHost holds that to what time says of it.
func withReading(t time.Time, reading int64) time.Time {
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	const (
		hasReading = 1 << 63
		secondBits = 30             // below are the nanoseconds
		from       = -2_682_288_000 // 1 January 1885, in Unix seconds
	)
	out := layout{wall: hasReading | uint64(t.Unix()-from)<<secondBits | uint64(t.Nanosecond()), ext: reading}
	return *(*time.Time)(unsafe.Pointer(&out)) // #nosec G103 -- of tests alone
}
