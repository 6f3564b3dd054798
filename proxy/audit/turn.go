package audit

import (
	"errors"
	"sync/atomic"
	"time"
)

// patience is for how long a record waits for one that is being written before it.
const patience = time.Second

var errStalled = errors.New("the disk does not keep up")

// turn is held by one at a time. Who waits for it gives up where one has it for long.
type turn struct {
	held chan struct{} // holds one
	made time.Time     // by whose monotonic reading it goes: clocks are set
	// since is for how long it had been made when it was taken; 0 where nobody has it, or
	// who has it has not said so yet.
	since atomic.Int64
}

func (t *turn) take() bool {
	select {
	case t.held <- struct{}{}:
	default:
		left := time.NewTimer(t.left())
		defer left.Stop()
		select {
		case t.held <- struct{}{}:
		case <-left.C:
			return false
		}
	}
	t.since.Store(int64(time.Since(t.made)))
	return true
}

// left is for how long to wait for who has it now.
func (t *turn) left() time.Duration {
	since := time.Duration(t.since.Load())
	if since == 0 {
		return patience
	}
	return since + patience - time.Since(t.made)
}

func (t *turn) give() {
	t.since.Store(0) // who takes it next has had it for no time
	<-t.held
}
