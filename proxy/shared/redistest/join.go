package redistest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
)

// Join has a guard take part in the order until the test ends, or stop is called, which
// waits for its end and may be called again. It returns once the guard has joined.
func Join(t testing.TB, log *shared.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	joined, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := log.Join(ctx, func() { close(joined) }); err != nil && ctx.Err() == nil {
			t.Errorf("Join: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	select {
	case <-joined:
	case <-time.After(ready):
		t.Fatal("the guard has not joined")
	}
	return stop
}

// After has a guard that goes on by itself do something at a time that it has later
// than one that another such guard had, and returns when it has done so.
func After(door *shared.Door, last time.Time, do func()) time.Time {
	a, _ := door.Alone()
	for !a.Clock().After(last) {
		time.Sleep(time.Millisecond)
	}
	do()
	return a.Clock()
}
