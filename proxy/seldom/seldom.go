// Package seldom keeps a log short while something that all pushes need is away.
package seldom

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"
)

// every is how often the log says what befalls one push after the other.
const every = 10 * time.Second

var began = time.Now()

// Warning is one of what may befall every push at once: the log has the first, and then
// one for many. The zero value is ready, and safe for concurrent use.
type Warning struct {
	last   atomic.Int64 // when it was logged last, by the process's own clock; 0 is never
	unsaid atomic.Int64 // how often it was not, since then
}

// Log logs the warning and how many like it were not, unless one was logged just now.
func (w *Warning) Log(logger *slog.Logger, msg string, args ...any) {
	now := int64(time.Since(began)) // clocks are set back
	last := w.last.Load()
	if last != 0 && now-last < int64(every) || !w.last.CompareAndSwap(last, now) {
		w.unsaid.Add(1)
		return
	}
	if n := w.unsaid.Swap(0); n > 0 {
		args = append(args, "besides", n)
	}
	ctx := context.Background()
	if !logger.Enabled(ctx, slog.LevelWarn) {
		return
	}
	var caller [1]uintptr // the log names who warns, not this room
	runtime.Callers(2, caller[:])
	r := slog.NewRecord(time.Now(), slog.LevelWarn, msg, caller[0])
	r.Add(args...)
	_ = logger.Handler().Handle(ctx, r) // as a Logger does
}
